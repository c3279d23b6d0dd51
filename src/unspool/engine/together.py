"""Who shares the units of few rows: how many threads, and for which sizes."""

from __future__ import annotations

import os

import torch

from unspool.engine import kernels
from unspool.engine.crew import most_threads
from unspool.engine.plan import Plan
from unspool.engine.rows import team

# Of weights, times rows. Two cores of 2 MiB cache each, LSTM, GRUs and vanilla cell of 64 to 512
# units: half a MiB is faster alone, 1 MiB takes the same time, 1.1 MiB is faster shared.
SHARED_BYTES = 2**20
# Over time every thread that takes rows reads all recurrent weights at every step. Beyond its own
# cache half of the weights for all rows is faster, but for so many rows that arithmetic decides.
CACHED_BYTES, FEW_ROWS = 2**21, 16


def worth_sharing(size: int) -> int:
    """How many threads are to share a step, where helpers are at hand.

    Args:
        size: bytes of weights, times the rows they are multiplied with.
    """
    return 1 if size < SHARED_BYTES else min(torch.get_num_threads(), most_threads())


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
