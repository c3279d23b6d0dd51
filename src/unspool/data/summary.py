"""Examples in figures: how many of each class, how long they are, and some to look at."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from unspool.data.examples import Examples
from unspool.data.table import short

BARS = 10
WIDTH = 100
# A class is in the list only if classes recur: with fewer examples each, targets are free text.
RECUR = 2


def classes(examples: Examples) -> dict[str, int]:
    """How often each label, star or tag occurs, the most frequent first; none for free texts.

    Example:
        >>> from unspool.data.table import Place
        >>> classes(Examples("text", ["a", "b", "c"], [1.0, 2.0, 1.0], [Place("f", 1)] * 3))
        {'1': 2, '2': 1}
    """
    counts: Counter[str] = Counter()
    for target in examples.targets:
        if isinstance(target, list):
            counts.update(target)
        elif isinstance(target, float):
            counts[f"{target:g}"] += 1
        elif isinstance(target, str):
            counts[target] += 1
    few = RECUR * len(counts) <= sum(counts.values()) or len(counts) <= BARS
    return dict(counts.most_common()) if few else {}


def lengths(examples: Examples) -> dict[str, Any]:
    """How long the inputs are, in characters, words, or steps; of sounds and images nothing.

    Returns:
        ``unit``, ``min``, ``median``, ``mean``, ``max``, and ``histogram``: at most ten bars, each
        ``from``, ``to`` (both within) and ``count``. Empty where it is not known before reading.
    """
    unit = {"text": "characters", "words": "words", "numbers": "steps", "series": "steps"}.get(
        examples.kind
    )
    if unit is None or not examples.inputs:
        return {}
    if examples.kind == "series":
        group = examples.options.get("group")
        tables = [Counter(each.column(group)) if group else {"": len(each.rows)}
                  for each in examples.inputs]  # fmt: skip
        counts = [count for each in tables for count in each.values()]
    else:
        counts = [len(each) for each in examples.inputs]
    return {
        "unit": unit,
        "min": min(counts),
        "median": statistics.median(counts),
        "mean": statistics.fmean(counts),
        "max": max(counts),
        "histogram": histogram(counts),
    }


def histogram(counts: Sequence[int]) -> list[dict[str, int]]:
    """Whole numbers in at most ten bars of equal width.

    Example:
        >>> histogram([1, 2, 2, 30])[0]
        {'from': 1, 'to': 3, 'count': 3}
    """
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // BARS)
    bars = Counter((count - low) // width for count in counts)
    return [
        {"from": low + i * width, "to": low + (i + 1) * width - 1, "count": bars[i]}
        for i in range((high - low) // width + 1)
    ]


def first_shown(examples: Examples, count: int) -> list[dict[str, Any]]:
    """The first examples as plain JSON values, long ones cut; of series the first rows.

    Example:
        >>> from unspool.data.table import Place
        >>> found = first_shown(Examples("text", ["a", "b"], ["x", "y"], [Place("f", 1)] * 2), 1)
        >>> found[0]["input"], found[0]["target"]
        ('a', 'x')
    """
    if examples.kind != "series":
        return [shown(examples, index) for index in range(min(count, len(examples)))]
    rows = [
        (place, row) for table in examples.inputs
        for place, row in zip(table.places[:count], table.rows[:count], strict=True)
    ]  # fmt: skip
    return [
        {"file": place.file, "line": place.line, "input": [short(cell) for cell in row],
         "target": None}
        for place, row in rows[:count]
    ]  # fmt: skip


def shown(examples: Examples, index: int) -> dict[str, Any]:
    """One example as plain JSON values, long ones cut."""
    place = examples.places[index]
    return {
        "file": place.file,
        "line": place.line,
        "input": _brief(examples.kind, examples.inputs[index]),
        "target": _brief("words", examples.targets[index])
        if isinstance(examples.targets[index], list)
        else examples.targets[index],
    }


def _brief(kind: str, value: Any) -> Any:
    if kind == "words":
        return list(value[:WIDTH])
    if isinstance(value, str):
        return value if len(value) <= WIDTH else value[: WIDTH - 1] + "…"
    if kind == "numbers":
        return value[:BARS].tolist()
    return f"{' x '.join(map(str, value.shape))} points"
