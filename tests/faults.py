"""Faults at the N-th file-system call of `unspool.training.durable`."""

from __future__ import annotations

import errno
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from unspool.training import durable

# These answer a question and never fail.
QUESTIONS = {os.path.lexists, os.path.ismount, os.getpid}
CHANGES = {
    os.write,
    os.fsync,
    os.mkdir,
    os.rename,
    os.replace,
    os.unlink,
    os.rmdir,
    os.ftruncate,
}
FULL_OR_FAILING = {
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EIO": errno.EIO,
    "EROFS": errno.EROFS,
}


@contextmanager
def through(interceptor: Callable) -> Iterator[None]:
    """Put ``interceptor(call, *arguments)`` in the place of every file-system call."""
    original = durable.system
    durable.system = interceptor
    try:
        yield
    finally:
        durable.system = original


def without_sync(call, *arguments):
    """Quick stand-in for the disk: all calls but fsync."""
    return None if call is os.fsync else call(*arguments)


class FailAt:
    """Fail the N-th call, and with ``lasting`` every later call that changes the disk."""

    def __init__(self, number: int, code: int, *, lasting: bool = False):
        self.number, self.code, self.lasting = number, code, lasting
        self.seen = 0
        self.failed = False

    def __call__(self, call, *arguments):
        if call in QUESTIONS:
            return call(*arguments)
        self.seen += 1
        if self.seen == self.number or (self.failed and self.lasting and _changes(call, arguments)):
            self.failed = True
            _half_done(call, arguments)
            raise OSError(self.code, os.strerror(self.code))
        return without_sync(call, *arguments)


class KillAt:
    """SIGKILL this process at the N-th call, half of a write done."""

    def __init__(self, number: int):
        self.number = number
        self.seen = 0

    def __call__(self, call, *arguments):
        if call in QUESTIONS:
            return call(*arguments)
        self.seen += 1
        if self.seen == self.number:
            _half_done(call, arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return without_sync(call, *arguments)


def killed_at_every_call(prepare: Callable[[int], Callable[[], object]]) -> Iterator[int]:
    """Run ``prepare(n)()`` in a child that dies at its n-th call, n = 1, 2, … until one survives.

    Yields n after each death and, last, after the child that completed.
    """
    for number in count(1):
        if in_child(prepare(number), KillAt(number)) == 0:
            yield number
            return
        yield number


def in_child(action: Callable[[], object], interceptor: Callable = without_sync) -> int:
    """Run ``action`` in a forked child; 0 if it completed, the signal's number if it was killed."""
    child = os.fork()
    if child == 0:
        try:
            with through(interceptor):
                action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "the child failed; its traceback is on standard error"
    return 0


def _changes(call, arguments) -> bool:
    return call in CHANGES or (call is os.open and bool(arguments[1] & (os.O_WRONLY | os.O_RDWR)))


def _half_done(call, arguments) -> None:
    if call is os.write:
        os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
    elif call is os.close:
        os.close(*arguments)
