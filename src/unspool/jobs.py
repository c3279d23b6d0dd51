"""Whole jobs: a file to a judged model, going on with a run, measuring one, and the tour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unspool.asked import check_minutes, check_source, data_among, recognised, stem_of, wish_of
from unspool.cells.find import find_cell
from unspool.config import Settings, Wish, resolve, to_toml
from unspool.data.opening import open_source, read_facts, read_source
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import CheckpointError, ConfigError, RunError
from unspool.layers.dropout import derived_seed
from unspool.layers.parity import check_device
from unspool.models.settings import RecurrentSettings
from unspool.predictor import load, model_config
from unspool.reading_shown import reading_line
from unspool.record import Record, backend_of, difference, made_with
from unspool.tasks.adaptive import adaptive_evaluation
from unspool.tasks.card import model_card
from unspool.tasks.job import Job
from unspool.tasks.table import TASKS
from unspool.training import layout
from unspool.training.checkpoint import load_checkpoint, newest_checkpoint, save_model
from unspool.training.interruption import Request, requests
from unspool.training.loop import Loop, Observer, load_weights
from unspool.training.pace import steps_within
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
        ``warnings``.

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
    threads = _use_threads(asked.threads)
    folder = Path(out if out is not None else Path("runs") / stem_of(sources, sample))
    if os.path.lexists(folder):
        Run.create(folder, "")  # says whose it is, and how to go on or where else to write
    origin = open_source(() if data is not None else sources, sample, asked.data, data)
    settings = replace(recognised(origin, wish, data), threads=threads)
    cell = _cell_of(settings)
    reading = read_source(origin, settings.data, settings.task, settings.seed, data)
    with requests() as request:
        known = _known(reading)
        _tell_data(observers, known)
        job = TASKS[settings.task].load().prepare(reading, settings)
        settings = _with_epochs(job, settings)
        model = _model(job.shape(), settings, cell)
        work = job.work(model)
        baselines = list(_baselines(job, observers))
        if minutes is not None:
            _told(observers, "status", text="measuring the speed")
            spent = sum(each["seconds"] for each in baselines)
            settings = _with_steps(work, settings, 60 * minutes - spent)
        record = Record(
            settings=settings,
            shape=job.shape(),
            cell=cell,
            files=job.files(),
            source=origin,
            made_with=made_with(model),
        )
        run = Run.create(folder, to_toml(settings), record.written())
        with run.locked():
            loop = Loop(work, settings.train, settings.seed, run, observers)
            training = _Training(loop, run, record, job, known)
            training.begin(baselines)
            return training.finish(request)


def resume(
    run: str | Path, *, data: Any = None, observers: Sequence[Observer] = (), threads: int = 0
) -> dict[str, Any]:
    """Go on with a run where its newest readable checkpoint stands, bit for bit.

    Args:
        run: the run folder.
        data: the same as `train` was given, if that was in memory: a run keeps only its digest.
        observers: called with every event.
        threads: of torch; 0 takes as many as the run began with, on which exactness depends.

    Returns:
        The report, as `train` gives it; of a finished run the one it ended with.

    Raises:
        UnspoolError: if there is no such run, or its data has changed since.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    folder = Run.open(run)
    if folder.finished:
        return _last_report(folder)
    with folder.locked(), requests() as request:
        record = Record.read(folder)
        settings = record.settings
        _use_threads(threads or settings.threads)
        check_source(run, record, data)
        reading = read_source(record.source, settings.data, settings.task, settings.seed, data)
        job = _prepared_again(folder, record, reading)
        model = _model(record.shape, settings, record.cell)
        if warning := difference(record.made_with, made_with(model)):
            _told(observers, "warning", text=warning)
        loop = Loop(job.work(model), settings.train, settings.seed, folder, observers)
        training = _Training(loop, folder, record, job, _known(reading))
        if not training.go_back():
            _tell_data(observers, training.known)
            training.begin(list(_baselines(job, observers)))
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
    _told(observers, "status", text="reading the data")
    check_source(run, record, data)
    settings = record.settings
    reading = read_source(record.source, settings.data, settings.task, settings.seed, data)
    task = TASKS[settings.task].load()
    job = _prepared_again(Run.open(run), record, reading)
    name = job.measured_on
    if file is not None:
        job, name = task.measuring(job, file, settings), str(file)
    measured = job.judge(predictor.model)
    if adaptive:
        measured["adaptive"] = _adapted(predictor.model, job, observers)
    _told(observers, "status", text="trying the simple methods")
    return {"run": str(run), "file": name, **measured, "baselines": list(job.baselines())}


def _adapted(model: Any, job: Any, observers: Sequence[Observer]) -> dict[str, Any]:
    """How well a text is predicted by a model that learns from it as it reads on."""
    text = "reading the text while learning from it"
    _told(observers, "status", text=text)
    corpus = job.corpus
    return adaptive_evaluation(
        model,
        corpus.train,
        corpus.validation,
        tell=lambda said: _told(observers, "status", text=said),
    ).report()


def demo(
    *, observers: Sequence[Observer] = (), out: str | Path | None = None, seconds: float = 60.0
) -> dict[str, Any]:
    """The tour: a small LSTM learns English in about a minute.

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


@dataclass(frozen=True, slots=True)
class _Training:
    """What `train` and `resume` share from the first step on."""

    loop: Loop
    run: Run
    record: Record
    job: Job
    known: Mapping[str, Any]  # of the data; observers heard it before the simple methods

    def begin(self, baselines: Sequence[Mapping[str, Any]]) -> None:
        """Tell what stands before the first step, and save it as step 0."""
        if self.known:
            self.run.log("data", **self.known)
        self.loop.tell("start", **self._facts())
        for warning in self.job.warnings:
            self.loop.tell("warning", text=warning)
        for baseline in baselines:
            self.loop.tell("baseline", **baseline)
        self.loop.show_sample()
        self.loop.save()

    def go_back(self) -> bool:
        """Restore the newest readable checkpoint; False when there is none."""
        checkpoint, skipped = newest_checkpoint(self.run.folder)
        for each in skipped:
            text = f"skipped {each.folder.name}: {each.reason}"
            _told(self.loop.observers, "warning", text=text)
        if checkpoint is None:
            self.run.truncate_events(0)
            return False
        self.loop.restore(checkpoint)
        self.run.truncate_events(checkpoint.events_length)
        _told(self.loop.observers, "resume", **self._facts())
        return True

    def finish(self, request: Request) -> dict[str, Any]:
        """Train to the end, judge the best checkpoint, write the model."""
        start = time.perf_counter()
        self.loop.train(request)
        self._take_best()
        report = self._report()
        record = self.record
        config = model_config(record, report)
        card = model_card(report, Path(record.source.name).name)
        weights = self.loop.work.model.state_dict()
        save_model(self.run.folder, weights, config, record.files, card)
        self.loop.tell("end", **report, seconds=time.perf_counter() - start)
        return report

    def _take_best(self) -> None:
        """Give the model the weights of the best evaluation; if they are damaged, keep the last."""
        progress = self.loop.progress
        if progress.best_step == progress.step:
            return
        try:
            best = load_checkpoint(layout.checkpoint_folder(self.run.folder, progress.best_step))
        except CheckpointError as error:
            self.loop.tell("warning", text=f"{error} The model is that of the last step.")
            progress.best_step = progress.step
            return
        load_weights(self.loop.work.model, best.model, str(best.folder))

    def _report(self) -> dict[str, Any]:
        progress, model = self.loop.progress, self.loop.work.model
        judged = self.job.judge(model)
        events = list(self.run.events())
        baselines = [
            {key: value for key, value in event.items() if key != "event"}
            for event in events
            if event["event"] == "baseline"
        ]
        name = _name(self.record)
        return {
            "run": str(self.run.folder),
            "task": self.record.settings.task,
            "model": name,
            "steps": progress.step,
            "best_step": progress.best_step,
            **judged,
            "baselines": baselines,
            "verdict": self.job.verdict(name, judged, baselines),
            "parameters": _num_parameters(model),
            "trained_tokens": sum(e["targets"] for e in events if e["event"] == "step"),
            "warnings": list(self.job.warnings),
        }

    def _facts(self) -> dict[str, Any]:
        model = self.loop.work.model
        return {
            "task": self.record.settings.task,
            "unit": self.job.unit,
            "cell": _name(self.record),
            "steps": self.record.settings.train.steps,
            "step": self.loop.progress.step,
            "parameters": _num_parameters(model),
            **self.job.facts(),
            "run": str(self.run.folder),
            "backend": backend_of(model),
            "device": next(model.parameters()).device.type,
            "threads": torch.get_num_threads(),
        }


def _known(reading: Any) -> dict[str, Any]:
    """What was read, in one line and as plain values; nothing of running text."""
    facts = read_facts(reading)
    return {} if facts is None else {"text": reading_line(facts), **facts}


def _tell_data(observers: Sequence[Observer], known: Mapping[str, Any]) -> None:
    """What was read, before anything takes long."""
    if known:
        _told(observers, "data", **known)


def _prepared_again(run: Run, record: Record, reading: Any) -> Job:
    """The job of a run from what the run has stored."""
    task = TASKS[record.settings.task].load()
    try:
        job: Job = task.prepare(reading, record.settings, record.files)
    except (CheckpointError, KeyError) as error:
        raise RunError(f"{run.folder}: the record of the run is damaged: {error}") from error
    return job


def _cell_of(settings: Settings) -> Cell | None:
    model = settings.model
    if not isinstance(model, RecurrentSettings):
        return None
    return find_cell(model.name).with_options(**model.options)


def _name(record: Record) -> str:
    """What a person calls the model."""
    return record.settings.model.name if record.cell is None else record.cell.name


def _model(shape: Mapping[str, Any], settings: Settings, cell: Cell | None) -> nn.Module:
    seed = derived_seed(settings.seed, "weights")
    model: nn.Module = TASKS[settings.task].load().build(shape, settings.model, cell, seed)
    device = choose_device(settings.device)
    check_device(model, device)
    return model.to(device)


def _baselines(job: Job, observers: Sequence[Observer]) -> Iterator[dict[str, Any]]:
    """The simple methods, told while they are tried."""
    _told(observers, "status", text="trying the simple methods")
    yield from job.baselines()


def _with_epochs(job: Job, settings: Settings) -> Settings:
    """The settings with as many steps as the epochs make."""
    if not settings.train.epochs:
        return settings
    steps = max(1, settings.train.epochs * job.epoch_steps())
    return replace(settings, train=replace(settings.train, steps=steps))


def _with_steps(work: Any, settings: Settings, seconds: float) -> Settings:
    """The settings with as many steps as fit."""
    steps = steps_within(work, settings.train, settings.seed, seconds)
    return replace(settings, train=replace(settings.train, steps=steps, epochs=0))


def _last_report(run: Run) -> dict[str, Any]:
    last = [event for event in run.events() if event["event"] == "end"][-1]
    report = {name: value for name, value in last.items() if name not in ("event", "seconds")}
    return report | {"run": str(run.folder)}


def _told(observers: Sequence[Observer], event: str, **values: Any) -> None:
    """Something to see now that need not be remembered."""
    for observer in observers:
        observer({"event": event, **values})


def _num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _use_threads(threads: int) -> int:
    if threads < 0:
        raise ConfigError(f"threads: got {threads}; wanted a whole number ≥ 0.")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
