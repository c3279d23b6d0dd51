"""The table of encoders: what turns each kind of input into tensors.

An encoder has ``reads`` (the kind of `unspool.data.examples.Examples`), ``shape`` (what the model
depends on), ``fit``, ``to_dict``, ``from_dict``, ``encode`` (one input to numbers) and ``collate``
(some of those side by side, with lengths).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.data.examples import Examples
from unspool.data.text_encoders import TextEncoder, WordsEncoder
from unspool.errors import choose

ENCODERS: dict[str, Any] = {"text": TextEncoder, "words": WordsEncoder}


def fit_encoder(examples: Examples, settings: Any) -> Any:
    """The encoder of a training part.

    Args:
        examples: of the training part alone.
        settings: as `unspool.config.Settings`.

    Raises:
        ConfigError: for a kind of input that has no encoder.
    """
    return choose(examples.kind, ENCODERS, "kind of input").fit(examples.inputs, settings.data)


def encoder_from(stored: Mapping[str, Any]) -> Any:
    """The encoder that its ``to_dict`` described.

    Raises:
        ConfigError: for one that is not in the table.
    """
    return choose(stored["reads"], ENCODERS, "encoder").from_dict(stored)
