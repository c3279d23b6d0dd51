"""Characters as tokens: a vocabulary that is the sorted set of a text's characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from unspool.data.settings import DataSettings
from unspool.data.text import check_surrogates, line_of
from unspool.data.tokenizer import (
    Tokenizer,
    check_ids,
    expect,
    lowered,
    parse_json,
    read_vocabulary,
    write_json,
)
from unspool.errors import CheckpointError, DataError

# How many missing characters a message lists.
MOST_LISTED = 10


class CharacterTokenizer(Tokenizer):
    """Each character is a token; one the vocabulary lacks is an error, never dropped.

    Example:
        >>> tokenizer = CharacterTokenizer.fit("hello", DataSettings())
        >>> tokenizer.vocabulary, tokenizer.encode("hole").tolist(), tokenizer.decode([1, 0])
        (['e', 'h', 'l', 'o'], [1, 3, 2, 0], 'he')
    """

    kind = "char"

    def __init__(self, vocabulary: Sequence[str], lower: bool = False) -> None:
        """Take single characters, each once; an id is a character's place.

        Raises:
            DataError: if an entry is not one character, or stands there twice.
        """
        self.vocabulary = list(vocabulary)
        self.lower = lower
        wrong = next((entry for entry in self.vocabulary if len(entry) != 1), None)
        if wrong is not None or not self.vocabulary:
            raise DataError(f"characters: vocabulary entry {wrong!r}; wanted single characters.")
        self._code_points = _code_points("".join(self.vocabulary), "vocabulary")
        # One entry for every code point up to the largest, and one for all beyond it.
        self._ids = np.full(int(self._code_points.max()) + 2, -1, dtype=np.int32)
        self._ids[self._code_points] = np.arange(len(self.vocabulary))
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise DataError("characters: a vocabulary entry stands there twice; wanted each once.")

    @classmethod
    def fit(cls, text: str, settings: DataSettings) -> CharacterTokenizer:
        """Sort the different characters of ``text``; give it all there is, the validation part too.

        Raises:
            DataError: if ``text`` is empty or holds a lone surrogate.
        """
        check_surrogates(text, "text")
        if not text:
            raise DataError("text: is empty; wanted at least one character.")
        return cls(sorted(set(lowered(text) if settings.lower else text)), settings.lower)

    @property
    def size(self) -> int:
        """V, the number of different characters."""
        return len(self.vocabulary)

    def encode(self, text: str, where: str = "text") -> np.ndarray:
        """One id a character, int64.

        Raises:
            DataError: listing the characters that the vocabulary lacks, and where they stand.
        """
        ids, prepared = self._lookup(text, where)
        missing = np.flatnonzero(ids < 0)
        if len(missing):
            raise DataError(self._missing_message(prepared, missing, where))
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The characters of some ids."""
        return self._code_points[check_ids(ids, self.size)].tobytes().decode("utf-32-le")

    def token(self, id: int) -> str:
        """The character itself."""
        return self.decode([id])

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """Each character as it comes."""
        vocabulary, size = self.vocabulary, self.size
        for id in ids:
            yield vocabulary[id] if 0 <= id < size else self.token(id)

    def unknown(self, text: str) -> list[str]:
        """The characters of ``text`` that the vocabulary lacks, each once."""
        ids, prepared = self._lookup(text, "text")
        return list(dict.fromkeys(prepared[place] for place in np.flatnonzero(ids < 0)))

    def coverage(self, text: str) -> float:
        """Share of the characters of ``text`` that can be encoded."""
        ids, _ = self._lookup(text, "text")
        return float((ids >= 0).mean()) if len(ids) else 1.0

    def to_json(self) -> str:
        """A ``tokenizer.json`` that splits at every character and looks it up."""
        vocabulary = {token: id for id, token in enumerate(self.vocabulary)}
        return write_json(FRAME, {"vocab": vocabulary}, self.lower)

    @classmethod
    def from_json(cls, text: str, where: str = "tokenizer.json") -> CharacterTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            CheckpointError: if it is damaged, of another kind, or not ours.
        """
        contents = parse_json(text, where)
        expect(contents, FRAME, cls.kind, where)
        vocabulary = read_vocabulary(contents, where)
        try:
            return cls(vocabulary, contents.get("normalizer") is not None)
        except DataError as error:
            raise CheckpointError(f"{where}: is damaged: {error}") from error

    def _lookup(self, text: str, where: str) -> tuple[np.ndarray, str]:
        """Ids, -1 for what the vocabulary lacks, and the text they belong to."""
        check_surrogates(text, where)
        prepared = lowered(text) if self.lower else text
        points = np.minimum(_code_points(prepared, where), len(self._ids) - 1)
        return self._ids[points].astype(np.int64), prepared

    def _missing_message(self, text: str, missing: np.ndarray, where: str) -> str:
        first: dict[str, int] = {}
        for place in missing.tolist():
            first.setdefault(text[place], place)
        listed = ", ".join(
            f"{shown(character)} at character {place} (line {line_of(text, place)})"
            for character, place in list(first.items())[:MOST_LISTED]
        )
        more = f" and {len(first) - MOST_LISTED} more" if len(first) > MOST_LISTED else ""
        return (
            f"{where}: the vocabulary of {self.size} characters lacks {listed}{more}; "
            "leave them out, or train with --data.tokens bpe, which writes any text."
        )


def shown(character: str) -> str:
    r"""A character so that anyone can tell which it is.

    Example:
        >>> shown("é"), shown("\n")
        ("'é' (U+00E9)", "'\\n' (U+000A)")
    """
    return f"{character!r} (U+{ord(character):04X})"


def _code_points(text: str, where: str) -> np.ndarray:
    check_surrogates(text, where)
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


FRAME: dict[str, Any] = {
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": r"[\s\S]"},
        "behavior": "Isolated",
        "invert": False,
    },
    "decoder": {"type": "Fuse"},
    # Not in the vocabulary, so that a character that is unknown stays an error.
    "model": {"type": "WordLevel", "unk_token": "<unk>"},
}
