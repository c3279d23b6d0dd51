"""What a simple method hands back, and how it chooses among a few settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.errors import DataError

Values = np.ndarray | Sequence


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simple method's answers to the test inputs.

    Attributes:
        name: in words.
        answers: one for every test input, in their order.
        seconds: for choosing, fitting and answering.
        reproduce: a line of code that does the same.
        scores: probabilities or decision values ``[N C]``, or None.
        labels: what the columns of ``scores`` are.
        chosen: settings that cross-validation on the training part chose.
    """

    name: str
    answers: Any
    seconds: float
    reproduce: str
    scores: np.ndarray | None = None
    labels: tuple = ()
    chosen: dict[str, Any] = field(default_factory=dict)


def folds(targets: Values, seed: int, most: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places to fit on and to measure on, each class spread evenly; none if a class is too rare.

    Args:
        targets: labels.
        seed: of the order.
        most: folds at most; fewer where the rarest class has fewer rows.

    Example:
        >>> [len(held) for _, held in folds(["a", "b"] * 6, seed=0)]
        [4, 4, 4]
    """
    from sklearn.model_selection import StratifiedKFold

    _, counts = np.unique(np.asarray(targets), return_counts=True)
    number = min(most, int(counts.min()))
    if number < 2:
        return []
    order = StratifiedKFold(number, shuffle=True, random_state=seed)
    return list(order.split(np.zeros(len(targets)), np.asarray(targets)))


def best_of(
    candidates: Sequence, errors: Callable[[np.ndarray, np.ndarray], Sequence[float]], parts: list
) -> Any:
    """The candidate with the least error over all folds; the first where there are no folds.

    Args:
        candidates: settings to choose from, the one to take without folds first.
        errors: given places to fit on and to measure on, one error for every candidate.
        parts: what `folds` gives.

    Example:
        >>> best_of([1, 2], lambda fit, held: [0.3, 0.1], [(None, None)])
        2
    """
    if not parts or len(candidates) == 1:
        return candidates[0]
    return candidates[int(np.argmin(sum(np.asarray(errors(*part), float) for part in parts)))]


def checked(where: str, inputs: Values, targets: Values) -> None:
    """Refuse a training part whose inputs and targets differ in number, or that is empty.

    Raises:
        DataError: in both cases.

    Example:
        >>> checked("majority", ["x"], ["a"])
    """
    if len(inputs) != len(targets) or not len(targets):
        raise DataError(f"{where}: got {len(inputs)} inputs and {len(targets)} targets.")
