"""Plots of answers that are classes: which is taken for which, and how sure they were."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unspool.drawing.axes import (
    FOOT,
    HEAD,
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Linear,
    grid,
    heading,
    legend,
)
from unspool.drawing.picture import Area, Dot, Line, Mark, Number, Picture, Words, box, shortened


def counts_table(labels: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> Picture:
    """A confusion matrix: what is true downward, what was answered to the right.

    Every square is as dark as its share of its row; its number stands in it where there is room.

    Args:
        labels: of rows and columns.
        counts: one row for each true label.
        title: of the picture.

    Example:
        >>> counts_table(["no", "yes"], [[8, 2], [1, 9]], "Confusion").text
        'no: 8 of 10 right, 2 as yes; yes: 9 of 10 right, 1 as no'
    """
    numbered = len(labels) > MOST_NAMED
    names = [shortened(label, LABEL) for label in labels]
    longest = max(map(len, names)) + (5 if numbered else 0)
    left, top = 22 + 6.2 * longest, 58.0
    side = (WIDTH - left - 6) / len(labels)
    tall = min(side, 44.0)
    marks: list[Mark] = [heading(title)]
    marks.append(Words(left + side * len(labels) / 2, 34, "answered", "faint", "middle"))
    size = 11.0 if len(labels) <= 8 else min(9.0, 0.74 * side)
    said = []
    for number, (label, row) in enumerate(zip(labels, counts, strict=True)):
        name, total = names[number], sum(row)
        y = top + tall * number
        x = left + side * (number + 0.5)
        above = str(number + 1) if numbered else name
        beside = f"{name} ({number + 1})" if numbered else name
        marks.append(Words(x, top - 6, above, "ink", "middle", size))
        marks.append(Words(left - 6, y + tall / 2 + 4, beside, "ink", "end", size))
        for place, count in enumerate(row):
            share = count / total if total else 0.0
            role = "own" if place == number else "bad"
            corner = left + side * place, y
            told = f"{label} answered as {labels[place]}: {count}"
            marks.append(Area(box(*corner, side - 1, tall - 1), "grid", 0.45, told))
            marks.append(Area(box(*corner, side - 1, tall - 1), role, 0.85 * share, told))
            if count and 0.6 * size * len(f"{count:,}") <= side:
                ink = "paper" if share > 0.55 else "ink"
                middle = corner[0] + side / 2, y + tall / 2 + 4
                marks.append(Words(*middle, f"{count:,}", ink, "middle", size))
        wrong = [(n, labels[place]) for place, n in enumerate(row) if n and place != number]
        others = ", ".join(f"{n} as {other}" for n, other in sorted(wrong, reverse=True)[:3])
        said.append(f"{label}: {row[number]} of {total} right" + (f", {others}" if others else ""))
    height = top + tall * len(labels) + 8
    return Picture(WIDTH, height, title, "; ".join(said), tuple(marks))


def reliability_plot(
    bins: Sequence[tuple[Number, Number, int, Number, Number]], title: str, error: Number
) -> Picture:
    """How often answers are right, by how sure they were; honest ones lie on the diagonal.

    Args:
        bins: low, high, rows, mean confidence and accuracy of each; those without rows stay empty.
        title: of the picture.
        error: the expected calibration error.

    Example:
        >>> reliability_plot([(0.5, 1.0, 20, 0.9, 0.7)], "Calibration", 0.2).text
        '20 answers at 90% confidence: 70% right; mean gap 20.0%'
    """
    right = Linear(0.0, 1.0, LEFT, WIDTH - RIGHT)
    up = Linear(0.0, 1.0, HEIGHT - FOOT, HEAD)
    marks = [heading(title), *grid(right, up, "how sure", "share that is right")]
    marks.append(Line(((right(0), up(0)), (right(1), up(1))), "faint", 1.2, True))
    full = [each for each in bins if each[2]]
    most = max((each[2] for each in full), default=1)
    said = []
    for low, high, rows, sure, hits in full:
        told = f"{rows:,} answers at {sure:.0%} confidence: {hits:.0%} right"
        said.append(told)
        wide = right(high) - right(low) - 2
        bar = box(right(low) + 1, up(hits), wide, up(0) - up(hits))
        marks.append(Area(bar, "own", 0.35, told))
        marks.append(Dot(right(sure), up(hits), 2.5 + 4 * math.sqrt(rows / most), "own", said=told))
    text = "; ".join([*said, f"mean gap {error:.1%}"])
    marks += legend([("honest", "faint", True)], HEIGHT + 6)
    return Picture(WIDTH, HEIGHT + 18, title, text, tuple(marks))


LABEL = 14
# Names of so many columns stand side by side; more are numbered.
MOST_NAMED = 4
