"""Intervals, calibration and verdicts keep their promises."""

import numpy as np
import pytest
from scipy import stats

from unspool.tasks import calibration, intervals
from unspool.tasks.verdicts import Scored, compare


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (5, 5), (3, 7), (90, 100)])
def test_wilson_agrees_with_scipy(hits, total):
    wanted = stats.binomtest(hits, total).proportion_ci(method="wilson")
    found = intervals.wilson(hits, total)
    np.testing.assert_allclose((found.low, found.high), wanted, atol=1e-12)


def test_mcnemar_agrees_with_the_binomial_test():
    first, second = np.random.default_rng(0).random((2, 60)) < [[0.8], [0.6]]
    wins = int((first & ~second).sum())
    wanted = stats.binomtest(wins, int((first != second).sum())).pvalue
    assert intervals.mcnemar(first, second) == pytest.approx(wanted)


def test_bootstrap_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = [intervals.bootstrap_mean(generator.normal(size=80), repeats=300) for _ in range(150)]
    assert 0.88 < np.mean([found.low < 0 < found.high for found in draws]) < 0.99


def test_groups_widen_the_interval_when_rows_repeat():
    values = np.repeat(np.random.default_rng(0).normal(size=30), 10)
    alone = intervals.bootstrap_mean(values)
    grouped = intervals.bootstrap_mean(values, np.repeat(np.arange(30), 10))
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_pairing_narrows_the_difference_when_rows_share_their_difficulty():
    hard = np.random.default_rng(0).normal(size=200)
    found = intervals.paired_difference(hard + 0.1, hard)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_temperature_is_found_when_logits_were_scaled():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3)) * 2
    truth = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    temperature = calibration.fit_temperature(4.0 * logits, truth)
    assert temperature == pytest.approx(4.0, rel=0.1)

    def error(scale):
        chances = np.exp(scale * logits)
        return calibration.calibration_error(chances / chances.sum(1, keepdims=True), truth)

    assert error(4.0 / temperature) < error(4.0)


@pytest.mark.parametrize("higher", [True, False])
def test_verdict_turns_round_when_model_and_method_change_places(higher):
    rows = np.random.default_rng(0).random((2, 300)) < [[0.9], [0.6]]
    good, bad = (Scored(n, float(r.mean()), rows=r) for n, r in zip("ab", rows, strict=True))
    outcomes = [compare(x, [y], "F1", higher).outcome for x, y in ((good, bad), (bad, good))]
    assert outcomes == (["wins", "loses"] if higher else ["loses", "wins"])


def test_verdict_ties_when_rows_are_equal_or_too_few():
    rows = np.array([1.0, 0.0] * 20)
    model = Scored("LSTM", 0.5, rows=rows)
    assert compare(model, [Scored("other", 0.5, rows=rows)]).outcome == "ties"
    few = [Scored("LSTM", 1.0, rows=np.ones(5)), Scored("other", 0.0, rows=np.zeros(5))]
    assert compare(few[0], few[1:]).outcome == "ties"


def test_verdict_says_no_learning_is_needed_when_a_rule_makes_no_error():
    rule = Scored("bracket counting", 1.0, rows=np.ones(50))
    verdict = compare(Scored("LSTM", 0.9, rows=np.arange(50) >= 5), [rule])
    assert verdict.outcome == "loses"
    assert verdict.sentence.startswith("You do not need machine learning here")


def test_verdict_names_the_method_to_use_when_the_model_loses():
    method = Scored("TF-IDF", 0.2, rows=np.full(50, 0.2))
    verdict = compare(Scored("LSTM", 0.9, rows=np.full(50, 0.9)), [method], "error", False)
    assert "loses: use TF-IDF" in verdict.sentence
