"""A picture as a list of marks, each with a role instead of a colour, written as SVG.

Importable without torch or numpy. The same marks serve a page in light and in dark, a file of its
own, and `unspool.drawing.paint`, which makes a PNG of them.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Number = float | int
Point = tuple[Number, Number]


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by straight lines.

    Attributes:
        points: (x, y), from the upper left corner.
        role: a key of `ROLES`.
        width: of the pen.
        dashed: broken into dashes.
    """

    points: Sequence[Point]
    role: str = "ink"
    width: Number = 1.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon.

    Attributes:
        points: its corners.
        role: a key of `ROLES`.
        opacity: 0…1.
        said: what a pointer that rests on it is told.
    """

    points: Sequence[Point]
    role: str = "ink"
    opacity: Number = 1.0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, or a ring where it is open.

    Attributes:
        x: of its centre.
        y: of its centre.
        radius: to its edge.
        role: a key of `ROLES`.
        open: only the edge, the paper inside.
        said: what a pointer that rests on it is told.
    """

    x: Number
    y: Number
    radius: Number = 4.0
    role: str = "ink"
    open: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text.

    Attributes:
        x: where it is anchored.
        y: its base line.
        text: anything; it is escaped.
        role: a key of `ROLES`.
        anchor: start, middle or end.
        size: of the letters.
        bold: heavy letters.
    """

    x: Number
    y: Number
    text: str
    role: str = "ink"
    anchor: str = "start"
    size: Number = 11.0
    bold: bool = False


Mark = Line | Area | Dot | Words


@dataclass(frozen=True, slots=True)
class Picture:
    """Marks on a sheet of paper.

    Attributes:
        width: of the sheet.
        height: of the sheet.
        title: what it shows, for those who do not see it too.
        text: the same in a sentence or two, with the figures that matter.
        marks: painted in this order.

    Example:
        >>> Picture(40, 20, "A dot", "It lies in the middle.", (Dot(20, 10),)).svg()[:30]
        '<svg xmlns="http://www.w3.org/'
    """

    width: Number
    height: Number
    title: str
    text: str
    marks: tuple[Mark, ...]

    def svg(self, alone: bool = True) -> str:
        """The picture as SVG.

        Args:
            alone: for a file of its own, with paper and colours; else for a page that has `STYLE`.
        """
        size = f'width="{_n(self.width)}" height="{_n(self.height)}" ' if alone else ""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}class="picture" role="img" '
            f'viewBox="0 0 {_n(self.width)} {_n(self.height)}">',
            f"<title>{escaped(self.title)}</title>",
            f"<desc>{escaped(self.text)}</desc>",
        ]
        if alone:
            parts.append(f"<style>{STYLE}</style>")
            parts.append('<rect width="100%" height="100%" class="fill-paper"/>')
        parts += (_mark(mark) for mark in self.marks)
        return "\n".join([*parts, "</svg>\n"])


def box(x: Number, y: Number, width: Number, height: Number) -> tuple[Point, ...]:
    """The corners of a rectangle.

    Example:
        >>> box(0, 0, 2, 1)
        ((0, 0), (2, 0), (2, 1), (0, 1))
    """
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


def shortened(text: str, most: int) -> str:
    """A text on one line, its end left out where it is longer than that.

    Example:
        >>> shortened("logistic regression", 9)
        'logistic…'
    """
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def escaped(text: str) -> str:
    r"""Text that is only text in XML and HTML: marks escaped, what XML forbids replaced.

    Example:
        >>> escaped("<b> & \x00")
        '&lt;b&gt; &amp; \ufffd'
    """
    kept = "".join(each if _allowed(each) else "\ufffd" for each in text)
    return html.escape(kept)


def _mark(mark: Mark) -> str:
    if isinstance(mark, Line):
        dashes = ' stroke-dasharray="5 3"' if mark.dashed else ""
        return (
            f'<polyline points="{_points(mark.points)}" fill="none" class="line-{mark.role}" '
            f'stroke-width="{_n(mark.width)}" stroke-linejoin="round"{dashes}/>'
        )
    if isinstance(mark, Area):
        faint = f' fill-opacity="{_n(mark.opacity)}"' if mark.opacity < 1 else ""
        return _told(
            f'<polygon points="{_points(mark.points)}" class="fill-{mark.role}"{faint}', mark.said
        )
    if isinstance(mark, Dot):
        look = f"fill-paper line-{mark.role}" if mark.open else f"fill-{mark.role}"
        return _told(
            f'<circle cx="{_n(mark.x)}" cy="{_n(mark.y)}" r="{_n(mark.radius)}" '
            f'stroke-width="2" class="{look}"',
            mark.said,
        )
    anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
    weight = ' font-weight="600"' if mark.bold else ""
    return (
        f'<text x="{_n(mark.x)}" y="{_n(mark.y)}" font-size="{_n(mark.size)}"{anchor}{weight} '
        f'class="fill-{mark.role}">{escaped(mark.text)}</text>'
    )


def _told(opened: str, said: str) -> str:
    name = opened[1:].partition(" ")[0]
    return f"{opened}><title>{escaped(said)}</title></{name}>" if said else f"{opened}/>"


def _allowed(character: str) -> bool:
    code = ord(character)
    return character in "\t\n\r" or (
        (code >= 0x20 and not 0xD800 <= code < 0xE000) and (code & 0xFFFE != 0xFFFE)
    )


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(number: Number) -> str:
    return f"{number:.1f}".removesuffix(".0") if abs(number) >= 1 else f"{number:.3g}"


def _rules(place: int) -> Iterator[str]:
    for role, colours in ROLES.items():
        yield f".fill-{role}{{fill:{colours[place]}}}.line-{role}{{stroke:{colours[place]}}}"


# What a mark is for, and its colours on light and on dark paper. The series differ in lightness as
# well as in hue, so that they stay apart for those who see few colours.
ROLES = {
    "ink": ("#1f2937", "#e5e7eb"),
    "faint": ("#5b6472", "#9ca3af"),
    "grid": ("#e2e5ea", "#374151"),
    "paper": ("#ffffff", "#16191f"),
    "own": ("#1d4ed8", "#7cb0ff"),
    "other": ("#6b7280", "#a3abb8"),
    "good": ("#047857", "#4ade80"),
    "bad": ("#b91c1c", "#fb8a80"),
    "series-0": ("#1d4ed8", "#7cb0ff"),
    "series-1": ("#c2410c", "#fdae6b"),
    "series-2": ("#047857", "#4ade80"),
    "series-3": ("#7e22ce", "#d0a3ff"),
    "series-4": ("#a16207", "#fde047"),
    "series-5": ("#475569", "#cbd5e1"),
}
SERIES = tuple(role for role in ROLES if role.startswith("series-"))
STYLE = (
    ".picture{font-family:system-ui,sans-serif}"
    + "".join(_rules(0))
    + "@media (prefers-color-scheme:dark){"
    + "".join(_rules(1))
    + "}"
)
