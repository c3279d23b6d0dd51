"""Where a model looked while it wrote, as lines of text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len


def attention_text(attention: Mapping[str, Any], width: int = 80) -> str:
    """A heatmap: a row for each token written, a column for each token read.

    Five shades stand for fifths of the largest weight of the row. What does not fit the width
    stands in further blocks below. Of an image there is a small map below each token.

    Args:
        attention: ``source`` and ``target``, tokens, and ``weights``, a row for each of ``target``;
            of an image ``sides``, places down and across, instead of ``source``.
        width: columns of the terminal.

    Example:
        >>> weights = [[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]]
        >>> print(attention_text({"source": ["two", " and", "six"], "target": ["2", "6"],
        ...                       "weights": weights}))
           two _and six
        2  ███
        6      ░░░░ ███
    """
    target = [shown_token(token) for token in attention["target"]]
    if "sides" in attention:
        return _maps(target, attention["weights"], attention["sides"], width)
    source = [shown_token(token) for token in attention["source"]]
    margin = max([cell_len(token) for token in target], default=0) + 2
    blocks = _blocks([max(1, cell_len(token)) for token in source], max(20, width) - margin)
    return "\n\n".join(
        "\n".join(_block(source, target, attention["weights"], block, margin)) for block in blocks
    )


def shown_token(token: str) -> str:
    """A token as it stands in a table: spaces visible, marks that need a letter with a circle.

    Example:
        >>> shown_token(" the"), shown_token(chr(10))
        ('_the', '↵')
    """
    token = token.replace(" ", "_").replace("\n", "↵").replace("\t", "⇥")
    if token and unicodedata.category(token[0]) == "Mn":
        token = f"◌{token}"
    return "".join(each if each.isprintable() else "·" for each in token)


def _blocks(widths: Sequence[int], room: int) -> list[range]:
    """Runs of columns that fit side by side."""
    blocks, start, used = [], 0, 0
    for place, width in enumerate(widths):
        if place > start and used + width > room:
            blocks.append(range(start, place))
            start, used = place, 0
        used += width + 1
    return [*blocks, range(start, len(widths))]


def _block(
    source: Sequence[str],
    target: Sequence[str],
    weights: Sequence[Sequence[float]],
    columns: range,
    margin: int,
) -> Iterator[str]:
    yield (" " * margin + " ".join(source[column] for column in columns)).rstrip()
    for token, row in zip(target, weights, strict=True):
        most = max(row, default=0.0) or 1.0
        cells = [
            _shade(row[column] / most) * max(1, cell_len(source[column])) for column in columns
        ]
        yield (token + " " * (margin - cell_len(token)) + " ".join(cells)).rstrip()


def _maps(
    target: Sequence[str],
    weights: Sequence[Sequence[float]],
    sides: Sequence[int],
    width: int,
) -> str:
    """Tokens side by side, and below each how much of every place of an image was looked at."""
    rows, columns = sides
    widths = [max(cell_len(token), PLACE * columns) for token in target]
    parts = []
    for block in _blocks(widths, max(20, width)):
        lines = [" ".join(target[i] + " " * (widths[i] - cell_len(target[i])) for i in block)]
        for row in range(rows):
            cells = []
            for i in block:
                most = max(weights[i]) or 1.0
                places = weights[i][row * columns : (row + 1) * columns]
                cells.append("".join(PLACE * _shade(each / most) for each in places))
                cells[-1] += " " * (widths[i] - PLACE * columns)
            lines.append(" ".join(cells))
        parts.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(parts)


def _shade(share: float) -> str:
    return SHADES[min(len(SHADES) - 1, int(share * len(SHADES)))]


SHADES = " ░▒▓█"
PLACE = 2  # letters across that a place of an image takes, so that it looks square
