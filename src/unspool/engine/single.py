"""`SingleStep`: one step that reads weights where they lie and gives fresh memory.

Nothing is kept of the weights, so whatever changes them is seen: every call writes their addresses
into the argument array. What is kept is that array, and memory for what never leaves a step.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.engine.call import Arguments, Call
from unspool.engine.graph import resolve
from unspool.engine.llvm import HEADER, WORDS
from unspool.engine.plan import Plan
from unspool.engine.rows import arrange_rows
from unspool.engine.together import Together, worth_sharing

# Words of a slot behind its address: numbers from row to row, and both before the first step.
STRIDE, START, START_STRIDE = 1, 3, 4


@lru_cache(maxsize=64)
def single_step(plan: Plan, units: int, features: int, batch: int, threads: int) -> SingleStep:
    """The step of some sizes, made once for so many of torch's threads."""
    return SingleStep(plan, units, features, batch)


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may hold a lock, which the child could never take.
    os.register_at_fork(after_in_child=single_step.cache_clear)


class SingleStep:
    """A step of one layer without gradients, for given sizes; calls wait for each other.

    Args:
        plan: of a cell whose step can read weights where they lie (`Plan.unpacked`).
        units: H.
        features: D.
        batch: B.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.engine.plan import plan_of
        >>> step = SingleStep(plan_of(CELLS["rnn"], False, torch.float32), units=1, features=1)
        >>> weights = {"W": torch.ones(1, 1), "U": torch.zeros(1, 1), "b": torch.zeros(1)}
        >>> h, after = torch.zeros(1, 1), torch.empty(1, 1)
        >>> step(weights, torch.ones(1, 1), (h,), (after,)).equal(torch.ones(1, 1).tanh())
        True
    """

    def __init__(self, plan: Plan, units: int, features: int, batch: int = 1) -> None:
        assert plan.unpacked is not None
        self._side, self._plan, self._units = plan.unpacked, plan, units
        self._graph = plan.schedule.split.whole
        self._program = self._side.program
        self._lock, self._together = threading.Lock(), Together()
        sizes = {"H": units, "D": features}
        whole = {axis: plan.padded(size) == size for axis, size in sizes.items()}
        self._whole = all(whole[stage.axis] for stage in self._program.stages)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=plan.dtype)

        # Memory that whole vectors can be read from, for what is no whole number of panels.
        self._before = {name: zeros(batch, plan.padded(units)) for name in self._graph.states}
        self._x = zeros(batch, plan.padded(features))
        self._heights = {
            family.name: resolve(family.shape[0], features, units)
            for family in plan.families.values()
        }
        self._vectors = {
            family.name: zeros(len(family.gates), plan.padded(self._heights[family.name]))
            for family in plan.families.values()
            if len(family.shape) == 1
        }
        rows = arrange_rows(1, batch, None, False)
        call = Call(plan, rows, units, features, 1)
        nodes = self._program.nodes
        self._memory = {
            node: zeros(batch, call.width(node, nodes)) for node in self._program.stored
        }
        self._ends = [self._program.memory[index] for index in self._graph.updated]
        self._output = self._program.memory[self._graph.output]
        self._matrices = self._places_of_matrices()
        self._depths = [
            resolve(plan.families[family].shape[1], features, units)
            for family, _, _ in self._matrices
        ]
        size = batch * sum(units * depth for depth in self._depths) * plan.dtype.itemsize
        self.threads = 1
        if self._program.shared:
            self.threads = max(1, min(worth_sharing(size), plan.padded(units) // plan.padded(1)))
        slots = self._slots()
        weights = [zeros(1, depth) for depth in self._depths]
        self._arguments = {
            count: Arguments(self._side, replace(call, threads=count, across=count), slots, weights)
            for count in {1, self.threads}
        }

    def _gate(self, node: int) -> tuple[str, int]:
        """Family and number of the gate that a parameter belongs to."""
        name, _, gate = self._program.nodes[node].name.partition(".")
        gates = list(self._plan.families[name].gates)
        return name, gates.index(gate) if gate else 0

    def _places_of_matrices(self) -> list[tuple[str, int, int]]:
        """Family, gate and word of every array of weights, in the order of the words."""
        at = HEADER + WORDS * len(self._side.code.slots)
        found = []
        for group in self._side.code.groups:
            for term in range(len(group.terms[0])):
                for sums in group.terms:
                    found.append((*self._gate(sums[term][0]), at + len(found)))
        return found

    def _slots(self) -> list[tuple[Tensor, bool, Tensor | None]]:
        """Memory of every slot; where the words of those stand that change from call to call."""
        slots: list[tuple[Tensor, bool, Tensor | None]] = []
        self._inputs: list[int] = []
        self._states: list[tuple[int, int]] = []
        self._results: list[tuple[int, int]] = []
        self._biases: list[tuple[int, str, int]] = []
        for k, slot in enumerate(self._side.code.slots):
            node, at = self._program.nodes[slot.node], HEADER + WORDS * k
            if slot.kind == "store":
                slots.append((self._memory[slot.node], False, None))
                if slot.node in self._ends:
                    self._results.append((at, self._ends.index(slot.node)))
            elif node.op == "state":
                start = self._before[node.name]
                slots.append((start, True, start))
                self._states.append((at, self._graph.states.index(node.name)))
            elif node.op == "parameter":
                name, gate = self._gate(slot.node)
                slots.append((self._vectors[name][gate], False, None))
                self._biases.append((at, name, gate))
            else:
                slots.append((self._x, False, None))
                self._inputs.append(at)
        return slots

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        x: Float[Tensor, "B D"],
        state: Sequence[Float[Tensor, "B H"]],
        into: Sequence[Float[Tensor, "B H"]],
    ) -> Float[Tensor, "B H"]:
        """Take the step.

        Args:
            parameters: by family, gates stacked, contiguous; sizes and dtype as promised.
            x: the input, rows contiguous.
            state: before it, rows contiguous.
            into: where the new states go, none of them memory of the old.

        Returns:
            The output; where it is one of the new states, that tensor itself.
        """
        with self._lock:
            if not self._whole:
                self._pad(parameters, x, state)
            for arguments in self._arguments.values():
                self._place(arguments.words, parameters, x, state, into)
            if self.threads > 1:
                self._together.take(self._run)
            else:
                self._run(False)
            if not self._whole:
                for node, value in zip(self._ends, into, strict=True):
                    value.copy_(self._memory[node][:, : self._units])
            if self._output in self._ends:
                return into[self._ends.index(self._output)]
            return self._memory[self._output][:, : self._units].clone()

    def _pad(self, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> None:
        """Copy what is read by whole vectors to where there is memory behind its end."""
        self._x[:, : x.shape[1]] = x
        for name, value in zip(self._graph.states, state, strict=True):
            self._before[name][:, : self._units] = value
        for name, value in self._vectors.items():
            height = self._heights[name]
            value[:, :height] = parameters[name].view(len(value), height)

    def _place(
        self,
        words: Any,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        state: Sequence[Tensor],
        into: Sequence[Tensor],
    ) -> None:
        """Write addresses."""
        size = self._plan.dtype.itemsize
        addresses = {name: value.data_ptr() for name, value in parameters.items()}
        for (name, gate, at), depth in zip(self._matrices, self._depths, strict=True):
            words[at] = addresses[name] + gate * self._heights[name] * depth * size
        if not self._whole:
            return
        for at in self._inputs:
            words[at], words[at + STRIDE] = x.data_ptr(), x.stride(0)
        for at, name, gate in self._biases:
            words[at] = addresses[name] + gate * self._heights[name] * size
        for at, k in self._states:
            place, stride = state[k].data_ptr(), state[k].stride(0)
            words[at], words[at + STRIDE] = place, stride
            words[at + START], words[at + START_STRIDE] = place, stride
        for at, k in self._results:
            words[at], words[at + STRIDE] = into[k].data_ptr(), into[k].stride(0)

    def _run(self, shared: bool) -> None:
        if shared:
            arguments = self._arguments[self.threads]
            arguments.reset()
            self._side.kernel(arguments.address, self.threads)
            if arguments.begun:
                return
        arguments = self._arguments[1]
        arguments.again()
        self._side.kernel.call(arguments.address)
