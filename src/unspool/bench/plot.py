"""A plot with two logarithmic axes, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 420.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 26.0, 30.0, 40.0
COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#475569")


def growth_plot(curves: Mapping[str, Points]) -> str:
    """Panels side by side, one for each word before the colon in the curves' names.

    Curves of the same first word after it share a colour; the second of such is dashed.

    Args:
        curves: such as ``"seconds: lstm unspool"``, with points (T, amount), all above 0.

    Example:
        >>> growth_plot({"seconds: lstm unspool": [(64.0, 0.1), (128.0, 0.2)]}).startswith("<svg")
        True
    """
    panels: dict[str, dict[str, Points]] = {}
    for name, points in curves.items():
        panel, _, label = name.partition(": ")
        if points:
            panels.setdefault(panel, {})[label] = points
    height = HEIGHT + 18 * max((len(inside) + 1) // 2 for inside in panels.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels):g}" '
        f'height="{height:g}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for position, (panel, inside) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({WIDTH * position:g} 0)">')
        parts += _panel(panel, inside)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>\n"])


def _panel(title: str, curves: Mapping[str, Points]) -> list[str]:
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, 2.0)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, 10.0)
    parts = [f'<text x="{LEFT}" y="18" font-size="13">{html.escape(title)}</text>']
    for tick in x_axis.ticks():
        at = f"{x_axis(tick):.1f}"
        parts.append(f'<path d="M{at} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        if round(math.log2(tick)) % 2 == 0:
            where = f'x="{at}" y="{HEIGHT - BOTTOM + 16:g}" text-anchor="middle"'
            parts.append(f"<text {where}>{tick:,.0f}</text>")
    for tick in y_axis.ticks():
        at = f"{y_axis(tick):.1f}"
        parts.append(f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" text-anchor="end">{_short(tick)}</text>')
    parts.append(f'<text x="{WIDTH / 2:g}" y="{HEIGHT - 8:g}" text-anchor="middle">steps, T</text>')
    colours: dict[str, str] = {}
    for number, (label, points) in enumerate(curves.items()):
        family = label.split()[0]
        dashes = ' stroke-dasharray="5 3"' if family in colours else ""
        colour = colours.setdefault(family, COLOURS[len(colours) % len(COLOURS)])
        line = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>'
        )
        x, y = LEFT + 180 * (number % 2), HEIGHT + 6 + 18 * (number // 2)
        parts.append(
            f'<path d="M{x} {y}h26" stroke="{colour}" stroke-width="1.8"{dashes}/>'
            f'<text x="{x + 32}" y="{y + 4}">{html.escape(label)}</text>'
        )
    return parts


class _Axis:
    """A logarithmic scale from numbers to places on the page."""

    def __init__(self, low: float, high: float, start: float, end: float, base: float) -> None:
        self.base = base
        self.first = math.floor(math.log(low, base) + 1e-9)
        self.last = max(math.ceil(math.log(high, base) - 1e-9), self.first + 1)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value, self.base) - self.first) / (self.last - self.first)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [self.base**power for power in range(self.first, self.last + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if value >= size * 0.999:
            return f"{value / size:.0f} {letter}".strip()
    return f"{value:.0e}"
