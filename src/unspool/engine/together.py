"""Who shares the units of few rows: how many threads, and whether a step is worth it by trying.

On an idle machine two cores read the weights in half of the time. Beside another busy program one
of them waits for the other for milliseconds, which no rule foresees.
"""

from __future__ import annotations

import os
import statistics
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import torch

from unspool.engine import kernels
from unspool.engine.plan import Plan
from unspool.engine.rows import team

# Of weights, times rows. Two cores of 2 MiB cache each, LSTM, GRUs and vanilla cell of 64 to 512
# units: half a MiB is faster alone, 1 MiB takes the same time, 1.1 MiB is faster shared.
SHARED_BYTES = 2**20
# Over time every thread that takes rows reads all recurrent weights at every step. Beyond its own
# cache half of the weights for all rows is faster, but for so many rows that arithmetic decides.
CACHED_BYTES, FEW_ROWS = 2**21, 16
# Of so many calls the first are tried, alone, then shared: too few to show at the 99th percentile,
# where waiting for a thread can cost a hundred times the work. After a rest threads have to wake up
# and weights come from afar, so of each two go by before three are timed.
TRIAL_EVERY, WARMING, TRIALS = 1024, 2, 3

Result = TypeVar("Result")


def worth_sharing(size: int) -> int:
    """How many threads are to be tried for a step.

    Args:
        size: bytes of weights, times the rows they are multiplied with.
    """
    if size < SHARED_BYTES or not kernels.meet():
        return 1
    return min(torch.get_num_threads(), os.cpu_count() or 1)


def scan_team(plan: Plan, rows: int, units: int) -> tuple[int, int]:
    """How many threads share the rows of a scan, and how many the units of the same rows.

    Args:
        plan: of the cell.
        rows: B.
        units: H.
    """
    threads = torch.get_num_threads()
    vectors = plan.padded(units) // plan.lanes
    if plan.diagonal:
        return team(rows, vectors, threads)
    size = plan.num_products * plan.padded(units) ** 2 * plan.dtype.itemsize
    many = size >= SHARED_BYTES if rows < threads else size > CACHED_BYTES
    if many and rows <= FEW_ROWS and plan.shared and kernels.meet():
        return 1, max(1, min(threads, os.cpu_count() or 1, vectors // 2))
    return team(rows, 1, threads)


class Together:
    """Takes the faster of two ways, which are both tried from time to time.

    Attributes:
        chosen: whether threads share the work at present.
        allowed: whether they may; a forked child has none.

    Example:
        >>> Together().take(lambda shared: "shared" if shared else "alone")
        'alone'
    """

    def __init__(self) -> None:
        self.chosen, self.allowed = False, True
        self._calls = 0
        self._times: tuple[list[float], list[float]] = ([], [])
        _ALL.add(self)

    def take(self, run: Callable[[bool], Result]) -> Result:
        """Run one call.

        Args:
            run: does it; its argument says whether on several threads. The result is the same.
        """
        shared, turn = divmod(self._calls % TRIAL_EVERY, WARMING + TRIALS)
        self._calls += 1
        if shared > 1 or not self.allowed:
            return run(self.chosen)
        start = time.perf_counter()
        result = run(bool(shared))
        if turn >= WARMING:
            self._times[shared].append(time.perf_counter() - start)
        if len(self._times[1]) == TRIALS:
            alone, together = (statistics.median(each) for each in self._times)
            self.chosen = together < alone
            self._times = ([], [])
        return result

    def forbid(self) -> None:
        """Never share from now on."""
        self.chosen = self.allowed = False


_ALL: weakref.WeakSet[Together] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [each.forbid() for each in _ALL])
