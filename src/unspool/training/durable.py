"""Everything that must survive a crash is written here and nowhere else.

A file or folder appears complete or not at all: it is written under another name in the same
folder, synced, and renamed. Every file-system call goes through `system`, so that a test can make
the N-th call fail, or kill the process there.

Functions raise OSError; `told` turns it into one line for the user.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from unspool.errors import UnspoolError

R = TypeVar("R")


def system(call: Callable[..., R], *arguments: object) -> R:
    """Make one file-system call; tests put faults here."""
    return call(*arguments)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, and sync its content.

    Raises:
        OSError: as the system reports it; the file may be left cut short.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        _write_all(descriptor, data)
        system(os.fsync, descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Give ``path`` this content, at once and durably; on failure the old content is still there.

    Raises:
        OSError: as the system reports it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from unspool.training.durable import read_file, write_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_file(Path(folder, "note"), b"first")
        ...     write_file(Path(folder, "note"), b"second")
        ...     read_file(Path(folder, "note"))
        b'second'
    """
    temporary = _marked(path, UNFINISHED)
    try:
        write_new(temporary, data)
        system(os.replace, temporary, path)
    except BaseException:
        with suppress(OSError):  # what cannot be removed now is swept later
            system(os.unlink, temporary)
        raise
    sync_folder(path.parent)


@contextmanager
def appearing(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` by one rename when the block ends well.

    Write its files with `write_new`, which syncs each. When the block or any step after it fails,
    the temporary folder is removed and ``folder`` is as it was. With ``replace`` an existing folder
    is set aside for the instant between two renames; `sweep` puts it back if the process died in
    that instant.

    Raises:
        OSError: as the system reports it; without ``replace`` also when ``folder`` exists.
    """
    temporary = _marked(folder, UNFINISHED)
    aside = _marked(folder, REPLACED)
    system(os.mkdir, temporary)
    try:
        yield temporary
        _sync_folders(temporary)
        if replace and exists(folder):
            system(os.rename, folder, aside)
        system(os.rename, temporary, folder)
        sync_folder(folder.parent)
    except BaseException:
        with suppress(OSError):  # what cannot be removed now is swept later
            _delete(temporary)
        with suppress(OSError):
            _put_back(aside, folder)
        raise
    if replace and exists(aside):
        remove_tree(aside)


def append(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Add ``data`` to the end of an existing file; on failure nothing of it is left there.

    Raises:
        OSError: as the system reports it.
    """
    with _opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
        before = system(os.fstat, descriptor).st_size
        try:
            _write_all(descriptor, data)
        except OSError:
            with suppress(OSError):
                system(os.ftruncate, descriptor, before)
            raise
        if sync:
            system(os.fsync, descriptor)


def sync_file(path: Path) -> None:
    """Wait until the content of ``path`` is on the disk."""
    with _opened(path, os.O_RDWR) as descriptor:
        system(os.fsync, descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk; Windows has no such call."""
    if os.name == "nt":
        return
    with _opened(folder, os.O_RDONLY) as descriptor:
        system(os.fsync, descriptor)


def truncate(path: Path, length: int) -> None:
    """Cut a file to its first ``length`` bytes, durably."""
    with _opened(path, os.O_WRONLY) as descriptor:
        system(os.ftruncate, descriptor, length)
        system(os.fsync, descriptor)


def make_folders(folder: Path) -> None:
    """Make ``folder`` and the folders above it where they are missing, durably."""
    if exists(folder):
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):  # another process was quicker
        system(os.mkdir, folder)
    sync_folder(folder.parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it: its name goes at once, by a rename, then the content."""
    temporary = _marked(folder, UNFINISHED)
    system(os.rename, folder, temporary)
    _delete(temporary)


def sweep(folder: Path, name: str | None = None) -> list[str]:
    """Remove what killed processes left unfinished in ``folder``, and put back what was set aside.

    Only the process that alone may write in ``folder`` may sweep it.

    Args:
        folder: where to look; its sub-folders are not searched.
        name: sweep only leftovers of this name.

    Returns:
        The names that were swept, in order.
    """
    if not exists(folder):
        return []
    swept = []
    for entry in sorted(system(os.listdir, folder)):
        match = LEFTOVER.fullmatch(entry)
        if match is None or (name is not None and match["name"] != name):
            continue
        swept.append(entry)
        if match["mark"] == REPLACED:
            _put_back(folder / entry, folder / match["name"])
        if exists(folder / entry):
            _delete(folder / entry)
    return swept


def exists(path: Path) -> bool:
    """Whether there is anything of this name, a dangling link included."""
    return system(os.path.lexists, path)


def names_in(folder: Path) -> list[str]:
    """The names in ``folder``, sorted."""
    return sorted(system(os.listdir, folder))


def size_of(path: Path) -> int:
    """The length of a file in bytes."""
    return system(os.lstat, path).st_size


def read_file(path: Path, limit: int | None = None) -> bytes:
    """The content of a regular file; links, pipes and devices are refused, without waiting on them.

    Args:
        path: the file.
        limit: refuse a file of more bytes than this before reading it.

    Raises:
        OSError: as the system reports it, or because it is no regular file or too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with _opened(path, flags) as descriptor:
        status = system(os.fstat, descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if limit is not None and status.st_size > limit:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes where at most {limit} belong")
        pieces, left = [], status.st_size
        while left > 0 and (piece := system(os.read, descriptor, min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data``, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal, without holding the file in memory."""
    digest = hashlib.sha256()
    with _opened(path, os.O_RDONLY) as descriptor:
        while piece := system(os.read, descriptor, PIECE):
            digest.update(piece)
    return digest.hexdigest()


def volume_of(path: Path) -> Path:
    """The mount point of the volume that holds, or would hold, ``path``."""
    place = path.absolute().resolve()
    while not system(os.path.ismount, place) and place != place.parent:
        place = place.parent
    return place


def free_bytes(path: Path) -> int:
    """Bytes this user may still write on the volume of ``path``, which need not exist yet."""
    return system(shutil.disk_usage, volume_of(path)).free


@contextmanager
def told(path: Path, doing: str, error: type[UnspoolError], needed: int = 0) -> Iterator[None]:
    """Turn an OSError of the block into one line that names the volume and the reason.

    Args:
        path: what the block reads or writes.
        doing: what it does, as in "cannot ...".
        error: what to raise instead.
        needed: bytes it wants to write; told when the disk or the quota is full.

    Raises:
        UnspoolError: of the type ``error``, where the block raises OSError.

    Example:
        >>> import errno
        >>> from pathlib import Path
        >>> from unspool.errors import RunError
        >>> from unspool.training.durable import told
        >>> with told(Path("/run"), "read", RunError):
        ...     raise OSError(errno.EROFS, "")
        Traceback (most recent call last):
        unspool.errors.RunError: /run: cannot read: volume / is read-only.
    """
    try:
        yield
    except OSError as problem:
        reason = _reason(path, problem, needed)
        raise error(one_line(f"{path}: cannot {doing}: {reason}.")) from problem


def one_line(text: str, longest: int = 600) -> str:
    r"""``text`` with everything that would break or colour a terminal line written out.

    Example:
        >>> from unspool.training.durable import one_line
        >>> print(one_line("two" + chr(10) + "lines"))
        two\nlines
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _reason(path: Path, problem: OSError, needed: int) -> str:
    volume = "the volume"
    with suppress(OSError):  # a volume too broken to be asked for its name
        volume = f"volume {volume_of(path)}"
    match problem.errno:
        case errno.ENOSPC | errno.EDQUOT:
            free = "unknown"
            with suppress(OSError):
                free = f"{free_bytes(path):,} bytes"
            full = "no space left" if problem.errno == errno.ENOSPC else "disk quota used up"
            wanted = f"needed {needed:,} bytes, " if needed else ""
            return f"{full} on {volume}; {wanted}free {free}"
        case errno.EROFS:
            return f"{volume} is read-only"
        case errno.EACCES | errno.EPERM:
            return f"permission denied on {volume}"
        case errno.ELOOP:
            return "it is a symbolic link"
    return f"{problem.strerror or type(problem).__name__} on {volume}"


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = system(os.open, path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        yield descriptor
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            system(os.close, descriptor)
        raise
    system(os.close, descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[system(os.write, descriptor, rest[:PIECE]) :]


def _sync_folders(folder: Path) -> None:
    for entry in names_in(folder):
        if stat.S_ISDIR(system(os.lstat, folder / entry).st_mode):
            _sync_folders(folder / entry)
    sync_folder(folder)


def _delete(path: Path) -> None:
    if not stat.S_ISDIR(system(os.lstat, path).st_mode):
        system(os.unlink, path)
        return
    for entry in names_in(path):
        _delete(path / entry)
    system(os.rmdir, path)


def _put_back(aside: Path, original: Path) -> None:
    if exists(aside) and not exists(original):
        system(os.rename, aside, original)


def _marked(path: Path, mark: str) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{mark}")


UNFINISHED = ".unfinished"  # still being written, or being removed
REPLACED = ".replaced"  # complete; its successor is about to take its name
LEFTOVER = re.compile(
    rf"(?P<name>.+?)\.[0-9a-f]{{8}}(?P<mark>{re.escape(UNFINISHED)}|{re.escape(REPLACED)})",
    re.DOTALL,
)
PIECE = 1 << 24  # bytes a single read or write moves
