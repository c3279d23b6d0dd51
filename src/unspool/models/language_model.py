"""A recurrent language model: tokens in, scores of the next token out."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.errors import ConfigError
from unspool.layers.dropout import Dropout
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.settings import RecurrentSettings, set_apart


class LanguageModel(nn.Module):
    """Embedding, recurrent encoder, linear head.

        h_t = encoder(embedding(x_t), h_{t-1})        logits_t = head(h_t)

    Args:
        vocabulary: number of tokens, V.
        settings: widths, layers, dropout.
        cell: the equations; ``settings.name`` is not looked at.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for a setting that only models of labelled sequences have a use for.

    Example:
        >>> from unspool.cells import CELLS
        >>> model = LanguageModel(7, RecurrentSettings(hidden=4), CELLS["gru"])
        >>> logits, state = model(torch.zeros(2, 5, dtype=torch.int64))
        >>> logits.shape
        torch.Size([2, 5, 7])
    """

    def __init__(
        self,
        vocabulary: int,
        settings: RecurrentSettings,
        cell: Cell,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        idle = set_apart(settings, ("bidirectional", "pooling", "characters", "character_hidden"))
        if idle:
            raise ConfigError(" ".join(f"model.{name}: {NO_USE[name]}" for name in idle))
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.dropout = Dropout(settings.dropout)
        self.encoder = Recurrent(
            cell,
            settings.width,
            settings.hidden,
            settings.layers,
            residual=settings.residual,
            dropout=settings.dropout,
            recurrent_dropout=settings.recurrent_dropout,
            learn_initial_state=settings.learn_initial_state,
            initialisation=settings.initialisation,
            forget_bias=settings.forget_bias,
            generator=generator,
        )
        self.head = nn.Linear(settings.hidden, vocabulary)
        with torch.no_grad():
            # Inputs of size one; a matrix that is the output layer as well starts as one.
            size = 1.0 / math.sqrt(settings.width) if settings.tie else 1.0
            self.embedding.weight.normal_(0.0, size, generator=generator)
            bound = 1.0 / math.sqrt(settings.hidden)
            self.head.weight.uniform_(-bound, bound, generator=generator)
            self.head.bias.zero_()
        if settings.tie:
            self.head.weight = self.embedding.weight

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the tokens should be."""
        return self.head.bias.device

    def forward(
        self, tokens: Int64[Tensor, "B T"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B T V"], State]:
        """Scores of what follows each token, given all before it.

        Args:
            tokens: ids, 0…V − 1.
            state: from the call before, to read on; None starts afresh.

        Returns:
            Logits, and the state after the last token.
        """
        h, state = self.encoder(Lookup(self.embedding.weight, tokens), state=state)
        return self.head(self.dropout(h)), state

    def step(
        self, tokens: Int64[Tensor, " B"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B V"], State]:
        """The same for one token of each sequence."""
        logits, state = self(tokens[:, None], state)
        return logits[:, 0], state


# Why a language model refuses what only models of labelled sequences have a use for.
NO_USE = {
    "bidirectional": "a model that writes reads one way: the other way it would see what it "
    "predicts; leave it out.",
    "pooling": "a model that writes predicts at every step and pools none; leave it out.",
    "characters": "tokens of a model that writes are not spelt out; leave it out.",
    "character_hidden": "tokens of a model that writes are not spelt out; leave it out.",
}
