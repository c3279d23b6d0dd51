"""The table of encoders: what turns each kind of input into tensors.

An encoder has ``reads`` (the kind of `unspool.data.examples.Examples`), ``shape`` (what the model
depends on), ``fit``, ``to_dict``, ``from_dict``, ``encode`` (one input to numbers) and ``collate``
(some of those side by side, with lengths).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unspool.data.examples import Examples
from unspool.data.images import ImageEncoder
from unspool.data.numbers import NumberEncoder
from unspool.data.sound import SoundEncoder
from unspool.data.text_encoders import TextEncoder, WordsEncoder
from unspool.errors import DataError, choose

ENCODERS: dict[str, Any] = {
    "text": TextEncoder,
    "words": WordsEncoder,
    "numbers": NumberEncoder,
    "sound": SoundEncoder,
    "image": ImageEncoder,
}


def fit_encoder(examples: Examples, settings: Any) -> Any:
    """The encoder of a training part.

    Args:
        examples: of the training part alone.
        settings: as `unspool.config.Settings`.

    Raises:
        ConfigError: for a kind of input that has no encoder.
        DataError: for inputs that cannot be measured.
    """
    kind = choose(examples.kind, ENCODERS, "kind of input")
    options = examples.options
    if kind is NumberEncoder:
        return kind.fit(examples.inputs, settings.data, options.get("category_values"))
    if kind is SoundEncoder:
        return kind.fit(examples.inputs, settings.sound, options.get("rate", 0))
    return kind.fit(examples.inputs, settings.image if kind is ImageEncoder else settings.data)


def encode_all(encoder: Any, examples: Examples) -> list[Any]:
    """Numbers of every input.

    Raises:
        DataError: for one that cannot be encoded, with its place.
    """
    beside = examples.options.get("category_values")
    encoded = []
    for index, (place, each) in enumerate(zip(examples.places, examples.inputs, strict=True)):
        try:
            more = () if beside is None else (beside[index],)
            encoded.append(encoder.encode(each, *more))
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
    return encoded


def num_cut(encoder: Any, examples: Examples, encoded: Sequence[Any]) -> int:
    """How many inputs lost their end to ``data.max_length``.

    Args:
        encoder: what encoded them.
        examples: whose inputs.
        encoded: numbers of each.

    Example:
        >>> from unspool.data.settings import DataSettings
        >>> from unspool.data.table import Place
        >>> texts = Examples("text", ["to be", "or"], [None, None], [Place("f", 1)] * 2)
        >>> encoder = TextEncoder.fit(texts.inputs, DataSettings(max_length=2, too_long="truncate"))
        >>> num_cut(encoder, texts, encode_all(encoder, texts))
        1
    """
    most = getattr(encoder, "max_length", 0)
    if not most or not encoder.truncates:
        return 0
    full = [index for index, each in enumerate(encoded) if length_of(each) == most]
    whole = encode_all(replace(encoder, max_length=sys.maxsize), examples.take(full))
    return sum(length_of(each) > most for each in whole)


def length_of(encoded: Any) -> int:
    """Steps of one encoded input.

    Example:
        >>> import torch
        >>> length_of(torch.zeros(3)), length_of((torch.zeros(4), torch.zeros(4, 2)))
        (3, 4)
    """
    if isinstance(encoded, Mapping):
        encoded = next(iter(encoded.values()))
    return len(encoded[0] if isinstance(encoded, tuple) else encoded)


def encoder_from(stored: Mapping[str, Any]) -> Any:
    """The encoder that its ``to_dict`` described.

    Raises:
        ConfigError: for one that is not in the table.
    """
    return choose(stored["reads"], ENCODERS, "encoder").from_dict(stored)
