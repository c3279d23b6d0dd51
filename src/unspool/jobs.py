"""Whole jobs: a file to a judged model, going on with a run, measuring one, and the tour."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unspool import __version__
from unspool.cells.find import find_cell
from unspool.config import Settings, resolve, to_toml
from unspool.data.samples import sample_text
from unspool.data.text import read_text
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import ConfigError, DataError, RunError
from unspool.layers.dropout import derived_seed
from unspool.predictor import CELL_FILE, TOKENIZER_FILE, load, model_config, read_parts
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a text came from, and what it was when training started.

    Attributes:
        name: as the user wrote it, or ``sample:english``.
        path: absolute, or None for a sample.
        sha256: of the text as read, UTF-8.
        validation: absolute path of a validation file, or None.
    """

    name: str
    path: str | None
    sha256: str
    validation: str | None = None

    def read(self, settings: Settings) -> tuple[str, str | None]:
        """The text and the validation text.

        Raises:
            DataError: if a file cannot be read.
        """
        encoding = settings.data.encoding
        kind, _, sample = self.name.partition(":")
        text = read_text(self.path, encoding) if self.path else sample_text(sample or kind)
        return text, read_text(self.validation, encoding) if self.validation else None


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
        The report: ``run``, ``task``, ``steps``, ``loss`` (nats per ``unit`` on the validation
        part), ``bits_per_character``, ``baselines``, ``verdict``, ``parameters``, ``seconds``.

    Raises:
        UnspoolError: for anything the user can mend; nothing is half-written then.
        Interrupted: on Ctrl-C or SIGTERM, after saving.

    Example:
        >>> report = train(sample="english", out=tmp_path / "run", size="tiny", train__steps=2,
        ...                model__hidden=8, train__length=16)
        >>> sorted(report)[:4]
        ['baselines', 'best_step', 'bits_per_character', 'loss']
    """
    settings = _changed(settings, changes)
    if (source is None) == (sample is None):
        raise ConfigError("train: wanted a file or the name of a sample, one of the two.")
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise ConfigError(f"--minutes: got {minutes}; wanted a number > 0.")
    if settings.task not in ("auto", "write"):
        raise ConfigError(f"task: got '{settings.task}'; this version knows 'write'.")
    settings = replace(settings, task="write", threads=_use_threads(settings.threads))
    cell = find_cell(settings.model.name).with_options(**settings.model.options)
    text, validation, origin = _open(source, sample, settings)
    folder = Path(out) if out is not None else Path("runs") / Path(origin.name.replace(":", "-")).stem
    if folder.exists():
        Run.create(folder, "")  # says whose it is, and how to go on or where else to write
    with requests() as request:
        corpus = read_corpus(text, settings.data, validation)
        work = _work(corpus, settings, cell)
        _told(observers, "status", text="counting n-grams")
        baselines = [ngram_baseline(corpus)]
        if minutes is not None:
            settings = _with_steps(work, settings, minutes, baselines, observers)
        run = Run.create(folder, to_toml(settings), _record(origin, corpus, cell, settings))
        with run.locked():
            loop = Loop(work, settings.train, settings.seed, run, observers)
            _begin(loop, settings, corpus, cell, baselines)
            return _finish(loop, run, settings, corpus, cell, request)


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
    """
    record = Run.open(run)
    with record.locked():
        if record.finished:
            return _last_report(record)
        settings, _, cell = read_parts(record)
        _use_threads(threads or settings.threads)
        origin = _origin(record)
        with requests() as request:
            text, validation = origin.read(settings)
            if (digest := _digest(text)) != origin.sha256:
                raise DataError(
                    f"{origin.name}: has changed since the run began (SHA-256 {digest[:12]}…, was "
                    f"{origin.sha256[:12]}…); bring the old text back, or train a new run."
                )
            corpus = read_corpus(text, settings.data, validation)
            loop = Loop(_work(corpus, settings, cell), settings.train, settings.seed, record, observers)
            if _go_back(loop, record):
                _announce(loop, settings, corpus, cell, logged=False)
            else:
                _begin(loop, settings, corpus, cell, [ngram_baseline(corpus)])
            return _finish(loop, record, settings, corpus, cell, request)


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
        UnspoolError: if a file cannot be read or holds what the vocabulary lacks.
    """
    predictor = load(run)
    record = Run.open(run)
    settings, tokenizer, _ = read_parts(record)
    origin = _origin(record)
    _told(observers, "status", text="reading the text")
    whole, validation = origin.read(settings)
    corpus = read_corpus(whole, settings.data, validation)
    if file is None:
        text, name = tokenizer.decode(corpus.validation.numpy()), "validation part"
    else:
        text, name = read_text(file, settings.data.encoding), str(file)
    ids = torch.from_numpy(tokenizer.encode(text, name))
    measured = predictor.evaluate(text)
    baseline = ngram_baseline(
        replace(corpus, validation=ids, validation_characters=len(text))
    )
    return {"run": str(run), "file": name, **measured, "baselines": [baseline]}


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


def _changed(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    if settings is not None:
        if changes:
            raise ConfigError("train: pass `settings` or single settings by name, not both.")
        return settings
    return resolve(None, {name.replace("__", "."): value for name, value in changes.items()})


def _open(
    source: str | Path | None, sample: str | None, settings: Settings
) -> tuple[str, str | None, Source]:
    """The text, the validation text, and where they came from."""
    held_out = settings.data.validation
    origin = Source(
        name=str(source) if source is not None else f"sample:{sample}",
        path=None if source is None else str(Path(source).absolute()),
        sha256="",
        validation=None if held_out is None else str(Path(held_out).absolute()),
    )
    if source is not None:
        read_text(source, settings.data.encoding)
    text, validation = origin.read(settings)
    return text, validation, replace(origin, sha256=_digest(text))


def _work(corpus: Corpus, settings: Settings, cell: Cell) -> Writing:
    device = choose_device(settings.device)
    seed = derived_seed(settings.seed, "weights")
    model = build_model(corpus.tokenizer.size, settings.model, cell, seed).to(device)
    return Writing(model, corpus, settings.train.batch, settings.train.length, settings.seed)


def _with_steps(
    work: Writing,
    settings: Settings,
    minutes: float,
    baselines: list[dict[str, Any]],
    observers: Sequence[Observer],
) -> Settings:
    """The settings with as many steps as fit; a copy of the model is trained to find out."""
    _told(observers, "status", text="measuring the speed")
    trial = copy.copy(work)
    trial.model = copy.deepcopy(work.model)
    loop = Loop(trial, settings.train, settings.seed)
    loop.step()
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < min(3.0, 3.0 * minutes):
        loop.step()
        steps += 1
    step = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    trial.evaluate()
    looking = 12 * (time.perf_counter() - start)
    left = minutes * 60 - looking - sum(baseline["seconds"] for baseline in baselines)
    steps = max(1, int(left / step))
    return replace(settings, train=replace(settings.train, steps=steps))


def _record(origin: Source, corpus: Corpus, cell: Cell, settings: Settings) -> dict[str, str]:
    """The files that, with config.toml, bring a run back without anybody's Python."""
    versions = {
        "unspool": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    source = {"source": asdict(origin), "versions": versions, "threads": settings.threads}
    return {
        TOKENIZER_FILE: corpus.tokenizer.to_json(),
        CELL_FILE: json.dumps(cell.to_dict()) + "\n",
        RECORD_FILE: json.dumps(source, indent=2) + "\n",
    }


def _origin(run: Run) -> Source:
    path = run.folder / RECORD_FILE
    try:
        return Source(**json.loads(path.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: the record of the run is damaged ({error}).") from error


def _announce(
    loop: Loop, settings: Settings, corpus: Corpus, cell: Cell, logged: bool = True
) -> None:
    event = {
        "task": settings.task,
        "unit": corpus.unit,
        "cell": cell.name,
        "steps": settings.train.steps,
        "step": loop.progress.step,
        "parameters": sum(p.numel() for p in loop.work.model.parameters()),
        "train_tokens": len(corpus.train),
        "validation_tokens": len(corpus.validation),
        "vocabulary": corpus.tokenizer.size,
        "run": str(loop.run.folder) if loop.run else "",
        "backend": loop.work.model.encoder.backend,
        "threads": torch.get_num_threads(),
    }
    if logged:
        loop.tell("start", **event)
    else:
        _told(loop.observers, "resume", **event)


def _begin(
    loop: Loop,
    settings: Settings,
    corpus: Corpus,
    cell: Cell,
    baselines: list[dict[str, Any]],
) -> None:
    """Tell what stands before the first step, and save it as step 0."""
    _announce(loop, settings, corpus, cell)
    for warning in corpus.warnings:
        loop.tell("warning", text=warning)
    for baseline in baselines:
        loop.tell("baseline", **baseline)
    loop.show_sample()
    loop.save()


def _go_back(loop: Loop, run: Run) -> bool:
    """Restore the newest readable checkpoint; False when there is none."""
    checkpoint, skipped = newest_checkpoint(run.folder)
    for each in skipped:
        _told(loop.observers, "warning", text=f"skipped {each.folder.name}: {each.reason}")
    if checkpoint is None:
        run.truncate_events(0)
        return False
    loop.restore(checkpoint)
    run.truncate_events(checkpoint.events_length)
    return True


def _finish(
    loop: Loop, run: Run, settings: Settings, corpus: Corpus, cell: Cell, request: Request
) -> dict[str, Any]:
    """Train to the end, judge the best checkpoint, write the model."""
    start = time.perf_counter()
    loop.train(request)
    best = load_checkpoint(layout.checkpoint_folder(run.folder, loop.progress.best_step))
    model = loop.work.model
    load_weights(model, best.model, str(best.folder))
    loss = stream_loss(model, corpus.validation.to(next(model.parameters()).device))
    baselines = [
        {key: event[key] for key in ("name", "loss", "seconds")}
        for event in run.events()
        if event["event"] == "baseline"
    ]
    report = {
        "run": str(run.folder),
        "task": settings.task,
        "model": cell.name,
        "steps": loop.progress.step,
        "best_step": best.step,
        "loss": loss,
        "unit": corpus.unit,
        "bits_per_character": bits_per_character(
            loss, len(corpus.validation), corpus.validation_characters
        ),
        "baselines": baselines,
        "verdict": verdict(cell.name, loss, baselines, corpus.unit),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_tokens": loop.progress.step * settings.train.batch * settings.train.length,
        "warnings": list(corpus.warnings),
    }
    config = model_config(settings.task, settings.model, cell, corpus.tokenizer.size, report)
    card = model_card(report, settings.model, _origin(run).name)
    save_model(run.folder, model.state_dict(), config, corpus.tokenizer.to_json(), card)
    loop.tell("end", **report, seconds=time.perf_counter() - start)
    return report


def _last_report(run: Run) -> dict[str, Any]:
    last = [event for event in run.events() if event["event"] == "end"][-1]
    return {name: value for name, value in last.items() if name not in ("event", "seconds")}


def _told(observers: Sequence[Observer], event: str, **values: Any) -> None:
    """Something to see now that need not be remembered."""
    for observer in observers:
        observer({"event": event, **values})


def _use_threads(threads: int) -> int:
    if threads < 0:
        raise ConfigError(f"threads: got {threads}; wanted a whole number ≥ 0.")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


RECORD_FILE = "record.json"
