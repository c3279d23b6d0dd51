"""How time and memory grow with the length of a sequence, as SVG."""

from __future__ import annotations

from collections.abc import Mapping

from unspool.drawing.plots import Points, beside, curves


def growth_plot(lines: Mapping[str, Points]) -> str:
    """Panels side by side, one for each word before the colon in the curves' names.

    Curves of the same first word after it share a colour; the second of such is dashed.

    Args:
        lines: such as ``"seconds: lstm unspool"``, with points (T, amount), all above 0.

    Example:
        >>> growth_plot({"seconds: lstm unspool": [(64.0, 0.1), (128.0, 0.2)]}).startswith("<svg")
        True
    """
    panels: dict[str, dict[str, Points]] = {}
    for name, points in lines.items():
        panel, _, label = name.partition(": ")
        if points:
            panels.setdefault(panel, {})[label] = points
    drawn = [
        curves(inside, panel, "steps, T", logarithmic=(2.0, 10.0))
        for panel, inside in panels.items()
    ]
    return beside(drawn, "Growth with the length of a sequence").svg()
