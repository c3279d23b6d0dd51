"""Transformers by their settings: an encoder of steps, or a stack that reads one way."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import BlockOptions
from unspool.models.settings import TransformerSettings

Lengths = Tensor | None


class TransformerEncoder(nn.Module):
    """A stack of blocks as the encoder of labelled sequences.

    Args:
        inputs: features of a step, D.
        settings: of the stack; ``bidirectional`` lets every step see all of them.
        generator: of the first weights.

    Attributes:
        width: features of an output step.

    Example:
        >>> encoder = TransformerEncoder(3, TransformerSettings(hidden=8, layers=1))
        >>> outputs, lengths = encoder(torch.zeros(2, 7, 3), torch.tensor([7, 4]))
        >>> outputs.shape
        torch.Size([2, 7, 8])
    """

    def __init__(
        self,
        inputs: int,
        settings: TransformerSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.stack = build_transformer(inputs, settings, not settings.bidirectional, generator)
        self.width = self.stack.width

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Lengths = None
    ) -> tuple[Float[Tensor, "B T H"], Lengths]:
        """Read sequences.

        Args:
            x: a vector a step, padded at the end.
            lengths: true lengths, 1…T; None when all rows are full.

        Returns:
            A vector a step, zero in the padding, and the lengths as they were.
        """
        return self.stack(x, lengths)[0], lengths


def build_transformer(
    inputs: int,
    settings: TransformerSettings,
    causal: bool,
    generator: torch.Generator | None = None,
    source: int = 0,
) -> Transformer:
    """The stack that settings describe.

    Args:
        inputs: features of a step.
        settings: widths, heads, positions, attention.
        causal: whether a step sees none after it.
        generator: of the first weights; None is torch's global one.
        source: features of another sequence's steps, for a stack that reads one; 0 for none.

    Raises:
        ConfigError: for learned positions without a context.

    Example:
        >>> build_transformer(16, TransformerSettings(hidden=16), causal=True).options.units
        64
    """
    options = BlockOptions(
        width=settings.hidden,
        heads=settings.heads,
        key_heads=settings.key_heads,
        units=settings.units,
        activation=settings.activation,
        norm=settings.norm,
        attention=settings.attention,
        window=settings.window,
        causal=causal,
        dropout=settings.dropout,
        biases=settings.biases,
    )
    return Transformer(
        inputs, options, settings.layers, settings.positions, settings.context, source, generator
    )
