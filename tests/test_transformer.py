"""Transformers: what they compute, whichever way it is computed."""

import pytest
import torch
from torch import nn

from tolerance import assert_close
from unspool.errors import ConfigError, ShapeError
from unspool.layers.linear_attention import causal_linear_attention, feature, linear_attention
from unspool.layers.positions import POSITIONS
from unspool.layers.self_attention import SelfAttention, Sight
from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import ACTIVATIONS, SWIGLU, BlockOptions
from unspool.layers.window_attention import band, window_attention

KINDS = {
    "full": {"attention": "full"},
    "window": {"attention": "window", "window": 3},
    "linear": {"attention": "linear"},
    "grouped": {"key_heads": 2},
    "multi-query": {"key_heads": 1},
    "post-norm": {"norm": "post"},
    "swiglu": {"activation": "swiglu"},
}
STREAMING = [(kind, positions) for kind in KINDS for positions in ("rotary", "learned")]
STREAMING += [("full", "sinusoidal"), ("window", "none")]


def make(rng, inputs=5, layers=2, positions="rotary", dtype=torch.float64, source=0, **options):
    """A stack whose numbers are large enough for every part to matter."""
    chosen = BlockOptions(**{"width": 8, "heads": 4, "causal": True, **options})
    stack = Transformer(inputs, chosen, layers, positions, 40, source, rng).to(dtype).eval()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=dtype))
    return stack


def draw(rng, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=rng, dtype=dtype)


@pytest.mark.parametrize("causal", [True, False], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_explicit_weights_give_what_the_fast_way_gives(kind, causal, rng):
    stack = make(rng, causal=causal, **KINDS[kind])
    x, lengths = draw(rng, 3, 9, 5), torch.tensor([9, 4, 1])
    fast, _ = stack(x, lengths)
    explicit, _, weights = stack(x, lengths, trace=True)
    assert_close(explicit, fast)
    for layer in weights.values():
        for row, length in enumerate(lengths):
            valid = layer["self"][row, :, :length]
            assert_close(valid.sum(-1), torch.ones_like(valid[..., 0]))
            assert (valid[..., length:] == 0).all()
            assert not causal or (valid.triu(1) == 0).all()


@pytest.mark.parametrize(("kind", "positions"), STREAMING)
def test_step_by_step_is_one_whole_pass(kind, positions, rng):
    stack = make(rng, positions=positions, **KINDS[kind])
    x = draw(rng, 3, 11, 5)
    whole, final = stack(x)
    state, outputs = None, []
    for t in range(11):
        y, state = stack.step(x[:, t], state)
        outputs.append(y)
    assert_close(torch.stack(outputs, 1), whole)
    assert_close(list(state)[:-1], list(final)[:-1])
    assert state[-1].tolist() == [11, 11, 11]


@pytest.mark.parametrize(("kind", "positions"), STREAMING)
def test_reading_on_from_rows_of_different_lengths_is_reading_each_alone(kind, positions, rng):
    stack = make(rng, positions=positions, **KINDS[kind])
    lengths, first, second = torch.tensor([6, 2, 4]), draw(rng, 3, 6, 5), draw(rng, 3, 5, 5)
    _, state = stack(first, lengths)
    more, state = stack(second, torch.tensor([5, 5, 3]), state)
    last, _ = stack.step(second[:, -1], state)
    for row, (length, extra) in enumerate(zip(lengths, (5, 5, 3), strict=True)):
        parts = [first[row, :length], second[row, :extra], second[row, -1:]]
        alone, _ = stack(torch.cat(parts)[None])
        assert_close(more[row, :extra], alone[0, length:-1])
        assert_close(last[row], alone[0, -1])


@pytest.mark.parametrize("kind", ["full", "window", "linear"])
def test_state_follows_rows_that_are_chosen_and_multiplied(kind, rng):
    stack = make(rng, **KINDS[kind])
    x, more = draw(rng, 3, 6, 5), draw(rng, 3, 5)
    _, state = stack(x, torch.tensor([6, 3, 5]))
    y, _ = stack.step(more, state)
    rows = torch.tensor([2, 0, 2])
    assert_close(stack.step(more[rows], state.select_rows(rows))[0], y[rows])
    doubled, _ = stack.step(more.repeat_interleave(2, 0), state.expand(2))
    assert_close(doubled, y.repeat_interleave(2, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_later_changes_no_bit_before(kind, dtype, rng):
    stack = make(rng, dtype=dtype, **KINDS[kind])
    x = draw(rng, 2, 150, 5, dtype=dtype)
    before, _ = stack(x)
    other = x.clone()
    other[:, 70:] = draw(rng, 2, 80, 5, dtype=dtype)
    after, _ = stack(other)
    assert torch.equal(after[:, :70], before[:, :70])
    assert not torch.equal(after[:, 70:], before[:, 70:])


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("causal", [True, False], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_company_change_nothing(kind, causal, filler, rng):
    stack = make(rng, causal=causal, **KINDS[kind])
    x, lengths = draw(rng, 2, 7, 5), torch.tensor([7, 4])
    padded = nn.functional.pad(x, (0, 0, 0, 6), value=filler)
    padded[1, 4:] = filler
    leaf = padded.requires_grad_()
    outputs, _ = stack(leaf, lengths)
    for row, length in enumerate(lengths):
        alone, _ = stack(x[row : row + 1, :length])
        assert_close(outputs[row, :length], alone[0])
    assert (outputs[1, 4:] == 0).all()
    outputs.sum().backward()
    assert (leaf.grad[1, 4:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_batch_reorders_the_result(kind, rng):
    stack = make(rng, **KINDS[kind])
    x, lengths, order = draw(rng, 3, 6, 5), torch.tensor([6, 2, 4]), torch.tensor([2, 0, 1])
    assert_close(stack(x[order], lengths[order])[0], stack(x, lengths)[0][order])


@pytest.mark.parametrize("causal", [True, False], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_every_input_and_parameter_is_right(kind, causal, rng):
    stack = make(rng, inputs=3, layers=1, width=4, heads=2, units=5, causal=causal,
                 **{**KINDS[kind], "key_heads": 1})  # fmt: skip
    names = [name for name, _ in stack.named_parameters()]
    lengths = torch.tensor([3, 2])

    def outputs(x, *values):
        weights = dict(zip(names, values, strict=True))
        return torch.func.functional_call(stack, weights, (x, lengths))[0]

    x = draw(rng, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (x, *stack.parameters()))


@pytest.mark.parametrize("causal", [True, False], ids=["one way", "both ways"])
def test_window_as_wide_as_the_sequence_is_full_attention(causal, rng):
    full = make(rng, causal=causal)
    window = make(rng, causal=causal, attention="window", window=9)
    window.load_state_dict(full.state_dict())
    x = draw(rng, 2, 9, 5)
    assert_close(window(x)[0], full(x)[0])


@pytest.mark.parametrize("causal", [True, False], ids=["one way", "both ways"])
@pytest.mark.parametrize(("steps", "past", "window"), [(7, 0, 3), (200, 0, 17), (130, 11, 70)])
def test_blocks_of_a_window_are_the_whole_matrix_under_its_band(steps, past, window, causal, rng):
    past = past if causal else 0
    q = draw(rng, 2, 3, steps, 4)
    k, v = draw(rng, 2, 3, steps + past, 4), draw(rng, 2, 3, steps + past, 4)
    allowed = torch.ones(2, steps + past, dtype=torch.bool)
    allowed[1, :past] = False
    mask = band(torch.arange(past, past + steps), torch.arange(past + steps), window, causal)
    attend = nn.functional.scaled_dot_product_attention
    assert_close(window_attention(q, k, v, window, causal), attend(q, k, v, attn_mask=mask))
    wanted = attend(q, k, v, attn_mask=mask & allowed[:, None, None])
    assert_close(window_attention(q, k, v, window, causal, allowed), wanted)


def test_blocks_of_a_window_leave_the_padding_out(rng):
    stack = make(rng, causal=False, attention="window", window=3)
    x = draw(rng, 2, 150, 5)  # long enough for blocks; alone the second row makes the whole matrix
    outputs, _ = stack(x, torch.tensor([150, 100]))
    assert_close(outputs[1:, :100], stack(x[1:, :100])[0])


def test_window_attention_makes_no_square_matrix(rng):
    T = 4096
    q = draw(rng, 1, 1, T, 2, dtype=torch.float32)
    with torch.profiler.profile(profile_memory=True) as seen:
        window_attention(q, q, q, 16, True)
    largest = max(event.self_cpu_memory_usage for event in seen.key_averages())
    assert largest < T * T


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_linear_attention_is_the_same_step_by_step_in_chunks_and_at_once(chunk, rng):
    q, k, v = (draw(rng, 2, 3, 10, 4) for _ in range(3))
    q, k = feature(q), feature(k)
    weights = (q @ k.transpose(-2, -1)).tril()
    wanted = weights @ v / weights.sum(-1, keepdim=True)
    outputs, sums = causal_linear_attention(q, k, v, chunk=chunk)
    assert_close(outputs, wanted)
    first, halfway = causal_linear_attention(q[:, :, :4], k[:, :, :4], v[:, :, :4], chunk=chunk)
    second, end = causal_linear_attention(q[:, :, 4:], k[:, :, 4:], v[:, :, 4:], halfway, chunk)
    assert_close(torch.cat([first, second], 2), wanted)
    assert_close(end, sums)
    assert_close(linear_attention(q, k, v)[:, :, -1], wanted[:, :, -1])


@pytest.mark.parametrize("kind", ["full", "window", "linear"])
def test_shared_key_heads_are_as_many_equal_heads(kind, rng):
    shared = make(rng, layers=1, key_heads=2, **KINDS[kind])
    full = make(rng, layers=1, **KINDS[kind])
    weights = shared.state_dict()
    for name in ("weight", "bias"):
        key = f"blocks.0.attention.project.{name}"
        q, k, v = weights[key].split([8, 4, 4])
        k, v = (part.unflatten(0, (2, 2)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v))
        weights[key] = torch.cat([q, k, v])
    full.load_state_dict(weights)
    x = draw(rng, 2, 150, 5)  # long enough for a window's blocks
    assert_close(shared(x)[0], full(x)[0])


def test_worked_example_of_the_lecture():
    # S4: "reza lives": Q is 2×3, K transposed 3×2, Z = softmax(QKᵀ/√3) V.
    attention = SelfAttention(3, heads=1, causal=False).double()
    W = torch.arange(27, dtype=torch.float64).reshape(3, 3, 3) / 10
    with torch.no_grad():
        attention.project.weight.copy_(W.flatten(0, 1))
        attention.project.bias.zero_()
        attention.output.weight.copy_(torch.eye(3))
        attention.output.bias.zero_()
    x = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]], dtype=torch.float64)
    q, k, v = (x[0] @ part.T for part in W)
    wanted = torch.softmax(q @ k.T / 3**0.5, -1) @ v
    steps = torch.arange(2)
    z, _, weights = attention(x, Sight(queries=steps, keys=steps), explicit=True)
    assert_close(z[0], wanted)
    assert_close(weights.sum(-1), torch.ones(1, 1, 2, dtype=torch.float64))


def test_stack_learns_one_batch_by_heart(rng):
    stack = Transformer(6, BlockOptions(width=16, heads=2, causal=True), 2, generator=rng)
    head = nn.Linear(16, 6)
    x = torch.randint(0, 6, (4, 12), generator=rng)
    inputs = nn.functional.one_hot(x, 6).float()
    adam = torch.optim.Adam([*stack.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(200):
        logits = head(stack(inputs[:, :-1])[0])
        # The first step has nothing to go by.
        loss = nn.functional.cross_entropy(logits[:, 1:].flatten(0, 1), x[:, 2:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.05


def test_second_sequence_is_read_with_its_padding_left_out(rng):
    stack = make(rng, inputs=8, source=6)
    x, source = draw(rng, 2, 4, 8), draw(rng, 2, 5, 6)
    lengths = torch.tensor([5, 3])
    outputs, _ = stack(x, None, None, stack.remember(source), lengths)
    explicit, _, weights = stack(x, None, None, stack.remember(source), lengths, trace=True)
    assert_close(explicit, outputs)
    assert (weights["l0"]["cross"][1, ..., 3:] == 0).all()
    alone, _ = stack(x[1:], None, None, stack.remember(source[1:, :3]))
    assert_close(outputs[1:], alone)
    with pytest.raises(ShapeError, match="second sequence, and none was given"):
        stack(x)


@pytest.mark.parametrize("positions", [name for name in POSITIONS if name != "none"])
def test_order_is_seen_only_through_positions(positions, rng):
    blind, seeing = (
        make(rng, positions="none", causal=False),
        make(rng, positions=positions, causal=False),
    )
    x, order = draw(rng, 1, 6, 5), torch.tensor([3, 1, 5, 0, 4, 2])
    assert_close(blind(x[:, order])[0], blind(x)[0][:, order])
    moved = seeing(x[:, order])[0] - seeing(x)[0][:, order]
    assert moved.abs().max() > 1e-3


def test_reading_both_ways_has_no_state_and_no_step(rng):
    stack = make(rng, causal=False)
    x = draw(rng, 2, 4, 5)
    _, state = stack(x)
    with pytest.raises(ShapeError, match="reads both ways"):
        stack(x, state=state)
    with pytest.raises(ShapeError, match="needs whole sequences"):
        stack.step(x[:, 0])


def test_state_of_another_stack_is_refused(rng):
    _, state = make(rng, layers=1)(draw(rng, 2, 4, 5))
    with pytest.raises(ShapeError, match=r"wanted 5 tensors of 2 rows"):
        make(rng)(draw(rng, 2, 4, 5), state=state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "middle"}, "model.norm: unknown name 'middle'"),
        ({"attention": "sparse"}, "model.attention: unknown name 'sparse'"),
        ({"activation": "selu"}, "model.activation: unknown name 'selu'"),
        ({"heads": 3}, "model.heads: 3 heads"),
        ({"key_heads": 3}, "3 key heads"),
        ({"attention": "window"}, "model.window: got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BlockOptions(**{"width": 8, **options})


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", SWIGLU])
def test_every_activation_is_used(activation, rng):
    relu, other = (
        make(torch.Generator().manual_seed(1), activation=name) for name in ("relu", activation)
    )
    if activation != SWIGLU:
        other.load_state_dict(relu.state_dict())
    x = draw(rng, 1, 4, 5)
    assert not torch.allclose(relu(x)[0], other(x)[0])


def test_every_activation_has_a_test():
    assert set(ACTIVATIONS) == {"relu", "gelu", "gelu_tanh"}
