"""A transformer decoder: it writes a text token by token, and every block looks at a memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unspool.engine.lookup import Lookup
from unspool.errors import ShapeError
from unspool.layers.dense import dense
from unspool.layers.dropout import Dropout
from unspool.layers.embedding import table
from unspool.layers.state import State
from unspool.models.settings import TransformerSettings
from unspool.models.text_decoder import Memory
from unspool.models.transformer import build_transformer


class TransformerDecoder(nn.Module):
    """Embedding, causal blocks with attention to a memory, linear head.

        h_t = blocks(y_0 … y_{t-1}, memory),        logits_t = W_o h_t + b_o

    Its state holds keys and values of what it has written, as `Transformer` says; the memory those
    of what was read, made once for all blocks.

    Args:
        target: ``size``, V; ``begin`` and ``end``, tokens before and behind every text.
        settings: of the blocks.
        memory: features of a step of the memory.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for settings that do not go together.

    Source:
        Vaswani et al. (2017), figure 1, on the right.

    Example:
        >>> target = {"size": 7, "begin": 5, "end": 6}
        >>> decoder = TransformerDecoder(target, TransformerSettings(hidden=8, layers=1), memory=3)
        >>> memory = decoder.remember(torch.zeros(2, 4, 3), None)
        >>> decoder(torch.tensor([[5, 0], [5, 1]]), memory).shape
        torch.Size([2, 2, 7])
    """

    def __init__(
        self,
        target: Mapping[str, Any],
        settings: TransformerSettings,
        memory: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.begin, self.end = target["begin"], target["end"]
        scale = 1.0 / math.sqrt(settings.width) if settings.tie else 1.0
        self.weight = table(target["size"], settings.width, generator, scale)
        self.stack = build_transformer(
            settings.width, settings, causal=True, generator=generator, source=memory
        )
        self.dropout = Dropout(settings.dropout)
        self.head = dense(settings.hidden, target["size"], generator)
        if settings.tie:
            self.head.weight = self.weight

    def remember(self, outputs: Float[Tensor, "B S E"], mask: Bool[Tensor, "B S"] | None) -> Memory:
        """Make ready what was read.

        Args:
            outputs: a vector a step, zero in the padding, as encoders give it.
            mask: True where a step is no padding; None where all are.
        """
        keys = [value for pair in self.stack.remember(outputs) for value in pair]
        return Memory(State(keys), mask, self.stack.start(len(outputs), outputs))

    def forward(
        self,
        tokens: Int64[Tensor, "B U"],
        memory: Memory,
        lengths: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B U V"]:
        """Scores of what follows each token of given texts (teacher forcing).

        Args:
            tokens: the beginning and all before the last, 0…V − 1.
            memory: of `remember`, a row for each text.
            lengths: true lengths; None reads the padding too, which comes later and so changes no
                score before it.
        """
        if len(memory) != len(tokens):
            raise ShapeError(
                f"TransformerDecoder: {len(tokens)} texts for a memory of {len(memory)} rows; "
                "wanted a text for each."
            )
        h, _ = self.stack(Lookup(self.weight, tokens), lengths, None, *_source(memory))
        return self.head(self.dropout(h))

    def step(
        self,
        tokens: Int64[Tensor, " R"],
        state: State,
        memory: Memory,
        weights: bool = False,
    ) -> tuple[Float[Tensor, "R V"], State, Float[Tensor, "R S"] | None]:
        """Read one more token of every text.

        Args:
            tokens: the last token of each.
            state: after those before.
            memory: a row for each text, or for each run of equally many, as a beam has them.
            weights: also return where each looked.

        Returns:
            Scores of what follows, the new state, and the weights over the memory, the mean of all
            heads and blocks; None where they are not wanted.
        """
        read = Lookup(self.weight, tokens[:, None])
        found = self.stack(read, None, state, *_source(memory), trace=weights)
        h, state = found[:2]
        shares = None
        if weights:
            cross = [block["cross"][:, :, 0] for block in found[2].values()]  # [R N S] each
            shares = torch.stack(cross).mean((0, 2))
        return self.head(self.dropout(h[:, 0])), state, shares


def _source(memory: Memory) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """A memory as a stack wants it: a pair for each block, and the true lengths."""
    keys = list(memory.keys)
    pairs = list(zip(keys[::2], keys[1::2], strict=True))
    return pairs, None if memory.mask is None else memory.mask.sum(1)
