"""One sentence about several models and the simple methods; no winner within noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unspool.comparing.contest import Contestant, difference, units
from unspool.tasks.intervals import Interval
from unspool.tasks.verdicts import FEWEST, RULES


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The best of the models, whom it beats, and whom it cannot be told from.

    Attributes:
        ahead: the model with the best score.
        against: its score less that of each other, as the measure counts; None where nothing says
            how sure that is.
        tied: names of those whose difference is within noise.
        level: of each interval, so that all of them hold together 95 times in 100.
        sentence: the same for people.
    """

    ahead: str
    against: dict[str, Interval | None]
    tied: tuple[str, ...]
    level: float
    sentence: str


def judge(
    contestants: Sequence[Contestant], measure: str, higher_is_better: bool = True
) -> Judgement:
    """Set the best model against all other models and the simple methods.

    The best of several is best partly by luck, so each of the m differences is taken at the level
    1 − 0.05/m. Fewer than six independent rows tie whatever they say. A rule that solves the task
    without an error is never beaten.

    Args:
        contestants: at least one model; measured on the same rows.
        measure: what the scores are, in words.
        higher_is_better: False for errors and losses.

    Source:
        Dunn (1961), for the level; Hsu (1981), for comparing with the best.

    Example:
        >>> import numpy as np
        >>> rows = np.tile([1.0, 0.0], (1, 99))
        >>> rnn, gru = (Contestant(name=name, scores=(0.5,), rows=rows) for name in ("rnn", "gru"))
        >>> judge([rnn, gru], "accuracy").sentence
        'rnn and gru tie within noise: accuracy 0.5 and 0.5; no simple method to compare.'
    """
    sign = 1 if higher_is_better else -1
    order = sorted(contestants, key=lambda each: -sign * each.score)
    models = [each for each in order if not each.simple]
    simple = [each for each in order if each.simple]
    ahead = models[0]
    others = [each for each in order if each is not ahead]
    level = 1 - 0.05 / max(len(others), 1)
    against = {each.name: difference(ahead, each, level) for each in others}
    outcomes = {each.name: _outcome(against[each.name], ahead, sign) for each in others}
    text = _among_models(models, outcomes, against, measure)
    text += _against_simple(ahead, simple[0], outcomes, against, measure) if simple else NOTHING
    return Judgement(
        ahead=ahead.name,
        against=against,
        tied=tuple(name for name, outcome in outcomes.items() if outcome == "ties"),
        level=level,
        sentence=text,
    )


def _outcome(interval: Interval | None, ahead: Contestant, sign: int) -> str:
    if interval is None or units(ahead) < FEWEST:
        return "ties"
    low, high = sorted((sign * interval.low, sign * interval.high))
    return "wins" if low > 0 else "loses" if high < 0 else "ties"


def _among_models(
    models: Sequence[Contestant],
    outcomes: dict[str, str],
    against: dict[str, Interval | None],
    measure: str,
) -> str:
    ahead = models[0]
    tied = [each for each in models[1:] if outcomes[each.name] == "ties"]
    beaten = [each for each in models[1:] if outcomes[each.name] == "wins"]
    if tied:
        together = [ahead, *tied]
        scores = _listed([_figure(each.score) for each in together])
        text = f"{_listed([each.name for each in together])} tie within noise: {measure} {scores}"
        if any(against[each.name] is None for each in tied):
            text += " (one seed and no rows cannot tell them apart)"
    else:
        text = f"{ahead.name} is the best model: {measure} {_figure(ahead.score)}"
    if beaten:
        more = f" and {len(beaten) - 1} more" if len(beaten) > 1 else ""
        text += f"; {ahead.name} beats {_shown(beaten[0], against)}{more}"
    return text


def _against_simple(
    ahead: Contestant,
    best: Contestant,
    outcomes: dict[str, str],
    against: dict[str, Interval | None],
    measure: str,
) -> str:
    outcome = outcomes[best.name]
    if best.name in RULES and measure == "accuracy" and best.score == 1.0:
        return f"; {best.name} makes no error: you do not need machine learning here."
    if outcome == "wins":
        return f"; {ahead.name} beats every simple method, {_shown(best, against)} being the best."
    if outcome == "loses":
        return f"; {_shown(best, against)} beats {ahead.name}: use {best.name}."
    return (
        f"; {_shown(best, against)} and {ahead.name} tie within noise: use {best.name}, which is "
        "simpler."
    )


def _shown(each: Contestant, against: dict[str, Interval | None]) -> str:
    """A name with its score, and how far the best model is from it."""
    found = against[each.name]
    if found is None:
        return f"{each.name} ({_figure(each.score)})"
    return (
        f"{each.name} ({_figure(each.score)}; difference {found.value:+.3g}, interval "
        f"{found.low:+.3g} to {found.high:+.3g})"
    )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _figure(value: float) -> str:
    return f"{value:.4g}"


NOTHING = "; no simple method to compare."
