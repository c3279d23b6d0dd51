"""Tables as JSON lines: one object on each line."""

from __future__ import annotations

import json
import re
from typing import Any

from unspool.data.table import Cell, Place, Refused, Table, short
from unspool.errors import DataError

LINE_END = re.compile(r"\r\n|\n|\r")
FORM = "JSON lines"


def read_json_lines(text: str, file: str) -> Table:
    r"""A table from one JSON object a line; its keys are the columns.

    Columns are all keys, in the order of their first appearance; where an object lacks one the
    cell is empty. Texts come back exactly; numbers as they are written; true, false as such;
    null is empty; a list of these is a list.

    Args:
        text: all of the file.
        file: its name, for the places.

    Returns:
        The table; lines that are no JSON object, or hold objects inside, are refused.

    Raises:
        DataError: if no line is an object.

    Example:
        >>> table = read_json_lines('{"text": "fine", "stars": 4}\n[1]\n', "few.jsonl")
        >>> table.columns, table.rows
        (('text', 'stars'), [['fine', '4']])
        >>> table.refused[0].reason
        'a list, wanted a JSON object such as {"text": …}'
    """
    columns: dict[str, None] = {}
    objects: list[tuple[Place, dict[str, Cell]]] = []
    refused = []
    for number, line in enumerate(LINE_END.split(text), 1):
        if not line.strip():
            continue
        place = Place(file, number)
        try:
            cells = _cells(line)
        except ValueError as error:
            refused.append(Refused(place, str(error)))
            continue
        columns.update(dict.fromkeys(cells))
        objects.append((place, cells))
    if not objects:
        first = f"; line {refused[0].place.line}: {refused[0].reason}" if refused else ""
        raise DataError(f"{file}: holds no JSON objects, one a line{first}.")
    rows = [[cells.get(name, "") for name in columns] for _, cells in objects]
    places = [place for place, _ in objects]
    return Table(tuple(columns), rows, places, refused, form=FORM, file=file)


def looks_like_json_lines(text: str) -> bool:
    r"""Whether the first line that is not blank starts a JSON object, or is a list of them.

    Example:
        >>> looks_like_json_lines('\n{"a": 1}\n'), looks_like_json_lines("{so he said}\n")
        (True, False)
    """
    return re.match(r'\s*(\{\s*("|\}\s*$)|\[\s*\{\s*")', text) is not None


def _cells(line: str) -> dict[str, Cell]:
    """An object's keys and values; ValueError says why it is none."""
    try:
        value = json.loads(
            line,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_Number,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON, {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("lists in lists in lists, too deep to read") from error
    if not isinstance(value, dict):
        raise ValueError(f'{_noun(value)}, wanted a JSON object such as {{"text": …}}')
    if not value:
        raise ValueError("an object without keys")
    return {_whole(key): _cell(key, each) for key, each in value.items()}


def _cell(key: str, value: Any) -> Cell:
    if isinstance(value, list):
        if any(isinstance(each, list | dict) for each in value):
            raise ValueError(f"{short(key)} holds {_noun(value[0])} in a list, wanted texts")
        return tuple(_plain(key, each) for each in value)
    return _plain(key, value)


def _plain(key: str, value: Any) -> str:
    if isinstance(value, dict):
        raise ValueError(
            f"{short(key)} holds an object, wanted a text, a number or a list; "
            "write its keys beside the others"
        )
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _whole(str(value))


def _whole(text: str) -> str:
    """A text without half characters, which JSON can write and no file can hold."""
    if SURROGATE.search(text):
        raise ValueError("a lone surrogate, half a character, in a text")
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a key stands in it twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in the object")
    return found


def _noun(value: Any) -> str:
    if isinstance(value, _Number):
        return "a number"
    return {list: "a list", dict: "an object", str: "a text"}.get(
        type(value), "true, false or null"
    )


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


SURROGATE = re.compile("[\ud800-\udfff]")
