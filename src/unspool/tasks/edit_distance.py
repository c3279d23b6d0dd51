"""Errors of written answers: the fewest edits that turn an answer into the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class Alignment:
    """One cheapest way from the truth to an answer.

    Attributes:
        steps: pairs of places in truth and answer, None where a side has nothing: both for a hit
            or a substitution, ``(i, None)`` for a deletion, ``(None, j)`` for an insertion.
        hits, substitutions, deletions, insertions: how many of each.
    """

    steps: tuple[tuple[int | None, int | None], ...]
    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def distance(self) -> int:
        """Edits in all."""
        return self.substitutions + self.deletions + self.insertions


def align(truth: Sequence, answer: Sequence) -> Alignment:
    """The fewest substitutions, deletions and insertions that make the answer of the truth.

        d_ij = min(d_(i-1)(j-1) + [t_i != a_j], d_(i-1)j + 1, d_i(j-1) + 1)

    Args:
        truth: tokens, or a string for its characters.
        answer: the same.

    Source:
        Wagner and Fischer (1974), algorithm X and algorithm Y for the way back.

    Example:
        >>> found = align("kitten", "sitting")
        >>> found.distance, found.substitutions, found.insertions
        (3, 2, 1)
    """
    rows, columns = len(truth), len(answer)
    table = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    table[0], table[:, 0] = np.arange(columns + 1), np.arange(rows + 1)
    across = np.arange(columns + 1)
    for i in range(1, rows + 1):
        differs = np.fromiter((truth[i - 1] != a for a in answer), dtype=np.int64, count=columns)
        best = np.empty(columns + 1, dtype=np.int64)
        best[0] = i
        best[1:] = np.minimum(table[i - 1, :-1] + differs, table[i - 1, 1:] + 1)
        # Insertions run along the row: d_ij = min over k <= j of best_k + (j - k).
        table[i] = np.minimum.accumulate(best - across) + across
    return _way_back(truth, answer, table)


def word_error_rate(truths: Sequence[str], answers: Sequence[str]) -> float:
    """Edits of words over words of the truth, all texts together; can exceed 1.

    Words are what white space parts. The sums are over all texts before the division, as jiwer
    and the NIST scorer have it.

    Raises:
        DataError: if both differ in number, or the truth has no words.

    Source:
        Jurafsky and Martin (2025), equation 15.35.

    Example:
        >>> word_error_rate(["one two three", "four"], ["one too three", "four five"])
        0.5
    """
    return _rate("word_error_rate", [t.split() for t in truths], [a.split() for a in answers])


def character_error_rate(truths: Sequence[str], answers: Sequence[str]) -> float:
    """Edits of characters over characters of the truth, spaces included; can exceed 1.

    Example:
        >>> character_error_rate(["abcd"], ["abxd"])
        0.25
    """
    return _rate("character_error_rate", truths, answers)


def exact_match(truths: Sequence, answers: Sequence) -> float:
    """Share of answers that are the truth from end to end.

    Example:
        >>> exact_match(["ab", "cd"], ["ab", "c"])
        0.5
    """
    if len(truths) != len(answers) or not len(truths):
        raise DataError(f"exact_match: got {len(answers)} answers to {len(truths)} truths.")
    return sum(list(t) == list(a) for t, a in zip(truths, answers, strict=True)) / len(truths)


def _rate(where: str, truths: Sequence[Sequence], answers: Sequence[Sequence]) -> float:
    if len(truths) != len(answers):
        raise DataError(f"{where}: got {len(answers)} answers; wanted {len(truths)}.")
    length = sum(map(len, truths))
    if not length:
        raise DataError(f"{where}: the truth is empty; wanted at least one token.")
    edits = sum(align(t, a).distance for t, a in zip(truths, answers, strict=True))
    return edits / length


def _way_back(truth: Sequence, answer: Sequence, table: np.ndarray) -> Alignment:
    i, j = len(truth), len(answer)
    steps: list[tuple[int | None, int | None]] = []
    hits = substitutions = deletions = insertions = 0
    while i or j:
        same = bool(i and j and truth[i - 1] == answer[j - 1])
        if i and j and table[i, j] == table[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            steps.append((i, j))
            hits, substitutions = hits + same, substitutions + (not same)
        elif i and table[i, j] == table[i - 1, j] + 1:
            i, deletions = i - 1, deletions + 1
            steps.append((i, None))
        else:
            j, insertions = j - 1, insertions + 1
            steps.append((None, j))
    return Alignment(tuple(reversed(steps)), hits, substitutions, deletions, insertions)
