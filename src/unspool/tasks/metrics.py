"""How good answers are: labels, ratings and words, as plain figures from numpy arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError

Values = np.ndarray | Sequence


@dataclass(frozen=True, slots=True)
class Classes:
    """Every figure that follows from a confusion matrix.

    Attributes:
        labels: in the order of the rows, C of them.
        confusion: int64 ``[C C]``, rows the truth, columns the answers.
        precision, recall, f1: float64 ``[C]``; 0 where nothing was answered, or nothing was there.
        support: int64 ``[C]``, rows that are truly of each class.
        accuracy: share of right answers.
        balanced_accuracy: mean recall of the classes that occur.
        macro_f1: mean of ``f1`` over the classes.
        weighted_f1: the same weighted with ``support``.
    """

    labels: tuple
    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float

    def to_dict(self) -> dict:
        """As plain JSON values."""
        rows = zip(self.labels, self.precision, self.recall, self.f1, self.support, strict=True)
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "weighted_f1": self.weighted_f1,
            "labels": [str(label) for label in self.labels],
            "confusion": self.confusion.tolist(),
            "classes": [
                {
                    "label": str(label),
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(f1),
                    "support": int(support),
                }
                for label, precision, recall, f1, support in rows
            ],
        }

    def by_class(self) -> dict[str, dict]:
        """Every class by itself, and which is taken for which, as plain JSON values."""
        columns = zip(self.labels, self.precision, self.recall, self.f1, self.support, strict=True)
        return {
            "classes": {
                str(label): {
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(f1),
                    "support": int(support),
                }
                for label, precision, recall, f1, support in columns
            },
            "confusion": {
                "labels": [str(label) for label in self.labels],
                "counts": self.confusion.tolist(),
            },
        }


def accuracy(truth: Values, answers: Values) -> float:
    """Share of answers that are the truth.

    Args:
        truth: N labels.
        answers: N labels.

    Raises:
        DataError: if both differ in number, or there are none.

    Example:
        >>> accuracy(["a", "b", "b", "a"], ["a", "b", "a", "a"])
        0.75
    """
    truth, answers = _paired("accuracy", truth, answers)
    return float(np.mean(truth == answers))


def classes(truth: Values, answers: Values, labels: Sequence | None = None) -> Classes:
    """Precision, recall, F1 and the confusion matrix.

        precision = hits / answered        recall = hits / there
        f1        = 2 hits / (answered + there)

    Args:
        truth: N labels.
        answers: N labels.
        labels: all of them in the order wanted; None takes those that occur, sorted.

    Raises:
        DataError: if both differ in number, there are none, or one is not among ``labels``.

    Source:
        Manning, Raghavan and Schütze (2008), equations 8.1, 8.2 and 8.6; macro F1 is the mean of
        the F1s (Opitz and Burst, 2019, equation 1), which scikit-learn reports as well.

    Example:
        >>> found = classes(["a", "b", "b", "a"], ["a", "b", "a", "a"])
        >>> found.confusion.tolist(), round(found.macro_f1, 3)
        ([[2, 0], [1, 1]], 0.733)
    """
    truth, answers = _paired("classes", truth, answers)
    occurring = set(truth.tolist()) | set(answers.tolist())
    order = tuple(sorted(occurring) if labels is None else labels)
    if missing := occurring - set(order):
        raise DataError(f"classes: {sorted(missing)[0]!r} is not among the {len(order)} labels.")
    place = {label: index for index, label in enumerate(order)}
    pairs = [place[a] * len(order) + place[b] for a, b in zip(truth, answers, strict=True)]
    confusion = np.bincount(pairs, minlength=len(order) ** 2).reshape(len(order), len(order))
    hits, there, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall, f1 = _share(hits, there), _share(2 * hits, there + answered)
    return Classes(
        labels=order,
        confusion=confusion,
        precision=_share(hits, answered),
        recall=recall,
        f1=f1,
        support=there,
        accuracy=float(hits.sum() / there.sum()),
        balanced_accuracy=float(recall[there > 0].mean()),
        macro_f1=float(f1.mean()),
        weighted_f1=float(f1 @ there / there.sum()),
    )


def absolute_error(truth: Values, answers: Values) -> float:
    """Mean distance between rating and answer, in the ratings' unit.

    Example:
        >>> absolute_error([1, 5, 3], [2, 5, 1])
        1.0
    """
    truth, answers = _numbers("absolute_error", truth, answers)
    return float(np.abs(truth - answers).mean())


def within_one(truth: Values, answers: Values) -> float:
    """Share of answers at most one away from the truth.

    Example:
        >>> within_one([1, 5, 3, 2], [2, 5, 1, 2])
        0.75
    """
    truth, answers = _numbers("within_one", truth, answers)
    return float((np.abs(truth - answers) <= 1.0).mean())


def weighted_kappa(truth: Values, answers: Values) -> float:
    """Agreement beyond chance where an error costs its square.

        kappa = 1 - sum_ij (i - j)^2 O_ij / sum_ij (i - j)^2 E_ij

    with O the counts, E those expected from the margins alone. Ratings are taken at their values,
    so that a rating nobody gave leaves its place (scikit-learn uses ranks: the same for ratings
    without gaps).

    Returns:
        At most 1; 0 at chance; 1 also where truth and answers are one and the same constant.

    Source:
        Cohen (1968), equation 15 with squared distances as weights.

    Example:
        >>> round(weighted_kappa([1, 2, 3, 4], [1, 2, 3, 3]), 3)
        0.875
    """
    truth, answers = _numbers("weighted_kappa", truth, answers)
    observed = float(np.mean((truth - answers) ** 2))
    # E[(a - b)^2] of independent a and b, from their moments.
    expected = float(truth.var() + answers.var() + (truth.mean() - answers.mean()) ** 2)
    return 1.0 - observed / expected if expected > 0 else 1.0


def token_accuracy(truth: Sequence[Sequence], answers: Sequence[Sequence]) -> float:
    """Share of right labels over all steps of all sequences.

    Raises:
        DataError: if a sequence has another number of answers than steps.

    Example:
        >>> token_accuracy([["DET", "NOUN"], ["VERB"]], [["DET", "VERB"], ["VERB"]])
        0.6666666666666666
    """
    hits, _ = _steps("token_accuracy", truth, answers)
    return float(np.mean(hits))


def unknown_accuracy(
    truth: Sequence[Sequence],
    answers: Sequence[Sequence],
    words: Sequence[Sequence[str]],
    known: Collection[str],
) -> tuple[float, int]:
    """Share of right labels at the words that training never saw, and how many those are.

    Args:
        truth: labels of every sentence.
        answers: labels of every sentence.
        words: of every sentence.
        known: words of the training part.

    Returns:
        The share, NaN where every word is known; and the number of unknown words.

    Example:
        >>> unknown_accuracy([["D", "N"]], [["D", "V"]], [["the", "yak"]], {"the"})
        (0.0, 1)
    """
    hits, rows = _steps("unknown_accuracy", truth, answers)
    _steps("unknown_accuracy", truth, words)
    unknown = np.array([word not in known for row in rows for word in words[row]])
    if not unknown.any():
        return float("nan"), 0
    return float(hits[unknown].mean()), int(unknown.sum())


def _steps(
    where: str, truth: Sequence[Sequence], answers: Sequence[Sequence]
) -> tuple[np.ndarray, range]:
    """Which steps are right, one after the other; and the rows."""
    if len(truth) != len(answers):
        raise DataError(f"{where}: got {len(answers)} sequences; wanted {len(truth)}.")
    for row, (a, b) in enumerate(zip(truth, answers, strict=True)):
        if len(a) != len(b):
            raise DataError(f"{where}: sequence {row} has {len(b)} answers for {len(a)} steps.")
    pairs = zip(truth, answers, strict=True)
    hits = np.array([x == y for a, b in pairs for x, y in zip(a, b, strict=True)], dtype=bool)
    if not len(hits):
        raise DataError(f"{where}: got no steps; wanted at least 1.")
    return hits, range(len(truth))


def _paired(where: str, truth: Values, answers: Values) -> tuple[np.ndarray, np.ndarray]:
    if len(truth) != len(answers):
        raise DataError(f"{where}: got {len(answers)} answers; wanted {len(truth)}.")
    if not len(truth):
        raise DataError(f"{where}: got no rows; wanted at least 1.")
    return np.asarray(truth), np.asarray(answers)


def _numbers(where: str, truth: Values, answers: Values) -> tuple[np.ndarray, np.ndarray]:
    truth, answers = _paired(where, truth, answers)
    truth, answers = truth.astype(np.float64), answers.astype(np.float64)
    if not (np.isfinite(truth).all() and np.isfinite(answers).all()):
        raise DataError(f"{where}: got NaN or infinity; wanted finite numbers.")
    return truth, answers


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
