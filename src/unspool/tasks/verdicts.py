"""One sentence that says whether a model was worth training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError
from unspool.tasks.intervals import Interval, Values, paired_difference


@dataclass(frozen=True, slots=True)
class Scored:
    """A method and how well it did.

    Attributes:
        name: in words: ``LSTM``, ``TF-IDF + logistic regression``.
        score: the task's measure on the test part.
        seconds: for training and answering.
        rows: what the measure is the mean of, one number a row, the same rows for all; or None.
        reproduce: the line of code that does the same.
    """

    name: str
    score: float
    seconds: float = 0.0
    rows: np.ndarray | None = None
    reproduce: str = ""

    def to_dict(self) -> dict:
        """As plain JSON values, without the rows."""
        return {
            "name": self.name,
            "score": self.score,
            "seconds": self.seconds,
            "reproduce": self.reproduce,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """A comparison with the best simple method.

    Attributes:
        outcome: wins, ties, loses; or alone where there was nothing to compare with.
        best: name of the best simple method, empty if there is none.
        difference: model less best method; None where rows are not known.
        sentence: the same for people.
    """

    outcome: str
    best: str
    difference: Interval | None
    sentence: str


def compare(
    model: Scored,
    methods: Sequence[Scored],
    measure: str = "accuracy",
    higher_is_better: bool = True,
    *,
    difference: Interval | None = None,
    groups: Values | None = None,
    seed: int = 0,
) -> Verdict:
    """Set a model against the best of the simple methods.

    The model wins where the whole interval of the difference is on its side of zero, and loses
    where it is on the other; else, and with fewer than six rows, the two tie within noise. A rule
    that solves the task without a single error is never beaten: then no learning is needed.

    Args:
        model: what was trained.
        methods: the simple ones, measured on the same rows.
        measure: what the scores are, in words.
        higher_is_better: False for errors.
        difference: interval of model less best method, for measures that are no mean over rows;
            None computes it from both ``rows``.
        groups: of the rows, for the interval.
        seed: of the interval's draws.

    Raises:
        DataError: if neither rows nor a difference are given, or a score is not finite.

    Example:
        >>> good, bad = np.ones(200), np.zeros(200)
        >>> compare(Scored("LSTM", 1.0, rows=good), [Scored("majority", 0.0, rows=bad)]).outcome
        'wins'
    """
    for scored in (model, *methods):
        if not np.isfinite(scored.score):
            raise DataError(f"compare: {scored.name} has the score {scored.score}.")
    if not methods:
        sentence = f"{model.name}: {measure} {_figure(model.score)}; no simple method to compare."
        return Verdict("alone", "", None, sentence)
    sign = 1 if higher_is_better else -1
    best = max(methods, key=lambda method: sign * method.score)
    difference = difference or _difference(model, best, groups, seed)
    if _solves(best, measure):
        outcome = "ties" if model.score == best.score else "loses"
    elif _units(model, groups) < FEWEST:
        outcome = "ties"
    else:
        low, high = sorted((sign * difference.low, sign * difference.high))
        outcome = "wins" if low > 0 else "loses" if high < 0 else "ties"
    return Verdict(
        outcome, best.name, difference, _sentence(outcome, model, best, measure, difference)
    )


def _sentence(outcome: str, model: Scored, best: Scored, measure: str, difference: Interval) -> str:
    scores = f"{measure} {_figure(model.score)} against {_figure(best.score)}"
    if outcome != "ties" or difference.low != difference.high:
        scores += (
            f", difference {_figure(difference.value, True)}, {difference.level:.0%} interval "
            f"{_figure(difference.low, True)} to {_figure(difference.high, True)}"
        )
    if _solves(best, measure):
        return f"You do not need machine learning here: {best.name} makes no error ({scores})."
    if outcome == "wins":
        return f"{model.name} beats {best.name}: {scores}."
    if outcome == "ties":
        return (
            f"{model.name} and {best.name} tie within noise: {scores}; "
            f"{best.name} is the simpler of the two."
        )
    return f"{model.name} loses: use {best.name} ({scores})."


def _difference(model: Scored, best: Scored, groups: Values | None, seed: int) -> Interval:
    if model.rows is None or best.rows is None:
        raise DataError(
            f"compare: {model.name} or {best.name} has no rows; "
            "give both, or the interval of their difference."
        )
    return paired_difference(model.rows, best.rows, groups, seed=seed)


def _solves(best: Scored, measure: str) -> bool:
    """Whether a fixed rule, not a fitted method, is right on every row."""
    return best.name in RULES and measure == "accuracy" and best.score == 1.0


def _units(model: Scored, groups: Values | None) -> float:
    """Independent things measured; unknown where the caller brings the difference."""
    if groups is not None:
        return float(len(set(groups)))
    return np.inf if model.rows is None else float(len(model.rows))


def _figure(value: float, signed: bool = False) -> str:
    return f"{value:+.4g}" if signed else f"{value:.4g}"


FEWEST = 6  # with fewer, even all rows on one side are no evidence at 5%: 2 / 2^5 > 0.05
RULES = ("bracket counting",)
