"""Figures against scikit-learn and against brute force."""

import functools

import numpy as np
import pytest
from sklearn import metrics as peer

from unspool.errors import DataError
from unspool.tasks import edit_distance, forecast_metrics, metrics


@pytest.fixture
def labels():
    generator = np.random.default_rng(1)
    return generator.integers(1, 6, 200), generator.integers(1, 6, 200)


def test_classes_agree_with_scikit_learn(labels):
    truth, answers = labels
    found = metrics.classes(truth, answers)
    wanted = peer.precision_recall_fscore_support(truth, answers)
    for ours, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), wanted, strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(found.confusion, peer.confusion_matrix(truth, answers))
    assert found.balanced_accuracy == pytest.approx(peer.balanced_accuracy_score(truth, answers))
    assert found.macro_f1 == pytest.approx(peer.f1_score(truth, answers, average="macro"))
    assert found.weighted_f1 == pytest.approx(peer.f1_score(truth, answers, average="weighted"))
    assert found.accuracy == metrics.accuracy(truth, answers)


def test_ratings_agree_with_scikit_learn(labels):
    kappa = peer.cohen_kappa_score(*labels, weights="quadratic")
    assert metrics.weighted_kappa(*labels) == pytest.approx(kappa)
    assert metrics.absolute_error(*labels) == pytest.approx(peer.mean_absolute_error(*labels))
    assert metrics.within_one(*labels) == np.mean(np.abs(labels[0] - labels[1]) <= 1)


def test_forecast_errors_agree_with_scikit_learn():
    truth, forecast = np.random.default_rng(2).normal(size=(2, 30))
    found = forecast_metrics.quantile_loss(truth, forecast, 0.3)
    assert found == pytest.approx(peer.mean_pinball_loss(truth, forecast, alpha=0.3))
    found = forecast_metrics.root_mean_square_error(truth, forecast)
    assert found == pytest.approx(peer.root_mean_squared_error(truth, forecast))


@pytest.mark.parametrize("period", [1, 4])
def test_scaled_error_is_one_for_the_naive_forecast_of_its_own_training_part(period):
    train = np.random.default_rng(3).normal(size=40)
    found = forecast_metrics.scaled_error(train[period:], train[:-period], train, period)
    assert found == pytest.approx(1.0)


def test_alignment_has_the_fewest_edits():
    @functools.cache
    def fewest(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(
            fewest(a[1:], b[1:]) + (a[0] != b[0]), fewest(a[1:], b) + 1, fewest(a, b[1:]) + 1
        )

    generator = np.random.default_rng(4)
    for _ in range(100):
        a, b = ("".join(generator.choice(list("abc"), generator.integers(0, 7))) for _ in range(2))
        found = edit_distance.align(a, b)
        assert found.distance == fewest(a, b)
        assert [i for i, _ in found.steps if i is not None] == list(range(len(a)))
        assert [j for _, j in found.steps if j is not None] == list(range(len(b)))


@pytest.mark.parametrize("function", [metrics.accuracy, metrics.absolute_error, metrics.classes])
def test_different_numbers_of_rows_are_refused(function):
    with pytest.raises(DataError, match="got 1 answers; wanted 2"):
        function([1, 2], [1])


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="finite"):
        forecast_metrics.mean_absolute_error(np.array([1.0]), np.array([np.nan]))
    with pytest.raises(DataError, match="finite"):
        metrics.weighted_kappa([1.0], [np.inf])
