"""A language model, recurrent or a transformer: tokens in, scores of the next token out."""

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
from unspool.layers.transformer import Transformer
from unspool.models.encoders import build_recurrent
from unspool.models.settings import (
    RecurrentSettings,
    TransformerSettings,
    only_writing,
    set_apart,
)
from unspool.models.transformer import build_transformer


class LanguageModel(nn.Module):
    """Embedding, an encoder that reads one way, linear head.

        h_t = encoder(embedding(x_t), state_{t-1})        logits_t = head(h_t)

    Args:
        vocabulary: number of tokens, V.
        settings: of a recurrent stack or of a transformer.
        cell: the equations of a recurrent stack, whose ``name`` is not looked at; None for a
            transformer.
        generator: of the first weights; None is torch's global one.

    Attributes:
        embedding: the vectors of the tokens.
        encoder: a `Recurrent` or a `Transformer`.
        head: from the encoder's steps to logits.

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
        settings: RecurrentSettings | TransformerSettings,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        idle = set_apart(
            settings, ("bidirectional", "pooling", "characters", "character_hidden", "crf")
        )
        if isinstance(settings, TransformerSettings):
            idle += set_apart(settings, ("convolutions",))
        idle += set_apart(settings, only_writing(settings))
        if idle:
            why = [f"model.{name}: {NO_USE.get(name, NO_INPUT)}" for name in idle]
            raise ConfigError(" ".join(why))
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.dropout = Dropout(settings.dropout)
        self.encoder = _encoder(settings, cell, generator)
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

    @property
    def carries(self) -> bool:
        """Whether training goes on from the state of the window before."""
        return isinstance(self.encoder, Recurrent)

    @property
    def context(self) -> int:
        """Steps that one state is made for; 0 where a text of any length is one stream."""
        return self.encoder.context if self._ends else 0

    @property
    def limit(self) -> int:
        """Steps that one state can hold; 0 where there is no end."""
        learned = self._ends and self.encoder.positions.table is not None
        return self.encoder.context if learned else 0

    @property
    def _ends(self) -> bool:
        """Whether steps far into a text are unlike those it was trained on."""
        encoder = self.encoder
        if isinstance(encoder, Recurrent):
            return False
        near = encoder.options.attention != "full"
        return not (near and encoder.positions.name in ("rotary", "none"))

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


def _encoder(
    settings: RecurrentSettings | TransformerSettings,
    cell: Cell | None,
    generator: torch.Generator | None,
) -> Recurrent | Transformer:
    if isinstance(settings, TransformerSettings):
        return build_transformer(settings.width, settings, causal=True, generator=generator)
    return build_recurrent(settings.width, settings, cell, generator)


# Why a language model refuses what only models of labelled sequences have a use for.
NO_USE = {
    "bidirectional": "a model that writes reads one way: the other way it would see what it "
    "predicts; leave it out.",
    "pooling": "a model that writes predicts at every step and pools none; leave it out.",
    "characters": "tokens of a model that writes are not spelt out; leave it out.",
    "character_hidden": "tokens of a model that writes are not spelt out; leave it out.",
    "crf": "a model that writes gives no labels; leave it out.",
    "convolutions": "are for images and sounds; leave it out.",
}
NO_INPUT = "is for models that write a text for an input, and this one has no input; leave it out."
