"""Predicting a text while learning from it: nothing is known before its time."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.errors import ConfigError, DataError
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings
from unspool.tasks import adaptive_ngram, ngram
from unspool.tasks.adaptive import AdaptiveSettings, adaptive_evaluation
from unspool.tasks.adaptive_ngram import AdaptiveNGram
from unspool.tasks.dynamic_evaluation import (
    DynamicSettings,
    dynamic_predictions,
    gradient_sizes,
    predictions,
)
from unspool.tasks.mixing import Mixture
from unspool.tasks.ngram import PLAIN_DISCOUNTS, NGram

V = 4
STILL = DynamicSettings(segment=5, learning_rate=0.0, decay=0.0)
QUICK = DynamicSettings(segment=5, learning_rate=0.02, decay=0.1, windows=6)
SETTINGS = AdaptiveSettings(orders=(1, 2, 4), dynamic=QUICK)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(rng):
    return LanguageModel(V, RecurrentSettings(hidden=6, dropout=0.5), CELLS["lstm"], rng).eval()


def drawn(length, rng):
    return torch.randint(0, V, (length,), generator=rng)


@settings(max_examples=30)
@given(
    known=st.lists(st.integers(0, 2), min_size=4, max_size=40),
    text=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    order=st.integers(1, 4),
    size=st.integers(1, 50),
)
def test_growing_counts_are_those_of_a_model_fitted_to_all_before(known, text, order, size):
    with pytest.MonkeyPatch.context() as patch:
        for module in (ngram, adaptive_ngram):
            patch.setattr(module, "discounts", lambda chosen: PLAIN_DISCOUNTS)
        growing = np.concatenate(list(AdaptiveNGram(known, text, 3, order).blocks(size)))
        for place in range(len(text)):
            before = known + text[:place]
            fitted = NGram.fit(before, 3, order).distribution(before)
            np.testing.assert_allclose(growing[place, -1], fitted, rtol=1e-12)


def test_discounts_are_those_of_the_known_text(rng):
    known = drawn(3_000, rng).numpy()
    first = next(AdaptiveNGram(known, [0, 1], V, 5).blocks(2))
    np.testing.assert_allclose(first[0, -1], NGram.fit(known, V, 5).distribution(known), rtol=1e-12)


def test_every_order_has_whole_distributions(rng):
    text = drawn(300, rng).numpy()
    chances = np.concatenate(list(AdaptiveNGram(text[:100], text[100:], V, 6).blocks(64)))
    assert chances.shape == (200, 6, V)
    assert (chances > 0).all()
    np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("changed", [1, 7, 38, 40])
def test_prediction_is_the_same_whatever_comes_later(changed, model, rng):
    train, text = drawn(80, rng), drawn(60, rng)
    other = text.clone()
    other[changed:] = (other[changed:] + 1 + drawn(len(text) - changed, rng) % 2) % V
    one, two = (adaptive_evaluation(model, train, each, SETTINGS) for each in (text, other))
    assert (one.log_probs[: changed - 1] == two.log_probs[: changed - 1]).all()
    assert one.log_probs[changed - 1] != two.log_probs[changed - 1]


@pytest.mark.parametrize("place", [1, 6, 19])
def test_chances_of_all_that_might_come_sum_to_one(place, model, rng):
    train, text = drawn(80, rng), drawn(20, rng)
    total = 0.0
    for token in range(V):
        text[place] = token
        total += np.exp(adaptive_evaluation(model, train, text, SETTINGS).log_probs[place - 1])
    assert total == pytest.approx(1, rel=1e-12)


def test_every_part_learns_from_a_text_that_repeats(model, rng):
    train, text = drawn(400, rng), drawn(20, rng).repeat(15)
    adapted = adaptive_evaluation(model, train, text, SETTINGS)
    network, learning, *counting = adapted.parts.values()
    assert learning < network
    assert counting[-1] < NGram.fit(train.numpy(), V, 4).loss(text.numpy())
    assert adapted.loss < learning
    assert adapted.loss == pytest.approx(-adapted.log_probs.mean())
    assert list(adapted.weights) == list(adapted.parts)
    assert json.loads(json.dumps(adapted.report()))["parts"] == adapted.parts


def test_network_alone_is_one_pass_over_the_stream(model, rng):
    text = drawn(23, rng)
    logits, _ = model(text[None, :-1])
    whole = torch.log_softmax(logits[0], -1)
    assert_close(torch.cat(list(predictions(model, text, 5))), whole.detach())


def test_network_stays_as_it_is_when_the_rate_is_zero(model, rng):
    train, text = drawn(60, rng), drawn(23, rng)
    learner = dynamic_predictions(model, text, gradient_sizes(model, train, STILL), STILL)
    assert_close(torch.cat(list(learner)), torch.cat(list(predictions(model, text, 5))))


def test_weights_of_the_caller_stay(model, rng):
    before = copy.deepcopy(model.state_dict())
    adaptive_evaluation(model, drawn(60, rng), drawn(40, rng), SETTINGS)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_update_is_the_equation(model, rng):
    text = drawn(16, rng)
    sizes = gradient_sizes(model, drawn(60, rng), QUICK)
    _, second, third = dynamic_predictions(model, text, sizes, QUICK)
    learner, state = copy.deepcopy(model), None
    usual = torch.cat([size.flatten() for size in sizes]).mean()
    for start, wanted in ((0, second), (5, third)):
        inputs, targets = text[start : start + 5], text[start + 1 : start + 6]
        learner.zero_grad()
        logits, state = learner(inputs[None], state)
        torch.nn.functional.cross_entropy(logits[0], targets).backward()
        state = state.detach()
        with torch.no_grad():
            weights = zip(learner.parameters(), model.parameters(), sizes, strict=True)
            for weight, trained, size in weights:
                share = (QUICK.decay * size / usual).clamp(max=1.0)
                step = QUICK.learning_rate * weight.grad / (size + QUICK.damping)
                weight.copy_(weight + share * (trained - weight) - step)
            logits, _ = learner(text[None, start + 5 : start + 10], state)
        assert_close(torch.log_softmax(logits[0], -1)[: len(wanted)], wanted)


def test_gradient_sizes_are_root_mean_squares(model, rng):
    text = drawn(9, rng)
    settings = DynamicSettings(segment=4, windows=100)
    squares = [torch.zeros_like(weight) for weight in model.parameters()]
    for start in range(5):
        logits, _ = model(text[None, start : start + 4])
        loss = torch.nn.functional.cross_entropy(logits[0], text[start + 1 : start + 5])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        squares = [s + g.square() / 5 for s, g in zip(squares, gradients, strict=True)]
    for size, square in zip(gradient_sizes(model, text, settings), squares, strict=True):
        assert_close(size, square.sqrt())


def test_mixture_is_the_normalised_product(rng):
    log_probs = torch.randn(1, 3, V, generator=rng, dtype=torch.float64).log_softmax(-1).numpy()
    mixed = Mixture(3).read(log_probs, np.array([2]))
    product = np.exp(log_probs[0].mean(0))
    np.testing.assert_allclose(np.exp(mixed[0]), product / product.sum(), rtol=1e-12)


def test_mixture_goes_up_the_gradient_of_what_came(rng):
    log_probs = torch.randn(1, 3, V, generator=rng, dtype=torch.float64).log_softmax(-1)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    (weights @ log_probs[0]).log_softmax(-1)[2].backward()
    mixture = Mixture(3)
    mixture.read(log_probs.numpy(), np.array([2]))
    moved = mixture.weights - 1 / 3
    np.testing.assert_allclose(moved / np.linalg.norm(moved),
                               (weights.grad / weights.grad.norm()).numpy(), rtol=1e-9)  # fmt: skip


def test_mixture_does_not_depend_on_how_it_is_cut(rng):
    log_probs = torch.randn(30, 2, V, generator=rng, dtype=torch.float64).log_softmax(-1).numpy()
    tokens = drawn(30, rng).numpy()
    whole, parts = Mixture(2), Mixture(2)
    mixed = whole.read(log_probs, tokens)
    cut = [parts.read(log_probs[a : a + 7], tokens[a : a + 7]) for a in range(0, 30, 7)]
    assert (mixed == np.concatenate(cut)).all()
    assert whole.num_read == parts.num_read == 30


def test_what_cannot_be_is_refused(model, rng):
    text = drawn(20, rng)
    with pytest.raises(ConfigError, match=r"segment: got 0.*learning_rate: got nan"):
        DynamicSettings(segment=0, learning_rate=float("nan"))
    with pytest.raises(ConfigError, match="orders"):
        AdaptiveSettings(orders=())
    with pytest.raises(ConfigError, match="at least 1"):
        Mixture(0)
    with pytest.raises(ConfigError, match="order is 0"):
        AdaptiveNGram([0, 1], [0], V, 0)
    with pytest.raises(DataError, match="order 4 wants at least 4"):
        AdaptiveNGram([0, 1], [0], V, 4)
    with pytest.raises(DataError, match="token 1 is 9"):
        AdaptiveNGram([0, 9], [0], V, 1)
    with pytest.raises(DataError, match="1 tokens to judge"):
        adaptive_evaluation(model, text, text[:1])
    with pytest.raises(DataError, match="1 training tokens"):
        gradient_sizes(model, text[:1], QUICK)
