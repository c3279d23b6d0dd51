"""Where a model looked while it wrote: a square for each token written and each token read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unspool.drawing.axes import heading
from unspool.drawing.picture import Area, Line, Mark, Picture, Words, box, shortened


def attention_map(attention: Mapping[str, Any], title: str) -> Picture:
    """A heatmap with what was read to the right and what was written downward.

    Every square is as dark as its weight. Of an image there is a map for each token that was
    written, as dark as the weight over the largest of the map.

    Args:
        attention: ``source`` and ``target``, tokens, and ``weights``, a row for each of ``target``;
            of an image ``sides``, places down and across, instead of ``source``.
        title: of the picture.

    Example:
        >>> attention_map({"source": ["deux", "chats"], "target": ["two", "cats"],
        ...                "weights": [[0.9, 0.1], [0.2, 0.8]]}, "Two cats").text
        'two: mostly at deux (0.90); cats: mostly at chats (0.80)'
    """
    target = [shortened(token, LABEL) or "_" for token in attention["target"]]
    if "sides" in attention:
        return _maps(target, attention["weights"], attention["sides"], title)
    source = [shortened(token, LABEL) or "_" for token in attention["source"]]
    left = 16 + LETTER * max(map(len, target), default=1)
    widths = [max(SIDE, LETTER * len(token) + 6) for token in source]
    top = 58.0
    marks: list[Mark] = [heading(title)]
    said = []
    x = left
    for token, width in zip(source, widths, strict=True):
        marks.append(Words(x + width / 2, top - 8, token, "ink", "middle"))
        x += width
    for number, (token, row) in enumerate(zip(target, attention["weights"], strict=True)):
        y = top + SIDE * number
        marks.append(Words(left - 6, y + SIDE / 2 + 4, token, "ink", "end"))
        marks += _row(source, widths, row, (left, y), token)
        most = max(range(len(row)), key=row.__getitem__)
        said.append(f"{token}: mostly at {source[most]} ({row[most]:.2f})")
    right, foot = left + sum(widths), top + SIDE * len(target)
    marks.append(_frame(left, top, right - left, foot - top))
    return Picture(max(right + 8, NARROWEST), foot + 8, title, "; ".join(said), tuple(marks))


def _maps(
    target: Sequence[str],
    weights: Sequence[Sequence[float]],
    sides: Sequence[int],
    title: str,
) -> Picture:
    """A map of an image for each token, a few side by side."""
    rows, columns = sides
    side = MAP / max(rows, columns)
    marks: list[Mark] = [heading(title)]
    said = []
    for number, (token, row) in enumerate(zip(target, weights, strict=True)):
        x = 16 + (MAP + 16) * (number % ACROSS)
        y = 64 + (MAP + 36) * (number // ACROSS)
        marks.append(Words(x + MAP / 2, y - 8, token, "ink", "middle"))
        most = max(row) or 1.0
        for place, weight in enumerate(row):
            down, along = divmod(place, columns)
            corner = box(x + side * along, y + side * down, side - 0.5, side - 0.5)
            note = f"{token}, row {down + 1}, column {along + 1}: {weight:.2f}"
            marks.append(Area(corner, "own", weight / most, note))
        marks.append(_frame(x, y, side * columns, side * rows))
        down, along = divmod(max(range(len(row)), key=row.__getitem__), columns)
        said.append(f"{token}: mostly at row {down + 1}, column {along + 1} ({max(row):.2f})")
    width = 16 + (MAP + 16) * min(ACROSS, len(target))
    height = 64 + (MAP + 36) * -(-len(target) // ACROSS)
    return Picture(max(width, NARROWEST), height, title, "; ".join(said), tuple(marks))


def _frame(x: float, y: float, width: float, height: float) -> Line:
    """The four sides of a map."""
    corners = box(x, y, width, height)
    return Line((*corners, corners[0]), "grid")


def _row(
    source: Sequence[str],
    widths: Sequence[float],
    weights: Sequence[float],
    corner: tuple[float, float],
    token: str,
) -> list[Mark]:
    """The squares of one token that was written."""
    x, y = corner
    marks: list[Mark] = []
    for read, width, weight in zip(source, widths, weights, strict=True):
        shade = min(1.0, max(0.0, weight))
        said = f"{token} at {read}: {weight:.2f}"
        marks.append(Area(box(x, y, width - 1, SIDE - 1), "own", shade, said))
        x += width
    return marks


SIDE = 20.0
LETTER = 7.0
LABEL = 16
NARROWEST = 220.0
MAP = 88.0
ACROSS = 7  # maps side by side
