"""A comparison as a picture: every model and simple method with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.drawing.picture import Picture
from unspool.drawing.plots import Figure, dot_plot


def score_plot(result: Mapping[str, Any]) -> Picture:
    """A dot for each model (full) and each simple method (ring), the best first.

    The line behind a dot is its 95% interval, over seeds and test rows together.

    Args:
        result: as `unspool.compare` gives it.

    Example:
        >>> line = {"name": "lstm", "score": 0.8, "interval": [0.7, 0.9]}
        >>> score_plot({"measure": "accuracy", "higher_is_better": True, "rows": 90, "seeds": [0],
        ...             "task": "classify", "models": [line], "baselines": []}).text
        'lstm 0.800 (0.700 to 0.900)'
    """
    models, higher = result["models"], result["higher_is_better"]
    lines = [*models, *result["baselines"]]
    lines.sort(key=lambda line: line["score"], reverse=higher)
    figures = []
    for each in lines:
        low, high = each.get("interval") or (None, None)
        own = any(each is model for model in models)
        figures.append(Figure(name=each["name"], value=each["score"], low=low, high=high, own=own))
    seeds = len(result["seeds"])
    title = (
        f"{result['task']}: {result['rows']:,} test rows, {seeds} seed{'s' if seeds != 1 else ''}"
    )
    better = "more is better" if higher else "less is better"
    return dot_plot(figures, f"{result['measure']} ({better}); rings: simple methods", title)
