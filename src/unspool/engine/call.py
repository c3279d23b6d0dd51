"""One call of a compiled program: its memory, its packed weights, its argument array."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.frame import ARRIVED, COUNTER, MEETING_WORDS
from unspool.engine.llvm import HEADER, WORDS
from unspool.engine.memory import POOL
from unspool.engine.packing import pack
from unspool.engine.plan import Plan, Side
from unspool.engine.rows import Rows, members
from unspool.engine.stages import axis_of


@dataclass(slots=True)
class Call:
    """One scan: sizes, and the memory behind every node of the core.

    Attributes:
        memory: by node of the joint list; time-indexed ones are ``[N, width]``.
        start: state before the first step, sorted and padded, by state node.
        matrices: recurrent matrices by parameter node, unpadded.
        vectors: vector parameters by node, padded.
        across: how many threads share the units of the same rows, where the code allows it.
    """

    plan: Plan
    rows: Rows
    units: int
    features: int
    threads: int
    memory: dict[int, Tensor] = field(default_factory=dict)
    start: dict[int, Tensor] = field(default_factory=dict)
    matrices: dict[int, Tensor] = field(default_factory=dict)
    vectors: dict[int, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    across: int = 1

    def width(self, node: int, nodes: Sequence[Any]) -> int:
        """Padded width of a node's rows."""
        axis = axis_of(nodes[node])
        if axis == "1":
            return 1
        left, _, right = axis.rpartition("*")  # of pairs, the second filled up for each first
        widths = {"H": self.units, "D": self.features, "": 1}
        return widths[left] * self.plan.padded(widths[right])


def run_forward(call: Call, training: bool, traced: bool, fed: bool) -> None:
    """Fill the memory of every node the caller or the backward pass will read.

    Args:
        call: with the memory of what is read.
        training: whether there may be a backward pass.
        traced: whether gates are wanted.
        fed: whether the program makes its streams itself, from x.
    """
    plan = call.plan
    side = plan.fed if fed else plan.forward
    program = side.program
    leaving, over_time = side.over_time(training, traced)
    memory: dict[int, Tensor] = {}
    inside: dict[int, tuple[int, int]] = {}
    for node in program.stored:
        timed = node in over_time
        if timed and not fed and node in plan.reused:
            memory[node] = call.memory[plan.reused[node]]
            continue
        size = (call.rows.total if timed else call.rows.batch, call.width(node, program.nodes))
        if node in leaving:
            memory[node] = POOL.empty(*size, plan.dtype)
        else:
            inside[node] = size
    memory |= zip(inside, POOL.several(inside.values(), plan.dtype), strict=True)
    for index, node in program.memory.items():
        call.memory[index] = memory[node]
    slots: list[tuple[Tensor, bool, Tensor | None]] = []
    for slot in side.code.slots:
        if slot.kind == "store":
            slots.append((memory[slot.node], slot.node in over_time, None))
        else:
            slots.append(found(call, plan.leaves, program.original[slot.node]))
    run(call, side, slots)


def found(call: Call, nodes: Sequence[Any], index: int) -> tuple[Tensor, bool, Tensor | None]:
    """Memory of a leaf or of what the forward pass stored: tensor, whether time moves it, start."""
    core = call.plan.core
    match nodes[index].op:
        case "parameter":
            return call.vectors[index], False, None
        case "state":
            after = core.updated[core.states.index(nodes[index].name)]
            return call.memory[after], True, call.start[index]
        case "sequence":
            assert call.mask is not None
            return call.mask, False, None
    return call.memory[index], True, None


def run(call: Call, side: Side, slots: Sequence[tuple[Tensor, bool, Tensor | None]]) -> None:
    """Fill the argument array and call the program."""
    packed = pack(side, call.matrices)
    arguments = Arguments(side, call, slots, packed)
    side.kernel(arguments.address, call.threads)
    if not arguments.begun:  # fewer threads than were asked for, where all had to be there
        arguments = Arguments(side, replace(call, threads=1, across=1), slots, packed)
        side.kernel(arguments.address, 1)


class Arguments:
    """The array of words a program reads, and everything it points to.

    Attributes:
        words, address: the array.
    """

    def __init__(
        self,
        side: Side,
        call: Call,
        slots: Sequence[tuple[Tensor, bool, Tensor | None]],
        packed: Sequence[Tensor],
    ) -> None:
        plan, rows, code = call.plan, call.rows, side.code
        split = members(rows, call.threads, call.across)
        most = max(last - first for first, last, *_ in split.tolist()) if code.num_scalars else 0
        numbers = code.widest * plan.lanes + most * (code.num_sums * plan.lanes + code.num_scalars)
        size = -(-numbers * plan.dtype.itemsize // 64) * 64 + 64
        scratch = torch.empty(size * call.threads, dtype=torch.uint8)
        meets = side.program.meets and call.across > 1
        H, D = call.units, call.features
        words = [
            0, call.threads, rows.steps, rows.offsets.data_ptr(), split.data_ptr(), H,
            plan.padded(H), D, plan.padded(D), scratch.data_ptr(), size, most, 0,
            *(kernels.attendance() if meets else (0, 0)),
        ]  # fmt: skip
        assert len(words) == HEADER
        for tensor, timed, start in slots:
            words += (tensor.data_ptr(), tensor.stride(0) if tensor.dim() == 2 else 0, timed)
            words += (0, 0) if start is None else (start.data_ptr(), start.stride(0))
        assert len(words) == HEADER + WORDS * len(slots)
        words += [each.data_ptr() for each in packed]
        words += [each.shape[1] for each in packed]
        words += [ctypes.addressof(each) for each in side.products]
        self._counters = len(words)
        self._zeros = array("q", [0] * (MEETING_WORDS * (2 + call.threads // call.across)))
        self.words = array("q", words) + self._zeros
        self.address = self.words.buffer_info()[0]
        self.words[COUNTER] = self.address + 8 * self._counters
        self.words[ARRIVED] = self.words[COUNTER] + 8 * MEETING_WORDS
        self._alive = (rows, split, scratch, slots, packed)

    @property
    def begun(self) -> int:
        """How many threads have begun."""
        return self.words[self._counters]

    def reset(self) -> None:
        """Make ready for one more run by several threads; for one `again` is enough."""
        self.words[self._counters :] = self._zeros  # as many words, so that the array stays

    def again(self) -> None:
        """Make ready for one more run by one thread."""
        self.words[self._counters] = 0
