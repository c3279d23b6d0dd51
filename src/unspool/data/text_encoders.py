"""From texts and words to tensors: fitted on the training part, stored as plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.data.settings import DataSettings
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import fit_tokenizer, load_tokenizer
from unspool.errors import DataError

Collated = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A text as tokens.

    What the vocabulary lacks is left out of characters and byte pairs, and is the stand-in among
    words; a text of which nothing is left is one token of its own.

    Attributes:
        tokenizer: learnt on the training part.
        max_length: tokens of the longest text; 0 sets no limit.
        truncates: whether longer ones lose their end, or are refused.
    """

    tokenizer: Tokenizer
    max_length: int = 0
    truncates: bool = False
    kind: str = "tokens"
    reads: str = "text"

    @classmethod
    def fit(cls, texts: Sequence[str], settings: DataSettings) -> TextEncoder:
        """Learn the tokens of a training part.

        Example:
            >>> encoder = TextEncoder.fit(["to be", "or not"], DataSettings())
            >>> encoder.encode("bee!").tolist()
            [2, 3, 3]
        """
        tokenizer = fit_tokenizer("\n".join(texts), settings)
        return cls(tokenizer, settings.max_length, settings.too_long == "truncate")

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TextEncoder:
        """What `to_dict` gave."""
        tokenizer = load_tokenizer(stored["tokenizer"], "encoder.json")
        return cls(tokenizer, int(stored["max_length"]), bool(stored["truncates"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reads": self.reads,
            "tokenizer": self.tokenizer.to_json(),
            "max_length": self.max_length,
            "truncates": self.truncates,
        }

    @property
    def shape(self) -> dict[str, Any]:
        """Tokens, and the one of texts of which nothing is left."""
        return {"kind": self.kind, "size": self.tokenizer.size + 1}

    def encode(self, text: str) -> Tensor:
        """Ids of the tokens of a text, int64 ``[T]``, T ≥ 1.

        Raises:
            DataError: if it is too long, or no text.
        """
        if not isinstance(text, str):
            raise DataError(f"got {type(text).__name__}; wanted text.")
        if self.tokenizer.kind == "char":
            unknown = dict.fromkeys(map(ord, self.tokenizer.unknown(text)))
            text = text.translate(unknown) if unknown else text
        ids = torch.as_tensor(self.tokenizer.encode(text, "text"), dtype=torch.int64)
        if not len(ids):
            return torch.tensor([self.tokenizer.size])
        return fitting(ids, self.max_length, self.truncates)

    def tokens(self, encoded: Tensor) -> list[str]:
        """What stands at each step of an encoded text, for a person to read.

        Example:
            >>> encoder = TextEncoder.fit(["to be"], DataSettings())
            >>> encoder.tokens(encoder.encode("bet"))
            ['b', 'e', 't']
        """
        size = self.tokenizer.size
        return ["" if id == size else self.tokenizer.token(id) for id in encoded.tolist()]

    def collate(self, encoded: Sequence[Tensor]) -> Collated:
        """Texts side by side: ``tokens`` ``[B T]``, padded with 0, and their lengths ``[B]``."""
        lengths = torch.tensor([len(ids) for ids in encoded])
        return {"tokens": nn.utils.rnn.pad_sequence(list(encoded), batch_first=True)}, lengths


@dataclass(frozen=True, slots=True)
class WordsEncoder:
    """A list of words, each by itself and by its characters.

    Words are looked up in lower case; those that training saw once are unknown, so that a vector
    for unknown words is learnt. Characters keep their case. While training, a word that was seen
    n times is read as unknown with probability a / (a + n), a being ``word_dropout``: rare words
    must be told by their letters and their neighbours, as words never seen will have to be.

    Attributes:
        words: of the vocabulary; the first id, 0, is for all others.
        characters: that training saw; ids start at 2, after the filler and the unknown one.
        max_length: words of the longest sentence; 0 sets no limit.
        truncates: whether longer ones lose their end, or are refused.
        word_dropout: a; 0 reads every word.
        counts: how often training saw each word, in the order of ``words``.

    Source:
        Kiperwasser and Goldberg (2016), section 4.1 (word dropout).
    """

    words: Mapping[str, int]
    characters: Mapping[str, int]
    max_length: int = 0
    truncates: bool = False
    word_dropout: float = 0.0
    counts: tuple[int, ...] = ()
    kind: str = "words"
    reads: str = "words"

    @classmethod
    def fit(cls, sentences: Sequence[Sequence[str]], settings: DataSettings) -> WordsEncoder:
        """Learn words and characters of a training part.

        Example:
            >>> encoder = WordsEncoder.fit([["The", "cat", "the", "dog"]], DataSettings())
            >>> encoder.encode(["the", "fox"])[0].tolist()
            [1, 0]
        """
        counts = Counter(word.lower() for words in sentences for word in words)
        known = [word for word, count in counts.most_common(settings.vocabulary) if count > 1]
        known.sort()
        characters = sorted({each for words in sentences for word in words for each in word})
        return cls(
            {word: number for number, word in enumerate(known, 1)},
            {each: number for number, each in enumerate(characters, UNKNOWN_CHARACTER + 1)},
            settings.max_length,
            settings.too_long == "truncate",
            settings.word_dropout,
            tuple(counts[word] for word in known),
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> WordsEncoder:
        """What `to_dict` gave."""
        return cls(
            {word: number for number, word in enumerate(stored["words"], 1)},
            {c: number for number, c in enumerate(stored["characters"], UNKNOWN_CHARACTER + 1)},
            int(stored["max_length"]),
            bool(stored["truncates"]),
            float(stored.get("word_dropout", 0.0)),
            tuple(map(int, stored.get("counts", ()))),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reads": self.reads,
            "words": list(self.words),
            "characters": list(self.characters),
            "max_length": self.max_length,
            "truncates": self.truncates,
            "word_dropout": self.word_dropout,
            "counts": list(self.counts),
        }

    @property
    def shape(self) -> dict[str, Any]:
        """Words with the unknown one; characters with filler and unknown one."""
        characters = len(self.characters) + UNKNOWN_CHARACTER + 1
        return {"kind": self.kind, "size": len(self.words) + 1, "characters": characters}

    def encode(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids of words, int64 ``[T]``, and of their characters ``[T K]``, 0 behind a word's end.

        Raises:
            DataError: if there are no words, or too many.
        """
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise DataError("got something else; wanted a list of words.")
        if not len(words):
            raise DataError("got no words; wanted at least one.")
        ids = torch.tensor([self.words.get(word.lower(), 0) for word in words])
        spelt = [
            torch.tensor([self.characters.get(c, UNKNOWN_CHARACTER) for c in word[:LONGEST_WORD]])
            for word in words
        ]
        ids = fitting(ids, self.max_length, self.truncates)
        spelt = [each if len(each) else torch.tensor([UNKNOWN_CHARACTER]) for each in spelt]
        return ids, nn.utils.rnn.pad_sequence(spelt[: len(ids)], batch_first=True)

    def collate(self, encoded: Sequence[tuple[Tensor, Tensor]]) -> Collated:
        """Sentences side by side: ``tokens`` ``[B T]``, ``characters`` ``[B T K]``, lengths."""
        lengths = torch.tensor([len(ids) for ids, _ in encoded])
        widest = max(spelt.shape[1] for _, spelt in encoded)
        characters = torch.zeros(len(encoded), int(lengths.max()), widest, dtype=torch.int64)
        for row, (ids, spelt) in enumerate(encoded):
            characters[row, : len(ids), : spelt.shape[1]] = spelt
        tokens = nn.utils.rnn.pad_sequence([ids for ids, _ in encoded], batch_first=True)
        return {"tokens": tokens, "characters": characters}, lengths

    def vary(
        self, inputs: Mapping[str, Tensor], lengths: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """A training batch in which some words are unknown, rare ones more often."""
        if not self.word_dropout:
            return inputs
        seen = torch.tensor([1, *self.counts], dtype=torch.float32)
        chance = self.word_dropout / (self.word_dropout + seen)
        tokens = inputs["tokens"]
        lost = torch.rand(tokens.shape, generator=generator) < chance[tokens]
        return {**inputs, "tokens": tokens.masked_fill(lost, 0)}


def fitting(ids: Tensor, most: int, truncates: bool) -> Tensor:
    """The first ``most`` of a row, or the refusal of a longer one.

    Args:
        ids: of every step, ``[T]`` or ``[T D]``.
        most: steps that may be read; with 0 nothing is cut, and what one batch would hold no
            memory for (`LONGEST`) is refused.
        truncates: whether a longer row loses its end.

    Raises:
        DataError: if it is longer and may not be truncated.

    Example:
        >>> fitting(torch.arange(5), 3, truncates=True)
        tensor([0, 1, 2])
    """
    if not most and len(ids) > LONGEST:
        raise DataError(
            f"has {len(ids):,} steps, and more than {LONGEST:,} are read only if asked for: set "
            "data.max_length to how many, and data.too_long to 'truncate' to cut what is longer."
        )
    if not most or len(ids) <= most:
        return ids
    if not truncates:
        raise DataError(
            f"has {len(ids)} steps; data.max_length is {most}: raise it, or set data.too_long to "
            "'truncate'."
        )
    return ids[:most]


UNKNOWN_CHARACTER = 1
LONGEST_WORD = 40
# Steps of a row that are read unasked: a batch of 32 is as wide as its longest row, and with 256
# units each of its steps takes about 8 kB an example while it is learnt.
LONGEST = 16_384
