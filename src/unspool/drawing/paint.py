"""A picture as a PNG, painted by Pillow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from unspool.drawing.picture import ROLES, Area, Dot, Line, Mark, Picture, Point
from unspool.errors import ConfigError


def paint(picture: Picture, path: Path, scale: int = 2) -> None:
    """Write a picture as a PNG file, on white paper.

    Args:
        picture: to paint.
        path: of the file.
        scale: points of the file for one of the picture.

    Raises:
        ConfigError: if Pillow is not installed, or the file cannot be written.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ConfigError(
            'PNG files: need Pillow; `pip install "unspool[image]"`, or "." instead of unspool in '
            "a checkout. SVG files need nothing."
        ) from error
    fine = scale * SMOOTH
    size = round(picture.width * fine), round(picture.height * fine)
    sheet = Image.new("RGB", size, ROLES["paper"][0])
    brush = _Brush(sheet, fine, ImageDraw, ImageFont)
    for mark in picture.marks:
        brush.mark(mark)
    small = round(picture.width * scale), round(picture.height * scale)
    try:
        sheet.resize(small, Image.Resampling.LANCZOS).save(path, "PNG")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}).") from error


class _Brush:
    """Puts marks on a sheet that is finer than the file will be, so that edges come out smooth."""

    def __init__(self, sheet: Any, fine: int, draw: Any, font: Any) -> None:
        self.fine, self.font = fine, font
        self.draw = draw.Draw(sheet, "RGBA")

    def mark(self, mark: Mark) -> None:
        colour = ROLES[mark.role][0]
        if isinstance(mark, Line):
            self._line(mark, colour)
        elif isinstance(mark, Area):
            clear = f"{round(255 * mark.opacity):02x}"
            self.draw.polygon([self._at(point) for point in mark.points], fill=colour + clear)
        elif isinstance(mark, Dot):
            inside = ROLES["paper"][0] if mark.open else colour
            x, y = self._at((mark.x, mark.y))
            reach = (mark.radius + mark.open) * self.fine
            around = (x - reach, y - reach, x + reach, y + reach)
            self.draw.ellipse(around, fill=inside, outline=colour, width=2 * self.fine)
        else:
            letters = self.font.load_default(mark.size * self.fine)
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
            heavy = round(0.25 * self.fine) if mark.bold else 0
            where = self._at((mark.x, mark.y))
            text = mark.text.replace("µ", "u")  # the font that Pillow brings has no such letter
            self.draw.text(
                where, text, colour, letters, anchor, stroke_width=heavy, stroke_fill=colour
            )

    def _line(self, line: Line, colour: str) -> None:
        points = [self._at(point) for point in line.points]
        width = max(1, round(line.width * self.fine))
        if not line.dashed:
            self.draw.line(points, colour, width, joint="curve")
            return
        for start, end in _dashes(points, 5.0 * self.fine, 3.0 * self.fine):
            self.draw.line((start, end), colour, width)

    def _at(self, point: Point) -> Point:
        return point[0] * self.fine, point[1] * self.fine


def _dashes(points: list[Point], full: float, gap: float) -> list[tuple[Point, Point]]:
    """The pieces of a line that are drawn, the pattern running on over its corners."""
    pieces = []
    left, drawing = full, True
    for (x, y), (to_x, to_y) in pairwise(points):
        length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
        done = 0.0
        while done < length:
            step = min(left, length - done)
            a, b = done / length, (done + step) / length
            if drawing:
                pieces.append(
                    (
                        (x + a * (to_x - x), y + a * (to_y - y)),
                        (x + b * (to_x - x), y + b * (to_y - y)),
                    )
                )
            done += step
            left -= step
            if left <= 1e-9:
                drawing = not drawing
                left = full if drawing else gap
    return pieces


# Each point of the file is the mean of so many squared.
SMOOTH = 2
