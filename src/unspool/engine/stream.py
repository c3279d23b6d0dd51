"""`Stream`: one step after the other on packed weights and reused memory.

Weights are packed when the stream is made: a change of the parameters afterwards is not seen. A
step is one native call; states alternate between two buffers, because a product may still read the
old state while the new one is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.engine.arguments import check_arguments
from unspool.engine.call import Arguments, Call
from unspool.engine.hoist import hoist, parameter_nodes, single_parameters
from unspool.engine.language import Cell
from unspool.engine.llvm import HEADER, WORDS
from unspool.engine.packing import pack
from unspool.engine.plan import Side, plan_of
from unspool.engine.rows import arrange_rows
from unspool.engine.together import Together, worth_sharing
from unspool.errors import ShapeError

# The longest table that is multiplied beforehand: all rows at once cost about a tenth of what they
# cost one by one, so for more tokens than this a text would have to be long to earn it back.
MULTIPLIED_ROWS = 2048


class Stream:
    """A layer of one cell that is fed step by step, without gradients.

    Args:
        cell: the equations.
        parameters: by family, gates stacked; packed now, later changes are not seen.
        units: H.
        features: D.
        batch: sequences side by side, B.
        table: inputs are rows of this, for one sequence; what needs only x is computed now for
            every row, unless there are more than `MULTIPLIED_ROWS`.

    Attributes:
        x: ``[B D]``, where the next input goes; not read where there is a table.
        outputs: two ``[B H]``; `step` returns the one it has just written.
        rows: of the table, 0 without one.
        width: numbers in the memory of an output, whole panels.
        threads: how many may share a step: all of torch's where there are many weights, else 1.

    Raises:
        BackendError: if the equations cannot be compiled on this machine.
        ShapeError: for parameters of another size.

    Example:
        >>> from unspool.layers.recurrent import Recurrent
        >>> layer = Recurrent("lstm", 3, 5)
        >>> stream = Stream(layer.cell, dict(layer.weights["l0"].items()), units=5, features=3)
        >>> whole, _ = layer(torch.ones(1, 2, 3))
        >>> stream.x.fill_(1.0); [stream.step() for _ in range(2)][-1].allclose(whole[:, 1])
        tensor([[1., 1., 1.]])
        True
    """

    @torch.no_grad()
    def __init__(
        self,
        cell: Cell,
        parameters: Mapping[str, Tensor],
        units: int,
        features: int,
        batch: int = 1,
        table: Float[Tensor, "V D"] | None = None,
    ) -> None:
        dtype = next(iter(parameters.values())).dtype
        plan = plan_of(cell, False, dtype)
        self.units, self.batch, self.width = units, batch, plan.padded(units)
        self.x = torch.zeros(batch, features, dtype=dtype)
        blank = [torch.zeros(batch, units, dtype=dtype) for _ in cell.states]
        check_arguments(plan.families, parameters, self.x[None], blank, cell.states)
        self.rows = 0 if table is None else _check_table(table, self.x)
        values = single_parameters(plan, {k: v.detach() for k, v in parameters.items()})
        cut, rows = plan.schedule.split, arrange_rows(1, batch, None, False)
        self._side: Side = plan.step
        self._graph = cut.whole
        given = self.x if table is None else table.clone()
        self._inputs = {node.name: given for node in cut.whole.nodes if node.op == "input"}
        if 0 < self.rows <= MULTIPLIED_ROWS:
            assert table is not None
            streams, prepared = hoist(plan, parameters, table, units)
            values |= {f"p{number}": tensor for number, tensor in enumerate(prepared)}
            self._side, self._graph = plan.recurring, cut.core
            self._inputs = _named(streams, len(cut.streams))
        matrices, vectors = parameter_nodes(plan, self._graph.nodes, values)
        call = Call(plan, rows, units, features, 1, matrices=matrices, vectors=vectors)
        self._packed = pack(self._side, matrices)
        self._states = [[self._zeros(self.width) for _ in cell.states] for _ in range(2)]
        self.outputs: list[Tensor] = []
        slots = [self._slots(call, turn) for turn in range(2)]
        self.threads = self._threads()
        # By how many threads share a step, 1 or `threads`, the arrays for even and for odd steps.
        self._arguments = {}
        for count in {1, self.threads}:
            several = replace(call, threads=count, across=count)
            self._arguments[count] = [
                Arguments(self._side, several, each, self._packed) for each in slots
            ]
        self._together = Together()
        self._turn = 0

    def _zeros(self, width: int) -> Tensor:
        return torch.zeros(self.batch, width, dtype=self.x.dtype)

    def _slots(self, call: Call, turn: int) -> list[tuple[Tensor, bool, Tensor | None]]:
        """Memory of every slot, when states go from buffer ``turn`` to the other."""
        program, graph = self._side.program, self._graph
        before, after = self._states[turn], self._states[1 - turn]
        memory = {node: self._zeros(call.width(node, program.nodes)) for node in program.stored}
        for index, value in zip(graph.updated, after, strict=True):
            memory[program.memory[index]] = value
        self.outputs.append(memory[program.memory[graph.output]][:, : self.units])
        slots: list[tuple[Tensor, bool, Tensor | None]] = []
        for slot in self._side.code.slots:
            node = program.nodes[slot.node]
            if slot.kind == "store":
                slots.append((memory[slot.node], False, None))
            elif node.op == "state":
                start = before[graph.states.index(node.name)]
                slots.append((start, True, start))
            elif node.op == "parameter":
                slots.append((call.vectors[program.original[slot.node]], False, None))
            else:
                slots.append((self._inputs[node.name], False, None))
        return slots

    def step(self) -> Float[Tensor, "B H"]:
        """Read ``x``, or the row last looked up, once.

        Returns:
            The layer's output, a view of the stream's own memory, overwritten by the step after
            the next.
        """
        turn = self._turn
        if self.threads > 1:
            self._together.take(self._shared_step)
        else:
            self._step_alone()
        self._turn = 1 - turn
        return self.outputs[turn]

    def _step_alone(self) -> None:
        arguments = self._arguments[1][self._turn]
        arguments.again()
        self._side.kernel.call(arguments.address)

    def _shared_step(self, shared: bool) -> None:
        if shared:
            arguments = self._arguments[self.threads][self._turn]
            arguments.reset()
            self._side.kernel(arguments.address, self.threads)
            if arguments.begun:
                return
        self._step_alone()

    def look_up(self, row: int) -> None:
        """Take the next step's input from a row of the table.

        Raises:
            IndexError: if the table has no such row.
        """
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of a table with {self.rows} rows")
        for count in self._arguments:
            words = self._arguments[count][self._turn].words
            for position, value in self._input_words():
                words[position] = value.data_ptr() + row * _row_bytes(value)

    def read_from(self, addresses: tuple[int, int]) -> None:
        """Take inputs straight from memory, in turn from one address and the other.

        Args:
            addresses: of ``[B D]`` numbers of the stream's dtype, contiguous.
        """
        for pair in self._arguments.values():
            for arguments, address in zip(pair, addresses, strict=True):
                for position, _ in self._input_words():
                    arguments.words[position] = address

    @property
    def state(self) -> tuple[Tensor, ...]:
        """Copies of the states, in the cell's order, each ``[B H]``."""
        return tuple(value[:, : self.units].clone() for value in self._states[self._turn])

    @state.setter
    def state(self, values: tuple[Tensor, ...]) -> None:
        for mine, value in zip(self._states[self._turn], values, strict=True):
            mine.zero_()
            mine[:, : self.units] = value

    def restart(self, state: tuple[Tensor, ...]) -> None:
        """The same as setting the state, from where the first of the two turns begins."""
        self._turn = 0
        self.state = state

    # For a program that takes the steps of several layers (`unspool.engine.tokens`).

    @property
    def function(self) -> int:
        """Address of the compiled step."""
        return self._side.kernel.address

    def _threads(self) -> int:
        """How many threads may share a step: its equations must allow it, with panels for all."""
        size = self.batch * sum(each.numel() * each.element_size() for each in self._packed)
        panels = max((len(each) for each in self._packed), default=0)
        if not self._side.program.shared:
            return 1
        return max(1, min(worth_sharing(size), panels))

    @property
    def addresses(self) -> tuple[int, int, int, int]:
        """Addresses of the argument arrays: for one thread, then for all that may share a step."""
        alone, shared = self._arguments[1], self._arguments[self.threads]
        return alone[0].address, alone[1].address, shared[0].address, shared[1].address

    @property
    def lookups(self) -> list[tuple[int, int, int, int]]:
        """For each input where its address stands in the two arrays, its table, bytes of a row."""
        return [
            (
                even.address + position * 8,
                odd.address + position * 8,
                value.data_ptr(),
                _row_bytes(value),
            )
            for even, odd in self._arguments.values()
            for position, value in self._input_words()
        ]

    def _input_words(self) -> list[tuple[int, Tensor]]:
        """Where the inputs' addresses stand, and what they are rows of."""
        program = self._side.program
        return [
            (HEADER + WORDS * k, self._inputs[program.nodes[slot.node].name])
            for k, slot in enumerate(self._side.code.slots)
            if slot.kind == "load" and program.nodes[slot.node].op == "input"
        ]


def _check_table(table: Tensor, x: Tensor) -> int:
    """How many rows it has.

    Raises:
        ShapeError: if they are no inputs of one sequence.
    """
    if len(x) != 1 or table.dtype != x.dtype or table.shape[1:] != x.shape[1:] or not len(table):
        raise ShapeError(
            f"Stream: a table of {list(table.shape)} {table.dtype} for {len(x)} sequences; wanted "
            f"[V, {x.shape[1]}] {x.dtype} for one."
        )
    return len(table)


def _named(streams: list[Tensor], number: int) -> dict[str, Tensor]:
    """Inputs of the core by name; several may lie side by side in the rows of one tensor."""
    parts = streams
    if len(streams) == 1 < number:
        parts = list(streams[0].chunk(number, 1))
    return {f"s{index}": value for index, value in enumerate(parts)}


def _row_bytes(value: Tensor) -> int:
    return value.stride(0) * value.element_size()
