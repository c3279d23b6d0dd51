"""Simple forecasts: the last value, the last season, smoothing, and a line through the window."""

from __future__ import annotations

import time

import numpy as np

from unspool.errors import DataError
from unspool.tasks.baselines.baseline import Baseline

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def last_value(windows: np.ndarray, horizon: int) -> Baseline:
    """Every step ahead is the last step seen.

    Args:
        windows: what is seen before each forecast, ``[N L D]``, finite.
        horizon: steps ahead H, ≥ 1.

    Returns:
        Answers ``[N H D]``.

    Example:
        >>> last_value(np.array([[[1.0], [2.0]]]), 2).answers.tolist()
        [[[2.0], [2.0]]]
    """
    start = time.perf_counter()
    windows = _windows("last_value", windows, horizon)
    answers = np.repeat(windows[:, -1:], horizon, axis=1)
    return _made("last value", answers, start, "windows[:, -1:].repeat(horizon, axis=1)", {})


def seasonal_naive(windows: np.ndarray, horizon: int, period: int) -> Baseline:
    """Every step ahead is the step one season before it, the last season over and over.

    Args:
        windows: ``[N L D]``, L ≥ period.
        horizon: steps ahead, ≥ 1.
        period: steps of a season; see `find_period`.

    Source:
        Hyndman and Athanasopoulos (2021), section 5.2.

    Example:
        >>> seasonal_naive(np.array([[[1.0], [2.0], [3.0]]]), 3, period=2).answers[0, :, 0].tolist()
        [2.0, 3.0, 2.0]
    """
    start = time.perf_counter()
    windows = _windows("seasonal_naive", windows, horizon)
    length = windows.shape[1]
    if not 1 <= period <= length:
        raise DataError(f"seasonal_naive: got period {period}; wanted 1 to {length}.")
    answers = windows[:, length - period + np.arange(horizon) % period]
    line = f"windows[:, -{period}:][:, np.arange(horizon) % {period}]"
    return _made("seasonal naive", answers, start, line, {"period": period})


def find_period(train: np.ndarray, longest: int = 400) -> int:
    """Steps of one season: the lag where the series, less its slow movement, repeats itself best.

    The autocorrelation of the differences is averaged over variables. A lag counts where it is a
    local peak above 0.2 and beyond chance; among those the shortest that comes within a tenth of
    the highest.

    Args:
        train: ``[T D]``.
        longest: lags tried, at most T / 2.

    Returns:
        1 where nothing repeats.

    Example:
        >>> find_period(np.sin(np.arange(120.0) * 2 * np.pi / 12)[:, None])
        12
    """
    steps = np.diff(np.asarray(train, float), axis=0)
    steps = steps[:, steps.std(axis=0) > 0]
    most = min(longest, len(train) // 2)
    if most < 3 or not steps.shape[1]:
        return 1
    steps = (steps - steps.mean(axis=0)) / steps.std(axis=0)
    size = 2 ** int(np.ceil(np.log2(2 * len(steps))))
    power = np.abs(np.fft.rfft(steps, size, axis=0)) ** 2
    sums = np.fft.irfft(power, size, axis=0)[: most + 1].mean(axis=1)
    repeats = sums / (len(steps) - np.arange(most + 1))  # [most + 1]
    # Hundreds of lags are tried: chance alone reaches more than three deviations at one of them.
    limit = np.maximum(0.2, 4.0 / np.sqrt(len(steps) - np.arange(most + 1)))
    lags = np.arange(2, most)
    peaks = lags[
        (repeats[lags] > limit[lags])
        & (repeats[lags] >= repeats[lags - 1])
        & (repeats[lags] >= repeats[lags + 1])
    ]
    if not len(peaks):
        return 1
    return int(peaks[repeats[peaks] >= 0.9 * repeats[peaks].max()][0])


def smoothing(
    train: np.ndarray,
    windows: np.ndarray,
    horizon: int,
    trend: bool = False,
    period: int = 1,
    seed: int = 0,
) -> Baseline:
    """Exponential smoothing: simple, with a trend (Holt), with a season too (Holt-Winters).

        level_t  = a (y_t - season_(t-m)) + (1 - a) (level_(t-1) + trend_(t-1))
        trend_t  = b (level_t - level_(t-1)) + (1 - b) trend_(t-1)
        season_t = g (y_t - level_t) + (1 - g) season_(t-m)
        y_(t+h)  = level_t + h trend_t + season_(t-m+(h-1) mod m + 1)

    Rates a, b and g are each variable's own: those with the least square error one step ahead in
    the training part, out of random candidates drawn ever closer to the best.

    Args:
        train: ``[T D]``.
        windows: ``[N L D]``, each smoothed from its own first step.
        horizon: steps ahead, ≥ 1.
        trend: whether there is a trend.
        period: steps m of a season, 1 for none; two of them must fit the window and the training.
        seed: of the candidates.

    Source:
        Hyndman and Athanasopoulos (2021), equations of sections 8.1, 8.2 and 8.3 (additive).

    Example:
        >>> line = np.arange(20.0)[:, None]
        >>> smoothing(line, line[None], 2, trend=True).answers.round(3)[0, :, 0].tolist()
        [20.0, 21.0]
    """
    start = time.perf_counter()
    windows = _windows("smoothing", windows, horizon)
    train = np.asarray(train, float)
    least = max(2, 2 * period if period > 1 else 2)
    if min(len(train), windows.shape[1]) < least:
        raise DataError(f"smoothing: wanted {least} steps in training part and window.")
    generator = np.random.default_rng(seed)
    variables = np.arange(train.shape[1])
    best = np.full((3, train.shape[1]), 0.3)
    for width in (1.0, 0.3, 0.1, 0.03, 0.01):
        drawn = best[:, None] + width * generator.uniform(-1, 1, (3, CANDIDATES, train.shape[1]))
        drawn = np.concatenate([best[:, None], drawn.clip(0.0, 1.0)], axis=1)  # [3 P D]
        errors, *_ = _smooth(train[:, None], drawn, trend, period)
        best = drawn[:, errors.argmin(axis=0), variables]
    _, level, slope, season = _smooth(windows.swapaxes(0, 1), best[:, None], trend, period)
    ahead = np.arange(1, horizon + 1)[None, :, None]
    answers = level[:, None] + ahead * slope[:, None]
    if period > 1:
        answers = answers + season[np.arange(horizon) % period].swapaxes(0, 1)
    name = "Holt-Winters" if period > 1 else "Holt" if trend else "simple exponential smoothing"
    chosen = dict(zip(("level", "trend", "season"), best.round(4).tolist(), strict=True))
    line = f"smoothing(train, windows, horizon, trend={trend}, period={period}, seed={seed})"
    return _made(name, answers, start, line, chosen)


def linear(train: np.ndarray, windows: np.ndarray, horizon: int) -> Baseline:
    """Ridge regression from the window, less its last value, to the steps ahead.

        y_(t+h) - y_t = sum_l w_hl (y_(t-l) - y_t) + b_h

    The penalty, and whether all variables share one set of weights or each has its own, are
    chosen on the last fifth of the training windows by an earlier fit on the rest.

    Args:
        train: ``[T D]``, T ≥ L + H + 5.
        windows: ``[N L D]``.
        horizon: steps ahead, ≥ 1.

    Source:
        Zeng et al. (2023), section 4.2 (NLinear), solved in closed form.

    Example:
        >>> line = np.arange(30.0)[:, None]
        >>> linear(line, line[None, -4:], 2).answers.round(2)[0, :, 0].tolist()
        [30.0, 31.0]
    """
    start = time.perf_counter()
    windows, train = _windows("linear", windows, horizon), np.asarray(train, float)
    length = windows.shape[1]
    if len(train) < length + horizon + 5:
        raise DataError(f"linear: got {len(train)} steps; wanted {length + horizon + 5}.")
    scale = train.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    both = np.lib.stride_tricks.sliding_window_view(train / scale, length + horizon, axis=0)
    inputs, targets = both[..., :length], both[..., length:]  # [M D L], [M D H]
    held = len(inputs) - max(1, len(inputs) // 5)
    # What is measured must not overlap what was fitted.
    fit = max(1, held - horizon)
    choices = [(shared, penalty) for shared in (True, False) for penalty in PENALTIES]
    errors = [
        np.mean((_ridge(inputs[:fit], targets[:fit], inputs[held:], *c) - targets[held:]) ** 2)
        for c in choices
    ]
    shared, penalty = choices[int(np.argmin(errors))]
    found = _ridge(inputs, targets, windows.swapaxes(1, 2) / scale[:, None], shared, penalty)
    line = "linear(train, windows, horizon)"
    chosen = {"shared": shared, "penalty": penalty}
    return _made("linear", found.swapaxes(1, 2) * scale, start, line, chosen)


def _ridge(
    inputs: np.ndarray, targets: np.ndarray, new: np.ndarray, shared: bool, penalty: float
) -> np.ndarray:
    """Fit on ``[M D L]`` and ``[M D H]``; answer ``[N D L]``."""
    variables = [slice(None)] if shared else [slice(d, d + 1) for d in range(inputs.shape[1])]
    answers = np.empty((*new.shape[:2], targets.shape[-1]))
    for chosen in variables:
        last, x, y = inputs[:, chosen, -1:], inputs[:, chosen], targets[:, chosen]
        x = (x - last)[..., :-1].reshape(-1, inputs.shape[-1] - 1)
        y = (y - last).reshape(-1, targets.shape[-1])
        middle, offset = x.mean(axis=0), y.mean(axis=0)
        square = (x - middle).T @ (x - middle) + penalty * np.eye(x.shape[1])
        weights = np.linalg.solve(square, (x - middle).T @ (y - offset))
        last = new[:, chosen, -1:]
        answers[:, chosen] = ((new[:, chosen] - last)[..., :-1] - middle) @ weights + offset + last
    return answers


def _smooth(
    series: np.ndarray, rates: np.ndarray, trend: bool, period: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Smooth ``[T P D]`` with ``[3 P D]``: mean square error, level, trend, last season."""
    a, b, g = rates
    if period > 1:
        level, second = series[:period].mean(axis=0), series[period : 2 * period].mean(axis=0)
        slope = (second - level) / period * trend
        seasons = [value - level for value in series[:period]]
        first = period
        level = level + slope * (period - 1) / 2
    else:
        level, slope, first = series[0], (series[1] - series[0]) * trend, 1
        seasons = [np.zeros_like(level)]
    errors = np.zeros(np.broadcast_shapes(level.shape, a.shape))
    for step in range(first, len(series)):
        value, season = series[step], seasons[step % period]
        errors += (value - level - slope - season) ** 2
        before = level
        level = a * (value - season) + (1 - a) * (level + slope)
        if trend:
            slope = b * (level - before) + (1 - b) * slope
        if period > 1:
            seasons[step % period] = g * (value - level) + (1 - g) * season
    ordered = [seasons[(len(series) + k) % period] for k in range(period)]
    return errors, level, slope, np.array(ordered)


def _windows(where: str, windows: np.ndarray, horizon: int) -> np.ndarray:
    windows = np.asarray(windows, float)
    if windows.ndim != 3 or not windows.shape[1] or horizon < 1:
        raise DataError(f"{where}: got {windows.shape}, horizon {horizon}; wanted [N L D], ≥ 1.")
    if not np.isfinite(windows).all():
        raise DataError(f"{where}: windows hold NaN or infinity; wanted finite numbers.")
    return windows


def _made(name: str, answers: np.ndarray, start: float, line: str, chosen: dict) -> Baseline:
    seconds = time.perf_counter() - start
    return Baseline(name, answers, seconds, line, chosen=chosen)


CANDIDATES = 200
