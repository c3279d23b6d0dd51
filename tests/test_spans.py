"""Spans survive writing and reading in every scheme."""

from itertools import pairwise

import numpy as np
import pytest

from unspool.errors import DataError
from unspool.tasks.spans import scheme_of, span_scores, spans


def write(marked, length, scheme):
    tags = ["O"] * length
    for kind, start, stop in sorted(marked, key=lambda span: span[1]):
        touching = any(k == kind and e == start for k, _, e in marked)
        for step in range(start, stop):
            letter = "I"
            if step == start and (scheme != "IOB1" or touching):
                letter = "B"
            if scheme == "IOBES" and step == stop - 1:
                letter = "S" if step == start else "E"
            tags[step] = f"{letter}-{kind}"
    return tags


def draw(generator, length=9):
    cuts = np.flatnonzero(generator.random(length) < 0.5).tolist()
    found = pairwise([*cuts, length])
    return {(str(generator.choice(["X", "Y"])), a, b) for a, b in found if generator.random() < 0.7}


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES"])
def test_spans_are_read_back_when_written(scheme):
    generator = np.random.default_rng(0)
    for _ in range(300):
        marked = draw(generator)
        assert spans(write(marked, 9, scheme), scheme) == marked


def test_scores_are_those_of_the_sets():
    generator = np.random.default_rng(1)
    pairs = [(draw(generator), draw(generator)) for _ in range(50)]
    tags = [[write(s, 9, "IOB2") for s in side] for side in zip(*pairs, strict=True)]
    found = span_scores(*tags)
    right = sum(len(a & b) for a, b in pairs)
    total = sum(len(a) + len(b) for a, b in pairs)
    assert found.f1 == pytest.approx(2 * right / total)
    assert sum(kind.right for kind in found.kinds.values()) == right


def test_scheme_is_recognised():
    assert scheme_of([["I-X", "B-X"]]) == "IOB1"
    assert scheme_of([["B-X", "I-X"]]) == "IOB2"
    assert scheme_of([["B-X", "E-X"]]) == "IOBES"
    assert scheme_of([["O", "NOUN"]]) is None


def test_a_tag_of_another_scheme_is_refused():
    with pytest.raises(DataError, match="step 1 is 'E-X'"):
        spans(["B-X", "E-X"], "IOB2")
