"""A decoder token by token on packed weights: what a search of many steps uses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.text_decoder import Memory, RecurrentDecoder

if TYPE_CHECKING:
    from unspool.engine.stream import Stream


class TextStream:
    """What a `RecurrentDecoder` computes, its stack on weights that are packed once.

    Weights are packed when it is made, and again when less than half of its rows are left; later
    changes of the model are not seen. It computes no gradients.

    Args:
        decoder: in evaluation mode, on the CPU; see `streams`.
        rows: how many there will be after the first step, where a search begins with fewer: the
            first step is packed for them already.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.models.settings import RecurrentSettings
        >>> target = {"size": 7, "begin": 5, "end": 6}
        >>> own = RecurrentDecoder(target, RecurrentSettings(hidden=4), CELLS["gru"], 3, 0).eval()
        >>> memory = own.remember(None, None, torch.ones(2, 3))
        >>> tokens, stream = torch.tensor([5, 5]), TextStream(own)
        >>> logits, _, _ = stream.step(tokens, memory.start, memory)
        >>> torch.allclose(logits, own.step(tokens, memory.start, memory)[0], atol=1e-6)
        True
    """

    def __init__(self, decoder: RecurrentDecoder, rows: int = 1) -> None:
        self.decoder, self._rows = decoder, rows
        self.begin, self.end = decoder.begin, decoder.end
        self._layers: list[Stream] = []

    @torch.no_grad()
    def step(
        self, tokens: Tensor, state: State, memory: Memory, weights: bool = False
    ) -> tuple[Tensor, State, Tensor | None]:
        """As `RecurrentDecoder.step`."""
        rows, self._rows = max(self._rows, len(tokens)), 0
        read = partial(self._read, rows) if streams(self.decoder.recurrent, rows) else None
        return self.decoder.step(tokens, state, memory, weights, read)

    def _read(self, rows: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of the stack, on weights packed for so many rows if they have to be."""
        R, stack = len(x), self.decoder.recurrent
        if not self._layers or not rows <= self._layers[0].batch < 2 * rows:
            self._layers = _packed(stack, rows)
        more = self._layers[0].batch - R  # rows of answers that are found: they read zeros
        after, y = [], x
        for index, layer in enumerate(self._layers):
            layer.x[:R] = y
            before = [value[:, index] for value in state]
            if more:
                before = [F.pad(value, (0, 0, 0, more)) for value in before]
            layer.state = tuple(before)
            out = layer.step()[:R]
            after.append([value[:R, None] for value in layer.state])
            y = out + y if stack.residual and index else out.clone()
        if len(after) == 1:
            return y, State(after[0])
        return y, State(torch.cat(values, 1) for values in zip(*after, strict=True))


def streams(stack: Recurrent, rows: int) -> bool:
    """Whether so many rows are faster on packed weights: few of them, or one thread for all.

    A `unspool.engine.stream.Stream` runs on one thread; products of many rows use several.
    """
    automatic = stack.named_backend in ("auto", "llvm")
    few = rows <= MANY or torch.get_num_threads() == 1
    return automatic and few and stack.backend == "llvm"


def _packed(stack: Recurrent, rows: int) -> list[Stream]:
    """A stream for every layer."""
    from unspool.engine.stream import Stream  # needs llvmlite, which `streams` has found

    return [
        Stream(
            stack.cell,
            dict(weights.items()),
            stack.hidden_size,
            stack.hidden_size if layer else stack.input_size,
            rows,
        )
        for layer, weights in enumerate(stack.weights.values())
    ]


MANY = 48  # rows
