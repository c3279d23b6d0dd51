"""Words as tokens: the most frequent ones of a text, and one stand-in for all others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from unspool.data.settings import DataSettings
from unspool.data.text import check_surrogates
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

# Cannot be a piece of text: the brackets are pieces of their own.
UNKNOWN = "<unk>"

# Written out, because "space" and "word" differ between regular expression engines; this way
# the tokenizers package cuts exactly as we do.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_MARK = (
    "!-/:-@\\[-`{-~\xa1\xab\xb7\xbb\xbf\u2010-\u2027\u2030-\u205e"
    "\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20"
)
_LETTERS = f"[^{_SPACE}{_MARK}]+"
# A word with the space before it, apostrophes inside; a mark with the space before it; a space.
PIECE = f" ?{_LETTERS}(?:['\u2019]{_LETTERS})*| ?[{_MARK}]|[{_SPACE}]"


class WordTokenizer(Tokenizer):
    """Words and punctuation, each with the space before it, so that joining them is the text.

    Example:
        >>> tokenizer = WordTokenizer.fit("the boy saw the dog", DataSettings(tokens="word"))
        >>> tokenizer.vocabulary
        ['<unk>', ' boy', ' dog', ' saw', ' the', 'the']
        >>> tokenizer.decode(tokenizer.encode("the dog saw the cat")), tokenizer.unknown("a dog")
        ('the dog saw the<unk>', ['a'])
    """

    kind = "word"

    def __init__(self, vocabulary: Sequence[str], lower: bool = False) -> None:
        """Take pieces as `pieces_of` cuts them, each once, and `UNKNOWN`.

        Raises:
            DataError: if an entry could never be met in a text, or stands there twice.
        """
        self.vocabulary = list(vocabulary)
        self.lower = lower
        self._ids = {token: id for id, token in enumerate(self.vocabulary)}
        if UNKNOWN not in self._ids or len(self._ids) != len(self.vocabulary):
            raise DataError(f"words: wanted every entry once, '{UNKNOWN}' among them.")
        wrong = next((t for t in self.vocabulary if t != UNKNOWN and pieces_of(t) != [t]), None)
        if wrong is not None:
            raise DataError(f"words: vocabulary entry {wrong!a} is not one word or mark.")
        self._unknown_id = self._ids[UNKNOWN]

    @classmethod
    def fit(cls, text: str, settings: DataSettings) -> WordTokenizer:
        """Keep the ``settings.vocabulary`` most frequent pieces, `UNKNOWN` included.

        Raises:
            DataError: if ``text`` is empty or holds a lone surrogate.
        """
        check_surrogates(text, "text")
        if not text:
            raise DataError("text: is empty; wanted at least one word.")
        counts = Counter(pieces_of(lowered(text) if settings.lower else text))
        ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
        return cls([UNKNOWN, *sorted(ranked[: settings.vocabulary - 1])], settings.lower)

    @property
    def size(self) -> int:
        """V, the number of words, marks and spaces, and 1 for `UNKNOWN`."""
        return len(self.vocabulary)

    def encode(self, text: str, where: str = "text") -> np.ndarray:
        """One id a piece, int64; what the vocabulary lacks becomes `UNKNOWN` (see `unknown`).

        Raises:
            DataError: if ``text`` holds a lone surrogate.
        """
        pieces = self._cut(text, where)
        ids = (self._ids.get(piece, self._unknown_id) for piece in pieces)
        return np.fromiter(ids, dtype=np.int64, count=len(pieces))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The pieces joined; `UNKNOWN` shows as itself."""
        return "".join([self.vocabulary[id] for id in check_ids(ids, self.size).tolist()])

    def token(self, id: int) -> str:
        """The piece itself, with the space before it."""
        return self.decode([id])

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """Each piece as it comes."""
        vocabulary, size = self.vocabulary, self.size
        for id in ids:
            yield vocabulary[id] if 0 <= id < size else self.token(id)

    def unknown(self, text: str) -> list[str]:
        """The words and marks of ``text`` that become `UNKNOWN`, each once, without their space."""
        missing = [piece for piece in self._cut(text, "text") if piece not in self._ids]
        return list(dict.fromkeys(piece.strip(" ") or piece for piece in missing))

    def coverage(self, text: str) -> float:
        """Share of the pieces of ``text`` that do not become `UNKNOWN`."""
        pieces = self._cut(text, "text")
        return sum(piece in self._ids for piece in pieces) / len(pieces) if pieces else 1.0

    def to_json(self) -> str:
        """A ``tokenizer.json`` that cuts with `PIECE` and looks the pieces up."""
        return write_json(FRAME, {"vocab": self._ids}, self.lower)

    @classmethod
    def from_json(cls, text: str, where: str = "tokenizer.json") -> WordTokenizer:
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

    def _cut(self, text: str, where: str) -> list[str]:
        check_surrogates(text, where)
        return pieces_of(lowered(text) if self.lower else text)


def pieces_of(text: str) -> list[str]:
    r"""Cut a text into words, punctuation marks and spaces; joined, they are the text.

    Example:
        >>> pieces_of("I'll go,  said\nhe.")
        ["I'll", ' go', ',', ' ', ' said', '\n', 'he', '.']
    """
    return re.findall(PIECE, text)


FRAME: dict[str, Any] = {
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": PIECE},
        "behavior": "Isolated",
        "invert": False,
    },
    "decoder": {"type": "Fuse"},
    "model": {"type": "WordLevel", "unk_token": UNKNOWN},
}
