"""Drawn scenes with a sentence each: two coloured shapes, one above or left of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from unspool.data.examples import Examples
from unspool.data.table import Place


def scenes(each: int = 14, seed: int = 11) -> Examples:
    """Two shapes on a noisy background, and a sentence that names both and how they stand.

    The upper shape, or the left one, is named first. All scenes of the same two shapes are one
    group, however they stand, so that none of the pairs in the test part is ever trained on.

    Args:
        each: images of every sentence.
        seed: of places, sizes, backgrounds and noise.

    Returns:
        Kind "image", uint8 ``[32 32 3]``; the targets are sentences; ``rows`` hold the sentence and
        ``places``, where each shape lies, for `placed`.

    Example:
        >>> found = scenes(each=1)
        >>> len(found), found.inputs[0].shape, found.targets[0]
        (264, (32, 32, 3), 'a red circle above a red square')
        >>> sorted(placed(found.rows[0]))
        ['circle', 'square']
    """
    draw = np.random.RandomState(seed)
    images, sentences, rows, pairs = [], [], [], []
    for _ in range(each):
        for one, two, relation in _sentences():
            (image, middles) = _scene(one, two, relation, draw)
            images.append(image)
            sentences.append(f"a {one[0]} {one[1]} {relation} a {two[0]} {two[1]}")
            pairs.append(" and ".join(sorted((" ".join(one), " ".join(two)))))
            rows.append({"sentence": sentences[-1], "places": json.dumps(middles)})
    numbers = range(1, len(images) + 1)
    places = [Place("scenes", number) for number in numbers]
    return Examples("image", images, sentences, places, groups=pairs, rows=rows)


def placed(row: Mapping[str, str]) -> dict[str, list[tuple[float, float, float]]]:
    """Where the shapes of a scene lie, by their names.

    Args:
        row: of `scenes`.

    Returns:
        Shape to (row, column, radius) of each that is called so, in the order they are named; in
        points, from the upper left corner.

    Example:
        >>> row = {"sentence": "a red circle above a blue square",
        ...        "places": "[[8.5, 9.0, 5.0], [24.0, 11.5, 4.0]]"}
        >>> placed(row)["square"]
        [(24.0, 11.5, 4.0)]
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    names = [word for word in row["sentence"].split() if word in SHAPES]
    for name, place in zip(names, json.loads(row["places"]), strict=True):
        found.setdefault(name, []).append(tuple(place))
    return found


def _sentences() -> Iterator[tuple[tuple[str, str], tuple[str, str], str]]:
    """Every pair of different shapes, in both ways that they can stand."""
    kinds = list(product(COLOURS, SHAPES))
    for one, two in product(kinds, kinds):
        if one != two:
            for relation in RELATIONS:
                yield one, two, relation


def _scene(
    one: tuple[str, str], two: tuple[str, str], relation: str, draw: np.random.RandomState
) -> tuple[np.ndarray, list[list[float]]]:
    """An image and where its two shapes lie."""
    image = np.empty((SIDE, SIDE, 3))
    image[:] = draw.uniform(15, 55)
    radii = draw.uniform(SMALLEST, LARGEST, 2)
    # Along the axis that the sentence is about they stand in halves of their own; across it not
    # further apart than along it, so that the other relation would be wrong.
    half = SIDE / 2
    along = [draw.uniform(radii[0] + 1, half - 1), draw.uniform(half + 1, SIDE - radii[1] - 1)]
    apart = sum(radii) + 1 - (along[1] - along[0])
    if apart > 0:
        along = [along[0] - apart / 2, along[1] + apart / 2]
        shift = max(0.0, radii[0] + 1 - along[0]) - max(0.0, along[1] - (SIDE - radii[1] - 1))
        along = [each + shift for each in along]
    middle = draw.uniform(LARGEST + 2, SIDE - LARGEST - 2)
    across = [float(np.clip(middle + draw.uniform(-3, 3), r + 1, SIDE - r - 1)) for r in radii]
    middles = []
    for kind, radius, a, c in zip((one, two), radii, along, across, strict=True):
        row, column = (a, c) if relation == "above" else (c, a)
        _paint(image, kind, row, column, radius, draw)
        middles.append([round(row, 2), round(column, 2), round(float(radius), 2)])
    image += draw.uniform(-12, 12, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8), middles


def _paint(
    image: np.ndarray,
    kind: tuple[str, str],
    row: float,
    column: float,
    radius: float,
    draw: np.random.RandomState,
) -> None:
    colour, shape = kind
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    y, x = rows + 0.5 - row, columns + 0.5 - column
    if shape == "circle":
        outside = np.hypot(x, y) - radius
    elif shape == "square":
        outside = np.maximum(np.abs(x), np.abs(y)) - radius * 0.82
    else:
        turns = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
        sides = [x * np.cos(turn) + y * np.sin(turn) for turn in turns]
        outside = np.max(sides, axis=0) - radius / 2
    cover = np.clip(0.5 - outside, 0, 1)[..., None]
    ink = np.array(COLOURS[colour]) * draw.uniform(0.85, 1.0)
    image[:] = image * (1 - cover) + ink * cover


SIDE = 32
SMALLEST, LARGEST = 4.0, 6.5
SHAPES = ("circle", "square", "triangle")
RELATIONS = ("above", "left of")
COLOURS = {
    "red": (230, 60, 50),
    "green": (60, 200, 80),
    "blue": (70, 110, 240),
    "yellow": (235, 215, 70),
}
