"""A language model one token at a time: packed weights, reused memory, no graph of operations."""

from __future__ import annotations

import numpy as np

from unspool.engine.scan import choose_backend
from unspool.errors import ConfigError
from unspool.layers.recurrent import Recurrent
from unspool.models.language_model import LanguageModel


class TokenStream:
    """Reads tokens, scores and draws the next, for one sequence, without gradients.

    Weights are packed when it is made; later changes of the model are not seen.

    Args:
        model: on the CPU.

    Attributes:
        step: what runs, and how it draws (`unspool.engine.tokens.TokenStep.set_sampling`).

    Raises:
        BackendError: if there is no fused code for its cell on this machine.
        ConfigError: if the model is bidirectional.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.models.settings import RecurrentSettings
        >>> model = LanguageModel(7, RecurrentSettings(hidden=4), CELLS["gru"]).eval()
        >>> stream = TokenStream(model)
        >>> whole, _ = model(torch.tensor([[3, 5]]))
        >>> np.allclose([stream.read(3), stream.read(5)][-1], whole[0, -1].detach(), atol=1e-6)
        True
    """

    def __init__(self, model: LanguageModel) -> None:
        encoder = model.encoder
        if encoder.bidirectional:
            raise ConfigError("TokenStream: a bidirectional model cannot read token by token.")
        choose_backend(encoder.cell, model.head.bias.detach(), "llvm")
        # Needs llvmlite, which the line above has found.
        from unspool.engine.stream import Stream
        from unspool.engine.tokens import TokenStep

        units, table = encoder.hidden_size, model.embedding.weight.detach()
        layers = [
            Stream(
                encoder.cell,
                dict(weights.items()),
                units,
                units if layer else table.shape[1],
                table=None if layer else table,
            )
            for layer, weights in enumerate(encoder.weights.values())
        ]
        self.step = TokenStep(layers, model.head.weight, model.head.bias, encoder.residual)
        start = [value.detach() for value in encoder.start(1)]
        self._start = [tuple(value[:, k] for value in start) for k in range(len(layers))]
        self.reset()

    def reset(self) -> None:
        """Start a new sequence."""
        self.step.restart(self._start)

    def read(self, token: int) -> np.ndarray:
        """Read one token.

        Args:
            token: 0…V − 1.

        Returns:
            Logits of the next token, ``[V]``, fresh memory.

        Raises:
            IndexError: if there is no such token.
        """
        self.step.score(token)
        return self.step.scores.numpy().copy()


def streams(model: LanguageModel) -> bool:
    """Whether a `TokenStream` can be made of a model: one direction, fused code, on the CPU."""
    encoder = model.encoder
    if not isinstance(encoder, Recurrent):
        return False
    automatic = encoder.named_backend in ("auto", "llvm")
    return automatic and not encoder.bidirectional and encoder.backend == "llvm"
