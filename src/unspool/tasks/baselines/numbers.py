"""The simple method for sequences of numbers: gradient boosting on what sums them up."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from unspool.errors import DataError
from unspool.tasks.baselines.baseline import Baseline, Values, best_of, checked, folds

RATES = (0.1, 0.03)


def summary(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Mean, deviation, least, greatest, last and slope of every variable, and the length.

    The slope is the least squares line's, per step; NaN entries are left out, and a variable with
    no number at all gives NaN.

    Args:
        sequences: each ``[T D]``, T ≥ 1.

    Returns:
        float64 ``[N 6D + 1]``.

    Raises:
        DataError: if a sequence is empty or of another width.

    Example:
        >>> summary([np.array([[1.0], [3.0]])]).tolist()
        [[2.0, 1.0, 1.0, 3.0, 3.0, 2.0, 2.0]]
    """
    rows = []
    width = sequences[0].shape[1] if len(sequences) else 0
    for place, sequence in enumerate(sequences):
        if sequence.ndim != 2 or not len(sequence) or sequence.shape[1] != width:
            raise DataError(f"summary: sequence {place} is {sequence.shape}; wanted [T {width}].")
        figures = [_figures(column[~np.isnan(column)], column) for column in sequence.T]
        rows.append([*np.ravel(np.array(figures).T), len(sequence)])
    return np.array(rows, dtype=np.float64).reshape(len(sequences), -1)


def boosting(
    sequences: Sequence[np.ndarray], labels: Values, test: Sequence[np.ndarray], seed: int = 0
) -> Baseline:
    """Gradient boosting on `summary`; the learning rate is chosen by three folds.

    Args:
        sequences: of the training part, each ``[T D]``.
        labels: of the training part.
        test: sequences to answer.
        seed: of the folds.

    Source:
        Ke et al. (2017), section 2.1 (trees on histograms).

    Example:
        >>> low, high = np.zeros((5, 1)), np.ones((5, 1))
        >>> boosting([low, high] * 30, ["a", "b"] * 30, [high]).answers
        ['b']
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    start = time.perf_counter()
    checked("boosting", sequences, labels)
    known, new, labels = summary(sequences), summary(test), np.asarray(labels)

    def make(rate: float) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            learning_rate=rate, early_stopping=False, random_state=seed
        )

    def errors(fit: np.ndarray, held: np.ndarray) -> list[float]:
        return [
            1.0 - make(rate).fit(known[fit], labels[fit]).score(known[held], labels[held])
            for rate in RATES
        ]

    rate = best_of(RATES, errors, folds(labels, seed))
    model = make(rate).fit(known, labels)
    scores = model.predict_proba(new)
    return Baseline(
        name="summaries + gradient boosting",
        answers=model.classes_[scores.argmax(1)].tolist(),
        seconds=time.perf_counter() - start,
        reproduce=f"HistGradientBoostingClassifier(learning_rate={rate:g}, early_stopping=False)"
        ".fit(summary(sequences), labels).predict(summary(test))",
        scores=scores,
        labels=tuple(model.classes_.tolist()),
        chosen={"learning_rate": rate},
    )


def _figures(present: np.ndarray, column: np.ndarray) -> list[float]:
    if not len(present):
        return [float("nan")] * 6
    steps = np.flatnonzero(~np.isnan(column)).astype(float)
    centred = steps - steps.mean()
    spread = float(centred @ centred)
    slope = float(centred @ present) / spread if spread else 0.0
    figures = (present.mean(), present.std(), present.min(), present.max(), present[-1])
    return [*map(float, figures), slope]
