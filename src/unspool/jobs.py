"""Whole jobs: a file to a judged model, going on with a run, measuring one, and the tour."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unspool.cells.find import find_cell
from unspool.config import Settings, resolve, to_toml
from unspool.data.source import Source
from unspool.data.text import read_text
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import CheckpointError, ConfigError
from unspool.layers.dropout import derived_seed
from unspool.predictor import load, model_config
from unspool.record import Record, difference, made_with
from unspool.tasks.card import model_card
from unspool.tasks.write import (
    Corpus,
    Writing,
    bits_per_character,
    build_model,
    ngram_baseline,
    read_corpus,
    stream_loss,
    verdict,
)
from unspool.training import layout
from unspool.training.checkpoint import load_checkpoint, newest_checkpoint, save_model
from unspool.training.interruption import Request, requests
from unspool.training.loop import Loop, Observer, load_weights
from unspool.training.run import Run


def train(
    source: str | Path | None = None,
    *,
    settings: Settings | None = None,
    sample: str | None = None,
    out: str | Path | None = None,
    minutes: float | None = None,
    observers: Sequence[Observer] = (),
    **changes: Any,
) -> dict[str, Any]:
    """Learn a text, and say how well it went.

    Args:
        source: a text file.
        settings: everything that can be set; None takes the defaults of ``size``.
        sample: instead of a file, a key of `unspool.data.samples.SAMPLES`.
        out: the run folder to make; None takes ``runs/`` and the file's name.
        minutes: train for about so long: the speed is measured and ``train.steps`` fixed from it.
        observers: called with every event of the training.
        **changes: settings by name, a dot written as two underscores: ``model__hidden=64``,
            ``size="tiny"``, ``train__steps=100``.

    Returns:
        The report: ``run``, ``task``, ``model``, ``steps``, ``best_step``, ``loss`` (nats per
        ``unit`` on the validation part), ``bits_per_character``, ``baselines``, ``verdict``,
        ``parameters``, ``trained_tokens``, ``warnings``.

    Raises:
        UnspoolError: for anything the user can mend; nothing is half-written then.
        Interrupted: on Ctrl-C or SIGTERM, after saving.

    Example:
        >>> report = train(sample="english", out="run", size="tiny", train__steps=2,
        ...                model__hidden=8, train__length=16)
        >>> sorted(report)[:4]
        ['baselines', 'best_step', 'bits_per_character', 'loss']
    """
    settings = _changed(settings, changes)
    if (source is None) == (sample is None):
        raise ConfigError("train: wanted a file or the name of a sample, one of the two.")
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise ConfigError(f"--minutes: got {minutes}; wanted a number > 0.")
    settings = replace(settings, task="write", threads=_use_threads(settings.threads))
    cell = find_cell(settings.model.name).with_options(**settings.model.options)
    if source is not None:
        origin, text, validation = Source.of_file(source, settings.data)
    else:
        origin, text, validation = Source.of_sample(str(sample), settings.data)
    folder = Path(out if out is not None else Path("runs") / _stem(source, sample))
    if os.path.lexists(folder):
        Run.create(folder, "")  # says whose it is, and how to go on or where else to write
    with requests() as request:
        corpus = read_corpus(text, settings.data, validation)
        work = _work(corpus, settings, cell)
        _told(observers, "status", text="counting n-grams")
        baselines = [ngram_baseline(corpus)]
        if minutes is not None:
            _told(observers, "status", text="measuring the speed")
            settings = _with_steps(work, settings, 60 * minutes - baselines[0]["seconds"])
        record = Record(
            settings=settings,
            tokenizer=corpus.tokenizer,
            cell=cell,
            source=origin,
            made_with=made_with(work.model),
        )
        run = Run.create(folder, to_toml(settings), record.files())
        with run.locked():
            loop = Loop(work, settings.train, settings.seed, run, observers)
            training = _Training(loop, run, record, corpus)
            training.begin(baselines)
            return training.finish(request)


def resume(
    run: str | Path, *, observers: Sequence[Observer] = (), threads: int = 0
) -> dict[str, Any]:
    """Go on with a run where its newest readable checkpoint stands, bit for bit.

    Args:
        run: the run folder.
        observers: called with every event.
        threads: of torch; 0 takes as many as the run began with, on which exactness depends.

    Returns:
        The report, as `train` gives it; of a finished run the one it ended with.

    Raises:
        UnspoolError: if there is no such run, or its text has changed since.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    folder = Run.open(run)
    if folder.finished:
        return _last_report(folder)
    with folder.locked(), requests() as request:
        record = Record.read(folder)
        settings = record.settings
        _use_threads(threads or settings.threads)
        text, validation = record.source.read(settings.data)
        corpus = read_corpus(text, settings.data, validation, record.tokenizer)
        work = _work(corpus, settings, record.cell)
        if warning := difference(record.made_with, made_with(work.model)):
            _told(observers, "warning", text=warning)
        loop = Loop(work, settings.train, settings.seed, folder, observers)
        training = _Training(loop, folder, record, corpus)
        if not training.go_back():
            training.begin([ngram_baseline(corpus)])
        return training.finish(request)


def evaluate(
    run: str | Path, file: str | Path | None = None, *, observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Measure a run on its validation part, or on another text.

    Args:
        run: the run folder.
        file: a text file; None reads the validation part of the run's own text again.
        observers: called with every event.

    Returns:
        ``run``, ``file``, ``loss``, ``unit``, ``tokens``, ``bits_per_character``, ``perplexity``
        and ``baselines``, each on the same text.

    Raises:
        UnspoolError: if a file cannot be read or holds what the vocabulary lacks, or the text of
            the run, on which the baselines count, has changed.
    """
    record = Record.read(Run.open(run))
    predictor = load(run)
    data = record.settings.data
    _told(observers, "status", text="reading the text")
    text, validation = record.source.read(data)
    corpus, name = read_corpus(text, data, validation, record.tokenizer), "validation part"
    if file is not None:
        other, name = read_text(file, data.encoding), str(file)
        ids = torch.from_numpy(record.tokenizer.encode(other, name))
        corpus = replace(corpus, validation=ids, validation_characters=len(other))
    measured = predictor.evaluate_tokens(corpus.validation, corpus.validation_characters)
    _told(observers, "status", text="counting n-grams")
    return {"run": str(run), "file": name, **measured, "baselines": [ngram_baseline(corpus)]}


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
    corpus: Corpus

    def begin(self, baselines: Sequence[Mapping[str, Any]]) -> None:
        """Tell what stands before the first step, and save it as step 0."""
        self.loop.tell("start", **self._facts())
        for warning in self.corpus.warnings:
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
        record, tokenizer = self.record, self.corpus.tokenizer
        model = record.settings.model
        config = model_config(record.settings.task, model, record.cell, tokenizer.size, report)
        card = model_card(report, model, Path(record.source.name).name)
        weights = self.loop.work.model.state_dict()
        save_model(self.run.folder, weights, config, tokenizer.to_json(), card)
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
        corpus, progress, model = self.corpus, self.loop.progress, self.loop.work.model
        loss = stream_loss(model, corpus.validation.to(model.device))
        baselines = [
            {key: event[key] for key in ("name", "loss", "seconds")}
            for event in self.run.events()
            if event["event"] == "baseline"
        ]
        name = self.record.cell.name
        size = self.record.settings.train.batch * self.record.settings.train.length
        bits = bits_per_character(loss, len(corpus.validation), corpus.validation_characters)
        return {
            "run": str(self.run.folder),
            "task": self.record.settings.task,
            "model": name,
            "steps": progress.step,
            "best_step": progress.best_step,
            "loss": loss,
            "unit": corpus.unit,
            "bits_per_character": bits,
            "baselines": baselines,
            "verdict": verdict(name, loss, baselines, corpus.unit),
            "parameters": _num_parameters(model),
            "trained_tokens": progress.step * size,
            "warnings": list(corpus.warnings),
        }

    def _facts(self) -> dict[str, Any]:
        corpus, model = self.corpus, self.loop.work.model
        return {
            "task": self.record.settings.task,
            "unit": corpus.unit,
            "cell": self.record.cell.name,
            "steps": self.record.settings.train.steps,
            "step": self.loop.progress.step,
            "parameters": _num_parameters(model),
            "train_tokens": len(corpus.train),
            "validation_tokens": len(corpus.validation),
            "vocabulary": corpus.tokenizer.size,
            "run": str(self.run.folder),
            "backend": model.encoder.backend,
            "device": model.device.type,
            "threads": torch.get_num_threads(),
        }


def _changed(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    if settings is not None:
        if changes:
            raise ConfigError("train: pass `settings` or single settings by name, not both.")
        return settings
    return resolve(None, {name.replace("__", "."): value for name, value in changes.items()})


def _stem(source: str | Path | None, sample: str | None) -> str:
    return f"sample-{sample}" if source is None else Path(source).stem


def _work(corpus: Corpus, settings: Settings, cell: Cell) -> Writing:
    device = choose_device(settings.device)
    seed = derived_seed(settings.seed, "weights")
    model = build_model(corpus.tokenizer.size, settings.model, cell, seed).to(device)
    return Writing(model, corpus, settings.train.batch, settings.train.length, settings.seed)


def _with_steps(work: Writing, settings: Settings, seconds: float) -> Settings:
    """The settings with as many steps as fit; a copy of the model is trained to find out."""
    trial = copy.copy(work)
    trial.model = copy.deepcopy(work.model)
    loop = Loop(trial, settings.train, settings.seed)
    loop.step()
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < min(3.0, seconds / 20):
        loop.step()
        steps += 1
    step = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    trial.evaluate()
    trial.sample()
    looking = 12 * (time.perf_counter() - start)
    steps = max(1, int(max(seconds - looking, seconds / 2) / step))
    return replace(settings, train=replace(settings.train, steps=steps))


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
