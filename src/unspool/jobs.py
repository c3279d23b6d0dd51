"""Whole jobs: a file to a judged model, going on with a run, measuring one, and the tour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unspool.asked import check_minutes, check_source, data_among, recognised, stem_of, wish_of
from unspool.comparing.folds import cross_validate
from unspool.comparing.going_on import go_on
from unspool.comparing.several import is_several
from unspool.config import Settings, Wish, resolve
from unspool.data.measured import doubts_about, read_measured
from unspool.data.opening import open_source, read_source
from unspool.data.text import printable
from unspool.errors import ConfigError
from unspool.one_training import (
    Prepared,
    cell_of,
    known_of,
    prepared_again,
    simple_methods,
    taken_up,
    tell_data,
    told,
    use_threads,
)
from unspool.predictor import load
from unspool.record import Record
from unspool.tasks.adaptive import adaptive_evaluation
from unspool.tasks.table import TASKS
from unspool.training.interruption import requests
from unspool.training.loop import Observer
from unspool.training.run import Run


def train(
    *sources: Any,
    settings: Settings | Wish | None = None,
    sample: str | None = None,
    out: str | Path | None = None,
    minutes: float | None = None,
    observers: Sequence[Observer] = (),
    **changes: Any,
) -> dict[str, Any]:
    """Recognise what data asks for, learn it, and say how well it went.

    Args:
        *sources: files or folders; or data in memory: a DataFrame, a dict of columns, (text, label)
            pairs, an array, or a pair (inputs, labels) of arrays.
        settings: everything that can be set; None takes the defaults of ``size``.
        sample: instead of a file, a key of `unspool.data.samples.SAMPLES`.
        out: the run folder to make; None takes ``runs/`` and the file's name.
        minutes: train for about so long: the speed is measured and ``train.steps`` fixed from it.
        observers: called with every event of the training.
        **changes: settings by name, a dot written as two underscores: ``model__hidden=64``,
            ``size="tiny"``, ``train__steps=100``.

    Returns:
        The report: ``run``, ``task``, ``model``, ``steps``, ``best_step``, what the task measures
        (of a text ``loss`` in nats per ``unit`` on the validation part and
        ``bits_per_character``), ``baselines``, ``verdict``, ``parameters``, ``trained_tokens``,
        ``warnings``. With ``data__folds``, of all folds together: see
        `unspool.comparing.folds.cross_validate`.

    Raises:
        UnspoolError: for anything the user can mend; nothing is half-written then.
        Interrupted: on Ctrl-C or SIGTERM, after saving.

    Example:
        >>> report = train(sample="english", out="run", size="tiny", train__steps=2,
        ...                model__hidden=8, train__length=16)
        >>> sorted(report)[:4]
        ['baselines', 'best_step', 'bits_per_character', 'loss']
    """
    wish = wish_of(settings, changes)
    if bool(sources) == (sample is not None):
        raise ConfigError("train: wanted files or the name of a sample, one of the two.")
    check_minutes(minutes, wish)
    data = data_among(sources)
    asked = wish.settings()
    threads = use_threads(asked.threads)
    crossed = asked.data.folds > 0 and not asked.data.fold
    stem = stem_of(sources, sample) + ("-folds" if crossed else "")
    folder = Path(out if out is not None else Path("runs") / stem)
    if os.path.lexists(folder) and not crossed:
        Run.create(folder, "")  # says whose it is, and how to go on or where else to write
    origin = open_source(() if data is not None else sources, sample, asked.data, data)
    settings = replace(recognised(origin, wish, data), threads=threads)
    cell = cell_of(settings)
    if crossed:
        return cross_validate(
            origin, settings, cell, folder, data=data, minutes=minutes, observers=observers
        )
    reading = read_source(origin, settings.data, settings.task, settings.seed, data)
    with requests() as request:
        tell_data(observers, known_of(reading))
        prepared = Prepared.of(reading, settings, cell, origin)
        baselines = list(simple_methods(prepared.job, observers))
        if minutes is not None:
            told(observers, "status", text="measuring the speed")
            spent = sum(each["seconds"] for each in baselines)
            prepared = prepared.within(60 * minutes - spent)
        return prepared.train(folder, baselines, request, observers)


def resume(
    run: str | Path, *, data: Any = None, observers: Sequence[Observer] = (), threads: int = 0
) -> dict[str, Any]:
    """Go on with a run where its newest readable checkpoint stands, bit for bit.

    Args:
        run: the run folder; or that of a comparison, or of folds, of which what is left is trained.
        data: the same as `train` was given, if that was in memory: a run keeps only its digest.
        observers: called with every event.
        threads: of torch; 0 takes as many as the run began with, on which exactness depends.

    Returns:
        The report, as `train` gives it; of a finished run the one it ended with.

    Raises:
        UnspoolError: if there is no such run, or its data has changed since.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    if is_several(run):
        return go_on(run, data, observers, threads)
    folder = Run.open(run)
    if folder.finished:
        return _last_report(folder)
    with folder.locked(), requests() as request:
        record = Record.read(folder)
        settings = record.settings
        use_threads(threads or settings.threads)
        check_source(run, record, data)
        reading = read_source(record.source, settings.data, settings.task, settings.seed, data)
        training = taken_up(folder, reading, observers)
        if not training.go_back():
            tell_data(observers, training.known)
            training.begin(list(simple_methods(training.job, observers)))
        return training.finish(request)


def evaluate(
    run: str | Path,
    file: str | Path | None = None,
    *,
    data: Any = None,
    adaptive: bool = False,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Measure a run on its validation or test part, or on another file.

    Args:
        run: the run folder.
        file: a file of the same kind; None reads the run's own data again.
        data: the same as `train` was given, if that was in memory.
        adaptive: also predict a text while learning from it.
        observers: called with every event.

    Returns:
        ``run``, ``file``, what the task measures (of a text ``loss``, ``unit``, ``tokens``,
        ``bits_per_character``, ``perplexity``) and ``baselines``, each on the same data.

    Raises:
        UnspoolError: if a file cannot be read or holds what the model does not know, or the data
            of the run, on which the baselines count, has changed.
    """
    record = Record.read(Run.open(run))
    if adaptive and record.settings.task != "write":
        raise ConfigError(
            f"--adaptive: {run} is a run of '{record.settings.task}'; wanted one that writes."
        )
    predictor = load(run)
    told(observers, "status", text="reading the data")
    check_source(run, record, data)
    settings = record.settings
    reading = read_source(record.source, settings.data, settings.task, settings.seed, data)
    task = TASKS[settings.task].load()
    answers = getattr(predictor, "answers", None)
    if hasattr(answers, "files"):  # with what was fitted at the end, such as a temperature
        record = replace(record, files={**record.files, **answers.files()})
    job = prepared_again(Run.open(run), record, reading)
    name = job.measured_on
    if file is not None:
        found = read_measured(file, settings.data, settings.task)
        for doubt in doubts_about(found, reading, settings.data):
            told(observers, "warning", text=f"{printable(file)}: {doubt}")
        job, name = task.measuring(job, found, str(file)), str(file)
    measured = job.judge(predictor.model)
    if adaptive:
        measured["adaptive"] = _adapted(predictor.model, job, observers)
    told(observers, "status", text="trying the simple methods")
    return {"run": str(run), "file": name, **measured, "baselines": list(job.baselines())}


def _adapted(model: Any, job: Any, observers: Sequence[Observer]) -> dict[str, Any]:
    """How well a text is predicted by a model that learns from it as it reads on."""
    text = "reading the text while learning from it"
    told(observers, "status", text=text)
    corpus = job.corpus
    return adaptive_evaluation(
        model,
        corpus.train,
        corpus.validation,
        tell=lambda said: told(observers, "status", text=said),
    ).report()


def demo(
    *, observers: Sequence[Observer] = (), out: str | Path | None = None, seconds: float = 60.0
) -> dict[str, Any]:
    """The tour: a small GRU learns English in about a minute.

    A second call finds the run and only reports it; an interrupted one goes on.

    Args:
        observers: called with every event.
        out: the run folder; None is ``runs/demo``.
        seconds: about how long to train.
    """
    folder = Path(out) if out is not None else Path("runs") / "demo"
    if folder.exists():
        return resume(folder, observers=observers)
    settings = resolve(None, {"size": "tiny"})
    return train(
        sample="english", settings=settings, out=folder, minutes=seconds / 60, observers=observers
    )


def _last_report(run: Run) -> dict[str, Any]:
    last = [event for event in run.events() if event["event"] == "end"][-1]
    report = {name: value for name, value in last.items() if name not in ("event", "seconds")}
    return report | {"run": str(run.folder)}
