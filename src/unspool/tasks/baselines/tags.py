"""The simple method for labelled words: each word's commonest label, else its ending's."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from unspool.tasks.baselines.baseline import Baseline, best_of, checked

ENDINGS = (3, 0, 1, 2, 4, 5)


def frequent_tags(
    words: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    test: Sequence[Sequence[str]],
    seed: int = 0,
) -> Baseline:
    """Each word's commonest label; of unknown words the commonest for the longest known ending.

    Endings are learnt from words seen at most ten times, apart for words with a capital, with a
    digit and others; how long they may be is chosen by three folds of the sentences.

    Args:
        words: of every sentence of the training part.
        tags: one for every word.
        test: sentences to label.
        seed: of the folds.

    Source:
        Jurafsky and Martin (2025), section 17.2 (most frequent class); Brants (2000), section
        2.3, for endings of rare words.

    Example:
        >>> frequent_tags([["the", "dog"]], [["DET", "NOUN"]], [["the", "log"]]).answers
        [['DET', 'NOUN']]
    """
    start = time.perf_counter()
    checked("frequent_tags", words, tags)
    order = np.random.default_rng(seed).permutation(len(words))
    pieces = np.array_split(order, 3) if len(words) >= 3 else []
    parts = [(np.setdiff1d(order, held), held) for held in pieces]

    def errors(fit: np.ndarray, held: np.ndarray) -> list[int]:
        table = _Table([words[row] for row in fit], [tags[row] for row in fit])
        return [
            sum(
                table.label(word, length) != tag
                for row in held
                for word, tag in zip(words[row], tags[row], strict=True)
            )
            for length in ENDINGS
        ]

    length = best_of(ENDINGS, errors, parts)
    table = _Table(words, tags)
    return Baseline(
        name="most frequent tag",
        answers=[[table.label(word, length) for word in sentence] for sentence in test],
        seconds=time.perf_counter() - start,
        reproduce="unspool.tasks.baselines.tags.frequent_tags(words, tags, test)",
        chosen={"ending": length},
    )


class _Table:
    """Commonest labels of words and of endings."""

    def __init__(self, words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> None:
        counts: dict[str, Counter] = defaultdict(Counter)
        for sentence, labels in zip(words, tags, strict=True):
            for word, tag in zip(sentence, labels, strict=True):
                counts[word][tag] += 1
        endings: dict[tuple[str, str], Counter] = defaultdict(Counter)
        for word, found in counts.items():
            if sum(found.values()) <= RARE:
                for length in range(max(ENDINGS) + 1):
                    endings[_kind(word), _ending(word, length)].update(found)
        self.words = {word: _commonest(found) for word, found in counts.items()}
        self.endings = {ending: _commonest(found) for ending, found in endings.items()}
        self.any = _commonest(sum(counts.values(), Counter()))

    def label(self, word: str, length: int) -> str:
        """Of a word, with endings of at most so many letters."""
        if word in self.words:
            return self.words[word]
        for size in range(length, -1, -1):
            if (found := self.endings.get((_kind(word), _ending(word, size)))) is not None:
                return found
        return self.any


def _ending(word: str, length: int) -> str:
    return word[max(0, len(word) - length) :].lower() if length else ""


def _kind(word: str) -> str:
    if any(letter.isdigit() for letter in word):
        return "digit"
    return "capital" if word[:1].isupper() else "other"


def _commonest(counts: Counter) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))


RARE = 10
