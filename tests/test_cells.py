"""Every cell against its paper: the equations once more in numpy, counts, limits and ranges."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equations import draw_parameters, units_for
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine.reference import scan, step, unstack

D, H = 3, 5


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def normed(z, gain, bias):
    return gain * (z - z.mean()) / np.sqrt(z.var() + 1e-5) + bias


def affine(p, gate, x, h):
    return p[f"W.{gate}"] @ x + p[f"U.{gate}"] @ h + p[f"b.{gate}"]


# One step of each, written from the papers and lectures without the language.


def rnn(p, x, h):
    return [np.tanh(affine(p, "h", x, h))]


def rnn_relu(p, x, h):
    return [np.maximum(affine(p, "h", x, h), 0)]


def lstm(p, x, h, c):
    i, f, o = (sigmoid(affine(p, gate, x, h)) for gate in "ifo")
    c = f * c + i * np.tanh(affine(p, "g", x, h))
    return [o * np.tanh(c), c]


def peephole_lstm(p, x, h, c):
    i, f = (sigmoid(affine(p, gate, x, h) + p[f"V.{gate}"] * c) for gate in "if")
    new = f * c + i * np.tanh(affine(p, "g", x, h))
    o = sigmoid(affine(p, "o", x, h) + p["V.o"] * new)
    return [o * np.tanh(new), new]


def coupled_lstm(p, x, h, c):
    f, o = (sigmoid(affine(p, gate, x, h)) for gate in "fo")
    c = f * c + (1 - f) * np.tanh(affine(p, "g", x, h))
    return [o * np.tanh(c), c]


def layer_norm_lstm(p, x, h, c):
    def sums(gate):
        of_x = normed(p[f"W.{gate}"] @ x, p[f"alpha.{gate}"], p[f"beta.{gate}"])
        return of_x + normed(p[f"U.{gate}"] @ h, p[f"alpha.{gate}h"], p[f"beta.{gate}h"])

    i, f, o = (sigmoid(sums(gate)) for gate in "ifo")
    c = f * c + i * np.tanh(sums("g"))
    return [o * np.tanh(normed(c, p["alpha.c"], p["beta.c"])), c]


def multiplicative_lstm(p, x, h, c):
    m = (p["W.m"] @ x) * (p["U.m"] @ h)
    sums = {gate: p[f"W.{gate}"] @ x + p[f"V.{gate}"] @ m + p[f"b.{gate}"] for gate in "ifgo"}
    c = sigmoid(sums["f"]) * c + sigmoid(sums["i"]) * np.tanh(sums["g"])
    return [sigmoid(sums["o"]) * np.tanh(c), c]


def mogrifier_lstm(p, x, h, c):
    for turn in range(1, 6):
        if turn % 2:
            x = 2 * sigmoid(p[f"Q.x{turn}"] @ h) * x
        else:
            h = 2 * sigmoid(p[f"R.h{turn}"] @ x) * h
    return lstm(p, x, h, c)


def slstm_unstabilised(p, x, h, c, n):
    """Beck et al. (2024), equations 8 to 14, as they stand before the stabiliser."""
    blocks = {gate: p[f"R.{gate}"] for gate in "ifgo"}

    def mixed(gate):
        width = len(h) // len(blocks[gate])
        parts = [R @ h[k * width : (k + 1) * width] for k, R in enumerate(blocks[gate])]
        return p[f"W.{gate}"] @ x + np.concatenate(parts) + p[f"b.{gate}"]

    i, f, o = np.exp(mixed("i")), sigmoid(mixed("f")), sigmoid(mixed("o"))
    c, n = f * c + i * np.tanh(mixed("g")), f * n + i
    return o * c / n, c, n


def gru(p, x, h, take=False):
    r, z = (sigmoid(affine(p, gate, x, h)) for gate in "rz")
    n = np.tanh(affine(p, "n", x, r * h))
    return [(1 - z) * h + z * n if take else z * h + (1 - z) * n]


def gru_reset_after(p, x, h, take=False):
    r, z = (sigmoid(affine(p, gate, x, h)) for gate in "rz")
    n = np.tanh(p["W.n"] @ x + p["b.n"] + r * (p["U.n"] @ h + p["d.n"]))
    return [(1 - z) * h + z * n if take else z * h + (1 - z) * n]


def mgu(p, x, h):
    f = sigmoid(affine(p, "f", x, h))
    return [(1 - f) * h + f * np.tanh(affine(p, "n", x, f * h))]


def mingru(p, x, h):
    z = sigmoid(p["W.z"] @ x + p["b.z"])
    return [(1 - z) * h + z * (p["W.n"] @ x + p["b.n"])]


def linear(p, x, h):
    return [sigmoid(p["W.f"] @ x + p["b.f"]) * h + p["W.g"] @ x + p["b.g"]]


def indrnn(p, x, h):
    return [np.maximum(p["W.h"] @ x + p["u.h"] * h + p["b.h"], 0)]


def multiplicative_rnn(p, x, h):
    s = np.zeros(len(h))
    for i in range(len(h)):
        w_i = [sum(p["U.s"][i, j, k] * h[k] for k in range(len(h))) for j in range(len(x))]
        s[i] = sum(w * x_j for w, x_j in zip(w_i, x, strict=True))
    return [np.tanh(s + p["W.h"] @ x + p["b.h"])]


PAPERS = {
    "rnn": rnn,
    "rnn_relu": rnn_relu,
    "lstm": lstm,
    "peephole_lstm": peephole_lstm,
    "coupled_lstm": coupled_lstm,
    "layer_norm_lstm": layer_norm_lstm,
    "multiplicative_lstm": multiplicative_lstm,
    "mogrifier_lstm": mogrifier_lstm,
    "gru": gru,
    "gru_take": lambda p, x, h: gru(p, x, h, take=True),
    "gru_reset_after": gru_reset_after,
    "gru_reset_after_take": lambda p, x, h: gru_reset_after(p, x, h, take=True),
    "mgu": mgu,
    "mingru": mingru,
    "linear": linear,
    "indrnn": indrnn,
    "multiplicative_rnn": multiplicative_rnn,
}


def drawn(name, rng, units=H, scale=0.8):
    """A cell's graph, its parameters by name, an input and a state of one row."""
    graph = CELLS[name].graph
    units = units_for(graph, units)
    parameters = unstack(graph, draw_parameters(graph, D, units, rng, scale=scale))
    x = torch.randn(1, D, generator=rng, dtype=torch.float64)
    state = tuple(torch.randn(1, units, generator=rng).double() for _ in graph.states)
    return graph, parameters, x, state


def test_every_cell_is_written_a_second_time_here():
    assert {*PAPERS, "slstm"} == set(CELLS)


@pytest.mark.parametrize("name", PAPERS)
def test_one_step_is_what_the_paper_says(name, rng):
    graph, parameters, x, state = drawn(name, rng)
    values = step(graph, parameters, x, state)
    arrays = {key: value.numpy() for key, value in parameters.items()}
    expected = PAPERS[name](arrays, x[0].numpy(), *(value[0].numpy() for value in state))
    found = [values[index][0] for index in graph.updated]
    assert_close(found, [torch.from_numpy(value) for value in expected])


def test_the_page_on_cells_lists_them_all():
    page = Path(__file__).parents[1] / "docs" / "cells.md"
    rows = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows)) == list(CELLS)


# Counts.

COUNTS = {
    "rnn": 1, "rnn_relu": 1, "gru": 3, "gru_take": 3, "lstm": 4, "coupled_lstm": 3, "mgu": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(("features", "units"), [(1, 1), (3, 5), (100, 5)])
def test_parameters_are_so_many_plain_networks(name, features, units):
    one = units * (features + units + 1)
    assert CELLS[name].graph.parameter_count(features, units) == COUNTS[name] * one


def count(name, d=D, h=H):
    return CELLS[name].graph.parameter_count(d, h)


def test_parameters_of_the_others_follow_from_the_lstm_and_the_gru():
    lstm, gru = 4 * (H * D + H * H + H), 3 * (H * D + H * H + H)
    assert count("peephole_lstm") == lstm + 3 * H
    assert count("gru_reset_after") == count("gru_reset_after_take") == gru + H
    assert count("layer_norm_lstm") == lstm - 4 * H + (9 + 9) * H
    assert count("multiplicative_lstm") == lstm + H * D + H * H
    assert count("mogrifier_lstm") == lstm + 5 * D * H
    assert count("slstm") == lstm
    assert count("mingru") == count("linear") == 2 * (H * D + H)
    assert count("indrnn") == H * D + 2 * H
    assert count("multiplicative_rnn") == H * D * H + H * D + H
    heads = CELLS["slstm"].with_options(heads=4).graph
    assert heads.parameter_count(3, 8) == 4 * (8 * 3 + 4 * 2 * 2 + 8)


def test_parameters_of_the_lectures_examples():
    assert count("rnn", 100, 5) + 5 * 3 + 3 == 548  # SimpleRNN(5) and Dense(3)
    both = 2 * count("lstm", 100, 64) + 2 * count("lstm", 128, 32)
    assert both == 2 * 4 * 64 * (100 + 64 + 1) + 2 * 4 * 32 * (128 + 32 + 1)
    gates = {name: len(CELLS[name].graph.families["U"].gates) for name in ("rnn", "gru", "lstm")}
    assert gates == {"rnn": 1, "gru": 3, "lstm": 4}  # of them candidates: 1, 1, 1


# Limits. The gates are held by their biases, the recurrent state arbitrary.


def held(name, rng, **gates):
    """One step with gates held at 0 or 1: new state, old state, and the plain network's answer."""
    graph, parameters, x, state = drawn(name, rng)
    for gate, value in gates.items():
        parameters = {
            **parameters,
            f"b.{gate}": torch.full_like(state[0][0], 1e3 * (2 * value - 1)),
        }
    values = step(graph, parameters, x, state)
    arrays = {key: value.numpy() for key, value in parameters.items()}
    h = state[0][0].numpy()

    def candidate(h):
        return torch.from_numpy(np.tanh(affine(arrays, "n", x[0].numpy(), h.numpy())))

    return values[graph.updated[0]][0], torch.from_numpy(h), candidate


def test_open_update_gate_skips_the_step_whatever_the_reset_gate(rng):
    for r in (0, 1):
        new, old, _ = held("gru", rng, z=1, r=r)
        assert_close(new, old)


def test_shut_update_gate_takes_the_candidate(rng):
    new, old, candidate = held("gru", rng, z=0, r=1)
    assert_close(new, candidate(old))  # the plain network
    new, old, candidate = held("gru", rng, z=0, r=0)
    assert_close(new, candidate(0 * old))  # a network of x alone: a full reset


def test_the_other_direction_of_the_update_gate_is_the_opposite(rng):
    new, old, candidate = held("gru_take", rng, z=0, r=1)
    assert_close(new, old)
    new, old, candidate = held("gru_take", rng, z=1, r=1)
    assert_close(new, candidate(old))


def test_a_gate_of_one_in_a_minimal_unit_is_the_plain_network(rng):
    new, old, candidate = held("mgu", rng, f=1)
    assert_close(new, candidate(old))
    new, old, _ = held("mgu", rng, f=0)
    assert_close(new, old)


def test_reset_after_differs_from_reset_before_by_the_place_of_the_product(rng):
    graph, parameters, x, state = drawn("gru", rng)
    after = CELLS["gru_reset_after"].graph
    more = {**parameters, "d.n": torch.zeros_like(parameters["b.n"])}
    more = {node.name: more[node.name] for node in after.nodes if node.op == "parameter"}
    one = step(graph, parameters, x, state)[graph.updated[0]]
    other = step(after, more, x, state)[after.updated[0]]
    assert not torch.allclose(one, other)
    for named in (parameters, more):
        named["b.r"] = torch.full_like(parameters["b.r"], 1e3)
    one = step(graph, parameters, x, state)[graph.updated[0]]
    other = step(after, more, x, state)[after.updated[0]]
    assert_close(other, one)


# Algebra.


def test_linear_cell_is_the_lectures_sum_of_products(rng):
    """a_t = b_t + Σ_{i<t} (Π_{j=i+1..t} c_j) b_i, with b and c from the cell's own trace."""
    graph = CELLS["linear"].graph
    parameters = draw_parameters(graph, D, H, rng)
    steps = 6
    x = torch.randn(steps, 1, D, generator=rng, dtype=torch.float64)
    start = (torch.zeros(1, H, dtype=torch.float64),)
    outputs, _, trace = scan(graph, parameters, x, start, trace=True)
    b, c = trace["g"][:, 0], trace["f"][:, 0]
    for t in range(steps):
        closed = b[t] + sum(c[i + 1 : t + 1].prod(0) * b[i] for i in range(t))
        assert_close(outputs[t, 0], closed)


def test_gradient_of_the_recurrent_weights_is_the_lectures_closed_form(rng):
    """∂h_t/∂w_h = Σ_i (Π_{j=i+1..t} ∂h_j/∂h_{j-1}) ∂f(x_i, h_{i-1}, w_h)/∂w_h, by hand."""
    graph = CELLS["rnn"].graph
    parameters = draw_parameters(graph, D, H, rng)
    x = torch.randn(5, 1, D, generator=rng, dtype=torch.float64)
    start = torch.randn(1, H, generator=rng, dtype=torch.float64)

    def last(U):
        return scan(graph, {**parameters, "U": U}, x, (start,))[0][-1, 0]

    U = parameters["U"]
    by_autograd = torch.autograd.functional.jacobian(last, U)  # [H H H]
    h = torch.cat([start[None], scan(graph, parameters, x, (start,))[0]])[:, 0]
    slopes = 1 - h[1:] ** 2  # of tanh, at every step
    total = torch.zeros(H, H, H, dtype=torch.float64)
    for i in range(len(x)):
        # h_i by U with h_{i-1} held: only row k of U reaches unit k.
        direct = torch.einsum("ka,b->kab", torch.diag(slopes[i]), h[i])
        for j in range(i + 1, len(x)):
            direct = torch.einsum("kl,lab->kab", slopes[j][:, None] * U, direct)
        total += direct
    assert_close(by_autograd, total)


def test_four_factors_of_a_tenth_leave_a_ten_thousandth():
    factor = torch.tensor([[-np.log(9.0)]], dtype=torch.float64)  # σ of it is 0.1
    parameters = {"W": torch.zeros(2, 1).double(), "b": torch.cat([factor[0], torch.zeros(1)])}
    start = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    x = torch.ones(4, 1, 1, dtype=torch.float64)
    outputs, _, _ = scan(CELLS["linear"].graph, parameters, x, (start,))
    outputs[-1].sum().backward()
    assert start.grad.item() == pytest.approx(0.0001, rel=1e-12)


# Ranges.


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    name=st.sampled_from(["rnn", "lstm", "gru", "gru_reset_after", "mgu", "coupled_lstm"]),
    scale=st.sampled_from([0.1, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 9),
)
def test_gates_stay_between_0_and_1_and_outputs_between_minus_1_and_1(name, scale, seed):
    rng = torch.Generator().manual_seed(seed)
    graph, parameters, x, state = drawn(name, rng)
    state = (torch.tanh(state[0]), *state[1:])
    values = step(graph, parameters, scale * x, state)
    for gate, index in graph.gates:
        low = -1 if gate in ("g", "n") else 0
        assert ((values[index] >= low) & (values[index] <= 1)).all(), gate
    assert (values[graph.updated[0]].abs() <= 1).all()


# sLSTM.


def slstm_step(pre, state, dtype=torch.float64):
    """A step whose gates see exactly ``pre`` (by gate): one unit, all weights zero."""
    graph = CELLS["slstm"].graph
    zeros = {"W": torch.zeros(1, 1), "R": torch.zeros(1, 1, 1)}
    parameters = {}
    for family in graph.families.values():
        for gate in family.gates:
            given = torch.tensor([float(pre[gate])])
            parameters[f"{family.name}.{gate}"] = zeros.get(family.name, given).to(dtype)
    values = step(graph, parameters, torch.ones(1, 1, dtype=dtype), state)
    return tuple(values[index] for index in graph.updated)


def zeros(dtype=torch.float64):
    return tuple(torch.zeros(1, 1, dtype=dtype) for _ in range(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("i", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize("f", [-200.0, 0.0, 200.0])
def test_slstm_is_finite_for_gates_far_out(i, f, dtype):
    state, pre = zeros(dtype), {"i": i, "f": f, "g": 0.5, "o": 1.0}
    for turn in range(50):
        state = slstm_step(pre, state, dtype)
        assert all(value.isfinite().all() for value in state), turn
    # The same input at every step: the weighted mean of the candidates is the candidate.
    expected = torch.tensor([[sigmoid(1.0) * np.tanh(0.5)]]).to(dtype)
    assert_close(state[0], expected)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    pre=st.lists(st.tuples(*[st.floats(-8, 8, width=32)] * 4), min_size=1, max_size=6),
)
def test_slstm_is_the_unstabilised_formula_where_that_is_finite(pre):
    state, c, n = zeros(), 0.0, 0.0
    for numbers in pre:
        given_here = dict(zip("ifgo", numbers, strict=True))
        state = slstm_step(given_here, state)
        i, f, g, o = (np.float64(number) for number in numbers)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(g)
        n = sigmoid(f) * n + np.exp(i)
        plain = torch.tensor([[sigmoid(o) * c / n]], dtype=torch.float64)
        assert abs(state[0] - plain).item() <= 1e-12
        assert state[2].item() * np.exp(state[3].item()) == pytest.approx(n, rel=1e-12)


def test_slstm_with_heads_is_the_unstabilised_formula(rng):
    graph = CELLS["slstm"].with_options(heads=2).graph
    parameters = unstack(graph, draw_parameters(graph, D, 6, rng))
    arrays = {key: value.numpy() for key, value in parameters.items()}
    state = tuple(torch.zeros(1, 6, dtype=torch.float64) for _ in range(4))
    h, c, n = (np.zeros(6) for _ in range(3))
    for _ in range(4):
        x = torch.randn(1, D, generator=rng, dtype=torch.float64)
        values = step(graph, parameters, x, state)
        state = tuple(values[index] for index in graph.updated)
        h, c, n = slstm_unstabilised(arrays, x[0].numpy(), h, c, n)
        assert_close(state[0][0], torch.from_numpy(h))


def test_slope_of_the_slstms_forget_gate_is_right_at_zero():
    """There the two kinks of a stable ln σ meet; its slope is 1/2."""
    from unspool.cells.slstm import log_sigmoid

    z = torch.tensor([0.0, 3.0, -700.0, 700.0], dtype=torch.float64, requires_grad=True)
    value = log_sigmoid(z)
    value.sum().backward()
    assert_close(value.detach(), torch.nn.functional.logsigmoid(z.detach()))
    assert_close(z.grad, torch.sigmoid(-z.detach()))
