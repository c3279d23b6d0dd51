"""One process at a time: a lock that the operating system frees when its holder dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unspool.errors import RunError
from unspool.training import durable
from unspool.training.durable import one_line, told

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` during the block; it is made if missing, and left behind.

    Args:
        path: the lock file; its content names the last process that held it.

    Raises:
        RunError: if another process holds the lock, naming its process id.
    """
    with told(path, "lock", RunError):
        descriptor = durable.system(os.open, path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with told(path, "lock", RunError):
            _take(descriptor, path)
        try:
            yield
        finally:
            # Said aloud, not left to close: a forked child would hold the descriptor open.
            with told(path, "unlock", RunError):
                _release(descriptor)
    finally:
        with told(path, "unlock", RunError):
            durable.system(os.close, descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        if fcntl is not None:
            durable.system(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            durable.system(os.lseek, descriptor, FAR, os.SEEK_SET)
            durable.system(msvcrt.locking, descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError) as error:
        durable.system(os.lseek, descriptor, 0, os.SEEK_SET)
        holder = durable.system(os.read, descriptor, 20).decode("ascii", "replace").strip()
        who = f"process {holder}" if holder.isdecimal() else "another process"
        raise RunError(
            one_line(f"{path.parent}: {who} is using it; wait until it ends, or stop it.")
        ) from error
    durable.system(os.lseek, descriptor, 0, os.SEEK_SET)
    durable.system(os.ftruncate, descriptor, 0)
    durable.system(os.write, descriptor, f"{os.getpid()}\n".encode())


def _release(descriptor: int) -> None:
    if fcntl is not None:
        durable.system(fcntl.flock, descriptor, fcntl.LOCK_UN)
    else:
        durable.system(os.lseek, descriptor, FAR, os.SEEK_SET)
        durable.system(msvcrt.locking, descriptor, msvcrt.LK_UNLCK, 1)


FAR = 1 << 30  # Windows forbids reading a locked byte, and the process id must stay readable
