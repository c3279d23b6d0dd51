"""From numbers to places on the paper, and what stands around a plot: heading, grid, legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from unspool.drawing.picture import Line, Mark, Number, Words


class Linear:
    """Equal steps for equal differences.

    Args:
        low: the least number.
        high: the greatest.
        start: place of the least.
        end: place of the greatest.
        ticks: about how many round numbers.

    Example:
        >>> scale = Linear(0.0, 10.0, 100.0, 200.0, ticks=3)
        >>> scale(5.0), scale.ticks()
        (150.0, [0.0, 5.0, 10.0])
    """

    def __init__(
        self, low: Number, high: Number, start: Number, end: Number, ticks: int = 5
    ) -> None:
        if not high > low:
            low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
        self.low, self.high, self.start, self.end = low, high, start, end
        self.step = _round_step((high - low) / max(ticks - 1, 1))

    def __call__(self, value: Number) -> Number:
        """The place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[Number]:
        """Round numbers within."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]

    def label(self, value: Number) -> str:
        """A tick in as many digits as its neighbours need.

        Example:
            >>> Linear(0.0, 0.2, 0, 1).label(0.05), Linear(0, 90_000, 0, 1).label(20_000)
            ('0.05', '20,000')
        """
        for digits in range(7):
            shifted = self.step * 10**digits
            if abs(shifted - round(shifted)) < 1e-6 * shifted:
                return f"{value + 0.0:,.{digits}f}"
        return f"{value:.3g}"


class Logarithmic:
    """Equal steps for equal ratios; ends at whole powers of the base.

    Args:
        low: the least number, > 0.
        high: the greatest.
        start: place of the least.
        end: place of the greatest.
        base: whose powers are ticks.

    Example:
        >>> Logarithmic(1.0, 100.0, 0.0, 2.0).ticks()
        [1.0, 10.0, 100.0]
    """

    def __init__(
        self, low: Number, high: Number, start: Number, end: Number, base: Number = 10.0
    ) -> None:
        self.base = base
        self.first = math.floor(math.log(low, base) + 1e-9)
        self.last = max(math.ceil(math.log(high, base) - 1e-9), self.first + 1)
        self.start, self.end = start, end

    def __call__(self, value: Number) -> Number:
        """The place of a number."""
        share = (math.log(value, self.base) - self.first) / (self.last - self.first)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[Number]:
        """The powers of the base; every so many of them where there are many."""
        every = 2 if self.base == 2.0 and self.last - self.first > 6 else 1
        return [self.base**power for power in range(self.first, self.last + 1, every)]

    def label(self, value: Number) -> str:
        """A tick, with a letter for its thousands.

        Example:
            >>> scale = Logarithmic(1, 10, 0, 1)
            >>> scale.label(1e-3), scale.label(4096.0), scale.label(1e6)
            ('1 m', '4,096', '1 M')
        """
        if self.base == 2.0:
            return f"{value:,.0f}" if value >= 1 else f"{value:g}"
        if 1 <= value < 1e4 or value == 0:
            return f"{value:,.0f}"
        for size, letter in PREFIXES:
            if value >= size * 0.999:
                return f"{value / size:.0f} {letter}".strip()
        return f"{value:.0e}"


Scale = Linear | Logarithmic


def scale_of(low: Number, high: Number, start: Number, end: Number, base: Number = 0.0) -> Scale:
    """A logarithmic scale where there is a base, else a linear one.

    Example:
        >>> scale_of(1, 8, 0, 1, base=2.0)(8.0)
        1.0
    """
    if base:
        return Logarithmic(low, high, start, end, base)
    return Linear(low, high, start, end)


def heading(title: str) -> Words:
    """What a picture shows, above it.

    Example:
        >>> heading("Loss").text
        'Loss'
    """
    return Words(SIDE, 18, title, size=13, bold=True)


def upright(scale: Scale, top: Number, bottom: Number) -> Iterator[Mark]:
    """Lines from top to bottom at every tick, and the ticks below.

    Example:
        >>> len(list(upright(Linear(0.0, 1.0, 0.0, 10.0, ticks=3), 0.0, 5.0)))
        6
    """
    for tick in scale.ticks():
        x = scale(tick)
        yield Line(((x, top), (x, bottom)), "grid")
        yield Words(x, bottom + 16, scale.label(tick), "faint", "middle", 10)


def grid(right: Scale, up: Scale, x: str, y: str) -> Iterator[Mark]:
    """Lines at the ticks of both axes, with what the axes are.

    Args:
        right: the axis below.
        up: the axis at the left.
        x: in words, in the middle below; empty leaves it and its ticks out.
        y: in words, above the axis.

    Example:
        >>> marks = list(grid(Linear(0, 1, 60, 90), Linear(0, 1, 90, 30), "step", "loss"))
        >>> [mark.text for mark in marks if isinstance(mark, Words)][-2:]
        ['step', 'loss']
    """
    for tick in up.ticks():
        at = up(tick)
        yield Line(((right.start, at), (right.end, at)), "grid")
        yield Words(right.start - 6, at + 4, up.label(tick), "faint", "end", 10)
    if x:
        yield from upright(right, up.end, up.start)
        middle = (right.start + right.end) / 2
        yield Words(middle, up.start + 32, x, "faint", "middle")
    if y:
        yield Words(right.end, up.end - 6, y, "faint", "end", 10)


def dates(labels: Sequence[str], right: Linear) -> Iterator[Mark]:
    """The first, the last and some labels between them, below an axis that counts them.

    Example:
        >>> [mark.text for mark in dates(["a", "b", "c"], Linear(0, 2, 0, 300))]
        ['a', 'b', 'c']
    """
    wide = 9.0 * max(map(len, labels)) + 15  # half as much again: the ends stand inside
    step = (right.end - right.start) / max(len(labels) - 1, 1)
    most = max(2, min(int((right.end - right.start) // wide) + 1, len(labels)))
    for number in range(most, 1, -1):
        places = [round(tick * (len(labels) - 1) / (number - 1)) for tick in range(number)]
        if all((b - a) * step >= wide for a, b in pairwise(places)):
            break
    places = sorted({*places})
    for tick, place in enumerate(places):
        anchor = "start" if not tick else "end" if tick == len(places) - 1 else "middle"
        yield Words(right(place), HEIGHT - FOOT + 16, labels[place], "faint", anchor, 10)


def legend(shown: Sequence[tuple[str, str, bool]], top: Number) -> Iterator[Mark]:
    """Names of lines beside a piece of each, in two columns.

    Args:
        shown: name, role and whether it is dashed.
        top: where the first row stands.

    Example:
        >>> [mark.text for mark in legend([("loss", "own", False)], 0) if isinstance(mark, Words)]
        ['loss']
    """
    for number, (name, role, dashed) in enumerate(shown):
        x = LEFT + (WIDTH - LEFT) / 2 * (number % 2)
        y = top + 18 * (number // 2)
        yield Line(((x, y), (x + 24, y)), role, 1.8, dashed)
        yield Words(x + 30, y + 4, name, "ink")


def _round_step(step: Number) -> Number:
    """The least of 1, 2, 2.5, 5 times a power of ten that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(each * power for each in (1.0, 2.0, 2.5, 5.0, 10.0) if each * power >= step * 0.999)


PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
# Of a plot: its sheet, and the room around what is plotted.
WIDTH, HEIGHT = 400.0, 270.0
LEFT, RIGHT, SIDE, HEAD, FOOT = 58.0, 22.0, 12.0, 36.0, 42.0
