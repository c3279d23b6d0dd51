"""Training, going on, measuring, and the tour."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from unspool.commands.app import Flag, Whole, app, show, show_json
from unspool.commands.comparing import show_several, use_of
from unspool.errors import ConfigError
from unspool.flags import SettingsFlags
from unspool.usage import program


@app.command(sort_key=1)
def train(
    *files: Path,
    sample: str | None = None,
    out: Path | None = None,
    minutes: float | None = None,
    settings: Annotated[SettingsFlags | None, Parameter(name="*")] = None,
    json: Flag = False,
) -> None:
    """Recognise what a file asks for, learn it, and say how well it went.

    Args:
        files: what to learn: files, or a folder.
        sample: instead of a file, an embedded text (see `unspool samples`).
        out: the run folder to make; runs/ and the file's name if left out.
        minutes: train for about so long, however many steps that is.
        settings: everything else that can be set.
        json: one JSON object on standard output, and nothing else there.
    """
    wish = (settings or SettingsFlags()).wish()
    wish.settings()  # what is wrong with them is said at once
    if bool(files) == (sample is not None):
        raise ConfigError(
            f"unspool train: got {'both' if files else 'neither'}; wanted a FILE or --sample NAME, "
            "as in `unspool train --sample english`."
        )
    from unspool import jobs
    from unspool.display import observing

    with observing(json) as observer:
        report = jobs.train(
            *files, settings=wish, sample=sample, out=out, minutes=minutes, observers=[observer]
        )
    show_report(report, json)


@app.command(sort_key=2)
def resume(run: Path, /, *, threads: Whole = 0, json: Flag = False) -> None:
    """Go on with a run, a comparison or folds where they stopped, bit for bit.

    Args:
        run: the run folder, or that of several runs.
        threads: processor threads; 0 takes as many as the run began with.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import observing

    with observing(json) as observer:
        report = jobs.resume(run, observers=[observer], threads=threads)
    show_report(report, json)


@app.command(sort_key=3)
def evaluate(
    run: Path, file: Path | None = None, /, *, adaptive: Flag = False, json: Flag = False
) -> None:
    """Measure a run on its validation part, or on another text.

    Args:
        run: the run folder.
        file: a file to measure on instead.
        adaptive: also predict a text while learning from it (about a minute for 100,000
            characters).
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import both, figure, observing, other_figures, report_table

    with observing(json) as observer:
        measured = jobs.evaluate(run, file, adaptive=adaptive, observers=[observer])
    if json:
        return show_json(measured)
    if "score" in measured:
        print(f"{measured['file']}: {figure(measured, '')} over {measured['rows']:,} rows")
        if figures := other_figures(measured):
            print(figures)
    else:
        print(
            f"{measured['file']}: {both(measured['loss'], measured['unit'])} over "
            f"{measured['tokens']:,} {measured['unit']}s; perplexity {measured['perplexity']:.3f}"
        )
    if "adaptive" in measured:
        learnt = measured["adaptive"]
        loss = both(learnt["loss"], measured["unit"])
        print(f"learning while reading: {loss}, in {learnt['seconds']:.0f} s")
        for name, loss in learnt["parts"].items():
            print(f"  {name} alone: {both(loss, measured['unit'])}")
    return show(report_table(measured))


@app.command(sort_key=8)
def demo(*, out: Path | None = None, seconds: float = 60.0, json: Flag = False) -> None:
    """The tour: a small GRU learns English in about a minute.

    Args:
        out: the run folder; runs/demo if left out. One that is there is gone on with, or reported.
        seconds: about how long to train.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import is_terminal, observing, visible

    events: list[Mapping[str, Any]] = []
    with observing(json) as observer:
        report = jobs.demo(observers=[observer, events.append], out=out, seconds=seconds)
    written = [event for event in events if event["event"] == "sample"]
    if not json and not is_terminal(sys.stderr):
        for event in written[:1] + written[1:][-1:]:
            print(f"— step {event['step']} writes:\n{visible(event['text'].strip())}\n")
    show_report(report, json)


def show_report(report: Mapping[str, Any], json: bool) -> None:
    """How a training went, and what to do with the run."""
    if "kind" in report:
        return show_several(report, json)
    if json:
        return show_json(report)
    from unspool.display import other_figures, report_table
    from unspool.training.layout import REPORT

    run = shlex.quote(str(report["run"]))
    part = f"on {report['rows']:,} test rows" if "rows" in report else "validation loss"
    print(f"\n{report['steps']:,} steps; {part}")
    show(report_table(report))
    if figures := other_figures(report):
        print(f"\n{figures}")
    if "forecasts" in report:
        from unspool.tasks.forecast_shown import drawn

        print(f"\n{drawn(report['forecasts'][-MOST_DRAWN:])}")
    print(f"\n{report['verdict']}\nThe run is {run}. Next:")
    print(f"  {use_of(report['task'], str(report['run']))}")
    if report["task"] == "write":
        print(f'  {program()} next {run} "The "')
    print(f"  {program()} evaluate {run} FILE")
    return print(f"Plots, tables and errors: {shlex.quote(str(Path(report['run']) / REPORT))}")


MOST_DRAWN = 2
