"""Laws of vectors for tokens, characters and categories, of pooling and of ordered classes."""

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.errors import ConfigError, ShapeError
from unspool.layers.embedding import CharacterEncoder, category_width, fill_table
from unspool.layers.ordinal import (
    CumulativeLink,
    expected_class,
    ordinal_log_probs,
    ordinal_loss,
)
from unspool.layers.pooling import POOLINGS, Pooling

KINDS = ["rnn", "cnn"]


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def make(kind, rng):
    return CharacterEncoder(9, 4, kind, CELLS["gru"], rng).double()


def draw_words(rng, rows, steps, longest):
    words = torch.randint(1, 9, (rows, steps, longest), generator=rng)
    sizes = torch.randint(1, longest + 1, (rows, steps, 1), generator=rng)
    return torch.where(torch.arange(longest) < sizes, words, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_word_has_one_vector_wherever_it_stands(kind, rng):
    encoder, words = make(kind, rng), draw_words(rng, 2, 5, 4)
    words[1, 3] = words[0, 1]
    vectors = encoder(words)
    assert vectors[1, 3].equal(vectors[0, 1])
    alone = [encoder(words[b : b + 1, t : t + 1])[0, 0] for b in range(2) for t in range(5)]
    assert_close(vectors.flatten(0, 1), torch.stack(alone))


@pytest.mark.parametrize("kind", KINDS)
def test_words_with_the_same_letters_in_another_order_differ(kind, rng):
    encoder = make(kind, rng)
    vectors = encoder(torch.tensor([[[1, 2, 3], [3, 2, 1]]]))
    assert not torch.allclose(vectors[0, 0], vectors[0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_filler_and_padding_change_nothing(kind, rng):
    encoder, words = make(kind, rng), draw_words(rng, 2, 5, 4)
    lengths = torch.tensor([5, 2])
    wider = F.pad(words, (0, 3, 0, 2))
    wider[1, 2:] = 99  # no character is 99; words in the padding are never read
    vectors = encoder(wider, lengths)
    assert_close(vectors[0, :5], encoder(words[:1])[0])
    assert_close(vectors[1, :2], encoder(words[1:, :2])[0])
    assert not vectors[1, 2:].any() and not vectors[0, 5:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_finite_differences(kind, rng):
    encoder = make(kind, rng)
    words, lengths = torch.tensor([[[1, 2], [3, 0]], [[1, 2], [5, 6]]]), torch.tensor([2, 1])
    names, weights = zip(*encoder.named_parameters(), strict=True)

    def run(*values):
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(encoder, named, (words, lengths))

    given = [weight.detach().requires_grad_() for weight in weights]
    assert torch.autograd.gradcheck(run, given, fast_mode=True)


def test_recurrent_reader_without_a_cell_is_refused():
    with pytest.raises(ConfigError, match="needs a recurrent model"):
        CharacterEncoder(9, 4, "rnn")


def test_vectors_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"the vectors are \[3, 3\]; wanted \[3, 2\]"):
        fill_table(torch.zeros(3, 2), torch.zeros(3, 3))


def test_width_of_categories_grows_slowly_and_stays_small():
    widths = [category_width(size) for size in range(1, 5000)]
    assert widths == sorted(widths) and widths[0] == 2 and widths[-1] == 50


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_of_one_step_is_that_step(name, rng):
    x = draw(rng, 3, 1, 4)
    assert_close(Pooling(name, 4, generator=rng).double()(x), x[:, 0])


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("filling", [0.0, 1e4, float("nan")])
def test_pooling_reads_valid_steps_only(name, filling, rng):
    pooling, x = Pooling(name, 4, generator=rng).double(), draw(rng, 1, 3, 4)
    padded = F.pad(x, (0, 0, 0, 2), value=filling).requires_grad_()
    pooled = pooling(padded, torch.tensor([3]))
    assert_close(pooled, pooling(x))
    (gradient,) = torch.autograd.grad(pooled.sum(), padded)
    assert not gradient[:, 3:].any()


@pytest.mark.parametrize("name", ["mean", "max", "attention"])
def test_pooling_does_not_see_the_order(name, rng):
    pooling, x = Pooling(name, 4, generator=rng).double(), draw(rng, 2, 5, 4)
    assert_close(pooling(x.flip(1)), pooling(x))


def test_pooling_of_another_name_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'mean'"):
        Pooling("meen", 4)


def make_link(rng, classes=5):
    link = CumulativeLink(3, classes, rng).double()
    with torch.no_grad():
        link.steps.normal_(generator=rng)
        link.first.normal_(generator=rng)
    return link


def test_thresholds_stay_in_order(rng):
    assert (make_link(rng).thresholds.diff() > 0).all()


def test_untrained_link_thinks_all_classes_equally_likely(rng):
    link = CumulativeLink(3, 5, rng).double()
    probabilities = ordinal_log_probs(link(torch.zeros(1, 3, dtype=torch.float64))).exp()
    assert (probabilities - 0.2).abs().max() < 1e-6  # thresholds started as float32


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_of_classes_are_differences_that_sum_to_one(classes, rng):
    logits = make_link(rng, classes)(draw(rng, 4, 3))
    passed = torch.cat([torch.ones(4, 1), logits.sigmoid(), torch.zeros(4, 1)], 1)
    probabilities = ordinal_log_probs(logits).exp()
    assert_close(probabilities, passed[:, :-1] - passed[:, 1:])
    assert_close(probabilities.sum(1), torch.ones(4, dtype=torch.float64))
    mean = probabilities @ torch.arange(classes, dtype=torch.float64)
    assert_close(expected_class(logits), mean)
    targets = torch.arange(4) % classes
    assert_close(ordinal_loss(logits, targets), -probabilities[range(4), targets].log())


def test_loss_stays_finite_far_from_the_truth(rng):
    logits = torch.tensor([[-500.0, -501.0], [500.0, 499.0]], requires_grad=True)
    loss = ordinal_loss(logits, torch.tensor([2, 0]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


def test_gradient_of_the_ordinal_loss_is_that_of_finite_differences(rng):
    link, targets = make_link(rng), torch.tensor([0, 4, 2])
    names, weights = zip(*link.named_parameters(), strict=True)

    def run(x, *values):
        named = dict(zip(names, values, strict=True))
        return ordinal_loss(torch.func.functional_call(link, named, (x,)), targets)

    inputs = [i.detach().requires_grad_() for i in (draw(rng, 3, 3), *weights)]
    assert torch.autograd.gradcheck(run, inputs)


def test_one_class_has_no_order():
    with pytest.raises(ConfigError, match="got 1 classes"):
        CumulativeLink(3, 1)
