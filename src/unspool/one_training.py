"""One training: what was read becomes a job, a model and a judged run.

`unspool.train`, `unspool.resume`, `unspool.compare` and cross-validation all go through here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unspool.cells.find import find_cell
from unspool.config import Settings, to_toml
from unspool.data.opening import read_facts
from unspool.data.source import Source
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import CheckpointError, ConfigError, RunError
from unspool.layers.dropout import derived_seed
from unspool.layers.parity import check_device
from unspool.models.settings import RecurrentSettings
from unspool.predictor import model_config
from unspool.reading_shown import reading_line
from unspool.record import Record, backend_of, difference, made_with
from unspool.reporting.report import write_report
from unspool.tasks.card import model_card
from unspool.tasks.job import Job
from unspool.tasks.table import TASKS
from unspool.training import layout
from unspool.training.checkpoint import load_checkpoint, newest_checkpoint, save_model
from unspool.training.interruption import Request
from unspool.training.loop import Loop, Observer, load_weights
from unspool.training.pace import steps_within
from unspool.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Everything that stands before a run folder is made.

    Attributes:
        job: fitted on the training part.
        settings: resolved, steps included.
        cell: the equations; None for a model without a recurrent cell.
        source: where the data is.
        known: of the data, in plain values.
        work: what the loop wants, with a fresh model.
    """

    job: Job
    settings: Settings
    cell: Cell | None
    source: Source
    known: Mapping[str, Any]
    work: Any

    @classmethod
    def of(cls, reading: Any, settings: Settings, cell: Cell | None, source: Source) -> Prepared:
        """A job on what was read, and a model for it.

        Args:
            reading: what `unspool.data.opening.read_source` gave.
            settings: with the task known.
            cell: the equations.
            source: where the data is.

        Raises:
            UnspoolError: if the data cannot be learnt from, or not by this model.
        """
        job = TASKS[settings.task].load().prepare(reading, settings)
        if settings.data.vectors is not None and not hasattr(job, "pretrained"):
            raise ConfigError(f"data.vectors: a model for '{settings.task}' starts from none.")
        if settings.train.mixup and not hasattr(job, "mixup"):
            raise ConfigError(f"train.mixup: a model for '{settings.task}' mixes no examples.")
        settings = with_epochs(job, settings)
        model = fresh_model(job.shape(), settings, cell)
        return cls(
            job=job,
            settings=settings,
            cell=cell,
            source=source,
            known=known_of(reading),
            work=job.work(model),
        )

    def within(self, seconds: float) -> Prepared:
        """The same with as many steps as fit."""
        return replace(self, settings=with_steps(self.work, self.settings, seconds))

    def train(
        self,
        folder: Path,
        baselines: Sequence[Mapping[str, Any]],
        request: Request,
        observers: Sequence[Observer] = (),
    ) -> dict[str, Any]:
        """Make the run folder, train in it, judge; the report.

        Args:
            folder: of the run; must not exist.
            baselines: the simple methods' figures, on the same parts.
            request: for a stop.
            observers: called with every event.

        Raises:
            RunError: if there is such a folder, or it cannot be written.
            Interrupted: after saving, when a signal came.
        """
        record = Record(
            settings=self.settings,
            shape=self.job.shape(),
            cell=self.cell,
            files=self.job.files(),
            source=self.source,
            made_with=made_with(self.work.model),
        )
        run = Run.create(folder, to_toml(self.settings), record.written())
        with run.locked():
            loop = Loop(self.work, self.settings.train, self.settings.seed, run, observers)
            training = Training(loop, run, record, self.job, self.known)
            training.begin(baselines)
            return training.finish(request)


@dataclass(frozen=True, slots=True)
class Training:
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
        if (started := start_of(self.job, self.loop.work.model)) is not None:
            self.loop.tell("note", text=started)
        for baseline in baselines:
            self.loop.tell("baseline", **baseline)
        self.loop.show_sample()
        self.loop.save()

    def go_back(self) -> bool:
        """Restore the newest readable checkpoint; False when there is none."""
        checkpoint, skipped = newest_checkpoint(self.run.folder)
        for each in skipped:
            text = f"skipped {each.folder.name}: {each.reason}"
            told(self.loop.observers, "warning", text=text)
        if checkpoint is None:
            self.run.truncate_events(0)
            return False
        self.loop.restore(checkpoint)
        self.run.truncate_events(checkpoint.events_length)
        told(self.loop.observers, "resume", **self._facts())
        return True

    def finish(self, request: Request) -> dict[str, Any]:
        """Train to the end, judge the best checkpoint, write the model."""
        start = time.perf_counter()
        self.loop.train(request)
        self._take_best()
        return self._calibrated()._judged(start)

    def _calibrated(self) -> Training:
        """The same with probabilities that mean what they say, where the task has any."""
        calibrated = getattr(self.job, "calibrated", None)
        if calibrated is None:
            return self
        job = calibrated(self.loop.work.model)
        return replace(self, job=job, record=replace(self.record, files=job.files()))

    def _judged(self, start: float) -> dict[str, Any]:
        """Measure the model and write it."""
        report = self._report()
        record = self.record
        config = model_config(record, report)
        card = model_card(report, Path(record.source.name).name)
        weights = self.loop.work.model.state_dict()
        save_model(self.run.folder, weights, config, record.files, card)
        self.loop.tell("end", **report, seconds=time.perf_counter() - start)
        self._write_report()
        return report

    def _write_report(self) -> None:
        """The page with the plots; a training is not lost because it cannot be written."""
        try:
            write_report(self.run.folder)
        except RunError as error:
            told(self.loop.observers, "warning", text=str(error))

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
        name = name_of_model(self.record.settings, self.record.cell)
        return {
            "run": str(self.run.folder),
            "task": self.record.settings.task,
            "model": name,
            "steps": progress.step,
            "best_step": progress.best_step,
            **judged,
            "baselines": baselines,
            "verdict": self.job.verdict(name, judged, baselines),
            "parameters": num_parameters(model),
            "trained_tokens": sum(e["targets"] for e in events if e["event"] == "step"),
            "warnings": list(self.job.warnings),
        }

    def _facts(self) -> dict[str, Any]:
        model = self.loop.work.model
        return {
            "task": self.record.settings.task,
            "unit": self.job.unit,
            "cell": name_of_model(self.record.settings, self.record.cell),
            "steps": self.record.settings.train.steps,
            "step": self.loop.progress.step,
            "parameters": num_parameters(model),
            **self.job.facts(),
            "run": str(self.run.folder),
            "backend": backend_of(model),
            "device": next(model.parameters()).device.type,
            "threads": torch.get_num_threads(),
        }


def taken_up(run: Run, reading: Any, observers: Sequence[Observer]) -> Training:
    """A run that was stopped, ready for `Training.go_back`; the caller holds its lock.

    Args:
        run: that has a record.
        reading: of its data, as it was.
        observers: called with every event.

    Raises:
        RunError: if its record is damaged.
    """
    record = Record.read(run)
    settings = record.settings
    job = prepared_again(run, record, reading)
    model = fresh_model(record.shape, settings, record.cell)
    if warning := difference(record.made_with, made_with(model)):
        told(observers, "warning", text=warning)
    loop = Loop(job.work(model), settings.train, settings.seed, run, observers)
    return Training(loop, run, record, job, known_of(reading))


def known_of(reading: Any) -> dict[str, Any]:
    """What was read, in one line and as plain values; nothing of running text."""
    facts = read_facts(reading)
    return {} if facts is None else {"text": reading_line(facts), **facts}


def tell_data(observers: Sequence[Observer], known: Mapping[str, Any]) -> None:
    """What was read, before anything takes long."""
    if known:
        told(observers, "data", **known)


def prepared_again(run: Run, record: Record, reading: Any) -> Job:
    """The job of a run from what the run has stored."""
    task = TASKS[record.settings.task].load()
    try:
        job: Job = task.prepare(reading, record.settings, record.files)
    except (CheckpointError, KeyError) as error:
        raise RunError(f"{run.folder}: the record of the run is damaged: {error}") from error
    return job


def start_of(job: Job, model: nn.Module) -> str | None:
    """Give a fresh model what the job brings from elsewhere, and say what, where it brings any."""
    start = getattr(job, "start", None)
    return None if start is None else start(model)


def cell_of(settings: Settings) -> Cell | None:
    """The equations of a recurrent family; None for others."""
    model = settings.model
    if not isinstance(model, RecurrentSettings):
        return None
    return find_cell(model.name).with_options(**model.options)


def name_of_model(settings: Settings, cell: Cell | None) -> str:
    """What a person calls it."""
    return settings.model.name if cell is None else cell.name


def fresh_model(shape: Mapping[str, Any], settings: Settings, cell: Cell | None) -> nn.Module:
    """A model with its first weights, where it will be trained."""
    generator = torch.Generator().manual_seed(derived_seed(settings.seed, "weights"))
    model: nn.Module = TASKS[settings.task].load().build(shape, settings.model, cell, generator)
    device = choose_device(settings.device)
    check_device(model, device)
    return model.to(device)


def simple_methods(job: Job, observers: Sequence[Observer]) -> Iterator[dict[str, Any]]:
    """The simple methods, told while they are tried."""
    told(observers, "status", text="trying the simple methods")
    yield from job.baselines()


def with_epochs(job: Job, settings: Settings) -> Settings:
    """The settings with as many steps as the epochs make."""
    if not settings.train.epochs:
        return settings
    steps = max(1, settings.train.epochs * job.epoch_steps())
    return replace(settings, train=replace(settings.train, steps=steps))


def told(observers: Sequence[Observer], event: str, **values: Any) -> None:
    """Something to see now that need not be remembered."""
    for observer in observers:
        observer({"event": event, **values})


def num_parameters(model: nn.Module) -> int:
    """How many numbers it learns, or holds frozen.

    Example:
        >>> num_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def use_threads(threads: int) -> int:
    """Set how many threads torch takes, 0 leaving that to it; how many it takes now.

    Raises:
        ConfigError: for fewer than none.
    """
    if threads < 0:
        raise ConfigError(f"threads: got {threads}; wanted a whole number ≥ 0.")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def with_steps(work: Any, settings: Settings, seconds: float) -> Settings:
    """The settings with as many steps as fit."""
    steps = steps_within(work, settings.train, settings.seed, seconds)
    return replace(settings, train=replace(settings.train, steps=steps, epochs=0))
