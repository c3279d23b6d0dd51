"""JSON that means one thing only, and gives back exactly what was written."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def dump(value: object, *, indent: int | None = 2, sort: bool = True) -> bytes:
    r"""``value`` as JSON text, the same bytes for the same value; floats keep every bit.

    Args:
        value: None, bool, int, finite float, str, and lists and str-keyed dicts of these.
        indent: spaces a level; None puts all on one line.
        sort: whether keys are written in alphabetical order.

    Returns:
        ASCII bytes that end in a newline.

    Raises:
        ValueError: if reading the text would not give ``value`` back, such as for a tuple or NaN.

    Example:
        >>> from unspool.training.plain_json import dump
        >>> dump({"loss": 0.1, "step": 2}, indent=None)
        b'{"loss": 0.1, "step": 2}\n'
    """
    try:
        text = json.dumps(value, allow_nan=False, indent=indent, sort_keys=sort)
        kept = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
    if not kept:
        raise ValueError("JSON would not give it back as it is: a tuple or a key that is no text")
    return text.encode("ascii") + b"\n"


def parse(data: bytes) -> dict[str, Any]:
    """Read one JSON object strictly.

    Raises:
        ValueError: for invalid UTF-8 or JSON, a key given twice, NaN or an infinity, a number too
            large, nesting too deep, or anything but an object at the top.

    Example:
        >>> from unspool.training.plain_json import parse
        >>> parse(b'{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: key 'a' is given twice
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} is given twice")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"number {digits[:80]} is too large")
    return value
