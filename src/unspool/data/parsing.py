"""From the rows of a table to examples: each row is used, or refused with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unspool.data.examples import Examples
from unspool.data.image_file import read_image
from unspool.data.recognised import Recognised
from unspool.data.roles import profile
from unspool.data.series import read_series
from unspool.data.series_settings import SeriesSettings
from unspool.data.settings import DataSettings
from unspool.data.sound_file import read_sound
from unspool.data.table import Refused, Table, decimal, short
from unspool.data.text import printable
from unspool.errors import DataError


@dataclass(slots=True)
class Parsed:
    """Examples with what did not become one.

    Attributes:
        examples: the usable ones.
        rows: of each example the positions of its rows in the table.
        refused: one for each row that is in no example.
        warnings: what a person should know.
    """

    examples: Examples
    rows: list[list[int]]
    refused: list[Refused]
    warnings: list[str] = field(default_factory=list)


def parse(table: Table, found: Recognised, settings: DataSettings) -> Parsed:
    r"""The examples of a table, for the job that was recognised.

    Args:
        table: the rows.
        found: the job and the roles of the columns; without a role for what is learnt, the
            targets are None.
        settings: ``max_length`` and ``too_long`` count words or steps; of texts the encoder
            counts, in its own units.

    Example:
        >>> from unspool.data.delimited import read_delimited
        >>> from unspool.data.recognise import recognise
        >>> table = read_delimited("text,label\ngood,1\n,0\nbad,0\nfine,1\n", "few.csv")
        >>> parsed = parse(table, recognise(table, DataSettings()), DataSettings())
        >>> parsed.examples.inputs, parsed.refused[0].place.line
        (['good', 'bad', 'fine'], 3)
    """
    if found.kind == "series":
        return _series(table, found)
    if found.kind == "numbers":
        rows = _grouped(table, found) if "group" in found.roles else _each(table)
        return _sequences(table, found, settings, rows)
    return _rows(table, found, settings)


def _rows(table: Table, found: Recognised, settings: DataSettings) -> Parsed:
    """One example from each row."""
    read = {"text": _text, "words": _words}.get(found.kind)
    source = _column(table, found, "text", "source", "tokens", "path")
    role = next((name for name in ROLES_LEARNT if name in found.roles), None)
    target = _column(table, found, role) if role else None
    group = _column(table, found, "group") if "group" in found.roles else None
    inputs, targets, kept = [], [], []
    refused, shortened = list(table.refused), 0
    for index, row in enumerate(table.rows):
        try:
            cell = row[source]  # type: ignore[index]
            value = read(cell) if read else _file(cell, table, index, found.kind)
            learnt = LEARNT[role](row[target]) if role and target is not None else None
            if found.kind == "words":
                value, learnt, cut = _fitted(value, learnt, settings)
                shortened += cut
            if group is not None and not str(row[group]).strip():
                raise ValueError(f"{table.columns[group]} is empty")
        except ValueError as error:
            refused.append(Refused(table.places[index], str(error)))
            continue
        inputs.append(value)
        targets.append(learnt)
        kept.append(index)
    examples = _examples(table, found, inputs, targets, kept)
    return Parsed(examples, [[index] for index in kept], refused, _shortened(shortened))


def _examples(
    table: Table, found: Recognised, inputs: list[Any], targets: list[Any], kept: Sequence[int]
) -> Examples:
    groups = None
    if "group" in found.roles:
        column = table.column(found.roles["group"])
        groups = [str(column[i]).strip() for i in kept]
    dictionaries = list(table.dictionaries())
    rows = [dictionaries[i] for i in kept]
    return Examples(found.kind, inputs, targets, [table.places[i] for i in kept], groups, rows)


def _series(table: Table, found: Recognised) -> Parsed:
    """The whole table, for the reader of series."""
    date, group = found.roles.get("date"), found.roles.get("group")
    series = read_series(table, SeriesSettings(), found.features, date, group)
    refused = series.refused
    options = {
        "date": date, "values": list(found.features), "group": group, "notes": series.warnings,
    }  # fmt: skip
    places = {each.place for each in refused}
    used = [index for index, place in enumerate(table.places) if place not in places]
    clean = replace(
        table,
        rows=[table.rows[index] for index in used],
        places=[table.places[index] for index in used],
        refused=[],
    )
    examples = Examples("series", [clean], [None], clean.places[:1], None, None, options)
    return Parsed(examples, [used], [*table.refused, *refused])


def _each(table: Table) -> list[list[int]]:
    return [[index] for index in range(len(table.rows))]


def _grouped(table: Table, found: Recognised) -> list[list[int]]:
    """Rows of equal group, in the order of time if there is such a column, else of the file."""
    groups: dict[str, list[int]] = {}
    for index, value in enumerate(table.column(found.roles["group"])):
        groups.setdefault(str(value).strip(), []).append(index)
    if "time" not in found.roles:
        return list(groups.values())
    times = [str(cell).strip() for cell in table.column(found.roles["time"])]
    numbers = [decimal(cell) for cell in times]
    if all(number is not None and math.isfinite(number) for number in numbers):
        return [sorted(rows, key=lambda i: numbers[i]) for rows in groups.values()]  # type: ignore[arg-type,return-value]
    return [sorted(rows, key=lambda i: times[i]) for rows in groups.values()]


def _sequences(
    table: Table, found: Recognised, settings: DataSettings, groups: list[list[int]]
) -> Parsed:
    """One array from each group of rows; or from each row, its numbers one after the other.

    Where a caption is written for a row, its numbers are one step.
    """
    numbers, categories = _features(table, found)
    number_columns = [table.index(name, "column") for name in numbers]
    category_columns = [table.index(name, "column") for name in categories]
    learnt = _learnt(table, found)
    refused, shortened = list(table.refused), 0
    inputs, targets, kept, texts = [], [], [], []
    for group in groups:
        rows, values = [], []
        for index in group:
            try:
                values.append(_numbers(table, index, number_columns))
                if learnt is not None:
                    learnt(index)
                rows.append(index)
            except ValueError as error:
                refused.append(Refused(table.places[index], str(error)))
        if not rows:
            continue
        if settings.max_length and len(rows) > settings.max_length:
            if settings.too_long == "refuse":
                reason = _too_long(len(rows), settings, "rows")
                refused += [Refused(table.places[index], reason) for index in rows]
                continue
            for index in rows[settings.max_length :]:
                refused.append(Refused(table.places[index], f"after row {settings.max_length}"))
            rows, values = rows[: settings.max_length], values[: settings.max_length]
            shortened += 1
        array = np.array(values, dtype=np.float32)
        one_by_one = "group" not in found.roles and found.task != "caption"
        inputs.append(array.reshape(-1, 1) if one_by_one else array)
        each = [learnt(index) for index in rows] if learnt is not None else [None]
        targets.append(each if found.task == "tag" else each[0])
        texts.append([tuple(str(table.rows[i][c]) for c in category_columns) for i in rows])
        kept.append(rows)
    examples = _examples(table, found, inputs, targets, [rows[0] for rows in kept])
    examples.options = {"columns": numbers, "categories": categories}
    if categories:
        examples.options["category_values"] = texts
    return Parsed(examples, kept, refused, _shortened(shortened))


def _features(table: Table, found: Recognised) -> tuple[list[str], list[str]]:
    """The columns that are numbers, and those that are categories."""
    kinds = {name: profile(name, table.column(name)).kind for name in found.features}
    numbers = [name for name in found.features if kinds[name] in ("number", "empty")]
    return numbers, [name for name in found.features if name not in numbers]


def _learnt(table: Table, found: Recognised) -> Callable[[int], Any] | None:
    """What is learnt of a row, by its position."""
    role = next((name for name in ("label", "caption") if name in found.roles), None)
    if role is None:
        return None
    column = table.column(found.roles[role])
    read = LEARNT["stars" if found.task == "rate" else role]
    return lambda index: read(column[index])


def _numbers(table: Table, index: int, columns: Sequence[int]) -> list[float]:
    row = table.rows[index]
    values = []
    for column in columns:
        number = decimal(str(row[column]).strip())
        name = table.columns[column]
        if number is None:
            raise ValueError(f"{short(name)} is {short(row[column])}, wanted a number")
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise ValueError(f"{short(name)} is {short(row[column])}, wanted a finite number")
        values.append(number)
    return values


def _column(table: Table, found: Recognised, *names: str) -> int | None:
    name = next((found.roles[each] for each in names if each in found.roles), None)
    return None if name is None else table.index(name, "column")


def _text(cell: Any) -> str:
    text = cell if isinstance(cell, str) else " ".join(cell)
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def _words(cell: Any) -> list[str]:
    words = cell.split() if isinstance(cell, str) else list(cell)
    if not words:
        raise ValueError("there are no words")
    if any(not word.strip() for word in words):
        raise ValueError("one of the words is empty")
    return words


def _file(cell: Any, table: Table, index: int, kind: str) -> str:
    """A path as given if absolute, else from the folder of the table; it must be a file's.

    It must also be whole: what is damaged is refused here, with its row, not in training.
    """
    text = _text(cell).strip()
    path = Path(table.places[index].file).parent / text if table.beside else Path(text)
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        raise ValueError(f"there is no file {short(str(path))}")
    try:
        (read_sound if kind == "sound" else read_image)(path)
    except DataError as error:
        said = str(error).removesuffix(".")
        own = table.places[index].file == str(path)  # the place names it already
        raise ValueError(said.removeprefix(f"{printable(path)}: ") if own else said) from error
    return str(path)


def _label(cell: Any) -> str:
    text = cell if isinstance(cell, str) else " ".join(cell)
    if not text.strip():
        raise ValueError("the label is empty")
    return text.strip()


def _stars(cell: Any) -> float:
    number = decimal(_label(cell))
    if number is None or not math.isfinite(number):
        raise ValueError(f"the stars are {short(cell)}, wanted a finite number")
    return number


def _tags(cell: Any) -> list[str]:
    tags = cell.split() if isinstance(cell, str) else list(cell)
    if any(tag.strip() in ("", "_") for tag in tags):
        raise ValueError("a word has no tag")
    return tags


def _fitted(words: list[str], tags: Any, settings: DataSettings) -> tuple[list[str], Any, bool]:
    if tags is not None and len(tags) != len(words):
        raise ValueError(f"{len(words)} words with {len(tags)} tags, wanted a tag for each word")
    most = settings.max_length
    if not most or len(words) <= most:
        return words, tags, False
    if settings.too_long == "refuse":
        raise ValueError(_too_long(len(words), settings, "words"))
    return words[:most], None if tags is None else tags[:most], True


def _too_long(count: int, settings: DataSettings, what: str) -> str:
    return (
        f"{count} {what}, more than data.max_length {settings.max_length}; "
        "--data.too-long truncate cuts such"
    )


def _shortened(count: int) -> list[str]:
    return [f"{count} examples were cut to data.max_length."] if count else []


LEARNT: dict[str, Callable[[Any], Any]] = {
    "label": _label,
    "stars": _stars,
    "tags": _tags,
    "target": _text,
    "caption": _text,
    "transcript": _text,
}
ROLES_LEARNT = tuple(LEARNT)
# Larger numbers are infinite in float32.
LARGEST = float(np.finfo(np.float32).max)
