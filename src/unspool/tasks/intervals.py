"""How sure a figure is: intervals of proportions and of anything else, and of differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from unspool.errors import DataError

Values = np.ndarray | Sequence
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the range that the data leave it.

    Attributes:
        value: the figure itself.
        low, high: ends.
        level: how often such intervals hold the true value.
        method: how it was made.
    """

    value: float
    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def wilson(hits: int, total: int, level: float = 0.95) -> Interval:
    """Interval of a proportion; never leaves [0, 1], also sensible at 0 and at all.

        (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)

    Args:
        hits: successes, 0 to ``total``.
        total: independent trials n, ≥ 1.
        level: in (0, 1).

    Raises:
        DataError: if a number is out of range.

    Source:
        Wilson (1927); Brown, Cai and DasGupta (2001), equation 4.

    Example:
        >>> found = wilson(90, 100)
        >>> round(found.low, 3), round(found.high, 3)
        (0.826, 0.945)
    """
    if not 0 <= hits <= total or total < 1:
        raise DataError(f"wilson: got {hits} of {total}; wanted 0 to n of n ≥ 1.")
    z = NormalDist().inv_cdf(0.5 + _level("wilson", level) / 2)
    p, extra = hits / total, z * z / total
    middle = p + extra / 2
    half = math.sqrt(extra * (p * (1 - p) + extra / 4))
    low, high = (middle - half) / (1 + extra), (middle + half) / (1 + extra)
    # At the ends the formula gives 0 and 1 exactly; rounding may not.
    low, high = (0.0 if hits == 0 else low), (1.0 if hits == total else high)
    return Interval(p, low, high, level, "Wilson")


def bootstrap_mean(
    values: np.ndarray,
    groups: Values | None = None,
    *,
    seed: int = 0,
    level: float = 0.95,
    repeats: int = 2000,
) -> Interval:
    """Interval of a mean over rows: of hits, of absolute errors, or of their differences.

    Whole groups are drawn with replacement, so that rows of one sentence or speaker stay together;
    the mean is the sum over drawn rows by their number.

    Args:
        values: float ``[N]``.
        groups: of every row; None takes each row for itself.
        seed: of the draws.
        level: in (0, 1).
        repeats: draws.

    Raises:
        DataError: if there are no rows, or numbers do not fit.

    Source:
        Efron and Tibshirani (1993), section 13.3 (percentiles); Davison and Hinkley (1997),
        section 3.8, for groups.

    Example:
        >>> found = bootstrap_mean(np.array([1.0, 0.0] * 50))
        >>> found.value, found.low < 0.5 < found.high
        (0.5, True)
    """
    values = np.asarray(values, dtype=np.float64)
    members, count = _groups("bootstrap_mean", len(values), groups)
    sums = np.bincount(members, weights=values, minlength=count)
    sizes = np.bincount(members, minlength=count)
    generator = np.random.default_rng(seed)
    means = np.empty(repeats)
    share = np.full(count, 1.0 / count)
    block = max(1, BLOCK // count)
    for start in range(0, repeats, block):
        drawn = generator.multinomial(count, share, size=min(block, repeats - start))
        means[start : start + block] = (drawn @ sums) / (drawn @ sizes)
    return _percentiles(float(values.mean()), means, level)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: Values | None = None,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of mean(first) - mean(second), both measured on the same rows.

    Rows that are hard for both methods cancel: the interval is as narrow as the data allow.

    Args:
        first: hits or errors of one method, ``[N]``.
        second: of the other, on the same rows.
        groups: of every row; None takes each row for itself.
        seed: of the draws.
        level: in (0, 1).

    Source:
        Koehn (2004), section 4, with groups for sentences.

    Example:
        >>> found = paired_difference(np.ones(40), np.zeros(40))
        >>> found.low, found.high
        (1.0, 1.0)
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise DataError(f"paired_difference: got {second.shape} rows; wanted {first.shape}.")
    return bootstrap_mean(first - second, groups, seed=seed, level=level)


def bootstrap(
    statistic: Statistic,
    rows: int,
    groups: Values | None = None,
    *,
    seed: int = 0,
    level: float = 0.95,
    repeats: int = 500,
) -> Interval:
    """Interval of any figure of the rows, such as F1: it is computed anew for every draw.

    Args:
        statistic: gives the figure of some rows; gets their places, int64, with repetitions.
        rows: N.
        groups: of every row; None takes each row for itself.
        seed: of the draws.
        level: in (0, 1).
        repeats: draws.

    Source:
        Efron and Tibshirani (1993), section 13.3.

    Example:
        >>> x = np.arange(101.0)
        >>> found = bootstrap(lambda places: float(np.median(x[places])), 101)
        >>> found.value, found.low < 50 < found.high
        (50.0, True)
    """
    members, count = _groups("bootstrap", rows, groups)
    order = np.argsort(members, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(members, minlength=count))[:-1])
    generator = np.random.default_rng(seed)
    found = np.empty(repeats)
    for repeat in range(repeats):
        drawn = generator.integers(count, size=count)
        found[repeat] = statistic(
            order[drawn] if count == rows else np.concatenate([parts[group] for group in drawn])
        )
    return _percentiles(float(statistic(np.arange(rows))), found, level)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact p-value that two methods are right equally often, from rows where they disagree.

        p = min(1, 2 P(X <= min(b, c))),        X ~ Binomial(b + c, 1/2)

    Args:
        first: whether one method is right, bool ``[N]``.
        second: whether the other is, on the same rows.

    Returns:
        1 where they never disagree.

    Source:
        McNemar (1947); exact form: Dietterich (1998), section 3.1.

    Example:
        >>> mcnemar(np.array([True] * 6), np.array([False] * 6))
        0.03125
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape:
        raise DataError(f"mcnemar: got {second.shape} rows; wanted {first.shape}.")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    ways = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * ways / 2**total)


def _groups(where: str, rows: int, groups: Values | None) -> tuple[np.ndarray, int]:
    """A number for the group of every row, and how many groups there are."""
    if rows < 1:
        raise DataError(f"{where}: got no rows; wanted at least 1.")
    if groups is None:
        return np.arange(rows), rows
    if len(groups) != rows:
        raise DataError(f"{where}: got {len(groups)} groups for {rows} rows.")
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    return members, len(names)


def _percentiles(value: float, found: np.ndarray, level: float) -> Interval:
    tail = (1 - _level("bootstrap", level)) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(value, float(low), float(high), level, "bootstrap")


def _level(where: str, level: float) -> float:
    if not 0 < level < 1:
        raise DataError(f"{where}: got level {level}; wanted more than 0 and less than 1.")
    return level


BLOCK = 4_000_000  # counts held at once
