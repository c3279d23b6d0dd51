"""One step at batch 1 on several cores: each computes some panels of units.

Threads usually share rows. One row with more weights than a core's own cache holds is worth
sharing by units, where that needs no meeting inside the step: one stage, and nothing that is read
both whole, as the operand of a product, and unit by unit.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool.engine.call import Arguments
from unspool.engine.llvm import HEADER, WORDS
from unspool.engine.plan import Side
from unspool.engine.stages import PRODUCTS, Program, axis_of

# Positions in the argument array (`unspool.engine.llvm.HEADER`).
COUNTER, PADDED_UNITS, SCRATCH, SCRATCH_BYTES = 0, 6, 9, 10
STARTING = 3  # of a slot's words, the address before the first step


@dataclass(frozen=True, slots=True)
class Share:
    """An argument array for some of the panels.

    Attributes:
        words: the array.
        address: of it.
        offset: bytes from a row's first unit to the share's.
        alive: what it points to.
    """

    words: Any
    address: int
    offset: int = 0
    alive: tuple[object, ...] = ()


def splits(program: Program) -> bool:
    """Whether a program can be shared by units."""
    if len(program.stages) != 1:
        return False
    (stage,) = program.stages
    used = {arg for node in program.nodes for arg in node.args} | set(program.stored)
    apart = all(
        axis_of(program.nodes[node]) == "H"
        for node in by_unit(program) & used
        if program.nodes[node].op not in ("constant", "inverse_width")
    )
    gathered = stage.sums or stage.scalars or stage.carries or stage.learnt
    return stage.axis == "H" and apart and not gathered and not by_unit(program) & _whole(program)


def by_unit(program: Program) -> set[int]:
    """Nodes that are read or written unit by unit."""
    nodes = program.nodes
    read = {arg for node in nodes if node.op not in PRODUCTS for arg in node.args}
    return read | set(program.stored)


def _whole(program: Program) -> set[int]:
    """Nodes that are operands of products."""
    terms = (t for s in program.stages for g in s.groups for sums in g.terms for t in sums)
    return {operand for _, operand, _ in terms}


def split(side: Side, arguments: Arguments, packed: Sequence[Tensor], count: int) -> list[Share]:
    """Arguments for about equal numbers of panels.

    Args:
        side: the step, one that `splits`.
        arguments: for all of them.
        packed: its weights, panels first.
        count: shares, at most the panels.
    """
    panel = side.plan.lanes * side.code.fold[0]
    panels = arguments.words[PADDED_UNITS] // panel
    edges = [panels * each // count for each in range(count + 1)]
    slots, apart, size = side.code.slots, by_unit(side.program), side.plan.dtype.itemsize
    shares = []
    for first, last in itertools.pairwise(edges):
        words = type(arguments.words)(*arguments.words)
        offset = first * panel * size
        counter = ctypes.c_int64(0)
        scratch = torch.empty(words[SCRATCH_BYTES], dtype=torch.uint8)
        words[COUNTER], words[SCRATCH] = ctypes.addressof(counter), scratch.data_ptr()
        words[PADDED_UNITS] = (last - first) * panel
        for k, slot in enumerate(slots):
            if slot.node in apart:
                words[HEADER + WORDS * k] += offset
                words[HEADER + WORDS * k + STARTING] += offset
        for k, each in enumerate(packed, start=HEADER + WORDS * len(slots)):
            words[k] += first * each.stride(0) * size
        alive = (counter, scratch, arguments)
        shares.append(Share(words, ctypes.addressof(words), offset, alive))
    return shares
