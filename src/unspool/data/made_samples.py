"""Small series, sounds and images that are there without a download, the same on every machine.

The passengers are numbers of fact. All else is drawn from a seed by a generator whose numbers
numpy keeps the same from version to version.
"""

from __future__ import annotations

import numpy as np

from unspool.data.examples import Examples
from unspool.data.table import Place


def passengers() -> str:
    """Passengers of international airlines in thousands, each month of 1949 to 1960.

    Returns:
        A table with header, columns ``month`` and ``passengers``, separated by commas.

    Source:
        Box and Jenkins (1970), Time Series Analysis, series G.

    Example:
        >>> passengers().splitlines()[:2]
        ['month,passengers', '1949-01,112']
    """
    rows = [f"{1949 + n // 12}-{n % 12 + 1:02},{each}" for n, each in enumerate(PASSENGERS)]
    return "\n".join(["month,passengers", *rows]) + "\n"


def epidemic() -> str:
    """Cases of a made-up winter illness in eight years of weeks, with children and adults apart.

    A wave comes every winter, each with its own height and week, over a low level with noise.

    Returns:
        A table with header, columns ``week``, ``children`` and ``adults``, separated by commas.

    Example:
        >>> len(epidemic().splitlines())
        417
    """
    draw = np.random.RandomState(4)
    weeks = np.arange(416)
    level = 60 + np.zeros(len(weeks))
    for winter in range(9):
        peak = 52 * winter + 4 + 3 * draw.standard_normal()
        height, width = 300 + 700 * draw.random_sample(), 2.5 + 1.5 * draw.random_sample()
        level += height * np.exp(-(((weeks - peak) / width) ** 2) / 2)
    columns = []
    for share, delay in ((0.4, 0), (0.6, 1)):
        noise = np.exp(0.08 * draw.standard_normal(len(weeks)))
        columns.append(np.round(share * np.roll(level, delay) * noise).astype(int))
    dates = np.datetime64("2012-01-01") + 7 * weeks
    rows = [f"{d},{a},{b}" for d, a, b in zip(dates, *columns, strict=True)]
    return "\n".join(["week,children,adults", *rows]) + "\n"


def waves() -> str:
    """Three hourly series in a long table: two sines of a day, and one that forgets slowly.

    Returns:
        A table with header, columns ``time``, ``id`` and ``value``, separated by commas.

    Example:
        >>> waves().splitlines()[1].split(",")[:2]
        ['2021-03-01 00:00', 'low']
    """
    draw = np.random.RandomState(5)
    hours = np.arange(400)
    turn = 2 * np.pi * hours / 24
    noise = draw.standard_normal((3, len(hours)))
    drifting = np.zeros(len(hours))
    for hour in hours[1:]:
        drifting[hour] = 0.9 * drifting[hour - 1] + noise[2, hour]
    series = {
        "low": 10 + 2 * np.sin(turn) + 0.2 * noise[0],
        "high": 50 + 9 * np.sin(turn + 1) + 3 * np.sin(2 * turn) + noise[1],
        "drifting": drifting,
    }
    dates = np.datetime64("2021-03-01T00", "h") + hours
    rows = [
        f"{str(date).replace('T', ' ')}:00,{name},{value:.3f}"
        for name, values in series.items()
        for date, value in zip(dates, values, strict=True)
    ]
    return "\n".join(["time,id,value", *rows]) + "\n"


def tones(each: int = 12, seed: int = 6) -> Examples:
    """The sixteen keys of a telephone, each pressed several times: two tones at once, in noise.

    Lengths, loudness, phases, silence before and after, and noise differ.

    Args:
        each: presses of every key.
        seed: of all that differs.

    Returns:
        Kind "sound", waveforms float32 ``[T]`` at 8,000 a second; the targets are the keys.

    Source:
        ITU-T Q.23 for the frequencies.

    Example:
        >>> found = tones(each=2)
        >>> len(found), found.options, sorted(set(found.targets))[:3]
        (32, {'rate': 8000}, ['#', '*', '0'])
    """
    draw = np.random.RandomState(seed)
    sounds, targets = [], []
    for _ in range(each):
        for key in KEYS:
            tone, loud = _pressed(key, draw)
            before, after = draw.randint(0, TONE_RATE // 20, 2)
            sound = np.concatenate([np.zeros(before), tone, np.zeros(after)])
            sound = sound + 0.3 * loud * draw.standard_normal(len(sound))
            sounds.append(sound.astype(np.float32))
            targets.append(key)
    return _sounds("tones", sounds, targets)


def dialled(count: int = 480, seed: int = 8) -> Examples:
    """Numbers dialled on a telephone: three to six keys one after the other, in noise.

    The keys of a number are equally loud; lengths, phases and pauses differ.

    Args:
        count: numbers.
        seed: of all that differs.

    Returns:
        Kind "sound", waveforms float32 ``[T]`` at 8,000 a second; the targets are the keys, as one
        text.

    Source:
        ITU-T Q.23 for the frequencies.

    Example:
        >>> found = dialled(count=3)
        >>> [3 <= len(number) <= 6 for number in found.targets]
        [True, True, True]
    """
    draw = np.random.RandomState(seed)
    sounds, targets = [], []
    for _ in range(count):
        keys = [KEYS[place] for place in draw.randint(0, len(KEYS), draw.randint(3, 7))]
        loud = 0.1 + 0.2 * draw.random_sample()
        pieces = []
        for key in keys:
            tone, own = _pressed(key, draw)
            pieces += [tone * (loud / own), np.zeros(draw.randint(TONE_RATE // 50, TONE_RATE // 8))]
        sound = np.concatenate([np.zeros(draw.randint(0, TONE_RATE // 20)), *pieces])
        sound = sound + 0.2 * loud * draw.standard_normal(len(sound))
        sounds.append(sound.astype(np.float32))
        targets.append("".join(keys))
    return _sounds("dtmf", sounds, targets)


def _pressed(key: str, draw: np.random.RandomState) -> tuple[np.ndarray, float]:
    """The two tones of a key, for a while, and how loud each of them is."""
    place = KEYS.index(key)
    length = draw.randint(TONE_RATE // 12, TONE_RATE // 4)
    time = np.arange(length) / TONE_RATE
    phases = 2 * np.pi * draw.random_sample(2)
    loud = 0.1 + 0.2 * draw.random_sample()
    pair = zip((ROWS[place // 4], COLUMNS[place % 4]), phases, strict=True)
    return sum(loud * np.sin(2 * np.pi * f * time + p) for f, p in pair), loud


def _sounds(name: str, sounds: list[np.ndarray], targets: list[str]) -> Examples:
    places = [Place(name, number + 1) for number in range(len(sounds))]
    return Examples("sound", sounds, targets, places, options={"rate": TONE_RATE})


def shapes(each: int = 60, seed: int = 7) -> Examples:
    """Drawn shapes of four kinds, filled or outlined, at any place, size and turn, in noise.

    Args:
        each: images of every shape.
        seed: of all that differs.

    Returns:
        Kind "image", uint8 ``[24 24]``; the targets are circle, cross, square and triangle.

    Example:
        >>> found = shapes(each=1)
        >>> found.targets, found.inputs[0].shape
        (['circle', 'cross', 'square', 'triangle'], (24, 24))
    """
    draw = np.random.RandomState(seed)
    images, targets = [], []
    for _ in range(each):
        for name in SHAPES:
            images.append(_drawn(name, draw))
            targets.append(name)
    places = [Place("shapes", number + 1) for number in range(len(images))]
    return Examples("image", images, targets, places)


def _drawn(name: str, draw: np.random.RandomState) -> np.ndarray:
    radius = draw.uniform(5, 8.5)
    middle = draw.uniform(radius + 1, SIDE - radius - 1, 2)
    angle = draw.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    x, y = columns + 0.5 - middle[0], rows + 0.5 - middle[1]
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    # How far outside the shape a point lies, in points; inside it is negative.
    outside = _outside(name, x, y, radius)
    if draw.random_sample() < 0.5 and name != "cross":
        outside = np.abs(outside + 1) - 1
    ink = np.clip(0.5 - outside, 0, 1) * draw.uniform(120, 220)
    noise = 12 * draw.standard_normal((SIDE, SIDE))
    return np.clip(np.round(ink + 20 + noise), 0, 255).astype(np.uint8)


def _outside(name: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    if name == "circle":
        return np.hypot(x, y) - radius
    if name == "square":
        return np.maximum(np.abs(x), np.abs(y)) - radius * 0.75
    if name == "cross":
        long, thin = radius, radius / 5
        across = np.maximum(np.abs(x) - long, np.abs(y) - thin)
        return np.minimum(across, np.maximum(np.abs(x) - thin, np.abs(y) - long))
    # A triangle with equal sides: within three half planes.
    turns = 2 * np.pi * np.arange(3) / 3
    return np.max([x * np.cos(t) + y * np.sin(t) for t in turns], axis=0) - radius / 2


PASSENGERS = (
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118,
    115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140,
    145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194,
    196, 196, 236, 235, 229, 243, 264, 272, 237, 211, 180, 201,
    204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229,
    242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278,
    284, 277, 317, 313, 318, 374, 413, 405, 355, 306, 271, 306,
    315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336,
    340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337,
    360, 342, 406, 396, 420, 472, 548, 559, 463, 407, 362, 405,
    417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432,
)  # fmt: skip
TONE_RATE = 8000
KEYS = "123A456B789C*0#D"
ROWS = (697.0, 770.0, 852.0, 941.0)
COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
SHAPES = ("circle", "cross", "square", "triangle")
SIDE = 24
