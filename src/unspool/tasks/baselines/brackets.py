"""Counting brackets: the task for which nothing needs to be learnt."""

from __future__ import annotations

import time
from collections.abc import Sequence

from unspool.tasks.baselines.baseline import Baseline, Values, checked

PAIRS = {")": "(", "]": "[", "}": "{"}


def balanced(text: str) -> bool:
    """Whether every bracket closes the one opened last, and none stays open.

    Example:
        >>> balanced("f(a[0]) { }"), balanced("(]"), balanced("((")
        (True, False, False)
    """
    opened: list[str] = []
    for sign in text:
        if sign in PAIRS.values():
            opened.append(sign)
        elif sign in PAIRS and (not opened or opened.pop() != PAIRS[sign]):
            return False
    return not opened


def bracket_counting(texts: Sequence[str], labels: Values, test: Sequence[str]) -> Baseline | None:
    """Answers from `balanced`, where that rule is right on the whole training part; else None.

    Which of two labels means balanced is read off the training part.

    Args:
        texts: of the training part.
        labels: of the training part.
        test: texts to answer.

    Example:
        >>> bracket_counting(["()", "(", "[]"], ["yes", "no", "yes"], ["{}"]).answers
        ['yes']
        >>> bracket_counting(["()", "(", "[]"], ["yes", "no", "no"], ["{}"]) is None
        True
    """
    start = time.perf_counter()
    checked("bracket_counting", texts, labels)
    meant: dict[bool, object] = {}
    for text, label in zip(texts, labels, strict=True):
        if meant.setdefault(balanced(text), label) != label:
            return None
    if len(meant) != 2 or meant[True] == meant[False]:
        return None
    return Baseline(
        name="bracket counting",
        answers=[meant[balanced(text)] for text in test],
        seconds=time.perf_counter() - start,
        reproduce="[unspool.tasks.baselines.brackets.balanced(text) for text in test]",
    )
