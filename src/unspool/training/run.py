"""A run folder: the single record of one training.

RUN/run.json        format and version        RUN/checkpoints/step-000200/
RUN/config.toml     resolved settings         RUN/model/     written once, at the end
RUN/events.jsonl    what happened, a JSON object a line, only ever added to
"""

from __future__ import annotations

import errno
import math
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspool.errors import RunError, TrainingError, nearest
from unspool.training import durable, layout, plain_json
from unspool.training.durable import one_line, told
from unspool.training.lock import alone
from unspool.training.manifest import MANIFEST, unspool_version


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder that exists and is ours.

    Example:
        >>> import tempfile
        >>> from unspool.training.run import Run
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = Run.create(folder + "/lm", "seed = 1")
        ...     run.log("step", step=1, loss=0.1)
        ...     list(Run.open(folder + "/lm").events())
        [{'event': 'step', 'step': 1, 'loss': 0.1}]
    """

    folder: Path

    @classmethod
    def create(
        cls,
        path: Path | str,
        config_toml: str,
        extra_files: Mapping[str, str | bytes] | None = None,
    ) -> Run:
        """Make a run folder, complete at once: settings, an empty record, and ``extra_files``.

        Args:
            path: where; must not exist. Missing folders above it are made.
            config_toml: the resolved settings.
            extra_files: content by file name, such as ``{"tokenizer.json": ...}``.

        Raises:
            RunError: if ``path`` exists, with the command that resumes it and a name that is free;
                or if it cannot be written.
        """
        folder = Path(path)
        files = {
            **(extra_files or {}),
            layout.HEADER: plain_json.dump(
                {"format": FORMAT, "version": VERSION, "unspool": unspool_version()}
            ),
            layout.CONFIG: config_toml,
            layout.EVENTS: b"",
        }
        contents = {
            name: data.encode() if isinstance(data, str) else data for name, data in files.items()
        }
        needed = sum(len(data) for data in contents.values())
        with told(folder, "create the run", RunError, needed):
            if durable.exists(folder):
                raise RunError(_taken(folder))
            _appear(folder, contents)
        with suppress(OSError):  # a leftover of an earlier attempt that stays harms nothing
            durable.sweep(folder.parent, folder.name)
        return cls(folder)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run.

        Raises:
            RunError: if there is none at ``path``, or it is not ours, or from a newer version.
        """
        folder = Path(path)
        with told(folder, "open the run", RunError):
            if not durable.exists(folder):
                raise RunError(_missing(folder))
            if not _is_run(folder):
                raise RunError(
                    one_line(f"{folder}: not a run of Unspool: it has no {layout.HEADER}.")
                )
            path = folder / layout.HEADER
            header = _parse(durable.read_file(path), str(path))
            if header.get("format") != FORMAT or type(header.get("version")) is not int:
                raise RunError(one_line(f"{folder}: not a run of Unspool."))
            if header["version"] > VERSION:
                raise RunError(
                    one_line(
                        f"{folder}: run format {header['version']}, this is unspool "
                        f"{unspool_version()} and reads up to {VERSION}; "
                        f"use unspool {header.get('unspool')} or later."
                    )
                )
            for name in (layout.CONFIG, layout.EVENTS):
                if not durable.exists(folder / name):
                    raise RunError(one_line(f"{folder}: the run has lost its {name}."))
        return cls(folder)

    @property
    def config_toml(self) -> str:
        """The resolved settings, as written when the run was made."""
        path = self.folder / layout.CONFIG
        try:
            with told(path, "read", RunError):
                return durable.read_file(path).decode()
        except UnicodeDecodeError as error:
            raise RunError(one_line(f"{path}: not UTF-8 at byte {error.start}.")) from error

    @property
    def finished(self) -> bool:
        """Whether the model was written and ``end`` was the last thing to happen."""
        with told(self.folder, "read", RunError):
            if not durable.exists(self.folder / layout.MODEL / MANIFEST):
                return False
        last = None
        for event in self.events():
            last = event
        return last is not None and last.get("event") == "end"

    @property
    def checkpoints(self) -> list[Path]:
        """The folders of its checkpoints, newest first, whether readable or not."""
        return layout.list_checkpoints(self.folder)

    @property
    def events_length(self) -> int:
        """Bytes in events.jsonl."""
        with told(self._events, "read", RunError):
            return durable.size_of(self._events)

    def log(self, event: str, **values: Any) -> None:
        """Add one line to events.jsonl: ``event``, then ``values`` in the order given.

        Args:
            event: what happened.
            values: plain JSON values; floats keep every bit, and those that are not finite are
                written as the strings "nan", "inf" and "-inf".

        Raises:
            TrainingError: if the disk is full, read-only or failing; no part of the line stays.
        """
        line = {"event": event, **{name: _spelt(value) for name, value in values.items()}}
        data = plain_json.dump(line, indent=None, sort=False)
        with told(self._events, "log", TrainingError, len(data)):
            durable.append(self._events, data)

    def sync_events(self) -> int:
        """Wait until every event is on the disk; its length in bytes, for a checkpoint to store."""
        with told(self._events, "save", TrainingError):
            durable.sync_file(self._events)
        return self.events_length

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event in order; a last line that was cut short is left out.

        Raises:
            RunError: if any other line is damaged, naming it.
        """
        with told(self._events, "read", RunError):
            lines = durable.read_file(self._events).split(b"\n")
        torn = lines.pop()  # empty, unless the process died while it wrote
        for number, line in enumerate(lines, start=1):
            is_last = number == len(lines) and not torn
            try:
                event = _parse(line, f"{self._events}, line {number}")
            except RunError:
                if is_last:
                    return
                raise
            yield event

    def truncate_events(self, length: int) -> None:
        """Forget every event after the first ``length`` bytes; resume does so with a checkpoint's.

        Raises:
            RunError: if there are fewer bytes than that.
            TrainingError: if the disk is read-only or failing.
        """
        if length > self.events_length:
            raise RunError(
                one_line(
                    f"{self._events}: {self.events_length} bytes, but the checkpoint was saved "
                    f"after {length}; events were lost."
                )
            )
        with told(self._events, "truncate", TrainingError):
            durable.truncate(self._events, length)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that writes to this run, and clean up after one that was killed.

        Raises:
            RunError: if another process holds the run, naming its process id.
        """
        with alone(self.folder / layout.LOCK):
            with told(self.folder, "clean up", RunError):
                durable.sweep(self.folder)
                durable.sweep(self.folder / layout.CHECKPOINTS)
                events = durable.read_file(self._events)
                if not events.endswith(b"\n") and events:
                    durable.truncate(self._events, events.rfind(b"\n") + 1)
            yield

    @property
    def _events(self) -> Path:
        return self.folder / layout.EVENTS


def _appear(folder: Path, contents: dict[str, bytes]) -> None:
    durable.make_folders(folder.parent)
    try:
        with durable.appearing(folder) as temporary:
            for name, data in contents.items():
                durable.write_new(temporary / name, data)
    except OSError as error:
        # Another process was quicker, and may have swept our folder away.
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT) and durable.exists(folder):
            raise RunError(_taken(folder)) from error
        raise


def _taken(folder: Path) -> str:
    number = 2
    while durable.exists(folder.with_name(f"{folder.name}-{number}")):
        number += 1
    elsewhere = shlex.quote(str(folder.with_name(f"{folder.name}-{number}")))
    if _is_run(folder):
        return one_line(
            f"{folder} exists; `unspool resume {shlex.quote(str(folder))}` goes on with it, "
            f"`--out {elsewhere}` writes elsewhere."
        )
    return one_line(f"{folder} exists and is not a run; `--out {elsewhere}` writes elsewhere.")


def _missing(folder: Path) -> str:
    siblings = durable.names_in(folder.parent) if durable.exists(folder.parent) else []
    runs = [name for name in siblings if _is_run(folder.parent / name)]
    like = nearest(folder.name, runs)
    hint = f" Did you mean '{folder.with_name(like)}'?" if like else ""
    return one_line(f"{folder}: no such run.{hint}")


def _is_run(folder: Path) -> bool:
    return durable.exists(folder / layout.HEADER)


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        return plain_json.parse(data)
    except ValueError as error:
        raise RunError(one_line(f"{where}: {error}.")) from error


def _spelt(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _spelt(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(item) for item in value]
    return value


FORMAT = "unspool run"
VERSION = 1
