"""Rows as they stand in files, each with the place it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from unspool.errors import DataError, nearest

Cell = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands.

    Attributes:
        file: the path as the user wrote it, or a name for data in memory.
        line: of the file, counted from 1; 0 where there are none, such as for a sound.

    Example:
        >>> str(Place("reviews.tsv", 7))
        'reviews.tsv, line 7'
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not used, and why in one sentence without its full stop."""

    place: Place
    reason: str


@dataclass(slots=True)
class Table:
    """Rows of named columns.

    Attributes:
        columns: the names; ``column 1``, ``column 2``, … where the file has none.
        rows: a cell for each column: text, or a tuple of texts for a list such as tokens.
        places: of each row.
        refused: rows that could not be read.
        named: whether the file names its columns.
        form: how the file is written, in words: "a table separated by tabs".
        unit: what a row is: "rows", "sentences", "files".
        file: the file they come from, or "data".
        beside: whether paths in it begin where the file lies; else where Unspool was started.
    """

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    places: list[Place]
    refused: list[Refused] = field(default_factory=list)
    named: bool = True
    form: str = "a table"
    unit: str = "rows"
    file: str = "data"
    beside: bool = True

    @property
    def total(self) -> int:
        """Rows the file holds, usable or not."""
        return len(self.rows) + len(self.refused)

    def column(self, name: str) -> list[Cell]:
        """All cells of a column.

        Raises:
            DataError: if there is no such column, with the ones there are.

        Example:
            >>> table = Table(("text", "label"), [["fine", "1"]], [Place("a.csv", 2)])
            >>> table.column("label")
            ['1']
        """
        index = self.index(name, "column")
        return [row[index] for row in self.rows]

    def index(self, name: str, setting: str) -> int:
        """Where a column stands.

        Args:
            name: as in the file; case only counts if two differ by nothing else.
            setting: what asked for it, for the message.

        Raises:
            DataError: if there is no such column, with the ones there are.
        """
        if name in self.columns:
            return self.columns.index(name)
        alike = [i for i, each in enumerate(self.columns) if each.lower() == name.lower()]
        if len(alike) == 1:
            return alike[0]
        close = nearest(name, self.columns)
        hint = f" Did you mean {close!r}?" if close else ""
        raise DataError(
            f"{self.file}: {setting} is {name!r}, which is no column; "
            f"use one of {listed(self.columns)}.{hint}"
        )

    def dictionaries(self) -> Iterator[dict[str, str]]:
        """Every row by column name, lists joined by spaces."""
        for row in self.rows:
            yield {
                name: cell if isinstance(cell, str) else " ".join(cell)
                for name, cell in zip(self.columns, row, strict=True)
            }


def joined(tables: Sequence[Table]) -> Table:
    """Tables below each other.

    Args:
        tables: one or more, of the same columns in any order.

    Raises:
        DataError: if the columns differ, naming the two files.
    """
    first = tables[0]
    rows, places, refused = list(first.rows), list(first.places), list(first.refused)
    for other in tables[1:]:
        rows += aligned(other, first).rows
        places += other.places
        refused += other.refused
    return replace(first, rows=rows, places=places, refused=refused)


def aligned(table: Table, first: Table) -> Table:
    """A table with its columns in the order of another.

    Raises:
        DataError: if they are other columns.
    """
    if table.columns == first.columns:
        return table
    if sorted(table.columns) != sorted(first.columns):
        raise DataError(
            f"{table.file}: has the columns {listed(table.columns)}; wanted "
            f"{listed(first.columns)} as in {first.file}. Read files of different columns in "
            "separate runs."
        )
    order = [table.columns.index(name) for name in first.columns]
    rows = [[row[i] for i in order] for row in table.rows]
    return replace(table, columns=first.columns, rows=rows)


def listed(names: Sequence[str], most: int = 12) -> str:
    r"""Names in one line, the first of them if there are many.

    Example:
        >>> listed(["text", "two\nlines"])
        "text, 'two\\nlines'"
    """
    shown = [short(name, 40) for name in names[:most]]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown) + more


def short(value: object, width: int = 60) -> str:
    """A value in one line of a message, cut if it is long.

    Example:
        >>> short("a" * 100, 10)
        'aaaaaaaaa…'
    """
    text = value if isinstance(value, str) else " ".join(map(str, value))  # type: ignore[call-overload]
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text if text.isprintable() and text else repr(text)


def decimal(text: str) -> float | None:
    """The number a cell holds, or None; "nan" and "inf" are numbers, "1_000" and "" are not.

    Example:
        >>> decimal("1e3"), decimal("007"), decimal("1_000"), decimal("")
        (1000.0, 7.0, None, None)
    """
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None
