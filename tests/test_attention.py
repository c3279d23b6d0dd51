"""Attention: what its weights obey, and that the fast way gives what the readable way gives."""

import itertools
import math

import pytest
import torch

from tolerance import assert_close
from unspool.errors import ConfigError
from unspool.layers.attention import (
    SCORES,
    Attention,
    MultiHeadAttention,
    scaled_dot_product,
    softmax,
)
from unspool.layers.multiplicative import Multiplicative
from unspool.layers.recurrent import Recurrent

B, T, S, Q = 3, 4, 5, 6
KINDS = [*SCORES, "multi_head"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def draw(rng, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=rng, dtype=dtype)


def make(kind, rng, memory=Q):
    """A layer whose scores differ enough for the weights to matter."""
    if kind == "multi_head":
        layer = MultiHeadAttention(Q, memory, heads=2, generator=rng)
    else:
        layer = Attention(kind, Q, memory, hidden=3, generator=rng)
    layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(rng, *parameter.shape))
    return layer


def some(*allowed):
    return torch.arange(S) < torch.tensor(allowed)[:, None]


# Laws


@every_kind
def test_weights_sum_to_one_and_are_exactly_zero_where_masked(kind, rng):
    layer, memory, query = make(kind, rng), draw(rng, B, S, Q), draw(rng, B, T, Q)
    mask = some(5, 2, 1)
    _, weights = layer(query, layer.prepare(memory), mask)
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights >= 0).all()
    hidden = ~mask.reshape(B, *[1] * (weights.dim() - 2), S).expand_as(weights)
    assert (weights[hidden] == 0).all()


@every_kind
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "whole"])
def test_fused_attention_is_the_explicit_one(kind, masked, rng):
    layer, mask = make(kind, rng), some(5, 2, 0) if masked else None
    leaves = [draw(rng, B, S, Q).requires_grad_(), draw(rng, B, T, Q).requires_grad_()]
    found = {}
    for explicit in (True, False):
        prepared = layer.prepare(leaves[0])
        y, weights = layer(leaves[1], prepared, mask, weights=explicit)
        assert (weights is not None) == explicit
        inputs = [*leaves, *layer.parameters()]
        gradients = torch.autograd.grad(
            (y * torch.arange(1.0, Q + 1)).sum(), inputs, allow_unused=True
        )
        found[explicit] = [y.detach(), *(g for g in gradients if g is not None)]
    # Biases of keys move all scores of a row alike: their gradient is zero but for rounding.
    for fused, explicit in zip(found[False], found[True], strict=True):
        assert (fused - explicit).abs().max() <= 1e-12 * max(1.0, explicit.abs().max())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "heads"), list(itertools.product((1, 3, S), (1, 4))))
def test_fused_product_is_the_explicit_one_with_fewer_heads_and_queries(
    queries, heads, causal, rng
):
    query, keys = draw(rng, B, 4, queries, 3), draw(rng, B, heads, S, 3)
    values, mask = draw(rng, B, heads, S, 2), some(5, 4, 2)[:, None, None]
    for given in (None, mask):
        fused, none = scaled_dot_product(query, keys, values, given, causal)
        explicit, weights = scaled_dot_product(query, keys, values, given, causal, weights=True)
        assert none is None
        assert_close(fused, explicit)
        later = torch.ones(queries, S, dtype=torch.bool).triu(S - queries + 1)
        assert not causal or (weights[..., later] == 0).all()


@every_kind
@pytest.mark.parametrize("explicit", [True, False])
def test_a_row_that_may_use_nothing_gets_nothing(kind, explicit, rng):
    layer, memory, query = make(kind, rng), draw(rng, B, S, Q), draw(rng, B, T, Q)
    memory.requires_grad_()
    y, weights = layer(query, layer.prepare(memory), some(5, 0, 3), weights=explicit)
    assert weights is None or (weights[1] == 0).all()
    nothing = layer.output.bias if kind == "multi_head" else torch.zeros(Q, dtype=y.dtype)
    assert_close(y[1], nothing.expand(T, Q).detach())
    (gradient,) = torch.autograd.grad(y.sum(), memory)
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()


@every_kind
@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("filler", [1e4, math.nan])
def test_what_may_not_be_used_is_never_read(kind, explicit, filler, rng):
    layer, query = make(kind, rng), draw(rng, B, T, Q).requires_grad_()
    clean, mask = draw(rng, B, S, Q), some(5, 2, 1)
    spoilt = torch.where(mask[..., None], clean, filler)
    found = []
    for memory in (clean, spoilt):
        y, _ = layer(query, layer.prepare(memory, mask), mask, weights=explicit)
        found.append([y, *torch.autograd.grad(y.square().sum(), [query])])
    assert_close(found[1], found[0])


@pytest.mark.parametrize("explicit", [True, False])
def test_a_product_never_reads_what_may_not_be_used(explicit, rng):
    query, mask = draw(rng, B, T, 3).requires_grad_(), some(5, 2, 1)[:, None]
    clean = draw(rng, B, S, 3)
    spoilt = torch.where(mask.transpose(1, 2), clean, math.nan)
    found = []
    for x in (clean, spoilt):
        y, _ = scaled_dot_product(query, x, x, mask, weights=explicit)
        found.append([y, *torch.autograd.grad(y.square().sum(), [query])])
    assert_close(found[1], found[0])


@every_kind
def test_gradient_is_that_of_finite_differences(kind, rng):
    layer = make(kind, rng)
    names = [name for name, _ in layer.named_parameters()]
    mask = some(5, 2, 1)

    def run(memory, query, *parameters):
        weights = dict(zip(names, parameters, strict=True))
        keys, values = torch.func.functional_call(Preparing(layer), named(weights), (memory,))
        return torch.func.functional_call(layer, weights, (query, (keys, values), mask))

    inputs = [draw(rng, B, S, Q), draw(rng, B, 2, Q), *(p.detach() for p in layer.parameters())]
    assert torch.autograd.gradcheck(run, [value.requires_grad_() for value in inputs])


class Preparing(torch.nn.Module):
    """Lets `functional_call` reach the other method."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, memory):
        return self.layer.prepare(memory)


def named(weights):
    return {f"layer.{name}": value for name, value in weights.items()}


@every_kind
def test_a_batch_is_each_row_alone(kind, rng):
    layer, memory, query = make(kind, rng), draw(rng, B, S, Q), draw(rng, B, T, Q)
    lengths = (5, 2, 1)
    together, _ = layer(query, layer.prepare(memory), some(*lengths))
    for row, length in enumerate(lengths):
        alone, _ = layer(query[row, None], layer.prepare(memory[row, None, :length]))
        assert_close(alone[0], together[row])


def test_widths_that_cannot_be_compared_are_refused():
    with pytest.raises(ConfigError, match="'dot' compares queries of 3 features"):
        Attention("dot", 3, 4)
    with pytest.raises(ConfigError, match="unknown name 'generall'"):
        Attention("generall", 3, 4)
    with pytest.raises(ConfigError, match="4 heads of 6 features"):
        MultiHeadAttention(6, 3, heads=4)


# The lectures' examples


def test_two_vectors_are_summed_by_two_shares_that_are_one_together(rng):
    x1, x2 = draw(rng, Q), draw(rng, Q)
    query, memory = draw(rng, 1, 1, Q), torch.stack([x1, x2])[None]
    layer = Attention("dot", Q, Q)
    y, weights = layer(query, layer.prepare(memory))
    w1, w2 = weights[0, 0]
    assert w1 + w2 == pytest.approx(1.0, abs=1e-15)
    assert_close(y[0, 0], w1 * x1 + w2 * x2)
    assert float(w1 / w2) == pytest.approx(math.exp(float(query[0, 0] @ (x1 - x2))))


@every_kind
def test_the_little_steps_are_the_layer(kind, rng):
    """Score each state of the encoder, softmax, multiply each by its share, sum."""
    layer, states, decoder = make(kind, rng), draw(rng, S, Q), draw(rng, Q)
    y, weights = layer(decoder[None, None], layer.prepare(states[None]))
    if kind == "multi_head":
        expected = []
        keys, values = (part[0] for part in layer.prepare(states[None]))
        for head, query in enumerate(layer.query(decoder).chunk(2)):
            scores = torch.stack([query @ key / math.sqrt(3) for key in keys[head]])
            shares = scores.exp() / scores.exp().sum()
            assert_close(weights[0, head, 0], shares)
            expected.append(sum(a * value for a, value in zip(shares, values[head], strict=True)))
        assert_close(y[0, 0], layer.output(torch.cat(expected)))
        return
    scores = torch.stack([SCORED[kind](layer, decoder, state) for state in states])
    shares = scores.exp() / scores.exp().sum()
    assert_close(weights[0, 0], shares)
    assert_close(y[0, 0], sum(a * state for a, state in zip(shares, states, strict=True)))


SCORED = {
    "additive": lambda own, q, m: own.v @ torch.tanh(own.query(q) + own.key.weight @ m),
    "dot": lambda own, q, m: q @ m,
    "general": lambda own, q, m: q @ own.key.weight @ m,
    "scaled_dot": lambda own, q, m: q @ m / math.sqrt(Q),
}


def test_reza_lives_is_a_product_of_2_by_3_and_3_by_2_over_the_root_of_3():
    q = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]], dtype=torch.float64)  # reza, lives
    k = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    v = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    scores = torch.tensor([[3.0, 1.0], [2.0, 0.0]], dtype=torch.float64) / math.sqrt(3)
    assert_close(q @ k.T / math.sqrt(3), scores)
    share = 1 / (1 + math.exp(-2 / math.sqrt(3)))  # of "reza", in both rows
    expected = torch.tensor([[share, 1 - share]] * 2, dtype=torch.float64)
    z, weights = scaled_dot_product(q, k, v, weights=True)
    assert_close(weights, expected)
    assert_close(z, expected @ v)
    assert_close(softmax(scores), expected)


def test_large_scores_are_amplified_and_small_ones_drowned():
    scores = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    weights = softmax(scores)[0]
    assert weights[2] > scores[0, 2] / scores.sum()
    assert weights[0] < scores[0, 0] / scores.sum()
    assert_close(softmax(scores + 100.0), softmax(scores))


def test_multiplicative_module_is_its_two_sums_and_the_product_of_the_cell(rng):
    module = Multiplicative(x=2, z=3, outputs=4, generator=rng).double()
    x, z = draw(rng, 2), draw(rng, 3)
    u = module.u
    w = [[sum(u[i, j, k] * z[k] for k in range(3)) for j in range(2)] for i in range(4)]
    s = torch.stack([sum(w[i][j] * x[j] for j in range(2)) for i in range(4)])
    assert_close(module(x, z), s)
    assert_close(module.matrix(z) @ x, s)
    many = draw(rng, 5, 2), draw(rng, 5, 3)
    assert_close(module(*many)[3], module(many[0][3], many[1][3]))
    assert torch.autograd.gradcheck(
        lambda x, z: module(x, z), [part.requires_grad_() for part in many]
    )
    square = Multiplicative(x=2, z=4, outputs=4, generator=rng).double()
    h = draw(rng, 4)
    layer = Recurrent("multiplicative_rnn", 2, 4, backend="reference").double()
    with torch.no_grad():
        for name, value in layer.weights["l0"].items():
            value.copy_(square.u if name == "U" else torch.zeros_like(value))
        output, _ = layer.step(x[None], (h[None, None],))
        assert_close(output[0], torch.tanh(square(x, h)))
