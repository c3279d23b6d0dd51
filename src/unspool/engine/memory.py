"""Memory for whole runs over time, kept for the next call.

The C library hands large blocks back to the system as soon as they are free, and the system clears
every page when it is touched again. For a scan that costs up to a third of its time, so what is
large goes from call to call instead.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections import deque

import torch
from torch import Tensor


class Pool:
    """Blocks that no tensor uses any more, waiting to be used again.

    Args:
        most_idle: bytes; beyond it the blocks idle for longest go back to the system.

    Example:
        >>> pool = Pool(most_idle=1 << 24)
        >>> first = pool.empty(100, 10000, torch.float32)
        >>> place = first.data_ptr()
        >>> del first
        >>> pool.empty(99, 10000, torch.float32).data_ptr() == place
        True
    """

    def __init__(self, most_idle: int) -> None:
        self.most_idle = most_idle
        self._idle: list[Tensor] = []
        self._returned: deque[Tensor] = deque()
        self._lock = threading.Lock()

    @property
    def idle(self) -> int:
        """Bytes that wait."""
        return sum(block.nbytes for block in (*self._idle, *self._returned))

    def empty(self, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """Uninitialised memory, ``[height, width]``; small tensors are torch's own."""
        if not self.keeps(height, width, dtype):
            return torch.empty(height, width, dtype=dtype)
        size = rounded(height * width * dtype.itemsize)
        block = self._found(size)
        if block is None:
            block = torch.empty(size, dtype=torch.uint8)
        # The tensor's storage holds the array, and the array's end brings the block back, however
        # many views there were.
        array = (ctypes.c_char * block.nbytes).from_address(block.data_ptr())
        weakref.finalize(array, self._give, block).atexit = False
        return torch.frombuffer(array, dtype=dtype, count=height * width).view(height, width)

    def keeps(self, height: int, width: int, dtype: torch.dtype) -> bool:
        """Whether memory of this size comes from here and comes back."""
        return height * width * dtype.itemsize >= SMALL

    def _found(self, size: int) -> Tensor | None:
        """The smallest idle block that will do; of equals the one used last, still in the cache."""
        # Never waits: a fork may have lost the thread that held the lock.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._tidy()
            fitting = [n for n, b in enumerate(self._idle) if size <= b.nbytes <= size * WASTE]
            best = min(fitting, key=lambda n: (self._idle[n].nbytes, -n), default=None)
            return None if best is None else self._idle.pop(best)
        finally:
            self._lock.release()

    def _give(self, block: Tensor) -> None:
        """Called wherever the last tensor happens to end, so perhaps within `_found`."""
        self._returned.append(block)
        if self._lock.acquire(blocking=False):
            try:
                self._tidy()
            finally:
                self._lock.release()

    def _tidy(self) -> None:
        while self._returned:
            self._idle.append(self._returned.popleft())
        waiting = sum(block.nbytes for block in self._idle)
        while waiting > self.most_idle:
            waiting -= self._idle.pop(0).nbytes


def rounded(size: int) -> int:
    """A number of bytes rounded up to one of eight sizes in every power of two.

    Ragged batches ask for a little more or less each time, and get the same block.

    Example:
        >>> rounded(1000), rounded(1024), rounded(1025)
        (1024, 1024, 1152)
    """
    unit = 1 << max(0, math.frexp(size - 1)[1] - 4)
    return -(-size // unit) * unit


# Below, the C library rarely gives memory back, and asking here would cost more than it saves.
SMALL = 1 << 18
# A block may be so many times as large as what was asked for.
WASTE = 1.5
POOL = Pool(most_idle=1 << 28)
