"""Several runs in one folder, all planned before the first, and gone on with after a stop.

FOLDER/compare.json   what is planned, then what came out
FOLDER/scores/        of every run that has ended its report and its rows; the simple methods'
FOLDER/lstm-0/        a run like any other, and so on
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unspool.config import Settings, from_toml, to_toml
from unspool.data.opening import read_source
from unspool.data.source import Source
from unspool.engine.language import Cell
from unspool.errors import RunError, UnspoolError
from unspool.one_training import Prepared, simple_methods, taken_up, told
from unspool.predictor import load
from unspool.tasks.job import Job, RowWise
from unspool.training import durable, plain_json
from unspool.training.durable import one_line
from unspool.training.interruption import Interrupted, Request
from unspool.training.lock import alone
from unspool.training.loop import Observer
from unspool.training.manifest import unspool_version
from unspool.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One of the runs, before it has begun.

    Attributes:
        contender: what it is a run of: a model.
        number: its seed, or its fold.
        settings: all of them, steps included.
        cell: the equations; None for a model without a recurrent cell.
    """

    contender: str
    number: int
    settings: Settings
    cell: Cell | None

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.contender}-{self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came out of one run.

    Attributes:
        entry: which.
        report: as `unspool.train` gives it.
        rows: of the test part, one number a row; None for a task whose measure is no mean of such.
        seconds: that its steps took.
    """

    entry: Entry
    report: dict[str, Any]
    rows: np.ndarray | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Simple:
    """What the simple methods reach on the same parts.

    Attributes:
        figures: of each, as `Job.baselines` gives them.
        rows: by method, as of an `Outcome`.
        groups: which rows belong together, or None.
    """

    figures: list[dict[str, Any]]
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    groups: list[int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Several:
    """Runs that were planned together.

    Attributes:
        folder: of all of them.
        kind: what for: compare or folds.
        source: where the data is.
        asked: how they were planned, as plain JSON values.
        entries: the runs, in order.
    """

    folder: Path
    kind: str
    source: Source
    asked: Mapping[str, Any]
    entries: tuple[Entry, ...]

    def create(self) -> None:
        """Make the folder, complete at once.

        Raises:
            RunError: if it exists, or cannot be written.
        """
        data = _dump(self._plan())
        with durable.told(self.folder, "create the folder", RunError, len(data)):
            durable.make_folders(self.folder.parent)
            refuse_taken(self.folder)
            with durable.appearing(self.folder) as temporary:
                durable.write_new(temporary / FILE, data)
                durable.system(os.mkdir, temporary / SCORES)

    @classmethod
    def open(cls, folder: Path) -> Several:
        """The plan that a folder holds.

        Raises:
            RunError: if it is damaged, or from a newer version.
        """
        stored = _parse(folder / FILE)
        try:
            if stored["format"] != FORMAT or stored["version"] > VERSION:
                raise RunError(
                    one_line(
                        f"{folder}: made by unspool {stored['unspool']}, which writes these "
                        f"folders otherwise; this is {unspool_version()}."
                    )
                )
            return cls(
                folder=folder,
                kind=stored["kind"],
                source=Source.from_record(stored["source"]),
                asked=stored["asked"],
                entries=tuple(_entry(each, folder) for each in stored["runs"]),
            )
        except RunError:
            raise
        except (UnspoolError, KeyError, TypeError, ValueError) as error:
            raise RunError(one_line(f"{folder / FILE}: is damaged ({error}).")) from error

    @property
    def result(self) -> dict[str, Any] | None:
        """What came out, once all runs have ended."""
        found: dict[str, Any] | None = _parse(self.folder / FILE).get("result")
        return found

    def keep(self, result: Mapping[str, Any]) -> None:
        """Write down what came out."""
        _write(self.folder / FILE, {**self._plan(), "result": dict(result)})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that works here, and clean up after one that was killed."""
        with alone(self.folder / LOCK):
            with durable.told(self.folder, "clean up", RunError):
                durable.sweep(self.folder)
                durable.sweep(self.folder / SCORES)
            yield

    def run_all(
        self, data: Any, request: Request, observers: Sequence[Observer]
    ) -> tuple[list[Outcome], dict[int, Simple]]:
        """Every run that has not ended yet, one after the other.

        Args:
            data: what was in memory, if it was.
            request: for a stop.
            observers: called with every event; ``run`` and ``ran`` say which run it is of.

        Returns:
            What came out of each run, and the simple methods by fold (0 where there are none).

        Raises:
            Interrupted: after saving, when a signal came; its run is this folder.
        """
        runner = _Runner(self, data, request, observers)
        found = []
        for place, entry in enumerate(self.entries, start=1):
            if request.signal is not None:
                raise Interrupted(request.signal, 0, self.folder)
            which = {"number": place, "of": len(self.entries), "name": entry.name}
            told(observers, "run", **which)
            try:
                outcome = runner.outcome(entry)
            except Interrupted as stop:
                raise Interrupted(stop.signal, stop.step, self.folder) from stop
            found.append(outcome)
            told(observers, "ran", **which, report=outcome.report)
        folds = {each.settings.data.fold for each in self.entries}
        return found, {fold: runner.simple(fold) for fold in sorted(folds)}

    def _plan(self) -> dict[str, Any]:
        runs = [
            {
                "contender": each.contender,
                "number": each.number,
                "config": to_toml(each.settings),
                "cell": None if each.cell is None else each.cell.to_dict(),
            }
            for each in self.entries
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "unspool": unspool_version(),
            "kind": self.kind,
            "source": self.source.record(),
            "asked": dict(self.asked),
            "runs": runs,
        }


class _Runner:
    """Trains the entries, reading the data and trying the simple methods once."""

    def __init__(
        self, several: Several, data: Any, request: Request, observers: Sequence[Observer]
    ) -> None:
        self.several, self.data = several, data
        self.request, self.observers = request, observers
        self.within = [_Quieter(observers)]
        self._read: tuple[Any, Any] = (None, None)
        self._simple: dict[int, Simple] = {}

    def outcome(self, entry: Entry) -> Outcome:
        """What came out of one run, trained now unless it has ended before."""
        kept = self.several.folder / SCORES / f"{entry.name}.json"
        if durable.exists(kept):
            stored = _parse(kept)
            rows = stored["rows"]
            self._recall(entry)
            return Outcome(
                entry=entry,
                report=stored["report"],
                rows=None if rows is None else np.array(rows),
                seconds=stored["seconds"],
            )
        report, rows = self._trained(entry)
        events = Run.open(self.several.folder / entry.name).events()
        seconds = sum(each["seconds"] for each in events if each["event"] == "step")
        listed = None if rows is None else rows.tolist()
        _write(kept, {"report": report, "rows": listed, "seconds": seconds})
        return Outcome(entry=entry, report=report, rows=rows, seconds=seconds)

    def simple(self, fold: int) -> Simple:
        """What was kept of the simple methods."""
        return self._simple[fold]

    def _trained(self, entry: Entry) -> tuple[dict[str, Any], np.ndarray | None]:
        folder, settings = self.several.folder / entry.name, entry.settings
        reading = self._reading(settings)
        if not durable.exists(folder):
            prepared = Prepared.of(reading, settings, entry.cell, self.several.source)
            simple = self._shared(prepared.job, settings.data.fold)
            report = prepared.train(folder, simple.figures, self.request, self.within)
            return report, _rows(prepared.job)
        run = Run.open(folder)
        with run.locked():
            training = taken_up(run, reading, self.within)
            simple = self._shared(training.job, settings.data.fold)
            if run.finished:  # and was killed before its rows were kept
                training.job.judge(load(folder).model)
                report = [each for each in run.events() if each["event"] == "end"][-1]
                report = {key: report[key] for key in report if key not in ("event", "seconds")}
                return report, _rows(training.job)
            if not training.go_back():
                training.begin(simple.figures)
            return training.finish(self.request), _rows(training.job)

    def _reading(self, settings: Settings) -> Any:
        key = settings.data
        if self._read[0] != key:
            source = self.several.source
            reading = read_source(source, settings.data, settings.task, settings.seed, self.data)
            self._read = key, reading
        return self._read[1]

    def _shared(self, job: Job, fold: int) -> Simple:
        """The simple methods' figures; their rows are put into the job, which then has them."""
        kept = self.several.folder / SCORES / f"simple-{fold}.json"
        if fold not in self._simple and durable.exists(kept):
            self._simple[fold] = _simple_of(_parse(kept))
        if fold not in self._simple:
            figures = list(simple_methods(job, self.observers))
            for each in figures:
                told(self.observers, "baseline", **each)
            rows, groups = {}, None
            if isinstance(job, RowWise):
                rows = {each["name"]: job.rows[each["name"]] for each in figures}
                groups = None if job.row_groups is None else [int(g) for g in job.row_groups]
            self._simple[fold] = Simple(figures=figures, rows=rows, groups=groups)
            listed = {name: values.tolist() for name, values in rows.items()}
            _write(kept, {"figures": figures, "rows": listed, "groups": groups})
        if isinstance(job, RowWise):
            job.rows.update(self._simple[fold].rows)
        return self._simple[fold]

    def _recall(self, entry: Entry) -> None:
        """The simple methods of a run that ended before."""
        fold = entry.settings.data.fold
        if fold not in self._simple:
            kept = self.several.folder / SCORES / f"simple-{fold}.json"
            self._simple[fold] = _simple_of(_parse(kept))


class _Quieter:
    """Hands on what is new in a run, not what all of them say alike."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers, self.warned = observers, set[str]()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event of a run."""
        if event["event"] in ("sample", "baseline", "data"):
            return
        if event["event"] == "warning":
            if event["text"] in self.warned:
                return
            self.warned.add(event["text"])
        for observer in self.observers:
            observer(event)


def is_several(folder: str | Path) -> bool:
    """Whether a folder holds several runs that were planned together.

    Example:
        >>> is_several("nowhere")
        False
    """
    return (Path(folder) / FILE).is_file()


def refuse_taken(folder: Path) -> None:
    """Say how to go on with a folder that is there already, or where else to write.

    Raises:
        RunError: if it exists.
    """
    if not durable.exists(folder):
        return
    number = 2
    while durable.exists(folder.with_name(f"{folder.name}-{number}")):
        number += 1
    elsewhere = shlex.quote(str(folder.with_name(f"{folder.name}-{number}")))
    if is_several(folder):
        way = f"`unspool resume {shlex.quote(str(folder))}` goes on with it"
        raise RunError(one_line(f"{folder} exists; {way}, `--out {elsewhere}` writes elsewhere."))
    raise RunError(
        one_line(f"{folder} exists and is something else; `--out {elsewhere}` writes elsewhere.")
    )


def _rows(job: Job) -> np.ndarray | None:
    return job.rows[""] if isinstance(job, RowWise) else None


def _simple_of(stored: Mapping[str, Any]) -> Simple:
    rows = {name: np.array(values) for name, values in stored["rows"].items()}
    return Simple(figures=stored["figures"], rows=rows, groups=stored["groups"])


def _entry(stored: Mapping[str, Any], folder: Path) -> Entry:
    return Entry(
        contender=str(stored["contender"]),
        number=int(stored["number"]),
        settings=from_toml(stored["config"], str(folder / FILE)),
        cell=None if stored["cell"] is None else Cell.from_dict(stored["cell"]),
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    data = _dump(value)
    with durable.told(path, "write", RunError, len(data)):
        durable.write_file(path, data)


def _dump(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(_plain(value), allow_nan=False, indent=1) + "\n").encode()


def _plain(value: Any) -> Any:
    """As JSON has it: lists for tuples, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse(path: Path) -> dict[str, Any]:
    with durable.told(path, "read", RunError):
        data = durable.read_file(path)
    try:
        return plain_json.parse(data)
    except ValueError as error:
        raise RunError(one_line(f"{path}: {error}.")) from error


FILE = "compare.json"
SCORES = "scores"
LOCK = "lock"
FORMAT, VERSION = "unspool comparison", 1
