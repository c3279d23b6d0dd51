"""Methods that say the same to every input."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

from unspool.errors import DataError
from unspool.tasks.baselines.baseline import Baseline, Values


def majority(targets: Values, rows: int) -> Baseline:
    """The commonest class of the training part, the first by name among equals.

    Args:
        targets: of the training part.
        rows: test inputs to answer.

    Example:
        >>> majority(["a", "b", "b"], 2).answers
        ['b', 'b']
    """
    start = time.perf_counter()
    if not len(targets):
        raise DataError("majority: got no targets; wanted at least 1.")
    counts = Counter(targets)
    labels = tuple(sorted(counts))
    answer = max(labels, key=lambda label: counts[label])
    shares = np.array([counts[label] for label in labels]) / len(targets)
    return Baseline(
        name="majority class",
        answers=[answer] * rows,
        seconds=time.perf_counter() - start,
        reproduce="DummyClassifier(strategy='prior').fit(X, y).predict(X_test)",
        scores=np.tile(shares, (rows, 1)),
        labels=labels,
    )


def median(targets: Values, rows: int) -> Baseline:
    """The constant with the least mean absolute error on the training part: its median.

    Example:
        >>> median([1, 5, 5], 2).answers.tolist()
        [5.0, 5.0]
    """
    start = time.perf_counter()
    if not len(targets):
        raise DataError("median: got no targets; wanted at least 1.")
    # A value that occurs: between two middle ones every constant errs the same.
    answer = float(np.quantile(np.asarray(targets, float), 0.5, method="lower"))
    return Baseline(
        name="best constant",
        answers=np.full(rows, answer),
        seconds=time.perf_counter() - start,
        reproduce="DummyRegressor(strategy='median').fit(X, y).predict(X_test)",
    )
