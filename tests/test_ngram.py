from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.data.text import read_text, split_text
from unspool.data.tokens import DataSettings, fit_tokenizer
from unspool.errors import ConfigError, DataError
from unspool.tasks.ngram import PLAIN_DISCOUNTS, NGram, choose_order


class Counted:
    """Interpolated modified Kneser-Ney written from its definition, over dictionaries."""

    def __init__(self, tokens, vocabulary_size, order):
        self.V = vocabulary_size
        self.counts = []
        for length in range(1, order + 1):
            if length == order:
                self.counts.append(Counter(grams(tokens, length)))
            else:
                longer = set(grams(tokens, length + 1))
                self.counts.append(Counter(gram[1:] for gram in longer))
        self.discounts = [self.estimate(list(counts.values())) for counts in self.counts]

    @staticmethod
    def estimate(values):
        n = {times: values.count(times) for times in (1, 2, 3, 4)}
        if 0 in n.values():
            return PLAIN_DISCOUNTS
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        return found if min(found) > 0 else PLAIN_DISCOUNTS

    def chance(self, token, context):
        if len(context) >= len(self.counts):
            context = context[len(context) - len(self.counts) + 1 :]
        return self.step(token, tuple(context))

    def step(self, token, context):
        shorter = self.step(token, context[1:]) if context else 1 / self.V
        counts, discounts = self.counts[len(context)], self.discounts[len(context)]
        followers = [value for gram, value in counts.items() if gram[:-1] == context and value]
        if not followers:
            return shorter
        value = counts[(*context, token)]
        own = max(value - discounts[min(value, 3) - 1], 0) if value else 0
        freed = sum(discounts[min(value, 3) - 1] for value in followers)
        return own / sum(followers) + freed / sum(followers) * shorter


def grams(tokens, length):
    return [tuple(tokens[start : start + length]) for start in range(len(tokens) - length + 1)]


@st.composite
def small_texts(draw):
    V = draw(st.integers(1, 5))
    tokens = st.integers(0, V - 1)
    order = draw(st.integers(1, 5))
    train = draw(st.lists(tokens, min_size=order, max_size=80))
    return V, order, train, draw(st.lists(tokens, min_size=2, max_size=20))


@given(case=small_texts())
def test_log_probs_are_those_of_the_definition(case):
    V, order, train, text = case
    wanted = [Counted(train, V, order).chance(t, text[:place]) for place, t in enumerate(text)]
    model = NGram.fit(train, V, order)
    np.testing.assert_allclose(np.exp(model.log_probs(text)), wanted, rtol=1e-12)
    assert model.loss(text) == pytest.approx(-np.log(wanted[1:]).mean(), rel=1e-12)


def test_discounts_are_estimated_when_the_counts_of_counts_tell():
    tokens = np.random.default_rng(0).geometric(0.3, size=400).clip(max=8).tolist()
    reference = Counted(tokens, 9, 3)
    assert PLAIN_DISCOUNTS not in reference.discounts[1:]
    text = np.random.default_rng(1).integers(0, 9, size=30).tolist()
    wanted = [reference.chance(token, text[:place]) for place, token in enumerate(text)]
    np.testing.assert_allclose(np.exp(NGram.fit(tokens, 9, 3).log_probs(text)), wanted, rtol=1e-12)


@given(case=small_texts())
def test_distribution_sums_to_one_and_agrees_with_log_probs(case):
    V, order, train, text = case
    model = NGram.fit(train, V, order)
    log_probs = model.log_probs(text)
    for place, token in enumerate(text):
        chances = model.distribution(text[:place])
        assert chances.min() > 0
        assert chances.sum() == pytest.approx(1, abs=1e-12)
        assert np.log(chances[token]) == pytest.approx(log_probs[place], rel=1e-9, abs=1e-12)


def test_context_that_was_never_continued_leaves_it_to_the_shorter_one():
    model = NGram.fit([0, 1, 0, 1, 2], vocabulary_size=4, order=3)
    np.testing.assert_array_equal(model.distribution([1, 2]), model.distribution([]))
    np.testing.assert_array_equal(model.distribution([3]), model.distribution([]))


def test_large_vocabulary_and_order_do_not_overflow():
    tokens = np.random.default_rng(0).integers(0, 100_000, size=3_000)
    repeated = np.concatenate([tokens, tokens])
    model = NGram.fit(repeated, vocabulary_size=100_000, order=9)
    assert model.loss(tokens) < 0.3 * np.log(100_000)
    assert model.distribution(tokens[:9]).sum() == pytest.approx(1)


@given(tokens=st.lists(st.integers(0, 2), min_size=30, max_size=200))
def test_chosen_order_is_the_best_until_two_in_a_row_are_no_better(tokens):
    border = len(tokens) - len(tokens) // 10
    train, held_out = tokens[:border], tokens[border:]
    losses = [-NGram.fit(train, 3, order).log_probs(held_out).mean() for order in range(1, 7)]
    chosen = choose_order(tokens, 3, most=6)
    assert losses[chosen - 1] == min(losses[: chosen + 2])
    assert all(min(losses[:order]) > min(losses[order : order + 2]) for order in range(1, chosen))
    assert NGram.fit(tokens, 3).order == choose_order(tokens, 3)


def test_order_is_that_of_the_source_when_it_has_one():
    # One token back tells nothing; two do.
    rng = np.random.default_rng(0)
    tokens = [0, 1]
    for draw in rng.random(6_000):
        tokens.append(int(draw < (0.95 if tokens[-1] != tokens[-2] else 0.05)))
    assert choose_order(tokens, 2) == 3


@pytest.mark.parametrize("tokens", [[0, 3], [-1, 0], []])
def test_tokens_are_refused_when_outside_the_vocabulary_or_absent(tokens):
    with pytest.raises(DataError, match="n-gram model"):
        NGram.fit(tokens, vocabulary_size=3, order=1)
    with pytest.raises(DataError, match="n-gram model"):
        NGram.fit([0, 1, 2], vocabulary_size=3, order=2).log_probs(tokens)


def test_order_and_sizes_are_refused_when_they_cannot_be_honoured():
    with pytest.raises(ConfigError, match="order is 0"):
        NGram.fit([0, 1], vocabulary_size=2, order=0)
    with pytest.raises(ConfigError, match="vocabulary size is 0"):
        NGram.fit([0, 1], vocabulary_size=0, order=1)
    with pytest.raises(DataError, match="order 5 wants at least 5"):
        NGram.fit([0, 1], vocabulary_size=2, order=5)
    with pytest.raises(DataError, match="at least 2"):
        NGram.fit([0, 1], vocabulary_size=2, order=1).loss([0])


def test_shakespeare_has_the_published_loss_with_the_order_it_chooses():
    path = Path(__file__).parents[1] / ".." / "shared" / "data" / "tinyshakespeare" / "input.txt"
    if not path.exists():
        pytest.skip("the shared data folder beside the checkout has no tinyshakespeare")
    text = read_text(path)
    tokenizer = fit_tokenizer(text, DataSettings())
    train, validation = map(tokenizer.encode, split_text(text, 0.9))
    model = NGram.fit(train, tokenizer.size)
    assert model.order == 7
    assert model.loss(validation) == pytest.approx(1.517, abs=0.001)
