"""Scores of written texts are the ones that others report."""

import random

import pytest

from unspool.tasks.text_scores import bleu_measured, chrf_counts, chrf_score

metrics = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed")
WORDS = ["le", "chat", "dort", "œuf", "où", "猫", "12", "a", "?", "dort."]


def drawn(seed, rows=9):
    """Answers, and a truth or two for each that hold some of their words."""
    draw = random.Random(seed)
    answers = [" ".join(draw.choices(WORDS, k=draw.randint(1, 8))) for _ in range(rows)]
    changed = [" ".join(w if draw.random() < 0.7 else draw.choice(WORDS) for w in each.split())
               for each in answers]  # fmt: skip
    return answers, changed


@pytest.mark.parametrize("seed", range(12))
def test_chrf_is_that_of_sacrebleu(seed):
    answers, truths = drawn(seed)
    ours = chrf_score(chrf_counts([[each] for each in truths], answers))
    assert ours == pytest.approx(metrics.CHRF().corpus_score(answers, [truths]).score, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lower", [False, True])
def test_bleu_is_that_of_sacrebleu_for_prose(seed, lower):
    answers, truths = drawn(seed, rows=30)
    answers, truths = [f"The {a} ." for a in answers], [f"the {t} ." for t in truths]
    found = bleu_measured([[each] for each in truths], answers, lower)
    tokens = found["signature"].partition("tok:")[2].partition("|")[0]
    theirs = metrics.BLEU(tokenize=tokens, lowercase=lower).corpus_score(answers, [truths])
    assert found["score"] == pytest.approx(theirs.score, abs=1e-9)
