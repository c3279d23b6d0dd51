"""Forecasts beside what came, as plain values for a plot and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unspool.drawing import plots
from unspool.drawing.picture import Picture
from unspool.models.forecaster import Forecaster
from unspool.tasks.forecast_answers import spelled
from unspool.tasks.forecast_bands import Bands
from unspool.tasks.forecast_windows import Windows, forecasts


def plain_forecasts(
    model: Forecaster, windows: Windows, bands: Bands, most: int = 3
) -> list[dict[str, Any]]:
    """Some forecasts of a part with what was seen before and what came, as plain JSON values.

    The last windows of the first series, a horizon apart, so that none overlaps another.

    Args:
        model: of the task.
        windows: of the part.
        bands: what corrects the quantiles.
        most: series, and windows of each, at most; of several series fewer columns are taken.

    Returns:
        For each window and column ``series``, ``column``, ``origin`` (the last date seen),
        ``dates``, ``truth``, ``point``, ``low`` and ``high`` (the outermost quantiles; of a point
        alone the point), and ``before`` and ``before_dates``, what was seen last, oldest first.
    """
    found, own = [], list(windows.own())[:most]
    columns = COLUMNS // len(own)
    for each, starts in own:
        encoder = each.encoder
        H, frequency = encoder.settings.horizon, encoder.frequency
        picked = [starts[-1 - H * number] for number in range(most) if H * number < len(starts)]
        said = forecasts(model, each, picked[::-1], bands)
        point = encoder.settings.levels.index(0.5)
        for start, values in zip(picked[::-1], said, strict=True):
            first = max(0, start - BEFORE * H)
            for place, column in list(enumerate(encoder.targets))[:columns]:
                line = each.series.values[:, column]
                dates = each.series.dates
                found.append(
                    {
                        "series": each.series.name,
                        "column": encoder.columns[column],
                        "origin": spelled(dates[start - 1], frequency),
                        "dates": [spelled(date, frequency) for date in dates[start : start + H]],
                        "truth": line[start : start + H].tolist(),
                        "point": values[:, place, point].tolist(),
                        "low": values[:, place, 0].tolist(),
                        "high": values[:, place, -1].tolist(),
                        "before": line[first:start].tolist(),
                        "before_dates": [spelled(date, frequency) for date in dates[first:start]],
                    }
                )
    return found


def forecast_picture(one: Mapping[str, Any]) -> Picture:
    """A forecast with its band beside what came.

    Args:
        one: of `plain_forecasts`.

    Example:
        >>> one = {"series": "", "column": "n", "origin": "2", "dates": ["3", "4"],
        ...        "truth": [4.0, 5.0], "point": [4.0, 4.0], "low": [3.0, 3.0], "high": [5.0, 4.5],
        ...        "before": [1.0, 2.0], "before_dates": ["1", "2"]}
        >>> forecast_picture(one).text
        '3 to 4; the truth lies within the band in 1 of 2 steps'
    """
    low, high = (None, None) if one["low"] == one["high"] else (one["low"], one["high"])
    labels = [*one["before_dates"], *one["dates"]]
    title = f"{_name(one)} after {one['origin']}"
    return plots.bands(labels, one["truth"], one["point"], low, high, title, one["before"])


def drawn(found: Sequence[Mapping[str, Any]]) -> str:
    """Forecasts as lines of bars: what was seen, then what came above what was forecast.

    Example:
        >>> one = {"series": "", "column": "n", "origin": "3", "truth": [4.0, 5.0],
        ...        "point": [4.0, 4.0], "before": [1.0, 2.0, 3.0]}
        >>> print(drawn([one]))
        n after 3
          came      ▁▃▅│▆█
          forecast     │▆▆
    """
    lines = []
    for each in found:
        before = np.asarray(each["before"])[-WIDTH:]
        truth, point = (np.asarray(each[name])[:WIDTH] for name in ("truth", "point"))
        low, high = (
            function(np.concatenate([before, truth, point])) for function in (np.min, np.max)
        )
        lines += [
            f"{_name(each)} after {each['origin']}",
            f"  came      {_bars(before, low, high)}│{_bars(truth, low, high)}",
            f"  forecast  {' ' * len(before)}│{_bars(point, low, high)}",
        ]
    return "\n".join(lines)


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['series']} {one['column']}".strip()


def _bars(values: np.ndarray, low: float, high: float) -> str:
    span = high - low if high > low else 1.0
    places = np.round((values - low) / span * (len(BARS) - 1)).astype(int)
    return "".join(BARS[place] for place in places)


BARS = "▁▂▃▄▅▆▇█"
WIDTH = 36
COLUMNS = 4
BEFORE = 3  # horizons of the past beside a forecast
