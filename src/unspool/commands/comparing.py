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
    print(f"{alike}, {len(report['seeds'])} seeds; on {report['rows']:,} test rows")
    show(comparison_table(report))
    sign = 1 if report["higher_is_better"] else -1
    best = max(report["models"], key=lambda each: sign * each["score"])
    print(f"\n{report['verdict']}\nThe plot is {report['plot']}; the runs are in {folder}. Next:")
    return print(f"  {program()} predict {shlex.quote(best['runs'][0])} INPUT")
