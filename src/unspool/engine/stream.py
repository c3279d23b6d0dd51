"""`Stream`: one step after the other on packed weights and reused memory.

Weights are packed when the stream is made: a change of the parameters afterwards is not seen. A
step is one native call; states alternate between two buffers, because a product may still read the
old state while the new one is written.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.engine.arguments import check_arguments
from unspool.engine.call import Arguments, Call, pack
from unspool.engine.hoist import parameter_nodes, single_parameters
from unspool.engine.language import Cell
from unspool.engine.llvm import HEADER, WORDS
from unspool.engine.plan import plan_of
from unspool.engine.rows import arrange_rows


class Stream:
    """A layer of one cell that is fed step by step, without gradients.

    Args:
        cell: the equations.
        parameters: by family, gates stacked; packed now, later changes are not seen.
        units: H.
        features: D.
        batch: sequences side by side, B.

    Attributes:
        x: ``[B D]``, where the next input goes.
        outputs: two ``[B H]``; `step` returns the one it has just written.

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

    def __init__(
        self,
        cell: Cell,
        parameters: Mapping[str, Tensor],
        units: int,
        features: int,
        batch: int = 1,
    ) -> None:
        dtype = next(iter(parameters.values())).dtype
        self.plan = plan_of(cell, False, dtype)
        self.units, self.batch = units, batch
        self.x = torch.zeros(batch, features, dtype=dtype)
        blank = [torch.zeros(batch, units, dtype=dtype) for _ in cell.states]
        check_arguments(self.plan.families, parameters, self.x[None], blank, cell.states)
        matrices, vectors = parameter_nodes(
            self.plan,
            self.plan.schedule.split.whole.nodes,
            single_parameters(self.plan, {k: v.detach() for k, v in parameters.items()}),
        )
        rows = arrange_rows(1, batch, None, False)
        call = Call(self.plan, rows, units, features, 1, matrices=matrices, vectors=vectors)
        packed = pack(self.plan.step, matrices)
        width = self.plan.padded(units)
        self._states = [[self._zeros(width) for _ in cell.states] for _ in range(2)]
        self.outputs: list[Tensor] = []
        self._arguments = [
            Arguments(self.plan.step, call, self._slots(call, turn), packed) for turn in range(2)
        ]
        self._turn = 0
        self._input = self._input_word()

    def _zeros(self, width: int) -> Tensor:
        return torch.zeros(self.batch, width, dtype=self.x.dtype)

    def _slots(self, call: Call, turn: int) -> list[tuple[Tensor, bool, Tensor | None]]:
        """Memory of every slot, when states go from buffer ``turn`` to the other."""
        program, whole = self.plan.step.program, self.plan.schedule.split.whole
        before, after = self._states[turn], self._states[1 - turn]
        memory = {node: self._zeros(call.width(node, program.nodes)) for node in program.stored}
        for index, value in zip(whole.updated, after, strict=True):
            memory[program.memory[index]] = value
        self.outputs.append(memory[program.memory[whole.output]][:, : self.units])
        slots: list[tuple[Tensor, bool, Tensor | None]] = []
        for slot in self.plan.step.code.slots:
            node = program.nodes[slot.node]
            if slot.kind == "store":
                slots.append((memory[slot.node], False, None))
            elif node.op == "state":
                start = before[whole.states.index(node.name)]
                slots.append((start, True, start))
            elif node.op == "parameter":
                slots.append((call.vectors[program.original[slot.node]], False, None))
            else:
                slots.append((self.x, False, None))
        return slots

    def step(self) -> Float[Tensor, "B H"]:
        """Read ``x`` once; the result is overwritten by the step after the next.

        Returns:
            The layer's output, a view of the stream's own memory.
        """
        turn = self._turn
        arguments = self._arguments[turn]
        arguments.counter.value = 0
        self.plan.step.kernel.call(arguments.address)
        self._turn = 1 - turn
        return self.outputs[turn]

    def read_from(self, addresses: tuple[int, int]) -> None:
        """Take inputs straight from memory, in turn from one address and the other.

        Args:
            addresses: of ``[B D]`` numbers of the stream's dtype, contiguous.
        """
        for arguments, address in zip(self._arguments, addresses, strict=True):
            if self._input is not None:
                arguments.words[self._input] = address

    def point_input(self, address: int) -> None:
        """Take the next input from ``address``: a row of an embedding, say."""
        if self._input is not None:
            self._arguments[self._turn].words[self._input] = address

    @property
    def state(self) -> tuple[Tensor, ...]:
        """Copies of the states, in the cell's order, each ``[B H]``."""
        return tuple(value[:, : self.units].clone() for value in self._states[self._turn])

    @state.setter
    def state(self, values: tuple[Tensor, ...]) -> None:
        for mine, value in zip(self._states[self._turn], values, strict=True):
            mine.zero_()
            mine[:, : self.units] = value

    def _input_word(self) -> int | None:
        """Position in the argument array of the input's address."""
        program = self.plan.step.program
        for k, slot in enumerate(self.plan.step.code.slots):
            if slot.kind == "load" and program.nodes[slot.node].op == "input":
                return HEADER + WORDS * k
        return None
