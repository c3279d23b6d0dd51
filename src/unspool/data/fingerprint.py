"""The digest of data in memory: what a run keeps of data that lies in no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from unspool.data.examples import Examples
from unspool.data.in_memory import arrays_in, table_in


def fingerprint(data: Any) -> str:
    """SHA-256 of what is read from data: the same whatever kind of table holds it.

    Args:
        data: what `unspool.data.reading.read` takes, but paths.

    Raises:
        DataError: if it is nothing that can be read.

    Example:
        >>> one = fingerprint({"text": ["fine", "bad"], "stars": [4, 1]})
        >>> one == fingerprint([{"text": "fine", "stars": 4}, {"text": "bad", "stars": 1}])
        True
        >>> one == fingerprint({"text": ["fine", "bad"], "stars": [4, 2]})
        False
    """
    if isinstance(data, Examples):
        arrays: Any = (data.kind, data.inputs, data.targets, sorted(data.options.items()))
    else:
        arrays = arrays_in(data)
    if arrays is None:
        table = table_in(data)
        return hashlib.sha256(json.dumps([table.columns, table.rows]).encode()).hexdigest()
    whole = hashlib.sha256()
    for piece in _pieces(arrays):
        whole.update(piece)
    return whole.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """Bytes that two values share only if they are equal."""
    import numpy as np

    if isinstance(value, list | tuple):
        yield f"{len(value)} values\0".encode()
        for each in value:
            yield from _pieces(each)
    elif hasattr(value, "dtype"):
        array = np.asarray(value)
        if array.dtype.kind == "O":
            yield from _pieces(array.tolist())
            return
        yield f"{array.dtype.str} {array.shape}\0".encode()
        yield np.ascontiguousarray(array).tobytes()
    else:
        yield f"{value!r}\0".encode()
