"""P11: what is timed finds the same answers, and nothing is timed that does not."""

import pytest
import torch

from unspool.bench import translation
from unspool.bench.harness import Disagreement, Effort
from unspool.bench.translation import TranslationScale, contenders, sentences, translated
from unspool.bench.translation_peers import JoeyTranslator, joeynmt_missing

SCALE = TranslationScale(
    hidden=(8,),
    batches=(1, 5),
    vocabulary=40,
    longest=9,
    beam=3,
    effort=Effort(seconds=0.01, least=1, most=2),
)


def test_figure_has_a_row_for_each_case_and_verdicts_over_both_loops():
    told = []
    figure = translated(SCALE, told.append)
    assert len(figure.rows) == len(told)
    plain = [row for row in figure.rows if "JoeyNMT" not in row.ratios]
    assert [len(row.ratios) for row in plain] == [1, 2, 1, 2]
    peers = 2 if joeynmt_missing() else 3
    assert len(figure.verdicts) == 2 * peers
    assert len(figure.skipped) == 3 - peers
    assert all(verdict.floor == 2.0 for verdict in figure.verdicts)


@pytest.mark.parametrize("attends", ["late", "feeding"])
def test_plain_model_computes_what_ours_does(attends):
    model, plain = contenders(SCALE, attends, 8)
    tokens, lengths = sentences(SCALE, 5)
    memory = model.encode({"tokens": tokens}, lengths)
    outputs, keys, padding, h, c = plain.read(tokens, lengths)
    assert torch.equal(padding, ~memory.mask)
    given = torch.tensor([[model.begin, 3]] * 5)
    state, fed = model.start(memory), torch.zeros(5, 8)
    for step in range(2):
        logits, state, _ = model.step(given[:, step], state, memory)
        chances, h, c, fed = plain.step(given[:, step], h, c, fed, (outputs, keys, padding))
        assert torch.allclose(logits.log_softmax(1), chances, atol=1e-5)


@pytest.mark.skipif(joeynmt_missing() is not None, reason=str(joeynmt_missing()))
@pytest.mark.parametrize("attends", ["late", "feeding"])
def test_joeynmt_finds_the_answers_of_the_plain_model(attends):
    _, plain = contenders(SCALE, attends, 8)
    tokens, _ = sentences(SCALE, 5)
    found = JoeyTranslator(plain).translate(tokens, 9, 3)
    wanted = plain.translate(tokens, torch.full((5,), 9), [9] * 5, 3)
    assert all(one in many for one, many in zip(wanted, found, strict=True))


def test_nothing_is_timed_when_the_answers_differ(monkeypatch):
    def spoilt(*arguments):
        model, plain = contenders(*arguments)
        plain.combine = torch.nn.Linear(24, 8)
        return model, plain

    monkeypatch.setattr(translation, "contenders", spoilt)
    with pytest.raises(Disagreement, match="answers differ"):
        translated(SCALE, lambda line: None)
