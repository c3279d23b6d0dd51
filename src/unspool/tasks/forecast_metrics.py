"""How far forecasts are from what came."""

from __future__ import annotations

import numpy as np

from unspool.errors import DataError


def mean_absolute_error(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean of ``|truth - forecast|``, in the series' unit.

    Args:
        truth: numbers of any shape, finite.
        forecast: of the same shape.

    Raises:
        DataError: if shapes differ, there are no numbers, or one is not finite.

    Example:
        >>> mean_absolute_error(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
        1.5
    """
    return float(np.abs(_errors("mean_absolute_error", truth, forecast)).mean())


def root_mean_square_error(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean square of ``truth - forecast``, in the series' unit.

    Example:
        >>> root_mean_square_error(np.array([0.0, 0.0]), np.array([1.0, 7.0]))
        5.0
    """
    return float(np.sqrt((_errors("root_mean_square_error", truth, forecast) ** 2).mean()))


def standardised_square_error(truth: np.ndarray, forecast: np.ndarray, train: np.ndarray) -> float:
    """Mean square error after each variable is divided by its deviation in the training part.

        mean over all of ((truth - forecast) / deviation)^2

    The scale that the long-horizon benchmarks report.

    Args:
        truth: ``[... D]``.
        forecast: ``[... D]``.
        train: the training part, ``[T D]``.

    Raises:
        DataError: also if a variable is constant in the training part.

    Source:
        Zhou et al. (2021, Informer), section 5.1: zero-mean normalised data.

    Example:
        >>> train = np.array([[0.0], [2.0]])
        >>> standardised_square_error(np.array([[5.0]]), np.array([[3.0]]), train)
        4.0
    """
    errors = _errors("standardised_square_error", truth, forecast)
    deviation = np.asarray(train, dtype=np.float64).std(axis=0)
    if not (deviation > 0).all():
        raise DataError("standardised_square_error: a variable is constant in the training part.")
    return float(((errors / deviation) ** 2).mean())


def scaled_error(
    truth: np.ndarray, forecast: np.ndarray, train: np.ndarray, period: int = 1
) -> float:
    """MASE: the absolute error in units of what the seasonal naive forecast errs in training.

        mean |truth - forecast| / mean_t |train_t - train_(t - period)|

    Args:
        truth: of one series, ``[N]`` or ``[N H]``.
        forecast: of the same shape.
        train: the training part of the series, ``[T]``, T > period.
        period: steps of one season; 1 scales with the last value.

    Raises:
        DataError: also if the training part is too short or repeats itself exactly.

    Source:
        Hyndman and Koehler (2006), section 2.5; seasonal form: Hyndman and Athanasopoulos (2021),
        section 5.8.

    Example:
        >>> scaled_error(np.array([9.0]), np.array([5.0]), np.array([1.0, 3.0, 5.0, 7.0]))
        2.0
    """
    errors = _errors("scaled_error", truth, forecast)
    scale = float(naive_errors(np.asarray(train, dtype=np.float64), period))
    if not scale > 0:
        raise DataError(f"scaled_error: the training part repeats itself every {period} steps.")
    return float(np.abs(errors).mean() / scale)


def naive_errors(train: np.ndarray, period: int = 1) -> np.ndarray:
    """What the seasonal naive forecast errs in the training part, on average, of each variable.

        mean_t |train_t - train_(t - m)|

    Args:
        train: ``[T]`` or ``[T D]``, T > period.
        period: steps of one season m.

    Returns:
        float64 of the shape of one step.

    Raises:
        DataError: if the training part is too short.

    Example:
        >>> naive_errors(np.array([[1.0, 0.0], [3.0, 1.0], [5.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    if not 1 <= period < len(train):
        raise DataError(f"naive_errors: got period {period}; wanted 1 to {len(train) - 1}.")
    return np.asarray(np.abs(train[period:] - train[:-period]).mean(axis=0))


def quantile_loss(truth: np.ndarray, forecast: np.ndarray, quantile: float) -> float:
    """Pinball loss: its minimum over constants is the quantile.

        mean of max(q (y - f), (q - 1) (y - f))

    Args:
        truth: numbers of any shape.
        forecast: of the same shape.
        quantile: in (0, 1).

    Source:
        Koenker and Bassett (1978), equation 1.2.

    Example:
        >>> quantile_loss(np.array([10.0, 0.0]), np.array([0.0, 10.0]), 0.75)
        5.0
    """
    if not 0 < quantile < 1:
        raise DataError(f"quantile_loss: got quantile {quantile}; wanted more than 0, less than 1.")
    errors = _errors("quantile_loss", truth, forecast)
    return float(np.maximum(quantile * errors, (quantile - 1) * errors).mean())


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the truth that lies within its band, edges included.

    Example:
        >>> coverage(np.array([1.0, 5.0]), np.array([0.0, 0.0]), np.array([2.0, 2.0]))
        0.5
    """
    below = _errors("coverage", truth, low) < 0
    above = _errors("coverage", truth, high) > 0
    return float((~below & ~above).mean())


def _errors(where: str, truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    truth = np.asarray(truth, dtype=np.float64)
    forecast = np.asarray(forecast, dtype=np.float64)
    if truth.shape != forecast.shape:
        raise DataError(f"{where}: forecast is {forecast.shape}; wanted {truth.shape}.")
    if not truth.size:
        raise DataError(f"{where}: got no numbers; wanted at least 1.")
    if not (np.isfinite(truth).all() and np.isfinite(forecast).all()):
        raise DataError(f"{where}: got NaN or infinity; wanted finite numbers.")
    return truth - forecast
