"""A language model one token at a time: packed weights, reused memory, no graph of operations."""

from __future__ import annotations

import numpy as np
import torch

from unspool.engine.scan import choose_backend
from unspool.engine.stream import Stream
from unspool.errors import ConfigError
from unspool.models.language_model import LanguageModel


class TokenStream:
    """Reads tokens and scores the next, for one sequence, without gradients.

    Weights are packed when it is made; later changes of the model are not seen.

    Args:
        model: on the CPU.

    Raises:
        BackendError: if there is no fused code for its cell on this machine.

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
        self._table = model.embedding.weight.detach().clone()
        self._row_bytes = self._table.stride(0) * self._table.element_size()
        self._weight = model.head.weight.detach().numpy().copy()
        self._bias = model.head.bias.detach().numpy().copy()
        self._residual = encoder.residual
        self._layers: list[Stream] = []
        for weights in encoder.weights.values():
            below = self._layers[-1].outputs if self._layers else None
            features = self._table.shape[1] if below is None else encoder.hidden_size
            layer = Stream(encoder.cell, dict(weights.items()), encoder.hidden_size, features)
            if below is not None and not self._residual:
                layer.read_from((below[0].data_ptr(), below[1].data_ptr()))
            self._layers.append(layer)
        self._start = [
            tuple(start[:, index] for start in encoder.start(1))
            for index in range(len(self._layers))
        ]
        self.reset()

    def reset(self) -> None:
        """Start a new sequence."""
        for layer, start in zip(self._layers, self._start, strict=True):
            layer.state = start

    @torch.inference_mode()
    def read(self, token: int) -> np.ndarray:
        """Read one token.

        Args:
            token: 0…V − 1.

        Returns:
            Logits of the next token, ``[V]``, fresh memory.
        """
        self._layers[0].point_input(self._table.data_ptr() + token * self._row_bytes)
        h = self._layers[0].step()
        for layer in self._layers[1:]:
            if self._residual:
                layer.x.copy_(h)
                h = layer.step() + h
            else:
                h = layer.step()
        return self._weight @ h.numpy()[0] + self._bias


def streams(model: LanguageModel) -> bool:
    """Whether a `TokenStream` can be made of a model: one direction, fused code, on the CPU."""
    encoder = model.encoder
    automatic = encoder.named_backend in ("auto", "llvm")
    return automatic and not encoder.bidirectional and encoder.backend == "llvm"
