"""The estimators keep scikit-learn's contract, and read what its own cannot: sequences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import unspool
from unspool.estimators import SequenceClassifier, SequenceRegressor

ONE_WAY = {"train.warmup": 2, "model.dropout": 0.0, "model.bidirectional": False}
CLASSIFIER = SequenceClassifier(
    hidden=8, epochs=6, batch=64, learning_rate=0.05, settings={**ONE_WAY, "model.pooling": "last"}
)
REGRESSOR = SequenceRegressor(
    "rnn", hidden=16, epochs=20, learning_rate=0.01, settings={**ONE_WAY, "model.pooling": "last"}
)
# All of scikit-learn's checks apply to an array [N T], a number a step. It leaves some out by
# itself: those of sparse input, several outputs and missing values, which the tags deny, and those
# that need pandas or SCIPY_ARRAY_API where these are not there.
TEXTS = ["a good day", "a bad day", "good food here", "bad food"] * 6
LABELS = ["up", "down"] * 12


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore::UserWarning")
@parametrize_with_checks([CLASSIFIER, REGRESSOR])
def test_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def small(estimator=SequenceClassifier, **changes):
    return estimator(
        **{"hidden": 8, "epochs": 8, "learning_rate": 0.02, "random_state": 0,
           "settings": {"train.warmup": 2}, **changes}
    )  # fmt: skip


def test_texts_are_learnt_with_labels_of_any_kind():
    for labels in (LABELS, np.array([1, 0] * 12), [True, False] * 12):
        found = small().fit(TEXTS, labels)
        assert accuracy_score(labels, found.predict(np.array(TEXTS, dtype=object))) == 1.0
        chances = found.predict_proba(TEXTS)
        assert chances.shape == (24, 2) and np.allclose(chances.sum(1), 1)


def test_sequences_of_different_length_are_learnt(rng):
    lengths = torch.randint(2, 9, (40,), generator=rng).tolist()
    rows = [torch.randn(T, 2, generator=rng).numpy() for T in lengths]
    signs = np.array([row[:, 0].sum() > 0 for row in rows])
    found = small(epochs=40, model="rnn").fit(rows, signs)
    assert found.score(rows, signs) > 0.9
    alone = np.concatenate([found.predict_proba([row]) for row in rows])
    assert np.allclose(alone, found.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "absolute", "ordinal"])
def test_regressor_is_better_than_a_constant(loss, rng):
    rows = torch.randn(60, 4, 2, generator=rng).numpy()
    stars = np.clip(np.round(rows.sum((1, 2))), -2, 2)
    found = small(SequenceRegressor, loss=loss, epochs=25).fit(rows, stars)
    off = np.abs(found.predict(rows) - stars).mean()
    assert off < np.abs(np.median(stars) - stars).mean()
    if loss == "ordinal":
        assert set(found.predict(rows)) <= set(stars)


def test_fitted_model_answers_the_same_after_pickling_and_with_the_same_seed():
    found = small().fit(TEXTS, LABELS)
    again = clone(found).fit(TEXTS, LABELS)
    for other in (pickle.loads(pickle.dumps(found)), again):
        assert np.array_equal(found.predict_proba(TEXTS), other.predict_proba(TEXTS))


def test_estimator_works_in_pipelines_searches_and_cross_validation():
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, small(epochs=3))
    assert len(cross_val_score(pipeline, TEXTS, LABELS, cv=2)) == 2
    search = GridSearchCV(small(epochs=3), {"model": ["rnn", "cnn"]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["model"] in ("rnn", "cnn")


@pytest.mark.parametrize(
    ("X", "y", "changes", "said"),
    [
        (TEXTS, ["up"] * 24, {}, "holds 1 class"),
        (TEXTS, LABELS[1:], {}, "23 targets for 24 sequences"),
        (TEXTS, LABELS, {"model": "grru"}, "Did you mean 'gru'"),
        (TEXTS, LABELS, {"settings": {"model.hiden": 3}}, "model.hidden"),
        (TEXTS, LABELS, {"validation_fraction": 1.0}, "0 ≤ share < 1"),
        ([np.zeros((2, 3)), np.zeros((0, 3))], [0, 1], {}, r"X\[1\]"),
        ([np.zeros((2, 3)), np.full((4, 3), np.nan)], [0, 1], {}, r"X\[1\]"),
    ],
)
def test_what_cannot_be_learnt_is_a_value_error_of_one_line(X, y, changes, said):
    with pytest.raises(ValueError, match=said) as error:
        small(**changes).fit(X, y)
    assert "\n" not in str(error.value)


def test_input_that_does_not_fit_the_fitted_model_is_refused(rng):
    found = small(epochs=1).fit(torch.randn(20, 4, 2, generator=rng).numpy(), [0, 1] * 10)
    with pytest.raises(ValueError, match="2"):
        found.predict(np.zeros((3, 4, 5)))


def test_estimators_are_names_of_the_package():
    assert unspool.SequenceClassifier is SequenceClassifier
    assert unspool.SequenceRegressor is SequenceRegressor
