"""Word vectors that a model starts from, instead of drawing its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from unspool.data.encoders import TextEncoder, WordsEncoder
from unspool.data.vectors import read_vectors
from unspool.data.words import UNKNOWN
from unspool.errors import ConfigError, DataError
from unspool.models.sequence_model import SequenceModel
from unspool.tasks.table import TASKS


@dataclass(frozen=True)
class Pretrained:
    """The file of vectors of a run; it is read when it is first needed.

    Attributes:
        file: GloVe or word2vec.
        frozen: whether the vectors stay as they are.
        words: by id; an empty one has no vector.
    """

    file: str
    frozen: bool
    words: tuple[str, ...]

    @classmethod
    def of(cls, encoder: Any, settings: Any) -> Pretrained | None:
        """What the settings ask for; None where they ask for no vectors.

        Args:
            encoder: of the inputs.
            settings: as `unspool.config.Settings`.

        Raises:
            ConfigError: if the model does not read words, or cannot read them by vectors.
        """
        data = settings.data
        if data.vectors is None:
            if data.freeze_vectors:
                raise ConfigError("data.freeze_vectors: there are no data.vectors to freeze.")
            return None
        return cls(data.vectors, data.freeze_vectors, words_of(encoder))

    def check_width(self, settings: Any) -> None:
        """Refuse a width of the embedding that was asked for and is not that of the vectors.

        Raises:
            ConfigError: with both.
        """
        asked, width = settings.model.embedding, self.table.shape[1]
        default = TASKS[settings.task].defaults[settings.size].get("model.embedding", 0)
        if asked not in (default, width):
            raise ConfigError(
                f"model.embedding: got {asked}, but the vectors of {self.file} have {width} "
                "numbers each; leave it out."
            )

    @cached_property
    def table(self) -> np.ndarray:
        """A vector for each word, float32 ``[V D]``; NaN for those that the file does not know.

        Raises:
            DataError: if the file cannot be read, or knows none of the words.
        """
        words = [word for word in self.words if word]
        table = read_vectors(self.file, words).of(self.words)
        if np.isnan(table).all():
            raise DataError(
                f"{self.file}: knows none of the {len(words):,} words that the training part "
                "has; are they in another language, or in another spelling?"
            )
        return table

    @property
    def shape(self) -> dict[str, Any]:
        """What the model depends on."""
        return {"width": self.table.shape[1], "frozen": self.frozen}

    def fill(self, model: SequenceModel) -> None:
        """Start the model's embedding from the vectors.

        Words that the file does not know get vectors of about the same length, drawn at random.
        """
        known = ~np.isnan(self.table[:, 0])
        with torch.no_grad():
            model.embedding.weight *= float(self.table[known].std()) or 1.0
        model.embedding.load_vectors(torch.from_numpy(self.table))

    def said(self, ids: np.ndarray) -> str:
        """How much the vectors cover, in a sentence.

        Args:
            ids: of all words of the training part, one behind the other.
        """
        known = ~np.isnan(self.table[:, 0])
        share = known[ids].mean() if len(ids) else 0.0
        after = "left as they are" if self.frozen else "fine-tuned"
        return (
            f"{self.file} has vectors of {self.table.shape[1]} numbers for {known.sum():,} of the "
            f"{sum(map(bool, self.words)):,} words in the vocabulary, which make up {share:.1%} of "
            f"the training part; they are {after}."
        )


def words_of(encoder: Any) -> tuple[str, ...]:
    """What each id of an encoder stands for; nothing for unknown words and none at all.

    Raises:
        ConfigError: if its ids are no words.

    Example:
        >>> from unspool.data.settings import DataSettings
        >>> words_of(WordsEncoder.fit([["The", "cat", "the"]], DataSettings()))
        ('', 'the')
    """
    if isinstance(encoder, WordsEncoder):
        return ("", *encoder.words)
    if not isinstance(encoder, TextEncoder):
        raise ConfigError(f"data.vectors: are for words, and the inputs are {encoder.reads}.")
    tokenizer = encoder.tokenizer
    if tokenizer.kind != "word":
        raise ConfigError(
            f"data.vectors: are for words, and data.tokens is '{tokenizer.kind}'; set it to 'word'."
        )
    pieces = [tokenizer.token(number) for number in range(tokenizer.size)]
    return (*("" if piece == UNKNOWN else piece.strip(" ") for piece in pieces), "")


def ids_of(encoded: Sequence[Any]) -> np.ndarray:
    """The words of all encoded inputs, one behind the other, int64."""
    rows = [each[0] if isinstance(each, tuple) else each for each in encoded]
    return torch.cat([row.flatten() for row in rows]).numpy()
