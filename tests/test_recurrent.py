"""The laws of a recurrent layer, each over every cell and every backend that serves it."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine.language import cell, log, tanh
from unspool.engine.reference import unstack
from unspool.engine.scan import BACKENDS
from unspool.errors import BackendError
from unspool.layers.recurrent import Recurrent

ALL = {**CELLS, "rnn_relu": CELLS["rnn"].with_options(activation="relu")}


def units_for(name, least=3):
    """The fewest units that the blocks of a cell divide."""
    axes = {axis for family in ALL[name].graph.families.values() for axis in family.shape}
    blocks = [int(axis.partition("/")[2]) for axis in axes if "/" in str(axis)]
    return next(H for H in range(least, 100) if all(H % block == 0 for block in blocks))


def serves(name, backend):
    try:
        return bool(Recurrent(ALL[name], 2, units_for(name), backend=backend).backend)
    except BackendError:
        return False


COMPILED = [
    (name, backend)
    for name in ALL
    for backend in BACKENDS
    if backend not in ("auto", "reference") and serves(name, backend)
]
MEMBERS = [(name, "reference") for name in ALL] + COMPILED
every_member = pytest.mark.parametrize(("name", "backend"), MEMBERS)
every_cell = pytest.mark.parametrize("name", ALL)


def make_layer(name, rng, inputs=2, dtype=torch.float64, **options):
    """A layer whose every parameter is drawn, biases too, and whose recurrence contracts."""
    options.setdefault("hidden_size", units_for(name))
    options.setdefault("backend", "reference")
    layer = Recurrent(ALL[name], inputs, **options).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.5, 0.5, generator=rng)
    return layer


def draw(rng, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=rng, dtype=dtype)


def draw_state(layer, batch, rng):
    dtype = next(layer.parameters()).dtype
    shape = batch, layer.num_layers * layer.directions, layer.hidden_size
    return tuple(draw(rng, *shape, dtype=dtype) for _ in layer.cell.states)


def everything(layer, x, lengths=None, state=None, steps=None):
    """Outputs and final states, and the gradients of a fixed projection of them."""
    x = x.detach().clone().requires_grad_()
    start = None if state is None else tuple(s.detach().clone().requires_grad_() for s in state)
    outputs, final = layer(x, lengths, start)
    valid = outputs[:, :steps]
    wave = torch.arange(valid[0].numel(), dtype=valid.dtype).cos().view_as(valid[0])
    loss = (valid * wave).sum() + sum((value * value).sum() for value in final)
    leaves = [*layer.parameters(), *(start or ()), x]
    *gradients, of_x = torch.autograd.grad(loss, leaves, allow_unused=True)
    gradients = [g for g in gradients if g is not None]
    return {"outputs": valid, "final": list(final), "x": of_x[:, :steps], "leaves": gradients}


@every_cell
@pytest.mark.parametrize("lengths", [None, [3, 2]], ids=["full", "ragged"])
def test_gradient_is_that_of_finite_differences(name, lengths, rng):
    layer = make_layer(name, rng)
    lengths = lengths and torch.tensor(lengths)
    names, weights = zip(*layer.named_parameters(), strict=True)
    count = len(layer.cell.states)

    def run(x, *rest):
        state, values = rest[:count], dict(zip(names, rest[count:], strict=True))
        outputs, final = torch.func.functional_call(layer, values, (x, lengths, state))
        return outputs, *final

    inputs = draw(rng, 2, 3, 2), *draw_state(layer, 2, rng), *weights
    inputs = [each.detach().requires_grad_() for each in inputs]
    # Number by number for full rows; for ragged ones along one direction, which takes a third.
    assert torch.autograd.gradcheck(run, inputs, fast_mode=lengths is not None)


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_gradient_is_that_of_finite_differences_in_both_directions(name, rng):
    layer = make_layer(name, rng, bidirectional=True, learn_initial_state=True)
    names, weights = zip(*layer.named_parameters(), strict=True)

    def run(x, *values):
        arguments = x, torch.tensor([3, 2])
        outputs, final = torch.func.functional_call(
            layer, dict(zip(names, values, strict=True)), arguments
        )
        return outputs, *final

    inputs = [each.detach().requires_grad_() for each in (draw(rng, 2, 3, 2), *weights)]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@every_cell
def test_layer_computes_what_the_function_computes_on_tensors(name, rng):
    layer = make_layer(name, rng)
    x, state = draw(rng, 2, 4, 2), tuple(draw_state(layer, 2, rng))
    _, _, trace = layer(x, state=state, trace=True)
    families = {}
    for parameter, value in unstack(layer.cell.graph, dict(layer.weights["l0"])).items():
        letter, _, gate = parameter.partition(".")
        if gate:
            setattr(families.setdefault(letter, SimpleNamespace()), gate, value)
        else:
            families[letter] = value
    for t in range(4):
        for row in range(2):
            before = [
                trace["l0"][letter][row, t - 1] if t else value[row, 0]
                for letter, value in zip(layer.cell.states, state, strict=True)
            ]
            letters = in_signature(layer.cell)
            after = layer.cell(x[row, t], *before, *(families[letter] for letter in letters))
            after = after if isinstance(after, tuple) else (after,)
            for letter, value in zip(layer.cell.states, after, strict=True):
                assert_close(trace["l0"][letter][row, t], value)


def in_signature(member):
    """The letters of a cell's families in the order of its arguments."""
    families = member.graph.families
    return [name for name in inspect.signature(member.function).parameters if name in families]


@pytest.mark.parametrize(("name", "backend"), COMPILED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 4), (6, 1, 3, 7), (5, 4, 3, 5)], ids=str)
def test_backend_gives_the_numbers_and_gradients_of_the_reference(name, backend, dtype, shape, rng):
    T, B, D, H = shape
    ragged = torch.randint(1, T + 1, (B,), generator=rng)
    for bidirectional in (False, True):
        layer = make_layer(
            name, rng, D, dtype, hidden_size=H, backend=backend, bidirectional=bidirectional
        )
        readable = make_layer(name, rng, D, dtype, hidden_size=H, bidirectional=bidirectional)
        readable.load_state_dict(layer.state_dict())
        x = draw(rng, B, T, D, dtype=dtype)
        state = None if bidirectional else draw_state(layer, B, rng)
        for lengths in (None, ragged):
            expected = everything(readable, x, lengths, state)
            actual = everything(layer, x, lengths, state)
            if H == 1:
                # The gradient through a norm over one unit is zero: rounding is all that is left
                # of some tensors, so the largest of all gradients is the measure.
                expected, actual = (gradients_joined(found) for found in (expected, actual))
            assert_close(actual, expected)


def gradients_joined(found):
    flat = torch.cat([tensor.flatten() for tensor in (found["x"], *found["leaves"])])
    return {"outputs": found["outputs"], "final": found["final"], "gradients": flat}


@every_member
@pytest.mark.parametrize("cut", [1, 3])
def test_reading_in_two_parts_is_reading_at_once(name, backend, cut, rng):
    layer = make_layer(name, rng, num_layers=2, backend=backend)
    x = draw(rng, 2, 5, 2)
    whole, final = layer(x)
    first, carried = layer(x[:, :cut])
    second, last = layer(x[:, cut:], state=carried)
    assert_close(torch.cat([first, second], 1), whole)
    assert_close(last, final)


@every_member
@pytest.mark.parametrize("fill", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
def test_padding_changes_nothing_whatever_stands_in_it(name, backend, fill, bidirectional, rng):
    layer = make_layer(
        name, rng, num_layers=2, backend=backend, bidirectional=bidirectional, residual=True
    )
    x, lengths = draw(rng, 3, 4, 2), torch.tensor([2, 4, 1])
    state = None if bidirectional else draw_state(layer, 3, rng)
    past = torch.arange(8) >= lengths[:, None]
    padded = F.pad(x, (0, 0, 0, 4)).masked_fill(past[:, :, None], fill)
    expected = everything(layer, x, lengths, state)
    assert_close(everything(layer, padded, lengths, state, steps=4), expected)
    outputs, _ = layer(padded, lengths)
    assert not outputs[past].any()


@every_member
def test_row_alone_is_the_row_in_a_batch(name, backend, rng):
    layer = make_layer(name, rng, num_layers=2, backend=backend, bidirectional=True)
    x, lengths = draw(rng, 4, 5, 2), torch.tensor([3, 5, 1, 4])
    outputs, final = layer(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, state = layer(x[row : row + 1, :length])
        assert_close(outputs[row : row + 1, :length], alone)
        assert_close([value[row : row + 1] for value in final], list(state))


def test_padding_reaches_no_gradient_where_the_equations_break_on_it(rng):
    @cell(state="h")
    def logarithmic(x, h, W, U):
        return tanh(log(W.h @ x) + U.h @ h)

    layer = Recurrent(logarithmic, 2, 3)
    with torch.no_grad():
        layer.weights["l0"]["W"].uniform_(0.5, 1.0, generator=rng)
    x = F.pad(torch.rand(2, 3, 2, generator=rng) + 0.1, (0, 0, 0, 2))
    outputs, _ = layer(x, torch.tensor([3, 1]))
    outputs.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@every_member
def test_order_of_the_batch_is_the_order_of_the_result_and_nothing_else(name, backend, rng):
    layer = make_layer(name, rng, num_layers=2, backend=backend, bidirectional=True)
    x, lengths = draw(rng, 4, 5, 2), torch.tensor([3, 5, 1, 4])
    order = torch.tensor([2, 0, 3, 1])
    outputs, final = layer(x, lengths)
    reordered, state = layer(x[order], lengths[order])
    assert torch.equal(reordered, outputs[order])
    for value, moved in zip(final.select_rows(order), state, strict=True):
        assert torch.equal(moved, value)


@every_member
def test_what_comes_later_changes_nothing_earlier_bit_for_bit(name, backend, rng):
    layer = make_layer(name, rng, num_layers=2, backend=backend)
    x = draw(rng, 3, 6, 2)
    outputs, _ = layer(x)
    for t in (1, 3, 5):
        changed = x.clone()
        changed[:, t:] = 1e3
        after, _ = layer(changed)
        assert torch.equal(after[:, :t], outputs[:, :t])
        assert not torch.equal(after[:, t:], outputs[:, t:])


@every_member
def test_streaming_step_by_step_is_one_whole_pass(name, backend, rng):
    layer = make_layer(name, rng, num_layers=2, backend=backend, learn_initial_state=True)
    x = draw(rng, 2, 5, 2)
    outputs, final = layer(x)
    state = None
    for t in range(5):
        output, state = layer.step(x[:, t], state)
        assert_close(output, outputs[:, t])
    assert_close(state, final)


@every_member
def test_two_layers_are_one_after_the_other(name, backend, rng):
    H = units_for(name)
    deep = make_layer(name, rng, num_layers=2, backend=backend, bidirectional=True)
    lower = make_layer(name, rng, backend=backend, bidirectional=True)
    upper = make_layer(name, rng, inputs=2 * H, backend=backend, bidirectional=True)
    for direction in ("", "_reverse"):
        lower.weights[f"l0{direction}"].load_state_dict(deep.weights[f"l0{direction}"].state_dict())
        upper.weights[f"l0{direction}"].load_state_dict(deep.weights[f"l1{direction}"].state_dict())
    x, lengths = draw(rng, 3, 4, 2), torch.tensor([4, 2, 3])
    below, first = lower(x, lengths)
    outputs, second = upper(below, lengths)
    deep_outputs, final = deep(x, lengths)
    assert_close(deep_outputs, outputs)
    assert_close(list(final), [torch.cat(pair, 1) for pair in zip(first, second, strict=True)])
    deep.residual = True
    assert_close(deep(x, lengths)[0], outputs + below)


@every_member
def test_reverse_direction_reads_each_row_from_its_own_end(name, backend, rng):
    both = make_layer(name, rng, backend=backend, bidirectional=True)
    one = make_layer(name, rng, backend=backend)
    one.weights["l0"].load_state_dict(both.weights["l0_reverse"].state_dict())
    x, lengths = draw(rng, 3, 5, 2), torch.tensor([2, 5, 3])
    outputs, final = both(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        backward, state = one(x[row : row + 1, :length].flip(1))
        assert_close(outputs[row, :length, units_for(name) :], backward[0].flip(0))
        assert_close([value[row, 1] for value in final], [value[0, 0] for value in state])


@every_cell
def test_one_batch_of_four_is_learnt_in_200_steps(name, rng):
    """The first token tells the rows apart; what follows is the same for all, to be remembered."""
    tokens = torch.full((4, 5), 4)
    tokens[:, 0] = torch.arange(4)
    x = F.one_hot(tokens, 5).float()
    targets = torch.randint(5, (4, 5), generator=rng)
    # Where the gates see only the input, what follows the first token needs a second layer.
    blind = name in ("mingru", "linear")
    units, layers, rate, limit = (32, 2, 0.05, 10.0) if blind else (16, 1, 0.03, 1.0)
    layer = Recurrent(ALL[name], 5, units_for(name, least=units), layers, generator=rng)
    head = nn.Linear(layer.hidden_size, 5)
    nn.init.zeros_(head.bias)
    nn.init.uniform_(head.weight, -0.1, 0.1, generator=rng)
    optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=rate)
    for _ in range(200):
        loss = F.cross_entropy(head(layer(x)[0]).flatten(0, 1), targets.flatten())
        if loss < 0.01:
            return
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), limit)
        optimiser.step()
    raise AssertionError(f"the loss is still {loss:.3f}")
