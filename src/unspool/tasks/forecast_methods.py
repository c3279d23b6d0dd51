"""The simple methods of a forecast: on the same windows, in the same representation as the model.

Of a column of which changes are learnt, the methods forecast changes too: the last change goes on,
the changes of the last season come again. So a count that only grows is not set against a method
that lets it stand still, which nobody would use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from unspool.data.scaled_series import ScaledSeries
from unspool.data.series_windows import LARGEST_LOG
from unspool.tasks.baselines import series as methods
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.forecast_windows import Learnt, Windows

Method = Callable[[np.ndarray, np.ndarray], Baseline]


def simple_methods(
    windows: Windows, learnt: Sequence[Learnt], period: int, seed: int
) -> Iterator[Baseline]:
    """Last value, last season, exponential smoothing, and a line through the window.

    Args:
        windows: to forecast from.
        learnt: of every series what was trained on.
        period: steps of a season; 1 if there is none.
        seed: of what is drawn.

    Yields:
        Answers ``[N H D]`` in the units of the file, in the order of the windows.
    """
    encoder = windows.series[0].encoder
    L, H = encoder.settings.lookback, encoder.settings.horizon
    shortest = min(each.end for each in learnt)
    changes = len(encoder.differenced) > 0
    found = _together(windows, learnt, lambda train, seen: methods.last_value(seen, H))
    yield _named(found, "last change" if changes else "last value")
    if 1 < period <= L:
        yield _together(
            windows, learnt, lambda train, seen: methods.seasonal_naive(seen, H, period)
        )  # fmt: skip
    season = period if period > 1 and 2 * period <= min(L, shortest) else 1
    if L >= 2:
        yield _together(
            windows, learnt, lambda train, seen: methods.smoothing(train, seen, H, seed=seed)
        )  # fmt: skip
        yield _together(
            windows, learnt,
            lambda train, seen: methods.smoothing(train, seen, H, True, season, seed),
        )  # fmt: skip
    if shortest >= L + H + FEWEST_WINDOWS:
        yield _each(windows, learnt, lambda train, seen: methods.linear(train, seen, H))
        if encoder.logged:
            found = _each(
                windows, learnt, lambda train, seen: methods.linear(train, seen, H), logs=True
            )
            yield _named(found, "linear of logarithms")


def _each(
    windows: Windows, learnt: Sequence[Learnt], method: Method, logs: bool = False
) -> Baseline:
    """A method on one series after the other."""
    groups = [[place] for place, starts in enumerate(windows.starts) if len(starts)]
    return _grouped(windows, learnt, method, groups, logs)


def _together(windows: Windows, learnt: Sequence[Learnt], method: Method) -> Baseline:
    """A method that treats every column by itself: series of equal parts side by side."""
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for place, (starts, own) in enumerate(zip(windows.starts, learnt, strict=True)):
        if len(starts):
            groups.setdefault((own.end, tuple(starts)), []).append(place)
    return _grouped(windows, learnt, method, list(groups.values()))


def _grouped(
    windows: Windows,
    learnt: Sequence[Learnt],
    method: Method,
    groups: Sequence[Sequence[int]],
    logs: bool = False,
) -> Baseline:
    """A method on groups of series that have the same steps to learn and to forecast from."""
    answers: dict[int, np.ndarray] = {}
    seconds, last = 0.0, None
    for places in groups:
        starts = np.asarray(windows.starts[places[0]])
        values = [_represented(windows.series[place], logs) for place in places]
        known = [_represented(learnt[place].series, logs) for place in places]
        L, D = windows.series[places[0]].encoder.settings.lookback, values[0].shape[1]
        seen = [np.stack([each[start - L : start] for start in starts]) for each in values]
        train = np.concatenate([each[: learnt[places[0]].end] for each in known], 1)
        last = method(train, np.concatenate(seen, 2))
        for number, place in enumerate(places):
            own = last.answers[:, :, number * D : (number + 1) * D]
            answers[place] = _restored(windows.series[place], own, starts, logs)
        seconds += last.seconds
    assert last is not None
    ordered = [answers[place] for place in sorted(answers)]
    return Baseline(last.name, np.concatenate(ordered), seconds, last.reproduce)


def _represented(each: ScaledSeries, logs: bool) -> np.ndarray:
    """The targets as the method sees them: values, their logarithms, or their changes."""
    values = each.series.values[:, list(each.encoder.targets)].copy()
    for place, column in enumerate(each.encoder.targets):
        if logs and column in each.encoder.logged:
            values[:, place] = np.log(values[:, place])
        if column in each.encoder.differenced:
            values[:, place] = np.diff(values[:, place], prepend=values[0, place])
    return values


def _restored(
    each: ScaledSeries, answers: np.ndarray, starts: np.ndarray, logs: bool
) -> np.ndarray:
    answers = answers.copy()
    for place, column in enumerate(each.encoder.targets):
        logged = logs and column in each.encoder.logged
        if column in each.encoder.differenced:
            last = each.series.values[starts - 1, column]
            last = np.log(last) if logged else last
            answers[:, :, place] = last[:, None] + answers[:, :, place].cumsum(1)
        if logged:
            answers[:, :, place] = np.exp(answers[:, :, place].clip(-LARGEST_LOG, LARGEST_LOG))
    return answers


def _named(found: Baseline, name: str) -> Baseline:
    return Baseline(name, found.answers, found.seconds, found.reproduce, chosen=found.chosen)


# Windows of the training part that a line wants at least, as `unspool.tasks.baselines.series` says.
FEWEST_WINDOWS = 5
