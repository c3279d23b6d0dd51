"""Parts and windows of series in the order of time; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from unspool.data.calendar_features import Frequency
from unspool.data.series_settings import SeriesSettings
from unspool.errors import DataError

Window = tuple[int, int]


def time_parts(steps: int, train: float = 0.7, test: float = 0.2) -> dict[str, range]:
    """The steps of each part, in the order of time; validation lies between the other two.

    Args:
        steps: of the series.
        train: share of the front, rounded down.
        test: share of the end, rounded down.

    Example:
        >>> time_parts(966)
        {'train': range(0, 676), 'validation': range(676, 773), 'test': range(773, 966)}
    """
    # Products such as 0.7 · 10 may lie a rounding below the whole number they are.
    first, last = int(steps * train + 1e-9), steps - int(steps * test + 1e-9)
    return {
        "train": range(first), "validation": range(first, last), "test": range(last, steps),
    }  # fmt: skip


def origins(part: range, lookback: int, horizon: int, stride: int = 1) -> range:
    """The steps at which the windows of a part begin to forecast.

    Every step that is forecast lies in the part; what is seen before may lie in earlier parts, but
    not before the series begins.

    Args:
        part: steps of the part.
        lookback: steps seen.
        horizon: steps forecast.
        stride: steps from one window to the next.

    Example:
        >>> len(origins(range(773, 966), 104, 24)), origins(range(0, 10), 4, 3)
        (170, range(4, 8))
    """
    return range(max(part.start, lookback), part.stop - horizon + 1, stride)


def rolling_origins(steps: int, horizon: int, folds: int, least: int) -> Iterator[Window]:
    """Folds that each learn from all that came before: (steps learnt from, steps known after).

    The last fold ends with the series, each one before it a horizon earlier.

    Args:
        steps: of the series.
        horizon: steps forecast in each fold.
        folds: how many.
        least: steps that the first fold learns from at least.

    Raises:
        DataError: if the series is too short for them.

    Source:
        Tashman (2000), "rolling origin".

    Example:
        >>> list(rolling_origins(144, 12, 3, least=60))
        [(108, 120), (120, 132), (132, 144)]
    """
    first = steps - folds * horizon
    if folds < 1 or first < least:
        raise DataError(
            f"series: {steps} steps hold no {folds} folds of {horizon} steps after {least} "
            "to learn from; wanted fewer folds or a shorter horizon."
        )
    for fold in range(folds):
        end = first + fold * horizon
        yield end, end + horizon


def chosen_sizes(
    settings: SeriesSettings, frequency: Frequency | None, learnt: int, judged: int
) -> SeriesSettings:
    """The settings with a lookback and a horizon where they leave them open.

    Args:
        settings: with 0 for what is open.
        frequency: of the dates; None for rows without.
        learnt: steps of the longest training part.
        judged: steps of the shorter of its other two parts.

    Example:
        >>> monthly = Frequency("monthly", "months", 1, 12)
        >>> found = chosen_sizes(SeriesSettings(), monthly, learnt=108, judged=12)
        >>> found.horizon, found.lookback
        (12, 36)
    """
    name, season = (None, 1) if frequency is None else (frequency.name, frequency.season)
    wanted = HORIZONS.get(name, OTHER_HORIZON)
    horizon = settings.horizon or max(1, min(wanted, learnt // 6, judged))
    two = 2 * season if season > 1 and 4 * season <= learnt else 0
    lookback = settings.lookback or max(1, min(max(3 * horizon, two), (learnt - horizon) // 2))
    return replace(settings, horizon=horizon, lookback=lookback)


# Steps ahead that people ask of dates so far apart.
HORIZONS = {
    "hourly": 24, "daily": 14, "business days": 10, "weekly": 24, "monthly": 12, "quarterly": 4,
    "yearly": 4,
}  # fmt: skip
OTHER_HORIZON = 12
