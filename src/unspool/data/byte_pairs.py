"""Byte pairs as tokens: any text, learned joins of bytes, through the ``tokenizers`` package.

Source:
    Sennrich, Haddow and Birch (2016), section 3.2; on bytes: Radford et al. (2019), section 2.2.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from unspool.data.settings import SMALLEST_BYTE_PAIR_VOCABULARY, DataSettings
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
from unspool.errors import CheckpointError, ConfigError, DataError

# Characters encoded at once; the package keeps offsets and strings of a whole call in memory.
CHUNK = 1_000_000


class BytePairTokenizer(Tokenizer):
    """Frequent runs of bytes; what is not frequent is spelt byte by byte, so nothing is unknown.

    Example:
        >>> tokenizer = BytePairTokenizer.fit("low lower lowest", DataSettings(vocabulary=258))
        >>> tokenizer.size, tokenizer.decode(tokenizer.encode("slow \u2192 low"))
        (258, 'slow → low')
    """

    kind = "bpe"

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]], lower: bool = False
    ) -> None:
        """Take tokens spelt in `ALPHABET`, all 256 bytes among them, and joins in their order.

        Raises:
            DataError: if a byte, or a part or the result of a join, is not in the vocabulary.
        """
        self.vocabulary = list(vocabulary)
        self.lower = lower
        self._merges = [tuple(pair) for pair in merges]
        ids = {token: id for id, token in enumerate(self.vocabulary)}
        if len(ids) != len(self.vocabulary):
            raise DataError("byte pairs: a vocabulary entry stands there twice; wanted each once.")
        _check_joins(ids, self._merges)
        self._bytes = [bytes(BYTE_OF[character] for character in t) for t in self.vocabulary]
        self._engine = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=self._merges))
        self._engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    @classmethod
    def fit(cls, text: str, settings: DataSettings) -> BytePairTokenizer:
        """Learn ``settings.vocabulary`` tokens, or as many as the text has joins for.

        Raises:
            DataError: if ``text`` is empty or holds a lone surrogate.
            ConfigError: if the vocabulary is to be smaller than the 256 bytes.
        """
        check_surrogates(text, "text")
        if not text:
            raise DataError("text: is empty; wanted at least one character.")
        if settings.vocabulary < SMALLEST_BYTE_PAIR_VOCABULARY:
            raise ConfigError(
                f"data.vocabulary: {settings.vocabulary} byte pairs; "
                f"wanted {SMALLEST_BYTE_PAIR_VOCABULARY} or more."
            )
        engine = tokenizers.Tokenizer(models.BPE())
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        engine.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=settings.vocabulary,
            initial_alphabet=ALPHABET,
            show_progress=False,
            special_tokens=[],
        )
        engine.train_from_iterator(_chunks(lowered(text) if settings.lower else text), trainer)
        model = json.loads(engine.to_str())["model"]
        vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return cls(vocabulary, [tuple(pair) for pair in model["merges"]], settings.lower)

    @property
    def size(self) -> int:
        """V, the number of tokens."""
        return len(self.vocabulary)

    def encode(self, text: str, where: str = "text") -> np.ndarray:
        """Ids, int64; joined, their bytes are those of ``text``.

        Raises:
            DataError: if ``text`` holds a lone surrogate.
        """
        check_surrogates(text, where)
        prepared = lowered(text) if self.lower else text
        parts = [self._engine.encode(chunk).ids for chunk in _chunks(prepared)]
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in [[], *parts]])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; bytes that make no character show as U+FFFD."""
        joined = b"".join([self._bytes[id] for id in check_ids(ids, self.size).tolist()])
        return joined.decode("utf-8", errors="replace")

    def token(self, id: int) -> str:
        """The token's text, or its bytes such as <e2 86> where they make no character."""
        (checked,) = check_ids([id], self.size).tolist()
        try:
            return self._bytes[checked].decode("utf-8")
        except UnicodeDecodeError:
            return f"<{self._bytes[checked].hex(' ')}>"

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """Text as soon as whole characters are there; joined, it is what `decode` gives."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        spelt, size = self._bytes, self.size
        for id in ids:
            if not 0 <= id < size:
                check_ids([id], size)  # which refuses it
            if piece := decoder.decode(spelt[id]):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    def unknown(self, text: str) -> list[str]:
        """Nothing: any text can be spelt in bytes."""
        check_surrogates(text, "text")
        return []

    def coverage(self, text: str) -> float:
        """All of it."""
        check_surrogates(text, "text")
        return 1.0

    def to_json(self) -> str:
        """A ``tokenizer.json`` with vocabulary and joins."""
        vocabulary = {token: id for id, token in enumerate(self.vocabulary)}
        merges = [list(pair) for pair in self._merges]
        return write_json(FRAME, {"vocab": vocabulary, "merges": merges}, self.lower)

    @classmethod
    def from_json(cls, text: str, where: str = "tokenizer.json") -> BytePairTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            CheckpointError: if it is damaged, of another kind, or not ours.
        """
        contents = parse_json(text, where)
        expect(contents, FRAME, cls.kind, where)
        vocabulary = read_vocabulary(contents, where)
        merges = contents["model"].get("merges")
        if not isinstance(merges, list) or not all(_is_pair(pair) for pair in merges):
            raise CheckpointError(f"{where}: is damaged: wanted a list of joins of two tokens.")
        pairs = [(left, right) for left, right in merges]
        try:
            return cls(vocabulary, pairs, contents.get("normalizer") is not None)
        except DataError as error:
            raise CheckpointError(f"{where}: is damaged: {error}") from error


def _byte_alphabet() -> list[str]:
    """A printable character for every byte: itself where it has one, else the next from U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)


def _check_joins(ids: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    lacking = next((byte for byte, token in enumerate(ALPHABET) if token not in ids), None)
    if lacking is not None:
        raise DataError(f"byte pairs: the vocabulary lacks byte {lacking:#04x}; wanted all 256.")
    strange = next((token for token in ids if not token or set(token) - BYTE_OF.keys()), None)
    if strange is not None:
        raise DataError(f"byte pairs: vocabulary entry {strange!a} is not spelt in bytes.")
    for left, right in merges:
        if not {left, right, left + right} <= ids.keys():
            raise DataError(f"byte pairs: join {left!a} {right!a} is not in the vocabulary.")


def _chunks(text: str) -> Iterator[str]:
    """The text in parts of about `CHUNK` characters, cut where no token can cross."""
    start = 0
    while cut := BORDER.search(text, start + CHUNK):
        yield text[start : cut.end()]
        start = cut.end()
    yield text[start:]


ALPHABET = _byte_alphabet()
BYTE_OF = {character: byte for byte, character in enumerate(ALPHABET)}
# A line end between plain characters is a piece of its own wherever the text is cut.
BORDER = re.compile(r"[0-9A-Za-z.,;:!?]\n(?=[0-9A-Za-z])")
FRAME: dict[str, Any] = {
    "pre_tokenizer": {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    "decoder": {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    },
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    },
}
