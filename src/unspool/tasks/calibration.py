"""Whether probabilities mean what they say, and one number that mends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of similar confidence.

    Attributes:
        low, high: confidences from more than low to high.
        rows: how many answers.
        confidence: their mean probability; NaN where there are none.
        accuracy: share of them that is right; NaN where there are none.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> tuple[Bin, ...]:
    """How often answers are right, by how sure they were.

    Args:
        probabilities: ``[N C]``, rows sum to 1.
        truth: indices of the true class, ``[N]``.
        bins: parts of equal width.

    Raises:
        DataError: if shapes do not fit, or rows are no probabilities.

    Source:
        Guo et al. (2017), section 2.

    Example:
        >>> table = reliability(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]), bins=2)
        >>> table[1].rows, table[1].accuracy
        (2, 0.5)
    """
    probabilities, truth = _checked("reliability", probabilities, truth)
    if not np.allclose(probabilities.sum(1), 1.0, atol=1e-4) or (probabilities < 0).any():
        raise DataError("reliability: rows are no probabilities; wanted ≥ 0 with sum 1.")
    return confidence_table(probabilities.max(1), probabilities.argmax(1) == truth, bins)


def confidence_table(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> tuple[Bin, ...]:
    """The same from how sure every answer is, and whether it is right.

    Args:
        confidence: 0…1, ``[N]``.
        right: of the same answers.
        bins: parts of equal width.

    Example:
        >>> confidence_table(np.array([0.6, 0.7]), np.array([True, False]), bins=2)[1].accuracy
        0.5
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    table = []
    for index in range(bins):
        inside = place == index
        rows = int(inside.sum())
        sure = float(confidence[inside].mean()) if rows else float("nan")
        hits = float(right[inside].mean()) if rows else float("nan")
        table.append(Bin(float(edges[index]), float(edges[index + 1]), rows, sure, hits))
    return tuple(table)


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy, by rows.

        ECE = sum_b (n_b / N) |accuracy_b - confidence_b|

    Source:
        Guo et al. (2017), equation 3.

    Example:
        >>> round(calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])), 3)
        0.4
    """
    return confidence_error(reliability(probabilities, truth, bins))


def confidence_error(table: Sequence[Bin]) -> float:
    """The same from the table of `reliability`.

    Example:
        >>> table = confidence_table(np.array([0.9, 0.9]), np.array([True, False]))
        >>> round(confidence_error(table), 3)
        0.4
    """
    table = [part for part in table if part.rows]
    total = sum(part.rows for part in table)
    return sum(part.rows * abs(part.accuracy - part.confidence) for part in table) / total


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The number by which logits are divided so that held-out answers are likeliest.

        minimise over T > 0:  mean_n [ln sum_c exp(z_nc / T) - z_n,y_n / T]

    The loss is convex in 1/T, so that halving the range of its rising derivative finds the one
    minimum. Answers stay the same: only their confidence changes.

    Args:
        logits: of the validation part, ``[N C]``.
        truth: indices of the true class, ``[N]``.

    Returns:
        T within 0.01 and 100; an end where the likelihood has no maximum inside, as when all
        answers are right.

    Source:
        Guo et al. (2017), equation 9.

    Example:
        >>> logits = np.log(np.array([[0.75, 0.25]] * 4))
        >>> round(fit_temperature(3.0 * logits, np.array([0, 0, 0, 1])), 3)
        3.0
    """
    logits, truth = _checked("fit_temperature", logits, truth)
    wanted = logits[np.arange(len(truth)), truth]
    shifted = logits - logits.max(1, keepdims=True)

    def slope(inverse: float) -> float:
        chances = np.exp(inverse * shifted)
        chances /= chances.sum(1, keepdims=True)
        return float(((chances * logits).sum(1) - wanted).mean())

    low, high = np.log(0.01), np.log(100.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def _checked(where: str, scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise DataError(f"{where}: got {scores.shape} and {truth.shape}; wanted [N C] and [N].")
    if not np.isfinite(scores).all():
        raise DataError(f"{where}: got NaN or infinity; wanted finite numbers.")
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise DataError(f"{where}: a class is outside 0 to {scores.shape[1] - 1}.")
    return scores, truth.astype(np.int64)
