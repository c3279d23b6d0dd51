"""Texts that are written: as tokens between a beginning and an end, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool.data.settings import DataSettings
from unspool.data.text_encoders import fitting
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import fit_tokenizer, load_tokenizer
from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class TargetEncoder:
    """A text as the tokens that a decoder writes.

    Behind the ids of the tokenizer come two more: `begin`, which is read before the first token,
    and `end`, which is written behind the last. What the vocabulary lacks is left out of
    characters, and is the stand-in among words.

    Attributes:
        tokenizer: learnt on the training part.
        longest: tokens of its longest target, without the end.
        max_length: tokens of the longest target that is learnt; 0 sets no limit.
        truncates: whether longer ones lose their end, or are refused.
    """

    tokenizer: Tokenizer
    longest: int
    max_length: int = 0
    truncates: bool = False

    @classmethod
    def fit(
        cls, texts: Sequence[str], settings: DataSettings, tokenizer: Tokenizer | None = None
    ) -> TargetEncoder:
        """Learn the tokens of a training part.

        Args:
            texts: of the training part alone.
            settings: of the targets.
            tokenizer: one that is shared with what is read; None learns one.

        Example:
            >>> encoder = TargetEncoder.fit(["ab", "ba", "a"], DataSettings())
            >>> encoder.encode("aba").tolist(), encoder.begin, encoder.longest
            ([1, 2, 1, 4], 3, 2)
            >>> encoder.decode([1, 2, 1, 4, 1])
            'aba'
        """
        tokenizer = tokenizer or fit_tokenizer("\n".join(texts), settings)
        truncates = settings.too_long == "truncate"
        fitted = cls(tokenizer, 0, settings.max_length, truncates)
        longest = max(len(fitted.ids(text)) for text in texts)
        if settings.max_length:
            longest = min(longest, settings.max_length)
        return cls(tokenizer, longest, settings.max_length, truncates)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TargetEncoder:
        """What `to_dict` gave."""
        tokenizer = load_tokenizer(stored["tokenizer"], "targets.json")
        counts = int(stored["longest"]), int(stored["max_length"])
        return cls(tokenizer, *counts, bool(stored["truncates"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "tokenizer": self.tokenizer.to_json(),
            "longest": self.longest,
            "max_length": self.max_length,
            "truncates": self.truncates,
        }

    @property
    def begin(self) -> int:
        """The id before every text."""
        return self.tokenizer.size

    @property
    def end(self) -> int:
        """The id behind every text."""
        return self.tokenizer.size + 1

    @property
    def shape(self) -> dict[str, Any]:
        """What a model has to know: ``size``, ``begin`` and ``end``."""
        return {"size": self.tokenizer.size + 2, "begin": self.begin, "end": self.end}

    def ids(self, text: str) -> Tensor:
        """Ids of all tokens of a text, int64 ``[T]``, without the end; T may be 0."""
        if not isinstance(text, str):
            raise DataError(f"got {type(text).__name__} to write; wanted text.")
        if self.tokenizer.kind == "char":
            unknown = dict.fromkeys(map(ord, self.tokenizer.unknown(text)))
            text = text.translate(unknown) if unknown else text
        return torch.as_tensor(self.tokenizer.encode(text, "text"), dtype=torch.int64)

    def encode(self, text: str) -> Tensor:
        """Ids of the tokens of a text and the end, int64 ``[T]``.

        Raises:
            DataError: if it is too long, or no text.
        """
        ids = fitting(self.ids(text), self.max_length, self.truncates)
        return torch.cat([ids, torch.tensor([self.end])])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, up to the first end."""
        return self.tokenizer.decode(self._written(ids))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """What each id writes, for a person to read, up to the first end."""
        return [self.tokenizer.token(id) for id in self._written(ids)]

    def _written(self, ids: Sequence[int]) -> list[int]:
        written = [int(id) for id in ids]
        written = written[: written.index(self.end)] if self.end in written else written
        return [id for id in written if id != self.begin]
