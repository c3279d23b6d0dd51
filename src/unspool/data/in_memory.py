"""Data that is in memory already: DataFrames, dicts of columns, lists of pairs, arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unspool.data.table import Cell, Place, Table, listed
from unspool.errors import DataError

NAME = "data"


def is_in_memory(data: Any) -> bool:
    """Whether something is data itself rather than a path or several.

    Example:
        >>> is_in_memory([("fine", "1")]), is_in_memory(["a.csv", "b.csv"])
        (True, False)
    """
    import os

    if isinstance(data, str | bytes | os.PathLike):
        return False
    if isinstance(data, Sequence):
        return not all(isinstance(each, str | os.PathLike) for each in data) or not len(data)
    return True


def arrays_in(data: Any) -> tuple[Any, Any] | None:
    """Inputs and labels, if data is an array of numbers, or a pair of which the first is one."""
    if isinstance(data, tuple) and len(data) == 2 and _is_numeric(data[0]):
        return data[0], data[1]
    if isinstance(data, Mapping) and any(getattr(v, "ndim", 1) > 1 for v in data.values()):
        from unspool.data.arrays import arrays_of

        return arrays_of({str(key): value for key, value in data.items()}, NAME)
    if _is_numeric(data) and getattr(data, "ndim", 1) > 1 and not hasattr(data, "columns"):
        return data, None
    return None


def table_in(data: Any) -> Table:
    """A table from a DataFrame (pandas, polars), a dict of columns, or a list of rows.

    Cells become texts; numbers as Python writes them, whole ones without a point; None and NaN
    become empty; lists stay lists. The line of a row is its position, counted from 1.

    Args:
        data: the table; rows are dicts, or pairs such as ``(text, label)`` of equal length. What is
            a `Table` already stays one.

    Raises:
        DataError: if it is none of these, or its columns or rows differ in length.

    Example:
        >>> table_in({"text": ["fine", "bad"], "stars": [4, None]}).rows
        [['fine', '4'], ['bad', '']]
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        columns = {str(name): list(values) for name, values in data.items()}
    elif hasattr(data, "columns") and hasattr(data, "__getitem__"):
        columns = {str(name): list(data[name]) for name in data.columns}
        if len(columns) < len(list(data.columns)):
            raise DataError(f"{NAME}: two columns have the same name; wanted different ones.")
    else:
        return _from_rows(data)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = listed([f"{name} {count}" for name, count in lengths.items()])
        raise DataError(f"{NAME}: columns of different length ({shown}); wanted equal ones.")
    if not columns or not max(lengths.values()):
        raise DataError(f"{NAME}: holds no rows.")
    rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    return _table(tuple(columns), rows, True)


def _from_rows(data: Any) -> Table:
    try:
        rows = list(data)
    except TypeError as error:
        raise DataError(
            f"{NAME}: got {type(data).__name__}; wanted files, a DataFrame, a dict of columns, "
            "(text, label) pairs, or arrays."
        ) from error
    if not rows:
        raise DataError(f"{NAME}: holds no rows.")
    if all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(str(key) for row in rows for key in row))
        return table_in({name: [row.get(name) for row in rows] for name in names})
    if not all(isinstance(row, Sequence) and not isinstance(row, str) for row in rows):
        raise DataError(f"{NAME}: rows are not all pairs or dicts; wanted such as (text, label).")
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise DataError(
            f"{NAME}: rows of {min(widths)} to {max(widths)} values; wanted as many in each."
        )
    columns = tuple(f"column {i + 1}" for i in range(max(widths)))
    return _table(columns, [[_cell(value) for value in row] for row in rows], False)


def _table(columns: tuple[str, ...], rows: list[list[Cell]], named: bool) -> Table:
    places = [Place(NAME, i + 1) for i in range(len(rows))]
    return Table(columns, rows, places, named=named, form="data in memory", beside=False)


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return value
    for name in ("tolist", "to_list"):  # numpy and pandas; polars
        if hasattr(value, name):
            value = getattr(value, name)()
            break
    if isinstance(value, list | tuple):
        return tuple(str(_cell(each)) for each in value)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _is_numeric(data: Any) -> bool:
    """Whether something is an array of numbers, or a list of such."""
    kind = getattr(getattr(data, "dtype", None), "kind", "")
    if kind:
        return kind in "buif"
    if isinstance(data, list | tuple) and data:
        return all(hasattr(each, "dtype") and hasattr(each, "ndim") for each in data)
    return False
