"""How near written answers come to the truths: chrF, BLEU, exact match, character errors.

chrF ranks, because it needs no words: it is as fair to a script without spaces, or to digits, as to
prose. BLEU is measured by sacrebleu, so that the figure is the one that others report.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.data.tokenizer import lowered
from unspool.errors import DataError
from unspool.tasks.edit_distance import align
from unspool.tasks.intervals import Interval, bootstrap

Truths = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class TextScores:
    """How near some answers come to the truths.

    Attributes:
        figures: ``score`` and ``interval`` (chrF, 0 to 100), ``exact_match`` and its interval,
            ``character_error_rate``, and with sacrebleu ``bleu``: ``score``, ``interval``,
            ``signature``.
        counts: what chrF is computed from, as `chrf_counts` gives them, to compare two methods.
    """

    figures: dict[str, Any]
    counts: np.ndarray


def text_scores(truths: Truths, answers: Sequence[str], lower: bool = False) -> TextScores:
    """Every figure of some answers, each of a whole corpus.

    Args:
        truths: of each answer one text or more that would be right.
        answers: what was written.
        lower: compare in lower case.

    Raises:
        DataError: if there are not as many answers as truths, or none.

    Example:
        >>> found = text_scores([["the cat"], ["a dog", "the dog"]], ["the cat", "the dog"]).figures
        >>> found["score"], found["exact_match"], found["character_error_rate"]
        (100.0, 1.0, 0.0)
    """
    check_pairs(truths, answers)
    if lower:
        truths = [[lowered(text) for text in texts] for texts in truths]
        answers = [lowered(text) for text in answers]
    counts = chrf_counts(truths, answers)
    hits = np.array([a in texts for texts, a in zip(truths, answers, strict=True)], float)
    chrf, exact = interval_of(chrf_score, counts), interval_of(np.mean, hits)
    figures = {
        "score": chrf.value,
        "interval": [chrf.low, chrf.high],
        "exact_match": exact.value,
        "exact_match_interval": [exact.low, exact.high],
        "character_error_rate": _character_errors(truths, answers),
    }
    bleu = bleu_measured(truths, answers, lower)
    return TextScores(figures if bleu is None else figures | {"bleu": bleu}, counts)


def check_pairs(truths: Truths, answers: Sequence[str]) -> None:
    """Refuse answers and truths that are not equally many, or none.

    Raises:
        DataError: in these cases, and for an answer without a truth.
    """
    if len(truths) != len(answers) or not len(answers):
        raise DataError(f"text scores: got {len(answers)} answers to {len(truths)} truths.")
    if not all(len(texts) for texts in truths):
        raise DataError("text scores: an answer has no truth; wanted one or more for each.")


def interval_of(statistic: Callable[[np.ndarray], float], rows: np.ndarray) -> Interval:
    """The interval of a figure that is computed from rows, by drawing rows again.

    Example:
        >>> found = interval_of(np.mean, np.ones(9))
        >>> found.low, found.high
        (1.0, 1.0)
    """
    return bootstrap(lambda places: float(statistic(rows[places])), len(rows))


def chrf_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """Interval of chrF(first) - chrF(second), both of the same rows.

    Args:
        first: what `chrf_counts` gave for one method.
        second: for the other.

    Source:
        Koehn (2004), section 4.
    """

    def difference(places: np.ndarray) -> float:
        return chrf_score(first[places]) - chrf_score(second[places])

    return bootstrap(difference, len(first))


def chrf_score(counts: np.ndarray) -> float:
    """ChrF of some rows together, 0 to 100.

        chrF = 100 (1 + β²) P R / (β² P + R),        β = 2

    P and R are the precision and recall of character n-grams, averaged over n = 1 … 6.

    Args:
        counts: ``[N 18]``, as `chrf_counts` gives them.

    Source:
        Popović (2015), equation 1; white space left out and only orders that occur averaged, as
        sacrebleu does.

    Example:
        >>> round(chrf_score(chrf_counts([["abcd"]], ["abxd"])), 2)
        27.08
    """
    written, wanted, both = counts.sum(0).reshape(ORDERS, 3).T.astype(float)
    occur = (written > 0) & (wanted > 0)
    if not both.any():
        return 0.0
    precision = float(np.mean(both[occur] / written[occur]))
    recall = float(np.mean(both[occur] / wanted[occur]))
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def chrf_counts(truths: Truths, answers: Sequence[str]) -> np.ndarray:
    """Character n-grams of every answer, of its nearest truth, and those in both, ``[N 18]``.

    Args:
        truths: of each answer one text or more; the one with the highest chrF counts.
        answers: what was written.

    Example:
        >>> chrf_counts([["ab"]], ["abc"])[0, :6].tolist()
        [3, 2, 2, 2, 1, 1]
    """
    rows = np.empty((len(answers), 3 * ORDERS), dtype=np.int64)
    for row, (texts, answer) in enumerate(zip(truths, answers, strict=True)):
        own = _grams(answer)
        each = [_compared(own, _grams(text)) for text in texts]
        rows[row] = max(each, key=chrf_score) if len(each) > 1 else each[0]
    return rows


def bleu_measured(truths: Truths, answers: Sequence[str], lower: bool) -> dict[str, Any] | None:
    """BLEU with its interval and sacrebleu's signature; None without sacrebleu.

    Where truths hold fewer than two words in the mean, as digits and scripts without spaces do,
    characters are compared; the signature says so.

    Args:
        truths: of each answer one text or more.
        answers: what was written.
        lower: whether both are in lower case, for the signature.

    Source:
        Papineni, Roukos, Ward and Zhu (2002); Post (2018) for the signature.
    """
    metric = _metric(truths, lower)
    if metric is None:
        return None
    widest = max(map(len, truths))
    streams = [[t[i] if i < len(t) else None for t in truths] for i in range(widest)]
    whole = metric.corpus_score(list(answers), streams)
    signature = str(metric.get_signature())  # of this call; the next one changes it
    rows = np.array([_bleu_row(metric, a, t) for a, t in zip(answers, truths, strict=True)])
    interval = interval_of(lambda some: _bleu_of(metric, some), rows)
    return {
        "score": float(whole.score),
        "interval": [interval.low, interval.high],
        "signature": signature,
    }


def has_sacrebleu() -> bool:
    """Whether BLEU can be measured here."""
    return _library() is not None


def _library() -> Any:
    try:
        from sacrebleu.metrics import bleu
    except ImportError:
        return None
    return bleu


def _metric(truths: Truths, lower: bool) -> Any:
    library = _library()
    if library is None:
        return None
    words = np.mean([len(text.split()) for texts in truths for text in texts])
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it warns of what is meant here
    return library.BLEU(lowercase=lower, tokenize="char" if words < 2 else "13a")


def _bleu_row(metric: Any, answer: str, texts: Sequence[str]) -> list[int]:
    """What BLEU sums over a corpus: matches and n-grams of four orders, and both lengths."""
    found = metric.sentence_score(answer, list(texts))
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def _bleu_of(metric: Any, rows: np.ndarray) -> float:
    sums = [int(each) for each in rows.sum(0)]
    orders = (len(sums) - 2) // 2
    found = metric.compute_bleu(
        correct=sums[:orders], total=sums[orders : 2 * orders], sys_len=sums[-2], ref_len=sums[-1]
    )
    return float(found.score)


def _character_errors(truths: Truths, answers: Sequence[str]) -> float:
    """Edits of characters over characters of the truths, each answer against its nearest."""
    edits = characters = 0
    for texts, answer in zip(truths, answers, strict=True):
        nearest = min(
            ((0 if text == answer else align(text, answer).distance), len(text)) for text in texts
        )
        edits, characters = edits + nearest[0], characters + nearest[1]
    return edits / max(1, characters)


def _grams(text: str) -> list[Counter[str]]:
    text = "".join(text.split())
    return [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in ORDER_RANGE]


def _compared(written: list[Counter[str]], wanted: list[Counter[str]]) -> np.ndarray:
    # What a truth is too short for is not counted against an answer, as in sacrebleu.
    found = [
        (own.total() if truth else 0, truth.total(), (own & truth).total())
        for own, truth in zip(written, wanted, strict=True)
    ]
    return np.array(found).reshape(1, -1)


ORDERS = 6
ORDER_RANGE = range(1, ORDERS + 1)
BETA = 2
