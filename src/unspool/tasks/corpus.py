"""A text cut in two and turned into tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from unspool.data.settings import DataSettings
from unspool.data.text import split_text
from unspool.data.tokenizer import Tokenizer, lowered
from unspool.data.tokens import fit_tokenizer

UNITS = {"char": "char", "word": "word", "bpe": "token"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A text cut in two and turned into tokens.

    Attributes:
        tokenizer: learnt on the training part alone.
        train, validation: token ids, int64 ``[N]``, in the order of the text.
        validation_characters: what a loss per token is divided by to get one per character.
        warnings: what had to be left out, in words.
    """

    tokenizer: Tokenizer
    train: Tensor
    validation: Tensor
    validation_characters: int
    warnings: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What one token is called."""
        return UNITS[self.tokenizer.kind]


def read_corpus(
    text: str,
    settings: DataSettings,
    validation: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> Corpus:
    """Split a text, learn its tokens on the training part, and encode both parts.

    Args:
        text: all of it; or the training part, where ``validation`` is given.
        settings: kind of tokens, share to train on, lower-casing.
        validation: a text of its own to validate on.
        tokenizer: learnt before, for a run that goes on; None learns one.

    Raises:
        DataError: if a part is too short or cannot be encoded.
    """
    train = text
    if validation is None:
        train, validation = split_text(text, settings.split)
    tokenizer = tokenizer or fit_tokenizer(train, settings)
    warnings = []
    if tokenizer.kind == "char":
        validation, left_out = _without_unknown(tokenizer, validation)
        warnings += left_out
    elif (covered := tokenizer.coverage(validation)) < 1.0:
        warnings.append(f"{1 - covered:.1%} of the validation part is words the vocabulary lacks.")
    return Corpus(
        tokenizer=tokenizer,
        train=torch.from_numpy(tokenizer.encode(train, "training part")),
        validation=torch.from_numpy(tokenizer.encode(validation, "validation part")),
        validation_characters=len(validation),
        warnings=tuple(warnings),
    )


def _without_unknown(tokenizer: Tokenizer, text: str) -> tuple[str, list[str]]:
    """The text without characters that training never saw: nobody could predict those."""
    unknown = tokenizer.unknown(text)
    if not unknown:
        return text, []
    whole = lowered(text) if tokenizer.lower else text
    counts = Counter(whole)
    total = sum(counts[character] for character in unknown)
    kept = whole.translate(dict.fromkeys(map(ord, unknown)))
    shown = ", ".join(repr(character) for character in unknown[:8])
    more = ", …" if len(unknown) > 8 else ""
    return kept, [
        f"{total} of {len(whole)} characters of the validation part never occur in the training "
        f"part and were left out of it: {shown}{more}."
    ]
