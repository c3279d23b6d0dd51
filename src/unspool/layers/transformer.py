"""`Transformer`: blocks of attention and a small network at every step, one on the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.engine.lookup import Lookup
from unspool.errors import ShapeError
from unspool.layers.dense import dense
from unspool.layers.dropout import Dropout
from unspool.layers.pooling import blank
from unspool.layers.positions import Positions
from unspool.layers.self_attention import Memory, Sight
from unspool.layers.state import State
from unspool.layers.transformer_block import Block, BlockOptions, Weights, norm
from unspool.shapes import check_lengths, mask_of


class Transformer(nn.Module):
    """A stack of blocks over a sequence, batch first; with ``source`` also over another one.

    What it reads is projected where it is not as wide as the blocks. A causal stack reads on from
    its `State`: of every block keys and values of the steps before ``[B M S K]`` (of linear
    attention its two sums), and last how many steps each row has read, ``[B]``.

    Args:
        inputs: features of the inputs, D of what comes in.
        options: of the blocks.
        layers: blocks.
        positions: a key of `unspool.layers.positions.POSITIONS`.
        context: steps that it is trained on at most, and of learned positions; 0 if they have no
            end.
        source: features of the other sequence's steps; 0 for none.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for what `BlockOptions` and `Positions` refuse.

    Example:
        >>> layer = Transformer(3, BlockOptions(width=8, causal=True), layers=2)
        >>> outputs, state = layer(torch.zeros(2, 7, 3), lengths=torch.tensor([7, 4]))
        >>> outputs.shape, state[-1]
        (torch.Size([2, 7, 8]), tensor([7, 4]))
    """

    def __init__(
        self,
        inputs: int,
        options: BlockOptions,
        layers: int,
        positions: str = "rotary",
        context: int = 0,
        source: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.options, self.input_size, self.hidden_size = options, inputs, options.width
        self.context = context
        self.project = None
        if inputs != options.width:
            self.project = dense(inputs, options.width, generator)
        head = options.width // options.heads
        self.positions = Positions(positions, options.width, head, context, generator)
        self.dropout = Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options, source) for _ in range(layers))
        final = options.norm == "pre" if options.final_norm is None else options.final_norm
        self.norm = norm(options) if final else None
        self.reads_source = bool(source)
        _start(self, layers, generator)

    @property
    def width(self) -> int:
        """Features of a step that comes out."""
        return self.hidden_size

    def remember(self, source: Float[Tensor, "B S E"]) -> list[Memory]:
        """Keys and values of the other sequence for every block, made once."""
        return [block.cross.prepare(source) for block in self.blocks]

    def start(self, rows: int, like: Tensor) -> State:
        """The state before the first step of so many sequences.

        Args:
            rows: sequences, B.
            like: where dtype and device come from.
        """
        options = self.options
        N, M, K = options.heads, options.key_heads or options.heads, options.width // options.heads
        shapes = ((rows, M, 0, K),) * 2
        if options.attention == "linear":
            shapes = ((rows, N, K, K), (rows, N, K))
        kept = [like.new_zeros(shape) for _ in self.blocks for shape in shapes]
        return State([*kept, torch.zeros(rows, dtype=torch.int64, device=like.device)])

    def forward(
        self,
        x: Float[Tensor, "B T D"] | Lookup,
        lengths: Int64[Tensor, " B"] | None = None,
        state: tuple[Tensor, ...] | None = None,
        source: Sequence[Memory] | None = None,
        source_lengths: Int64[Tensor, " A"] | None = None,
        trace: bool = False,
    ) -> Any:
        """Read sequences.

        Args:
            x: inputs, padded at the end, or where to look them up; what stands in the padding is
                never read.
            lengths: true lengths, 1…T; None when all rows are full.
            state: after the steps before, as an earlier call returned it; None starts afresh.
            source: the other sequence, as `remember` gave it, for a stack that reads one: a row
                for each of ours, or for each run of equally many.
            source_lengths: its true lengths; None when all rows are full.
            trace: also return the weights of attention, made explicitly.

        Returns:
            A vector a step, zero in the padding; the state after each row's last step; and with
            ``trace`` for each block (``l0``, …) its weights ``self`` and ``cross``, ``[B N T S]``.

        Raises:
            ShapeError: for lengths or a state that do not fit, steps beyond learned positions, or
                a state for a stack that reads both ways.
        """
        looked_up = x.rows() if isinstance(x, Lookup) else x
        B, T, _ = looked_up.shape
        self._check(B, T, lengths, state)
        memories, read = self._remembered(state, B, looked_up.device)
        y = blank(looked_up, lengths)
        y = y if self.project is None else self.project(y)
        sight = self._sight(y, lengths, memories, read)
        y = self.dropout(self.positions(y, sight.queries))
        mask = None
        if source is not None and source_lengths is not None:
            mask = mask_of(source_lengths, source[0][0].shape[2])
        kept: list[Tensor] = []
        weights: dict[str, Weights] = {}
        for index, block in enumerate(self.blocks):
            other = None if source is None else source[index]
            y, memory, weights[f"l{index}"] = block(
                y, sight, memories[index], other, mask, explicit=trace
            )
            kept += self._kept(memory, lengths, T)
        y = y if self.norm is None else self.norm(y)
        read = read + (T if lengths is None else lengths)
        outputs, final = blank(y, lengths), State([*kept, read])
        return (outputs, final, weights) if trace else (outputs, final)

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B H"], State]:
        """Read one more input of every sequence.

        Args:
            x: the inputs of one time step.
            state: as the step before returned it; None starts afresh.

        Raises:
            ShapeError: as `forward` does, and if the stack is not causal.
        """
        if not self.options.causal:
            raise ShapeError(
                "Transformer.step: it reads both ways and needs whole sequences; use a causal one "
                "to stream."
            )
        outputs, state = self(x[:, None], None, state)
        return outputs[:, 0], state

    def _check(
        self, rows: int, steps: int, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> None:
        if lengths is not None:
            check_lengths(lengths, rows, steps, "Transformer")
        if state is None:
            return
        if not self.options.causal:
            raise ShapeError(
                "Transformer: it reads both ways, so there is no state to go on from; use a causal "
                "one to read in pieces."
            )
        wanted = 2 * len(self.blocks) + 1
        if len(state) != wanted or any(len(value) != rows for value in state):
            sizes = [list(value.shape) for value in state]
            raise ShapeError(
                f"Transformer: a state of {sizes}; wanted {wanted} tensors of {rows} rows, as "
                "an earlier call returned them."
            )

    def _remembered(
        self, state: tuple[Tensor, ...] | None, rows: int, device: torch.device
    ) -> tuple[list[Memory | None], Tensor]:
        """Every block's memory, and how many steps each row has read."""
        if state is None:
            none: list[Memory | None] = [None] * len(self.blocks)
            return none, torch.zeros(rows, dtype=torch.int64, device=device)
        pairs = [(state[2 * k], state[2 * k + 1]) for k in range(len(self.blocks))]
        return list(pairs), state[-1]

    def _sight(
        self, y: Tensor, lengths: Tensor | None, memories: list[Memory | None], read: Tensor
    ) -> Sight:
        """Where the new steps and those remembered stand.

        Remembered keys end with the last step of their row, so what a shorter row lacks stands
        before its first step, where steps are negative.
        """
        B, T, _ = y.shape
        queries = keys = torch.arange(T, device=y.device)
        first = memories[0]
        if first is not None:
            queries = read[:, None] + queries
            past = 0 if self.options.attention == "linear" else first[0].shape[2]
            keys = read[:, None] + torch.arange(-past, T, device=y.device)
            if B == 1 or bool((read == read[0]).all()):
                queries, keys = queries[0], keys[0]
        valid = None if lengths is None else mask_of(lengths, T)
        return Sight(
            queries=queries, keys=keys, valid=valid,
            rotation=self.positions.rotation(queries, y.dtype),
        )  # fmt: skip

    def _kept(self, memory: Memory, lengths: Tensor | None, steps: int) -> list[Tensor]:
        """What of a block's memory goes into the state, each row's last step at the end."""
        options = self.options
        if not options.causal or options.attention == "linear":
            return list(memory)
        if lengths is not None:
            slots = torch.arange(memory[0].shape[2], device=lengths.device)
            # What a row lacks moves from its end to before its first step.
            order = (slots - (steps - lengths)[:, None]) % len(slots)  # [B S]
            index = order[:, None, :, None].expand_as(memory[0])
            memory = (memory[0].gather(2, index), memory[1].gather(2, index))
        if options.attention == "window":
            start = max(0, memory[0].shape[2] - (options.window - 1))
            memory = (memory[0][:, :, start:], memory[1][:, :, start:])
        return list(memory)


@torch.no_grad()
def _start(stack: Transformer, layers: int, generator: torch.Generator | None) -> None:
    """First weights: small, those that end a residual branch smaller the deeper the stack.

    Source:
        Radford et al. (2019), section 2.3.
    """
    branch_ends = {"attention.output", "cross.output", "feed_forward.outer"}
    for name, module in stack.named_modules():
        if isinstance(module, nn.Linear) and module is not stack.project:
            ends = any(name.endswith(end) for end in branch_ends)
            size = SIZE / math.sqrt(2 * layers) if ends else SIZE
            module.weight.normal_(0.0, size, generator=generator)
            if module.bias is not None:
                module.bias.zero_()


SIZE = 0.02
