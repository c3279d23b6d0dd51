"""Which rows a fused scan reads at which step: the longest first, and no padding at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unspool.engine.memory import POOL


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows are read at which step, longest first, without any padding.

    Attributes:
        steps, batch, total: T, B, and how many (step, row) pairs there are.
        offsets: int64 ``[T + 1]``; step t is entries ``offsets[t]`` to ``offsets[t + 1]``.
        order: the rows by falling length; None when they stand as they are.
        source: for each entry its place in the flattened ``[T·B]`` input; None for the identity.
        last: for each sorted row its last entry.
        falling: the lengths in that order; None for full rows.
        made: what has been made of these, by name; both passes of a scan need it.
    """

    steps: int
    batch: int
    total: int
    offsets: Int64[Tensor, " T1"]
    order: Int64[Tensor, " B"] | None
    source: Int64[Tensor, " N"] | None
    last: Int64[Tensor, " B"]
    falling: Int64[Tensor, " B"] | None = None
    made: dict[Any, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: Any, make: Callable[[], Tensor]) -> Tensor:
        """What is in `made`, made at its first use."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def gathered(self, value: Float[Tensor, "T B W"]) -> Float[Tensor, "N W"]:
        """A sequence's entries in reading order, from memory with either axis first."""
        flat, index = self._flat(value)
        return flat.index_select(0, index)

    def packed(self, value: Float[Tensor, "T B W"]) -> Float[Tensor, "N W"]:
        """The same, with a gradient."""
        return Pack.apply(*self._flat(value))

    def spread(self, entries: Float[Tensor, "N W"]) -> Float[Tensor, "T B W"]:
        """Entries back where they belong, zero in the padding, in memory with rows first."""
        whole = _placed(entries, self._rows_first(), self.steps * self.batch)
        return whole.view(self.batch, self.steps, -1).transpose(0, 1)

    def _flat(self, value: Tensor) -> tuple[Tensor, Tensor]:
        assert self.source is not None
        if value.transpose(0, 1).is_contiguous():
            return value.transpose(0, 1).flatten(0, 1), self._rows_first()
        return value.flatten(0, 1), self.source

    def _rows_first(self) -> Int64[Tensor, " N"]:
        """For each entry its place in the flattened ``[B·T]`` input."""

        def make() -> Tensor:
            assert self.source is not None
            return self.source % self.batch * self.steps + self.source // self.batch

        return self.once("rows first", make)


def arrange_rows(
    steps: int, batch: int, lengths: Int64[Tensor, " B"] | None, reverse: bool
) -> Rows:
    """The order a scan reads in.

    Args:
        steps: T.
        batch: B.
        lengths: of the rows; None when all are full.
        reverse: each row from its last step to its first.
    """
    if lengths is None or bool((lengths == steps).all()):
        source = None
        if reverse:
            source = torch.arange(steps * batch).view(steps, batch).flip(0).flatten()
        offsets, last = _of_full_rows(steps, batch)
        return Rows(steps, batch, steps * batch, offsets, None, source, last)
    given = lengths.numpy()  # many small operations, which cost torch several times as much
    order = np.argsort(-given, kind="stable")
    falling = given[order]
    t = np.arange(steps)[:, None]
    active = t < falling  # [T B]
    offsets = np.concatenate([[0], active.sum(1).cumsum()])
    time = falling - 1 - t if reverse else t
    source = (time * batch + order)[active]
    last = offsets[falling - 1] + np.arange(batch)
    tensors = [torch.from_numpy(each) for each in (offsets, order, source, last, falling)]
    return Rows(steps, batch, int(offsets[-1]), *tensors)


@lru_cache(maxsize=16)
def _of_full_rows(steps: int, batch: int) -> tuple[Tensor, Tensor]:
    """Offsets and last entries where no row ends early; nobody writes to them."""
    with torch.inference_mode(False):
        return torch.arange(steps + 1) * batch, torch.arange(batch) + (steps - 1) * batch


class Pack(torch.autograd.Function):
    """Rows gathered in reading order; every source row is taken at most once."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, source: Tensor) -> Tensor:
        """``rows[source]``."""
        ctx.source, ctx.height = source, len(rows)
        return rows.index_select(0, source)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Every gradient back to the one row it came from."""
        return _placed(gradients[0], ctx.source, ctx.height), None


def _placed(entries: Tensor, places: Tensor, height: int) -> Tensor:
    """Rows at their places among so many, the others zero."""
    whole = POOL.empty(height, entries.shape[1], entries.dtype)
    if len(entries) < height:
        whole.zero_()
    return whole.index_copy_(0, places, entries)


def sorted_rows(value: Tensor, rows: Rows) -> Tensor:
    """One entry a sequence, in the order a scan keeps them."""
    return value if rows.order is None else value.index_select(0, rows.order)


def unsorted_rows(value: Tensor, rows: Rows) -> Tensor:
    """The inverse of `sorted_rows`."""
    if rows.order is None:
        return value
    return torch.empty_like(value).index_copy_(0, rows.order, value)


def places_before(rows: Rows) -> Int64[Tensor, " M"]:
    """For every entry after the first step the entry of its row one step earlier."""

    def make() -> Tensor:
        counts = rows.offsets.diff()
        shift = counts[:-1].repeat_interleave(counts[1:])
        return torch.arange(int(rows.offsets[1]), rows.total) - shift

    return rows.once("before", make)


def team(rows: int, vectors: int, threads: int) -> tuple[int, int]:
    """How many threads share the rows, and how many the units of the same rows.

    Rows first; units where there are fewer rows than threads.

    Args:
        rows: B.
        vectors: of units.
        threads: at most so many together.

    Example:
        >>> team(rows=1, vectors=8, threads=2), team(rows=8, vectors=8, threads=2)
        ((1, 2), (2, 1))
    """
    by_rows = max(1, min(threads, rows))
    return by_rows, max(1, min(threads // by_rows, vectors))


def members(rows: Rows, threads: int, across: int) -> Int64[Tensor, "N 4"]:
    """For each thread its first and last row; which of those who share them it is, and of how many.

    Args:
        rows: of the scan.
        threads: all of them.
        across: how many share the units of the same rows.
    """
    if rows.order is None:
        return _equal_members(rows.batch, threads, across)
    return rows.once(
        ("members", threads, across), lambda: _members(shares(rows, threads // across), across)
    )


@lru_cache(maxsize=64)
def _equal_members(batch: int, threads: int, across: int) -> Tensor:
    with torch.inference_mode(False):
        return _members(_equal_shares(batch, threads // across), across)


def _members(edges: Tensor, across: int) -> Tensor:
    first, last = (each.repeat_interleave(across) for each in (edges[:-1], edges[1:]))
    member = torch.arange(across).repeat(len(edges) - 1)
    return torch.stack([first, last, member, torch.full_like(member, across)], 1)


def shares(rows: Rows, threads: int) -> Int64[Tensor, " N1"]:
    """Borders between the threads' runs of rows: equal numbers of steps, not of rows."""
    if rows.falling is None:
        return _equal_shares(rows.batch, threads)
    done = rows.falling.cumsum(0)
    targets = torch.arange(1, threads) * rows.total // threads
    inner = torch.searchsorted(done, targets) + 1
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), inner, torch.tensor([rows.batch])])
    return ends.clamp(max=rows.batch)


@lru_cache(maxsize=64)
def _equal_shares(batch: int, threads: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(threads + 1) * batch // threads
