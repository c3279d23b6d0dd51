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
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
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
        self.most_idle, self._waiting = most_idle, 0
        self._idle: list[tuple[int, Tensor]] = []  # with their bytes; the last came back last
        self._lent: dict[int, tuple[Tensor, weakref.ref[Any]]] = {}  # by address
        self._returned: deque[Tensor] = deque()
        self._lock = threading.Lock()

    @property
    def idle(self) -> int:
        """Bytes that wait."""
        return self._waiting + sum(block.nbytes for block in self._returned)

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
        place = block.data_ptr()
        array = (ctypes.c_char * block.nbytes).from_address(place)
        self._lent[place] = block, weakref.KeyedRef(array, self._give, place)
        return torch.frombuffer(array, dtype=dtype, count=height * width).view(height, width)

    def several(
        self, sizes: Iterable[tuple[int, int]], dtype: torch.dtype
    ) -> list[Float[Tensor, "_ _"]]:
        """Uninitialised tensors side by side in one memory, which is free when all are gone."""
        unit, places, end = LINE // dtype.itemsize, [], 0
        for height, width in sizes:
            places.append((height, width, end))
            end += -(-height * width // unit) * unit
        if not places:
            return []
        whole = self.empty(1, end, dtype)
        return [whole.as_strided((h, w), (w, 1), place) for h, w, place in places]

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
            best, least = None, int(size * WASTE) + 1
            for number in range(len(self._idle) - 1, -1, -1):
                if size <= self._idle[number][0] < least:
                    best, least = number, self._idle[number][0]
            if best is None:
                return None
            self._waiting -= least
            return self._idle.pop(best)[1]
        finally:
            self._lock.release()

    def _give(self, ended: weakref.KeyedRef[int, Any]) -> None:
        """Called wherever the last tensor happens to end, so perhaps within `_found`."""
        self._returned.append(self._lent.pop(ended.key)[0])
        if self._lock.acquire(blocking=False):
            try:
                self._tidy()
            finally:
                self._lock.release()

    def _tidy(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            self._idle.append((block.nbytes, block))
            self._waiting += block.nbytes
        while self._waiting > self.most_idle:
            self._waiting -= self._idle.pop(0)[0]


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
# Bytes that go to the cache together: where a part of a memory begins.
LINE = 64
# A block may be so many times as large as what was asked for.
WASTE = 1.5
POOL = Pool(most_idle=1 << 28)
