"""Ctrl-C and SIGTERM while training: finish the step, save, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Training stopped because it was asked to; everything done so far is saved.

    Attributes:
        signal: number of the signal.
        step: steps taken.
        run: the run folder, which `resume` takes.
    """

    def __init__(self, signal: int, step: int, run: Path) -> None:
        super().__init__(f"stopped at step {step}")
        self.signal, self.step, self.run = signal, step, run


@dataclass(slots=True)
class Request:
    """Whether somebody asked for a stop.

    Attributes:
        signal: number of the signal, or None.
    """

    signal: int | None = None


@contextmanager
def requests() -> Iterator[Request]:
    """Turn the first signal into a request that the loop sees; the second one leaves at once.

    Outside the main thread Python hands out no signals, so nothing changes there.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
