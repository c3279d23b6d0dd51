"""Products with x before the loop or in it: the same numbers, whichever the sizes choose."""

import pytest
import torch

from scanning import assert_same, draw_case, everything, lengths_for, unchecked
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import fused
from unspool.engine.language import cell, exp, layer_norm, log, sigmoid, tanh
from unspool.engine.lookup import Lookup
from unspool.engine.plan import plan_of
from unspool.engine.scan import scan
from unspool.layers.recurrent import Recurrent

PLANS = {name: plan_of(CELLS[name], False, torch.float64) for name in CELLS}
FED = [name for name, plan in PLANS.items() if plan.linear is not None and not plan.diagonal]


@cell(state="h")
def weighed(x, h, W, U, b, p):
    a = sigmoid(W.a @ x + U.a @ h + b.a)
    n = tanh(W.n @ x + U.n @ h)
    return sigmoid(p.q) * h * a + exp(p.r) * n


@cell(state="h")
def squared_first(x, h, W, U, p):
    a = W.a @ x
    return sigmoid(p.q) * h + tanh(log(1 + a * a) + U.h @ h)


@cell(state="h")
def normed_by_feature(x, h, Q, W, U, k):
    y = sigmoid(Q.q @ h) * x * layer_norm(k.s, k.g, k.o)
    return tanh(W.h @ y + U.h @ h)


@pytest.fixture
def chosen(monkeypatch):
    """What each call chose, and a function that makes all calls choose alike."""
    calls = []
    feeds = fused._feeds

    def choose(always):
        monkeypatch.setattr(fused, "_feeds", lambda *given: calls.append(always) or always)

    monkeypatch.setattr(fused, "_feeds", lambda *given: calls.append(feeds(*given)) or calls[-1])
    with unchecked():
        yield calls, choose


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (4, 3, 5, 7), (3, 13, 2, 64)])
@pytest.mark.parametrize("name", FED)
def test_both_ways_give_what_the_readable_loop_gives(name, sizes, ragged, chosen):
    case = draw_case(CELLS[name], sizes)
    options = {"lengths": lengths_for(*sizes[:2]) if ragged else None}
    expected = everything(CELLS[name], "reference", case, **options)
    for always in (True, False):
        chosen[1](always)
        found = everything(CELLS[name], "llvm", case, **options)
        assert_same(found, expected, joint=1 in sizes)
    assert chosen[0] == [True, False]


@pytest.mark.parametrize("always", [True, False], ids=["fed", "before"])
@pytest.mark.parametrize("units", [7, 64])
def test_parameters_computed_beforehand_learn_beside_several_sums_with_x(units, always, chosen):
    chosen[1](always)
    case = draw_case(weighed, (4, 3, 5, units))
    expected = everything(weighed, "reference", case)
    assert_close(everything(weighed, "llvm", case), expected)
    assert chosen[0] == [always]


def test_parameters_computed_beforehand_may_be_as_wide_as_the_input(chosen):
    case = draw_case(normed_by_feature, (4, 3, 5, 7))
    expected = everything(normed_by_feature, "reference", case)
    assert_close(everything(normed_by_feature, "llvm", case), expected)
    assert not chosen[0]


@pytest.mark.parametrize("member", [weighed, squared_first], ids=["sums", "no sums"])
def test_parameters_computed_beforehand_serve_inputs_that_are_looked_up(member, rng):
    layer = Recurrent(member, 5, 7)
    loop = Recurrent(member, 5, 7, backend="reference")
    loop.load_state_dict(layer.state_dict())
    table = torch.randn(4, 5, generator=rng, requires_grad=True)
    tokens = torch.randint(4, (3, 6), generator=rng)
    found = []
    for each, x in ((layer, Lookup(table, tokens)), (loop, table[tokens])):
        outputs, _ = each(x)
        parameters = [table, *each.parameters()]
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), parameters)])
    assert_close(*found)


@pytest.mark.parametrize("name", ["lstm", "layer_norm_lstm"])
def test_gradients_of_gradients_are_the_same_both_ways(name, chosen):
    parameters, x, state = draw_case(CELLS[name], (3, 2, 2, 3))
    found = []
    for always in (True, False):
        chosen[1](always)
        x.requires_grad_()
        outputs = scan(CELLS[name], parameters, x, state, backend="llvm").outputs
        [first] = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), x)[0])
    assert_close(*found)


SIZES = {
    "small": ((2, 8, 128, 64), True),
    "many weights": ((2, 8, 512, 64), False),
    "few rows": ((2, 2, 128, 64), False),
    "few rows and fewer weights": ((2, 2, 8, 64), True),
}


@pytest.mark.parametrize(("sizes", "fed"), SIZES.values(), ids=SIZES)
def test_the_loop_multiplies_with_x_where_few_weights_serve_many_rows(sizes, fed, chosen):
    scan(CELLS["lstm"], *draw_case(CELLS["lstm"], sizes, torch.float32), backend="llvm")
    assert chosen[0] == [fed]


def test_x_and_biases_may_lie_in_memory_any_way(chosen):
    parameters, x, state = draw_case(CELLS["lstm"], (4, 3, 5, 16))
    expected = scan(CELLS["lstm"], parameters, x, state, backend="llvm").outputs
    apart = {name: value.repeat_interleave(2, -1)[..., ::2] for name, value in parameters.items()}
    turned = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert_close(scan(CELLS["lstm"], apart, turned, state, backend="llvm").outputs, expected)
    assert chosen[0] == [True, True]
