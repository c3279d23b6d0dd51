"""Who is better, given several seeds and a test part, and when that cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.tasks.intervals import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A model with all its seeds, or a simple method.

    Attributes:
        name: in words.
        scores: of each seed; one for a simple method.
        rows: of each seed one number a row of the test part, ``[S N]``; or None.
        groups: which rows belong together, ``[N]``; None where each stands for itself.
        simple: whether it is a simple method.
    """

    name: str
    scores: tuple[float, ...]
    rows: np.ndarray | None = None
    groups: np.ndarray | None = None
    simple: bool = False

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True, slots=True)
class Part:
    """One reason why a figure is not sure.

    Attributes:
        variance: of the figure, for this reason.
        freedom: degrees of freedom of that variance.
    """

    variance: float
    freedom: float


def over_seeds(contestant: Contestant, level: float = 0.95) -> Interval | None:
    """How sure the mean score is of other seeds; None with a single one.

        mean ± t sqrt(s² / S),        s² the variance of the S scores

    Example:
        >>> found = over_seeds(Contestant(name="lstm", scores=(0.8, 0.9)))
        >>> round(found.low, 2), round(found.high, 2)
        (0.21, 1.49)
    """
    part = _seeds(contestant)
    return None if part is None else _interval(contestant.score, [part], level)


def over_rows(contestant: Contestant, level: float = 0.95) -> Interval | None:
    """How sure the mean score is of other test rows; None where rows are not known.

    Rows of one group stay together: the variance is that of a ratio of sums over groups.

    Source:
        Cochran (1977), equation 6.13, for the ratio.
    """
    if contestant.rows is None:
        return None
    part = _row_part(contestant.rows.mean(0), contestant.groups)
    return _interval(contestant.score, [part], level)


def sure(contestant: Contestant, level: float = 0.95) -> Interval | None:
    """How sure the mean score is of other seeds and other rows together."""
    parts = _parts(contestant)
    return _interval(contestant.score, parts, level) if parts else None


def difference(one: Contestant, other: Contestant, level: float = 0.95) -> Interval | None:
    """The score of one less that of the other, on the same rows, with all that is unsure in it.

        (a − b) ± t sqrt(V_rows + s_a² / S_a + s_b² / S_b)

    ``V_rows`` is that of the differences row by row, each averaged over the seeds, so that rows
    which are hard for both cancel; the degrees of freedom of t are Welch's.

    Args:
        one: measured on the same rows as the other.
        other: a model or a simple method.
        level: in (0, 1).

    Returns:
        None where neither rows nor seeds say how sure it is.

    Source:
        Welch (1947), equation 28, for the degrees of freedom.

    Example:
        >>> rows = np.tile([1.0, 0.0], (1, 50))
        >>> a = Contestant(name="a", scores=(0.5,), rows=rows)
        >>> difference(a, a).low, difference(a, Contestant(name="b", scores=(0.4,)))
        (0.0, None)
    """
    parts = [part for part in (_seeds(one), _seeds(other)) if part is not None]
    paired = one.rows is not None and other.rows is not None
    if paired and one.rows.shape[1] == other.rows.shape[1]:
        parts.append(_row_part(one.rows.mean(0) - other.rows.mean(0), one.groups))
    elif not all(len(each.scores) > 1 or each.simple for each in (one, other)):
        parts = []  # a single seed, and no rows: nothing is known
    return _interval(one.score - other.score, parts, level) if parts else None


def units(contestant: Contestant) -> float:
    """Independent things measured; infinite where rows are not known."""
    if contestant.rows is None:
        return math.inf
    if contestant.groups is not None:
        return float(len(set(contestant.groups.tolist())))
    return float(contestant.rows.shape[1])


def _parts(contestant: Contestant) -> list[Part]:
    parts = [] if contestant.rows is None else [
        _row_part(contestant.rows.mean(0), contestant.groups)
    ]  # fmt: skip
    seeds = _seeds(contestant)
    return parts if seeds is None else [*parts, seeds]


def _seeds(contestant: Contestant) -> Part | None:
    count = len(contestant.scores)
    if count < 2:
        return None
    variance = float(np.var(contestant.scores, ddof=1)) / count
    return Part(variance, float(count - 1))


def _row_part(values: np.ndarray, groups: np.ndarray | None) -> Part:
    """The variance of a mean over rows, whole groups being drawn."""
    members = (
        np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    )
    sums, sizes = np.bincount(members, weights=values), np.bincount(members)
    count = len(sizes)
    if count < 2:
        return Part(math.inf, 1.0)
    left = sums - sums.sum() / sizes.sum() * sizes
    variance = count / (count - 1) * float(left @ left) / float(sizes.sum()) ** 2
    return Part(variance, float(count - 1))


def _interval(value: float, parts: Sequence[Part], level: float) -> Interval:
    from scipy.special import stdtrit

    whole = sum(part.variance for part in parts)
    if whole == 0:
        return Interval(value, value, value, level, "Student")
    if math.isinf(whole):
        return Interval(value, -math.inf, math.inf, level, "Student")
    freedom = whole**2 / sum(part.variance**2 / part.freedom for part in parts)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(whole)
    return Interval(value, value - half, value + half, level, "Student")
