"""Where data came from, and whether it is still what training began with."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unspool.data.fingerprint import fingerprint
from unspool.data.in_memory import NAME
from unspool.data.samples import sample
from unspool.data.settings import DataSettings
from unspool.data.text import printable
from unspool.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Data by its place and its content.

    Attributes:
        name: the path as the user wrote it, ``sample:english``, or ``data`` for data in memory.
        paths: absolute, of what is learnt; none for a sample and for data in memory.
        validation: absolute, of what is validated on instead of a part of that.
        test: absolute, of what is measured on at the end.
        digests: SHA-256 of all of them, in this order; of a sample, or data, first its own.
    """

    name: str
    paths: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    digests: tuple[str, ...]

    @classmethod
    def of_files(cls, paths: Sequence[str | Path], settings: DataSettings) -> Source:
        """Files or folders, and the files that the settings name beside them.

        Raises:
            DataError: if one cannot be read, or a pattern finds nothing.
        """
        absolute = tuple(str(Path(path).absolute()) for path in paths)
        found = {
            key: matching(getattr(settings, key), f"data.{key}", paths)
            for key in ("validation", "test")
        }
        every = (*absolute, *found["validation"], *found["test"])
        digests = tuple(_digest(Path(path)) for path in every)
        name = ", ".join(str(path) for path in paths)
        return cls(name=name, paths=absolute, digests=digests, **found)

    @classmethod
    def of_sample(cls, name: str, settings: DataSettings) -> Source:
        """An embedded sample.

        Raises:
            ConfigError: if there is no such sample.

        Example:
            >>> Source.of_sample("english", DataSettings()).sample
            'english'
        """
        digest = _of_sample(name)
        beside = cls.of_files((), settings)
        return replace(beside, name=f"{SAMPLE}{name}", digests=(digest, *beside.digests))

    @classmethod
    def of_data(cls, data: Any, settings: DataSettings) -> Source:
        """Data in memory: a DataFrame, a dict of columns, pairs, arrays.

        Raises:
            DataError: if it is none of these.

        Example:
            >>> Source.of_data([("fine", "1")], DataSettings()).in_memory
            True
        """
        beside = cls.of_files((), settings)
        return replace(beside, name=NAME, digests=(fingerprint(data), *beside.digests))

    @property
    def sample(self) -> str | None:
        """Name of the embedded sample; None for everything else."""
        named = not self.paths and self.name.startswith(SAMPLE)
        return self.name.removeprefix(SAMPLE) if named else None

    @property
    def in_memory(self) -> bool:
        """Whether it was data in memory, of which only the digest is known."""
        return not self.paths and self.sample is None

    def check(self, data: Any = None) -> None:
        """Look whether everything is what it was.

        Args:
            data: what was in memory, if it was.

        Raises:
            DataError: if something cannot be read, or has changed.
        """
        digests = list(self.digests)
        if self.in_memory:
            _compare(fingerprint(data), digests.pop(0), self.name)
        if self.sample is not None:
            now = _of_sample(self.sample)
            _compare(now, digests.pop(0), self.name)
        every = (*self.paths, *self.validation, *self.test)
        for path, digest in zip(every, digests, strict=True):
            _compare(_digest(Path(path)), digest, path)

    def record(self) -> dict[str, Any]:
        """As plain JSON values; `from_record` brings it back."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Source:
        """What `record` gave.

        Raises:
            TypeError: for anything else.
        """
        lists = {key: tuple(record[key]) for key in ("paths", "validation", "test", "digests")}
        return cls(name=record["name"], **lists)


def matching(pattern: str | None, key: str, beside: Sequence[str | Path] = ()) -> tuple[str, ...]:
    """Absolute paths that a file name or a pattern such as ``data/*_test.csv`` stands for.

    Args:
        pattern: None stands for none; looked for from here, then inside the folders.
        key: the setting, for the message.
        beside: what is learnt, of which the folders are looked through.

    Raises:
        DataError: if there are none.
    """
    if pattern is None:
        return ()
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return (str(Path(pattern).absolute()),)
    found = sorted(glob.glob(pattern))  # noqa: PTH207 - a pattern may be absolute
    for folder in beside if not found else ():
        found += sorted(str(path) for path in _inside(Path(folder), pattern))
    if not found:
        raise DataError(f"{key}: no file is called '{printable(pattern)}'.")
    return tuple(str(Path(path).absolute()) for path in found)


def _inside(folder: Path, pattern: str) -> list[Path]:
    """What a relative pattern finds in a folder."""
    if Path(pattern).is_absolute() or not folder.is_dir():
        return []
    return [folder / found for found in glob.glob(pattern, root_dir=folder)]  # noqa: PTH207


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _compare(now: str, before: str, where: str) -> None:
    if now != before:
        raise DataError(
            f"{printable(where)}: has changed since the run began (SHA-256 {now[:12]}…, was "
            f"{before[:12]}…); bring the old data back, or train a new run."
        )


def _digest(path: Path) -> str:
    """Of a file its bytes; of a folder the names and bytes of all files in it."""
    whole = hashlib.sha256()
    try:
        if not path.is_dir():
            return _of_file(path)
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            whole.update(f"{file.relative_to(path).as_posix()}\0{_of_file(file)}\n".encode())
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{printable(path)}: cannot be read ({reason}).") from error
    return whole.hexdigest()


def _of_sample(name: str) -> str:
    found = sample(name)
    if isinstance(found, str):
        return hashlib.sha256(found.encode()).hexdigest()
    return fingerprint(found)


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SAMPLE = "sample:"
