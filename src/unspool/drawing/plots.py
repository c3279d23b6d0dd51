"""The plots of reports and benchmarks, each a `Picture` that fits a telephone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unspool.drawing.axes import (
    FOOT,
    HEAD,
    HEIGHT,
    LEFT,
    RIGHT,
    SIDE,
    WIDTH,
    Linear,
    dates,
    grid,
    heading,
    legend,
    scale_of,
    upright,
)
from unspool.drawing.picture import (
    SERIES,
    Area,
    Dot,
    Line,
    Mark,
    Number,
    Picture,
    Words,
    box,
    shortened,
)

Points = Sequence[tuple[Number, Number]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of a `dot_plot`.

    Attributes:
        name: of what was measured.
        value: what came out.
        low: where its interval begins; None where there is none.
        high: where it ends.
        own: ours, which stands out.
    """

    name: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    own: bool = False


def dot_plot(figures: Sequence[Figure], measure: str, title: str = "") -> Picture:
    """A dot for every figure, with its interval, one below the other in the order given.

    A figure of our own is a full dot and all others are rings, so that colour says nothing alone.

    Args:
        figures: at least one.
        measure: what the numbers are.
        title: of the picture; None takes the measure.

    Example:
        >>> figures = [Figure(name="lstm", value=0.9, low=0.85, high=0.94, own=True),
        ...            Figure(name="majority", value=0.5, low=0.44, high=0.56)]
        >>> dot_plot(figures, "accuracy").text
        'lstm 0.900 (0.850 to 0.940); majority 0.500 (0.440 to 0.560)'
    """
    title = title or measure
    ends = [end for each in figures for end in (each.low, each.value, each.high)]
    known = [end for end in ends if end is not None and math.isfinite(end)]
    room = (max(known) - min(known)) * 0.04
    scale = Linear(min(known) - room, max(known) + room, SIDE, WIDTH - SIDE)
    bottom = HEAD + ROW * len(figures)
    marks: list[Mark] = [heading(title)]
    marks += upright(scale, HEAD - 4, bottom)
    for number, each in enumerate(figures):
        y = HEAD + ROW * number + 27
        role = "own" if each.own else "other"
        shown = _with_interval(each)
        marks.append(Words(SIDE, y - 11, shortened(each.name, 34), bold=each.own))
        marks.append(Words(WIDTH - SIDE, y - 11, shown, "faint", "end"))
        if each.low is not None and each.high is not None:
            marks.append(Line(((scale(each.low), y), (scale(each.high), y)), role, 3.0))
        marks.append(Dot(scale(each.value), y, 5, role, not each.own, f"{each.name}: {shown}"))
    marks.append(Words(WIDTH / 2, bottom + 34, measure, "faint", "middle"))
    text = "; ".join(f"{each.name} {_with_interval(each)}" for each in figures)
    return Picture(WIDTH, bottom + 42, title, text, tuple(marks))


def curves(
    lines: Mapping[str, Points],
    title: str,
    x: str = "step",
    y: str = "",
    *,
    logarithmic: tuple[Number, Number] = (0.0, 0.0),
    faint: Sequence[str] = (),
    mark: tuple[Number, Number, str] | None = None,
) -> Picture:
    """Lines over one axis, with a legend below.

    Lines whose names begin with the same word share a colour; the second of them is dashed.

    Args:
        lines: points (x, y) by name; those that are not finite are left out.
        title: of the picture.
        x: what runs to the right.
        y: what runs upward.
        logarithmic: base of each axis; 0 makes it linear.
        faint: names of lines to draw thin and pale, behind the others.
        mark: a point to point at, and what to call it.

    Example:
        >>> picture = curves({"loss": [(1, 2.0), (2, 1.0)]}, "Loss", y="nats")
        >>> picture.text
        'loss: from 2 at step 1 to 1 at step 2'
    """
    known = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in lines.items()
    }
    known = {name: points for name, points in known.items() if points}
    xs = [place for points in known.values() for place, _ in points]
    ys = [place for points in known.values() for _, place in points]
    if not xs:
        return Picture(WIDTH, HEAD, title, "Nothing was measured.", (heading(title),))
    right = scale_of(min(xs), max(xs), LEFT, WIDTH - RIGHT, logarithmic[0])
    up = scale_of(min(ys), max(ys), HEIGHT - FOOT, HEAD, logarithmic[1])
    marks = [heading(title), *grid(right, up, x, y)]
    colours: dict[str, str] = {}
    shown = []
    for name, points in known.items():
        family = name.split()[0]
        dashed = family in colours
        role = colours.setdefault(family, SERIES[len(colours) % len(SERIES)])
        width = 1.0 if name in faint else 1.8
        role = "other" if name in faint else role
        marks.append(Line([(right(a), up(b)) for a, b in points], role, width, dashed))
        shown.append((name, role, dashed))
    if mark is not None:
        at, value, said = mark
        marks.append(Dot(right(at), up(value), 4, "own", True, said))
    marks += legend(shown, HEIGHT + 6)
    said = "; ".join(
        f"{name}: from {points[0][1]:.4g} at {x} {points[0][0]:,g} to {points[-1][1]:.4g} at {x} "
        f"{points[-1][0]:,g}"
        for name, points in known.items()
    )
    height = HEIGHT + 18 * ((len(shown) + 1) // 2)
    return Picture(WIDTH, height, title, said, tuple(marks))


def bands(
    labels: Sequence[str],
    truth: Sequence[Number],
    point: Sequence[Number],
    low: Sequence[Number] | None,
    high: Sequence[Number] | None,
    title: str,
    before: Sequence[Number] = (),
) -> Picture:
    """A forecast with its band, and what came.

    Args:
        labels: of every step: of ``before`` first, then of the forecast; dates as a rule.
        truth: what came, as long as the forecast; NaN where it is not known.
        point: the forecast.
        low: where its band begins; None where there is none.
        high: where it ends.
        title: of the picture.
        before: what was known when the forecast was made.

    Example:
        >>> bands(["Mon", "Tue"], [1.0, 3.0], [1.5, 2.5], [1.0, 2.0], [2.0, 2.8], "Rain").text
        'Mon to Tue; the truth lies within the band in 1 of 2 steps'
    """
    start = len(before)
    series = [*before, *truth, *point, *(low or ()), *(high or ())]
    known = [value for value in series if math.isfinite(value)]
    right = Linear(0, max(len(labels) - 1, 1), LEFT, WIDTH - RIGHT)
    up = Linear(min(known), max(known), HEIGHT - FOOT, HEAD)
    marks = [heading(title), *grid(right, up, "", "")]
    marks += dates(labels, right)
    text = f"{labels[start]} to {labels[-1]}"
    shown = [("truth", "ink", False), ("forecast", "own", False)]
    if low is not None and high is not None:
        edge = [(right(start + n), up(value)) for n, value in enumerate(high)]
        edge += [(right(start + n), up(value)) for n, value in reversed(list(enumerate(low)))]
        marks.append(Area(edge, "own", 0.22))
        triples = list(zip(low, truth, high, strict=True))
        inside = sum(a <= b <= c for a, b, c in triples)
        text += f"; the truth lies within the band in {inside} of {len(triples)} steps"
    if start:
        last = [*enumerate(before)]
        marks.append(Line([(right(n), up(value)) for n, value in last], "ink", 1.4))
        now = right(start - 0.5)
        marks.append(Line(((now, HEAD), (now, HEIGHT - FOOT)), "faint", 1, True))
    for values, role in ((truth, "ink"), (point, "own")):
        places = [(start + n, value) for n, value in enumerate(values) if math.isfinite(value)]
        marks.append(Line([(right(n), up(value)) for n, value in places], role, 1.8))
    marks += legend(shown, HEIGHT + 6)
    return Picture(WIDTH, HEIGHT + 18, title, text, tuple(marks))


def bars(labels: Sequence[str], counts: Sequence[Number], title: str) -> Picture:
    """One bar for each count, upright, such as a histogram.

    Args:
        labels: below the bars.
        counts: ≥ 0.
        title: of the picture.

    Example:
        >>> bars(["1-9", "10-19"], [3, 1], "Lengths").text
        '1-9: 3; 10-19: 1'
    """
    up = Linear(0.0, max([*counts, 1]), SHORT - FOOT, HEAD)
    wide = (WIDTH - 2 * SIDE) / max(len(labels), 1)
    marks: list[Mark] = [heading(title)]
    every = math.ceil(len(labels) * max(map(len, labels), default=1) * 6.5 / (WIDTH - 2 * SIDE))
    for number, (label, count) in enumerate(zip(labels, counts, strict=True)):
        x = SIDE + wide * number
        bar = box(x + 1, up(count), wide - 2, up(0) - up(count))
        marks.append(Area(bar, "own", 0.7, f"{label}: {_count(count)}"))
        if number % max(every, 1) == 0:
            marks.append(Words(x + wide / 2, SHORT - FOOT + 16, label, "faint", "middle", 10))
        if wide > 7 * len(_count(count)):
            marks.append(Words(x + wide / 2, up(count) - 4, _count(count), "ink", "middle", 10))
    text = "; ".join(
        f"{label}: {_count(count)}" for label, count in zip(labels, counts, strict=True)
    )
    return Picture(WIDTH, SHORT - 12, title, text, tuple(marks))


def beside(pictures: Sequence[Picture], title: str) -> Picture:
    """Some pictures on one sheet, from left to right.

    Example:
        >>> one = Picture(10, 8, "a", "A.", (Dot(5, 5),))
        >>> both = beside([one, one], "twice")
        >>> both.width, both.marks[1].x
        (20.0, 15.0)
    """
    marks: list[Mark] = []
    left = 0.0
    for picture in pictures:
        marks += (_moved(mark, left) for mark in picture.marks)
        left += picture.width
    text = " ".join(f"{each.title}: {each.text}." for each in pictures)
    return Picture(left, max(each.height for each in pictures), title, text, tuple(marks))


def _with_interval(figure: Figure) -> str:
    shown = _figure(figure.value)
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} ({_figure(figure.low)} to {_figure(figure.high)})"


def _figure(value: Number) -> str:
    """Three digits behind the point, or as many as its size is worth."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.2e}"


def _count(count: Number) -> str:
    return f"{count:,.0f}" if count == round(count) else f"{count:,.3g}"


def _moved(mark: Mark, by: Number) -> Mark:
    if isinstance(mark, Dot | Words):
        return replace(mark, x=mark.x + by)
    return replace(mark, points=[(x + by, y) for x, y in mark.points])


SHORT = 170.0
ROW = 38.0
