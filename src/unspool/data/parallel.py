"""Two files of parallel text: each line of one beside the same line of the other."""

from __future__ import annotations

from pathlib import Path

from unspool.data.contents import Running
from unspool.data.delimited import LINE_END
from unspool.data.table import Place, Table
from unspool.errors import DataError


def parallel_table(source: Running, target: Running) -> Table:
    r"""The lines of two texts as the columns ``source`` and ``target``.

    Args:
        source: what is read.
        target: what is to be written.

    Returns:
        A row for each line, with its place in the first file; lines that are blank in both files
        are no rows.

    Raises:
        DataError: if one has more lines than the other.

    Example:
        >>> table = parallel_table(Running("one\ntwo\n", "a.en"), Running("eins\nzwei\n", "a.de"))
        >>> table.columns, table.rows
        (('source', 'target'), [['one', 'eins'], ['two', 'zwei']])
    """
    left, right = _lines(source.text), _lines(target.text)
    if len(left) != len(right):
        raise DataError(
            f"{source.file} has {len(left):,} lines and {target.file} {len(right):,}; wanted the "
            "translation of each line on the same line of the other."
        )
    table = Table(
        ("source", "target"),
        [],
        [],
        named=True,
        form=f"the lines of two texts, {Path(source.file).name} and {Path(target.file).name}",
        unit="lines",
        file=source.file,
    )
    for number, pair in enumerate(zip(left, right, strict=True), 1):
        if any(line.strip() for line in pair):
            table.rows.append(list(pair))
            table.places.append(Place(source.file, number))
    return table


def _lines(text: str) -> list[str]:
    """The lines; what stands behind the last line end is none if it is empty."""
    lines = LINE_END.split(text)
    return lines[:-1] if lines and not lines[-1] else lines
