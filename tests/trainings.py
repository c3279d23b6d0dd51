"""Small trainings: here, and in children that can be signalled and killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

import faults
from unspool import jobs
from unspool.cells import CELLS
from unspool.config import resolve
from unspool.errors import UnspoolError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings
from unspool.one_training import Prepared
from unspool.tasks import write
from unspool.tasks.write import Writing, read_corpus
from unspool.training import durable
from unspool.training.interruption import Interrupted
from unspool.training.layout import list_checkpoints
from unspool.training.loop import Loop
from unspool.training.run import Run


def settled(base, **changes):
    """Settings from dotted keys, and changes with two underscores for each dot."""
    return resolve(None, base | {key.replace("__", "."): value for key, value in changes.items()})


# Everything that a checkpoint has to bring back: dropout, momentum, schedule, carried state,
# random truncation, accumulated parts.
EVERYTHING = {
    "threads": 1,
    "seed": 5,
    "model.name": "lstm",
    "model.hidden": 8,
    "model.dropout": 0.2,
    "train.steps": 300,
    "train.batch": 4,
    "train.length": 8,
    "train.accumulate": 2,
    "train.truncation": "randomised",
    "train.truncation_steps": 4,
    "train.truncation_mean": 8,
    "train.warmup": 20,
    "train.evaluate_every": 50,
    "train.checkpoint_every": 30,
}
WORDS = (
    "the", "a", "cat", "dog", "mat", "bed", "sat", "ran", "on", "to", "his", "her", "and", "then",
    "it", "was",
)  # fmt: skip
# What differs from run to run without being part of the result.
INCIDENTAL = {"seconds", "run"}
# A child starts from a process that has torch loaded, one thread, and no work behind it.
CONTEXT = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
if os.name != "nt":
    # torch loads its compiler, a second's work, with the first optimiser.
    CONTEXT.set_forkserver_preload(["unspool.jobs", "torch._dynamo"])


def small_text(words: int = 700, seed: int = 1) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + ("\n" if i % 9 == 8 else " ") for i in range(words))


def small_settings(**changes):
    """`EVERYTHING`, with changes whose dots are written as two underscores."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(None, EVERYTHING | named)


def trace(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that a finished run has learnt and measured."""
    newest = list_checkpoints(folder)[0]
    files = [folder / "model" / "model.safetensors", folder / "config.toml"]
    files += [newest / f"{part}.safetensors" for part in ("model", "optimiser", "state")]
    hashes = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    events = json.dumps(measured(folder)).encode()
    return hashes | {"events": hashlib.sha256(events).hexdigest()}


def measured(folder: Path, *, without: tuple[str, ...] = ()) -> list[dict]:
    """The events of a run without their timings, and without those of some kinds."""
    return [_timeless(e) for e in Run.open(folder).events() if e["event"] not in without]


def _timeless(value):
    if isinstance(value, dict):
        return {name: _timeless(v) for name, v in value.items() if name not in INCIDENTAL}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def make_loop(folder, weights_seed=1, **changes):
    """A loop with a run folder of its own, before its first step."""
    changes = {"train__steps": 40, "train__checkpoint_every": 1000, **changes}
    settings = small_settings(**changes)
    corpus = read_corpus(small_text(200), settings.data)
    cell = CELLS.get(settings.model.name)
    weights = torch.Generator().manual_seed(weights_seed)
    model = LanguageModel(corpus.tokenizer.size, settings.model, cell, weights)
    work = Writing(model, corpus, settings.train.batch, settings.train.length, settings.seed)
    run = Run.open(folder) if folder.exists() else Run.create(folder, "")
    return Loop(work, settings.train, settings.seed, run)


def small_model(vocabulary=7, cell="lstm", seed=1, **changes):
    settings = RecurrentSettings(name=cell, **{"hidden": 8, "dropout": 0.0, **changes})
    weights = torch.Generator().manual_seed(seed)
    return LanguageModel(vocabulary, settings, CELLS[cell], weights)


class Uniform(nn.Module):
    """A language model that knows nothing."""

    device = torch.device("cpu")

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, tokens, state=None):
        return torch.zeros(*tokens.shape, self.vocabulary), State((torch.zeros(len(tokens), 1),))


def advance(loop, steps):
    for _ in range(steps):
        loop.step()
    return loop


def contents(loop):
    """All tensors that training moves, by name."""
    found = {f"model.{name}": value for name, value in loop.work.model.state_dict().items()}
    found |= {f"state.{i}": value for i, value in enumerate(loop.progress.state or ())}
    for index, entries in loop.optimiser.state_dict()["state"].items():
        found |= {f"optimiser.{index}.{name}": value for name, value in entries.items()}
    return found


class Child:
    """A process that trains, or goes on with, one run.

    Args:
        text: file to learn; None for a run that is there.
        folder: of the run.
        changes: of `EVERYTHING`.
        pause: seconds the child sleeps at the end of step 3, to be signalled there.
    """

    def __init__(self, text: Path | None, folder: Path, pause: float = 0.0, **changes):
        self._mine, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_live, args=(theirs, text, folder, pause, changes))
        self._process.start()
        theirs.close()
        self.number = self._process.pid
        self.hear("ready")
        self._start = time.monotonic()

    def hear(self, wanted: str) -> object:
        """Wait for a message of the child; its value."""
        kind, value = self._mine.recv()
        assert kind == wanted, f"heard {kind} {value}; wanted {wanted}"
        return value

    def finish(self) -> float:
        """Wait until it has trained to the end; how long that took from when it was ready."""
        self.hear("done")
        seconds = time.monotonic() - self._start
        assert self.end() == 0
        return seconds

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL; False if it was done before."""
        if self.ends_within(seconds):
            return False
        os.kill(self._process.pid, signal.SIGKILL)
        return self.end() == -signal.SIGKILL

    def ends_within(self, seconds: float) -> bool:
        """Whether it has trained to the end by then."""
        if not self._mine.poll(seconds):
            return False
        self.finish()
        return True

    def signal(self, number: int) -> None:
        # It may have ended by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def stopped(self) -> int | None:
        """Wait for what a signal led to: the step it stopped at, or None if it was done before."""
        kind, step = self._mine.recv()
        assert kind in ("stopped", "done")
        return step

    def end(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        self._mine.close()
        return code


def _live(connection, text: Path | None, folder: Path, pause: float, changes: dict) -> None:
    quicken()
    # A shell that starts its tests in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    connection.send(("ready", None))

    def observe(event):
        if pause and event["event"] == "step" and event["step"] == 3:
            connection.send(("paused", None))
            time.sleep(pause)

    try:
        if folder.exists():
            jobs.resume(folder, observers=[observe])
        else:
            jobs.train(text, settings=small_settings(**changes), out=folder, observers=[observe])
    except Interrupted as stop:
        connection.send(("stopped", stop.step))
        sys.exit(128 + stop.signal)
    except UnspoolError as error:
        connection.send(("refused", str(error)))
        sys.exit(2)
    connection.send(("done", None))


def quicken() -> None:
    """Leave out what takes time and changes nothing here: waiting for the disk, long samples."""
    durable.system = faults.without_sync
    write.SAMPLE_LENGTH = 20


KEPT_ROWS = 60


def shortened(task, content):
    """A part of a sample from all over it, which trains in no time."""
    draw = random.Random(0)
    if not isinstance(content, str):
        return content.take(sorted(draw.sample(range(len(content)), KEPT_ROWS)))
    if task == "write":
        return content[:6000]
    if task == "forecast":
        return content
    between = "\n\n" if task == "tag" else "\n"
    rows = content.rstrip("\n").split(between)
    return between.join([rows[0], *draw.sample(rows[1:], KEPT_ROWS)]) + between


def judge_alone(monkeypatch):
    """Leave out the simple methods, which have tests of their own."""
    prepare = Prepared.of

    def prepared(*arguments):
        found = prepare(*arguments)
        kind = type(found.job)
        monkeypatch.setattr(kind, "baselines", lambda job: iter(()))
        monkeypatch.setattr(kind, "verdict", lambda job, *judged: "")
        return found

    monkeypatch.setattr(Prepared, "of", prepared)
