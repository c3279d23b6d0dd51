"""The lectures' algebra of recurrence, gradients through time and gates."""

import pytest
import torch
from torch.func import functional_call, jacrev

from tolerance import assert_close
from unspool import Recurrent, cell
from unspool.cells import CELLS
from unspool.engine import reference
from unspool.layers.state import State

D, H, T = 2, 3, 4


def readable(name, rng, inputs=D, units=H):
    """A layer on the readable loop, in float64, that differs from every other by its seed."""
    made = CELLS[name] if isinstance(name, str) else name
    return Recurrent(made, inputs, units, backend="reference", generator=rng).double()


def random(*shape, rng):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def set_gate(layer, gate, value):
    """Hold a gate at 0 or 1, whatever the input."""
    bias = {0: -60.0, 1: 60.0}[value]
    for family in layer.cell.graph.families.values():
        if gate in family.gates:
            weights = layer.weights["l0"][family.name].detach()
            weights.chunk(len(family.gates))[family.gates.index(gate)].fill_(
                bias if family.role == "bias" else 0.0
            )


# Recurrence


def test_one_matrix_on_h_and_x_stacked_is_the_two_products(rng):
    layer = readable("rnn", rng)
    weights = layer.weights["l0"]
    stacked = torch.cat([weights["U"], weights["W"]], 1)
    x, h = random(D, rng=rng), random(H, rng=rng)
    output, _ = layer.step(x[None], State([h[None, None]]))
    assert_close(output[0], torch.tanh(stacked @ torch.cat([h, x]) + weights["b"]))


def test_simple_rnn_of_the_lecture_has_as_many_parameters_as_it_says():
    features, units, classes = 100, 5, 3
    layer = Recurrent("rnn", features, units)
    arrays = layer.to_keras()
    assert [array.shape for array in arrays] == [(features, units), (units, units), (units,)]
    head = torch.nn.Linear(units, classes)
    counted = sum(array.size for array in arrays) + sum(p.numel() for p in head.parameters())
    assert counted == features * 5 + 25 + 5 + 18


def test_a_longer_sequence_needs_no_further_parameters(rng):
    layer = readable("rnn", rng)
    assert sum(p.numel() for p in layer.parameters()) == H * D + H * H + H
    x = random(1, 20, D, rng=rng)
    whole, _ = layer(x)
    for steps in (1, 7, 20):
        assert_close(layer(x[:, :steps])[0], whole[:, :steps])


def test_a_network_is_unrolled_once_for_every_time_step(rng, monkeypatch):
    calls, step = [], reference.step
    monkeypatch.setattr(reference, "step", lambda *given: calls.append(1) or step(*given))
    for steps in (1, T, 9):
        calls.clear()
        readable("lstm", rng)(random(2, steps, D, rng=rng))
        assert len(calls) == steps


@pytest.mark.parametrize(("name", "copies"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_parameters_of_rnn_gru_and_lstm_are_as_1_to_3_to_4(name, copies):
    for features, units in ((1, 1), (D, H), (100, 5)):
        one = units * (features + units + 1)
        assert CELLS[name].graph.parameter_count(features, units) == copies * one


# Gradients through time


def test_linear_recursion_has_the_lectures_closed_form(rng):
    """a_t = b_t + c_t a_{t-1} gives a_t = b_t + Σ_i (Π_{j=i+1…t} c_j) b_i."""

    @cell(state="a")
    def recursion(x, a, W):
        b = W.b @ x
        c = W.c @ x
        return b + c * a

    layer, x = readable(recursion, rng), random(1, T, D, rng=rng)
    (a,), _, trace = layer(x, trace=True)
    b, c = trace["l0"]["b"][0], trace["l0"]["c"][0]
    for t in range(T):
        closed = b[t] + sum(c[i + 1 : t + 1].prod(0) * b[i] for i in range(t))
        assert_close(a[t], closed)


def states_by(layer, rng):
    """One step as a function of all parameters and all states in one row, and its input."""
    names = layer.cell.states
    sizes = {name: value.shape for name, value in layer.named_parameters()}
    theta = torch.cat([value.detach().flatten() for value in layer.parameters()])

    def parameters(theta):
        parts = theta.split([shape.numel() for shape in sizes.values()])
        return {name: part.view(sizes[name]) for name, part in zip(sizes, parts, strict=True)}

    def after(theta, states, x):
        given = State(part[None, None] for part in states.chunk(len(names)))
        _, new = functional_call(layer, parameters(theta), (x[None, None], None, given))
        return torch.cat([value[0, 0] for value in new])

    return after, theta, random(H * len(names), rng=rng)


@pytest.mark.parametrize("name", CELLS)
def test_gradient_of_a_state_is_the_lectures_recursion_and_closed_form(name, rng):
    """∂h_t/∂w = ∂f/∂w + ∂f/∂h ∂h_{t-1}/∂w, and written out as a sum of products."""
    step, theta, start = states_by(readable(name, rng), rng)
    inputs = random(T, D, rng=rng)

    def run(theta):
        states = start
        for x in inputs:
            states = step(theta, states, x)
        return states

    states, recursion, by_theta, by_state = start, 0.0, [], []
    for x in inputs:
        by_theta.append(jacrev(step, 0)(theta, states, x))
        by_state.append(jacrev(step, 1)(theta, states, x))
        recursion = by_theta[-1] + (by_state[-1] @ recursion if len(by_theta) > 1 else 0.0)
        states = step(theta, states, x)
    closed = by_theta[-1]
    for i in range(T - 1):
        product = torch.eye(len(start), dtype=torch.float64)
        for j in range(i + 1, T):
            product = by_state[j] @ product
        closed = closed + product @ by_theta[i]
    whole = jacrev(run)(theta)
    assert_close(recursion, whole)
    assert_close(closed, whole)


@pytest.mark.parametrize("name", CELLS)
def test_gradient_of_shared_weights_is_the_sum_over_the_copies(name, rng):
    step, theta, start = states_by(readable(name, rng), rng)
    inputs = random(T, D, rng=rng)
    copies = theta.expand(T, -1).clone().requires_grad_()
    shared = theta.clone().requires_grad_()
    apart = together = start
    for t, x in enumerate(inputs):
        apart, together = step(copies[t], apart, x), step(shared, together, x)
    apart.sum().backward()
    together.sum().backward()
    assert_close(copies.grad.sum(0), shared.grad)


@pytest.mark.parametrize(("weight", "gradient"), [(0.1, 0.0001), (1.0, 1.0), (10.0, 10000.0)])
def test_gradient_vanishes_or_explodes_with_the_recurrent_weights(weight, gradient, rng):
    layer = readable(CELLS["rnn"].with_options(activation="identity"), rng, units=1)
    layer.weights["l0"]["U"].detach().fill_(weight)
    first = torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    outputs, _ = layer(random(1, 4, D, rng=rng), state=State([first]))
    outputs[0, -1].sum().backward()
    assert first.grad.item() == pytest.approx(gradient, rel=1e-12)


def test_open_forget_gate_carries_the_gradient_where_a_plain_network_loses_it(rng):
    x = random(1, 50, D, rng=rng)
    lstm, plain = readable("lstm", rng), readable("rnn", rng)
    set_gate(lstm, "f", 1)
    set_gate(lstm, "i", 0)
    plain.weights["l0"]["U"].detach().mul_(0.5)
    c = torch.zeros(1, 1, H, dtype=torch.float64, requires_grad=True)
    _, (_, last) = lstm(x, state=State([torch.zeros_like(c), c]))
    assert_close(torch.autograd.grad(last.sum(), c)[0], torch.ones_like(c))
    _, (last,) = plain(x, state=State([c]))
    assert torch.autograd.grad(last.sum(), c)[0].norm() < 0.5**49


# Gates


@pytest.mark.parametrize(
    ("r", "z", "becomes"),
    [
        pytest.param(
            1, 0, lambda plain, x, h: plain(x, h), id="open-reset-gate-is-the-plain-network"
        ),
        pytest.param(0, 0, lambda plain, x, h: plain(x, 0 * h), id="both-shut-is-a-full-reset"),
        pytest.param(0, 1, lambda plain, x, h: h, id="open-update-gate-skips-the-step"),
        pytest.param(1, 1, lambda plain, x, h: h, id="and-so-with-the-reset-gate-open"),
    ],
)
def test_gru_becomes_what_the_lectures_say_when_a_gate_is_stuck(r, z, becomes, rng):
    gru, plain = readable("gru", rng), readable("rnn", rng)
    for name, weights in plain.weights["l0"].items():
        weights.data = gru.weights["l0"][name].detach().chunk(3)[2].clone()
    set_gate(gru, "r", r)
    set_gate(gru, "z", z)
    x, h = random(2, D, rng=rng), random(2, H, rng=rng)
    output, _ = gru.step(x, State([h[:, None]]))
    expected = becomes(lambda x, h: plain.step(x, State([h[:, None]]))[0], x, h)
    assert_close(output, expected)


@pytest.mark.parametrize("f", [0, 1])
def test_cell_state_of_an_lstm_is_kept_or_dropped_by_its_forget_gate(f, rng):
    layer = readable("lstm", rng)
    set_gate(layer, "f", f)
    set_gate(layer, "i", 0)
    h, c = random(2, 1, H, rng=rng), random(2, 1, H, rng=rng)
    _, (_, after) = layer(random(2, T, D, rng=rng), state=State([h, c]))
    assert_close(after, f * c)


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("name", ["rnn", "gru", "gru_reset_after", "lstm"])
def test_gates_and_states_stay_in_their_ranges_whatever_the_input(name, scale, rng):
    _, _, trace = readable(name, rng)(scale * random(3, 20, D, rng=rng), trace=True)
    for gate, value in trace["l0"].items():
        if gate in ("i", "f", "o", "r", "z"):
            assert ((value >= 0) & (value <= 1)).all(), gate
        elif gate != "c":
            assert (value.abs() <= 1).all(), gate
