"""Several models beside each other, and what several runs came to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from unspool.commands.app import Flag, Whole, app, show, show_json
from unspool.errors import ConfigError
from unspool.flags import SettingsFlags
from unspool.usage import program


@app.command(sort_key=3)
def compare(
    *files: Path,
    models: str = "rnn,lstm,gru,cnn",
    budget: Literal["parameters", "seconds"] = "parameters",
    parameters: Whole = 0,
    seconds: float = 0.0,
    seeds: Whole = 3,
    sample: str | None = None,
    out: Path | None = None,
    png: Flag = False,
    settings: Annotated[SettingsFlags | None, Parameter(name="*")] = None,
    json: Flag = False,
) -> None:
    """The same job for several models under an equal budget, beside the simple methods.

    Args:
        files: what to learn: files, or a folder.
        models: cells or families, or FILE.py:NAME, separated by commas.
        budget: what all get alike: parameters (the width is solved) or seconds (of training).
        parameters: of each model; 0 takes as many as `unspool train` would.
        seconds: of training each model and seed, with --budget seconds.
        seeds: trainings of each model.
        sample: instead of a file, embedded data (see `unspool samples`).
        out: the folder to make; runs/, the file's name and -compare if left out.
        png: paint the plot as a PNG file too, beside the SVG.
        settings: everything else that can be set, for all models alike.
        json: one JSON object on standard output, and nothing else there.
    """
    wish = (settings or SettingsFlags()).wish()
    wish.settings()  # what is wrong with them is said at once
    if bool(files) == (sample is not None):
        raise ConfigError(
            f"unspool compare: got {'both' if files else 'neither'}; wanted a FILE or --sample "
            "NAME, as in `unspool compare --sample sentiment`."
        )
    if (budget == "seconds") != (seconds > 0):
        raise ConfigError(
            f"unspool compare: --budget {budget} with --seconds {seconds:g}; wanted both, as in "
            "`--budget seconds --seconds 30`, or neither."
        )
    from unspool.comparing.budget import Budget
    from unspool.comparing.compare import compare as compare_models
    from unspool.display import observing

    with observing(json) as observer:
        report = compare_models(
            *files,
            models=models,
            budget=Budget(parameters=parameters, seconds=seconds),
            seeds=seeds,
            sample=sample,
            out=out,
            settings=wish,
            observers=[observer],
        )
    if png:
        from unspool.comparing.plot import score_plot
        from unspool.drawing.paint import paint

        report["png"] = str(Path(report["plot"]).with_suffix(".png"))
        paint(score_plot(report), Path(report["png"]))
    show_several(report, json)


def show_several(report: Mapping[str, Any], json: bool) -> None:
    """What a comparison, or the folds of a cross-validation, came to."""
    if json:
        return show_json(report)
    from unspool.several_shown import comparison_table, folds_table

    folder = shlex.quote(str(report["folder"]))
    if report["text"]:
        print(f"\n{report['text']}")
    if report["kind"] == "folds":
        print(f"{report['folds']} folds; each of {report['rows']:,} rows tested on once")
        show(folds_table(report))
        print(f"\n{report['verdict']}\nThe runs are in {folder}. None of them has read all rows:")
        return print(f"  {program()} train FILE   (without --folds, for a model to use)")
    budget = report["budget"]
    alike = (
        f"{budget['parameters']:,} parameters each"
        if budget["kind"] == "parameters"
        else f"{budget['seconds']:g} seconds of training each"
    )
    seeds = f"{len(report['seeds'])} seed{'s' if len(report['seeds']) != 1 else ''}"
    print(f"{alike}, {seeds}; on {report['rows']:,} test rows")
    show(comparison_table(report))
    sign = 1 if report["higher_is_better"] else -1
    best = max(report["models"], key=lambda each: sign * each["score"])
    plot = report.get("png", report["plot"])
    print(f"\n{report['verdict']}\nThe plot is {plot}; the runs are in {folder}. Next:")
    return print(f"  {use_of(report['task'], best['runs'][0])}")


def use_of(task: str, run: str) -> str:
    """The command that a person takes a run of a task for.

    Example:
        >>> use_of("forecast", "runs/a").split()[1:]
        ['predict', 'runs/a']
    """
    from unspool.reporting.report import VERBS

    given = {"write": ' --prompt "The "', "forecast": ""}.get(task, " INPUT")
    return f"{program()} {VERBS.get(task, 'predict')} {shlex.quote(run)}{given}"
