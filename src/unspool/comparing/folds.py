"""Cross-validation: a run for each fold, all out-of-fold answers judged together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unspool.comparing.compare import measure_of, score_of
from unspool.comparing.several import Entry, Outcome, Several, Simple, refuse_taken
from unspool.config import Settings
from unspool.data.opening import read_source
from unspool.data.source import Source
from unspool.engine.language import Cell
from unspool.errors import ConfigError, DataError
from unspool.one_training import Prepared, known_of, name_of_model, tell_data, told
from unspool.tasks.intervals import bootstrap_mean
from unspool.tasks.job import RowWise
from unspool.tasks.verdicts import Scored
from unspool.tasks.verdicts import compare as compared
from unspool.training.interruption import requests
from unspool.training.loop import Observer


def cross_validate(
    source: Source,
    settings: Settings,
    cell: Cell | None,
    folder: Path,
    *,
    data: Any = None,
    minutes: float | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Train once for each fold, and judge the answers to all rows together.

    Each row is in the test part of exactly one run and in the training part of all but two: the
    fold after the tested one chooses the step. The simple methods are fitted on the same folds.

    Args:
        source: where the data is.
        settings: with the task known, ``data.folds`` set and ``data.fold`` 0.
        cell: the equations.
        folder: to make.
        data: what was in memory, if it was.
        minutes: of training, all folds together; None goes by the settings.
        observers: called with every event.

    Returns:
        ``folder``, ``task``, ``model``, ``folds``, ``measure``, ``higher_is_better``, ``rows``,
        ``score`` (over all rows), ``interval``, ``scores`` (of each fold), ``runs``,
        ``baselines`` (each ``name``, ``score``, ``interval``, ``scores``, ``seconds``),
        ``verdict``, ``parameters``.

    Raises:
        ConfigError: for fewer than three folds.
        DataError: if the data cannot be cut into folds: the parts are given, or it is a text or a
            series, whose rows follow each other.
    """
    number = settings.data.folds
    if number < 3:
        raise ConfigError(
            f"data.folds: got {number}; wanted 3 or more: one tests, one chooses the step, the "
            "rest train."
        )
    refuse_taken(folder)
    every = [
        replace(settings, data=replace(settings.data, fold=fold)) for fold in range(1, number + 1)
    ]
    reading = read_source(source, every[0].data, settings.task, settings.seed, data)
    if not getattr(reading, "folds", ()):
        raise DataError(
            f"{source.name}: cannot be cut into {number} folds: its parts are given, or its rows "
            "follow each other in time; leave out data.folds."
        )
    known = known_of(reading)
    tell_data(observers, known)
    prepared = Prepared.of(reading, every[0], cell, source)
    if not isinstance(prepared.job, RowWise):
        raise DataError(f"{source.name}: '{settings.task}' has no measure that is one for a row.")
    if minutes is not None:
        told(observers, "status", text="measuring the speed")
        train = prepared.within(60 * minutes / number).settings.train
        every = [replace(each, train=train) for each in every]
    name = name_of_model(settings, cell)
    several = Several(
        folder=folder,
        kind="folds",
        source=source,
        asked={"folds": number, "text": known.get("text", "")},
        entries=tuple(
            Entry(contender=name, number=each.data.fold, settings=each, cell=cell) for each in every
        ),
    )
    several.create()
    return finish(several, data, observers)


def finish(several: Several, data: Any, observers: Sequence[Observer]) -> dict[str, Any]:
    """Train what has not been trained, and judge all answers together.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    with several.locked(), requests() as request:
        outcomes, simple = several.run_all(data, request, observers)
        result = _result(several, outcomes, simple)
        several.keep(result)
    return {"folder": str(several.folder), **result}


def _result(
    several: Several, outcomes: Sequence[Outcome], simple: Mapping[int, Simple]
) -> dict[str, Any]:
    first = outcomes[0]
    measure, higher = measure_of(first.report)
    folds = [each.entry.number for each in outcomes]
    groups = _joined_groups([simple[fold].groups for fold in folds])
    rows = np.concatenate([each.rows for each in outcomes if each.rows is not None])
    model = Scored(first.report["model"], float(rows.mean()), rows=rows)
    methods, baselines = [], []
    for each in simple[folds[0]].figures:
        name = each["name"]
        figures = [_named(simple[fold], name) for fold in folds]
        seconds = sum(figure["seconds"] for figure in figures)
        own = np.concatenate([simple[fold].rows[name] for fold in folds])
        methods.append(Scored(name, float(own.mean()), seconds, own, each.get("reproduce", "")))
        baselines.append(
            {
                **methods[-1].to_dict(),
                "measure": measure,
                "higher_is_better": higher,
                "interval": _ends(own, groups),
                "scores": [score_of(figure) for figure in figures],
            }
        )
    verdict = compared(model, methods, measure, higher, groups=groups).sentence
    return {
        "kind": several.kind,
        "task": first.report["task"],
        "text": several.asked["text"],
        "model": model.name,
        "folds": several.asked["folds"],
        "measure": measure,
        "higher_is_better": higher,
        "rows": sum(each.report["rows"] for each in outcomes),
        "score": model.score,
        "interval": _ends(rows, groups),
        "scores": [score_of(each.report) for each in outcomes],
        "steps": [each.report["steps"] for each in outcomes],
        "seconds": [each.seconds for each in outcomes],
        "runs": [str(several.folder / each.entry.name) for each in outcomes],
        "baselines": baselines,
        "verdict": verdict,
        "parameters": first.report["parameters"],
    }


def _named(simple: Simple, name: str) -> Mapping[str, Any]:
    return next(each for each in simple.figures if each["name"] == name)


def _ends(rows: np.ndarray, groups: Sequence[int] | None) -> list[float]:
    interval = bootstrap_mean(rows, groups)
    return [interval.low, interval.high]


def _joined_groups(folds: Sequence[list[int] | None]) -> list[int] | None:
    """Groups of all folds, those of different folds being different ones."""
    if any(each is None for each in folds):
        return None
    joined: list[int] = []
    for each in folds:
        after = max(joined, default=-1) + 1
        joined += [after + group for group in each or ()]
    return joined
