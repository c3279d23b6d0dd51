"""What every tokenizer can do, and the one file format all of them are kept in.

The file is a Hugging Face ``tokenizer.json``, so that the ``tokenizers`` package reads it and
gives the same ids. Which of ours wrote it stands in its parts: pre-tokenizer, decoder and model.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from unspool.data.settings import DataSettings
from unspool.errors import CheckpointError, DataError

FORMAT_VERSION = "1.0"


class Tokenizer(ABC):
    """Text to token ids and back; ids are 0…size-1.

    Attributes:
        kind: its name in `unspool.data.tokens.TOKENIZERS`.
        vocabulary: the tokens in the order of their ids, as they stand in the file.
        lower: whether text is lower-cased on its way in.
    """

    kind: ClassVar[str]
    vocabulary: list[str]
    lower: bool

    @classmethod
    @abstractmethod
    def fit(cls, text: str, settings: DataSettings) -> Tokenizer:
        """Learn the vocabulary of a text; a DataError if there is none in it."""

    @abstractmethod
    def encode(self, text: str, where: str = "text") -> np.ndarray:
        """The ids of a text, int64; ``where`` names it in a DataError."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; a DataError for an id outside the vocabulary."""

    @abstractmethod
    def token(self, id: int) -> str:
        """What one id writes, for a person to read."""

    @abstractmethod
    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids that are still arriving, as soon as whole characters are there."""

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """What in a text the vocabulary lacks, each once, in the order of the text."""

    @abstractmethod
    def coverage(self, text: str) -> float:
        """Share of the tokens of a text that the vocabulary has; 1 for an empty text."""

    @property
    @abstractmethod
    def size(self) -> int:
        """V, the number of tokens."""

    @abstractmethod
    def to_json(self) -> str:
        """The contents of ``tokenizer.json``."""

    @classmethod
    @abstractmethod
    def from_json(cls, text: str, where: str = "tokenizer.json") -> Tokenizer:
        """The tokenizer a file holds; a CheckpointError when it is damaged or not of this kind."""


def lowered(text: str) -> str:
    """Lower case, each character by itself: how a text is cut must not change it.

    Python writes a capital sigma at a word's end differently from one inside; here it is one.
    Letters that came to Unicode after this Python stay as they are.

    Example:
        >>> lowered("ΟΔΟΣ"), "ΟΔΟΣ".lower()
        ('οδοσ', 'οδος')
    """
    return text.replace("Σ", "σ").lower()


def check_ids(ids: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Ids as int64, or a DataError naming the first one outside 0…size-1."""
    checked = np.asarray(ids, dtype=np.int64).reshape(-1)
    outside = np.flatnonzero((checked < 0) | (checked >= size))
    if len(outside):
        raise DataError(
            f"tokens: id {checked[outside[0]]} at position {outside[0]}; "
            f"the vocabulary has 0 to {size - 1}."
        )
    return checked


def write_json(frame: Mapping[str, Any], model: Mapping[str, Any], lower: bool) -> str:
    """A ``tokenizer.json``: the parts that name the kind, the vocabulary put in its model."""
    contents = {
        "version": FORMAT_VERSION,
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"} if lower else None,
        "pre_tokenizer": frame["pre_tokenizer"],
        "post_processor": None,
        "decoder": frame["decoder"],
        "model": {**frame["model"], **model},
    }
    return json.dumps(contents, ensure_ascii=False, indent=1) + "\n"


def parse_json(text: str, where: str) -> dict[str, Any]:
    """The object of a ``tokenizer.json`` of this format version.

    Raises:
        CheckpointError: if it is not JSON, not such an object, or from a newer version.
    """
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: is damaged, not JSON: {error}.") from error
    if not isinstance(contents, dict) or not isinstance(contents.get("model"), dict):
        raise CheckpointError(f"{where}: holds no tokenizer; wanted an object with a 'model'.")
    if contents.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: has format version {contents.get('version')!r}; this Unspool reads "
            f"'{FORMAT_VERSION}': use the version that wrote it."
        )
    return contents


def matches(contents: Mapping[str, Any], frame: Mapping[str, Any]) -> bool:
    """Whether a parsed ``tokenizer.json`` has the parts that name a kind and nothing more."""
    model = {key: contents["model"].get(key) for key in frame["model"]}
    return (
        model == frame["model"]
        and contents.get("pre_tokenizer") == frame["pre_tokenizer"]
        and contents.get("decoder") == frame["decoder"]
        and contents.get("normalizer") in (None, {"type": "Lowercase"})
        and not contents.get("added_tokens")
        and contents.get("post_processor") is None
    )


def expect(contents: Mapping[str, Any], frame: Mapping[str, Any], kind: str, where: str) -> None:
    """A CheckpointError unless a parsed ``tokenizer.json`` is of a kind."""
    if not matches(contents, frame):
        raise CheckpointError(f"{where}: is not a tokenizer of kind '{kind}' that Unspool wrote.")


def read_vocabulary(contents: Mapping[str, Any], where: str) -> list[str]:
    """The tokens in the order of their ids.

    Raises:
        CheckpointError: if an id is missing, used twice or not a number, or a token is not text.
    """
    entries = contents["model"].get("vocab")
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError(f"{where}: is damaged: it has no vocabulary.")
    tokens: list[str | None] = [None] * len(entries)
    for token, number in entries.items():
        if type(number) is not int or not 0 <= number < len(entries):
            raise CheckpointError(
                f"{where}: is damaged: token {token!a} has id {number!r}; "
                f"wanted each of 0 to {len(entries) - 1} once."
            )
        if tokens[number] is not None:
            raise CheckpointError(
                f"{where}: is damaged: id {number} is that of {tokens[number]!a} and of {token!a}."
            )
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise CheckpointError(f"{where}: is damaged: token {token!a} holds half a character.")
        tokens[number] = token
    return [token for token in tokens if token is not None]
