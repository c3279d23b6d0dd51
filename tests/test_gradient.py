"""The gradient of a step, as a graph, against autograd on the readable step."""

import pytest
import torch
from hypothesis import given, settings

from equations import draw_parameters, make_cell, sources, units_for
from scanning import unchecked
from tolerance import TOLERANCES, assert_close
from unspool.cells import CELLS
from unspool.engine.gradient import CENTRED, ORDERS, RULES, gradient, lower
from unspool.engine.graph import ARITY, LEAVES, resolve, simplify
from unspool.engine.hoist import centred
from unspool.engine.language import bilinear, block_diagonal, cell, layer_norm, maximum, tanh
from unspool.engine.reference import TORCH, step, unstack
from unspool.errors import BackendError


@pytest.fixture(autouse=True)
def quick():
    with unchecked():
        yield


VARIANTS = {
    "rnn_sigmoid": CELLS["rnn"].with_options(activation="sigmoid"),
}


def lowers(member):
    try:
        return bool(lower(member.graph))
    except BackendError:
        return False


ALL = {name: member for name, member in {**CELLS, **VARIANTS}.items() if lowers(member)}


def evaluate(nodes, leaf):
    """The value of every node, where ``leaf`` knows the leaves."""
    values = []
    for node in nodes:
        args = [values[arg] for arg in node.args]
        if not node.args:
            values.append(leaf(node))
        elif node.op == "transposed":
            values.append(args[1] @ args[0])
        else:
            values.append(TORCH[node.op](*args))
    return values


def by_graph(graph, parameters, x, state, arriving):
    """Gradients of x, states and parameters by name, from the gradient as a graph."""
    result = gradient(lower(simplify(graph)))
    units, features = state[0].shape[1], x.shape[1]
    given = {"input": x, **dict(zip(graph.states, state, strict=True))}

    def leaf(node):
        match node.op:
            case "input":
                return x
            case "state":
                return given[node.name]
            case "adjoint":
                return arriving[node.name]
            case "parameter":
                name, bracket, order = node.name.partition("(")
                value = parameters[name]
                if bracket + order == CENTRED:
                    return centred(value, 0)
                return value.permute(ORDERS[bracket + order]) if bracket else value
            case "inverse_width":
                return x.new_tensor(1.0 / resolve(node.name, features, units))
        return x.new_tensor(node.value)

    values = evaluate(result.nodes, leaf)
    found = {}
    for index, adjoint in result.leaves.items():
        node, value = result.nodes[index], values[adjoint].expand(len(x), -1)
        if node.op == "parameter":
            add(found, node.name, value.sum(0))
        else:
            found[node.name if node.op != "input" else "input"] = value
    for outer in result.matrices:
        name = result.nodes[outer.parameter].name
        adjoint = values[outer.adjoint].expand(len(x), -1)
        total = adjoint.T @ values[outer.operand].expand(len(x), -1)
        add(found, name, total.view(parameters[name.removesuffix(CENTRED)].shape))
    return found


def add(found, name, total):
    """A parameter's gradient, projected where the parameter was centred."""
    if name.endswith(CENTRED):
        name, total = name.removesuffix(CENTRED), centred(total, 0)
    found[name] = found[name] + total if name in found else total


def by_autograd(graph, parameters, x, state, arriving):
    """The same from autograd on the unsimplified step."""
    leaves = {"input": x, **dict(zip(graph.states, state, strict=True)), **parameters}
    leaves = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    single = {name: leaves[name] for name in parameters}
    values = step(graph, single, leaves["input"], tuple(leaves[s] for s in graph.states))
    ends = [graph.output, *graph.updated]
    weights = [arriving["output"], *(arriving[name] for name in graph.states)]
    loss = sum((values[i] * a).sum() for i, a in zip(ends, weights, strict=True))
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {n: g for n, g in zip(leaves, found, strict=True) if g is not None}


def both(graph, rng, batch=3, features=2, least=5):
    units = units_for(graph, least)
    parameters = unstack(graph, draw_parameters(graph, features, units, rng))

    def draw(width):
        return torch.randn(batch, width, generator=rng, dtype=torch.float64)

    state = tuple(draw(units) for _ in graph.states)
    arriving = {name: draw(units) for name in ("output", *graph.states)}
    arguments = parameters, draw(features), state, arriving
    return by_graph(graph, *arguments), by_autograd(graph, *arguments)


@pytest.mark.parametrize("name", ALL)
def test_gradient_of_a_cell_is_that_of_autograd(name, rng):
    found, expected = both(ALL[name].graph, rng)
    assert_close({key: found[key] for key in expected}, expected)


@pytest.mark.parametrize("name", ALL)
def test_gradient_holds_for_a_single_unit_and_row(name, rng):
    found, expected = both(ALL[name].graph, rng, batch=1, features=1, least=1)
    scale = max(value.abs().max() for value in expected.values())
    for key, value in expected.items():
        assert (found[key] - value).abs().max() <= TOLERANCES[torch.float64] * scale, key


@settings(deadline=None, max_examples=40, derandomize=True)
@given(source=sources())
def test_gradient_of_a_drawn_cell_is_that_of_autograd(source):
    found, expected = both(make_cell(source).graph, torch.Generator().manual_seed(1))
    # Where the exact gradient is zero, only rounding is left to compare: measure by the largest.
    scale = max(1.0, *(value.abs().max() for value in expected.values()))
    for key, value in expected.items():
        given_here = found.get(key, torch.zeros_like(value))
        assert (given_here - value).abs().max() <= TOLERANCES[torch.float64] * scale, key


def test_gradient_has_a_rule_for_every_operation_that_survives_lowering():
    gone = {"identity", "softmax", "layer_norm", "matmul", "blocks", "bilinear"}
    assert set(ARITY) - set(LEAVES) - gone <= set(RULES)


def test_gradient_is_shared_where_the_two_sides_of_a_maximum_are_equal(rng):
    @cell(state="h")
    def even(x, h, W):
        return maximum(W.h @ x, h)

    x = torch.randn(3, 2, generator=rng, dtype=torch.float64)
    parameters = unstack(even.graph, draw_parameters(even.graph, 2, 4, rng))
    state = (x @ parameters["W.h"].T,)
    arriving = {name: torch.ones(3, 4, dtype=torch.float64) for name in ("output", "h")}
    found = by_graph(even.graph, parameters, x, state, arriving)
    assert torch.equal(found["h"], torch.ones_like(found["h"]))
    assert_close(found, {k: v for k, v in by_autograd(
        even.graph, parameters, x, state, arriving).items() if k in found})  # fmt: skip


def test_gradient_reads_only_what_the_step_computed_anyway():
    """A sigmoid's slope is written with its output, so its argument need not be kept."""
    result = gradient(lower(CELLS["lstm"].simplified))
    used = {arg for node in result.nodes[result.num_forward :] for arg in node.args}
    read = {result.nodes[i].op for i in used if i < result.num_forward}
    assert read <= {"sigmoid", "tanh", "state", "parameter", "constant"}


def test_lowering_writes_row_operations_as_sums():
    @cell(state="h")
    def normed(x, h, W, U, gain, bias):
        return tanh(layer_norm(W.h @ x + U.h @ h, gain.h, bias.h))

    operations = {node.op for node in lower(normed.graph).nodes}
    assert "layer_norm" not in operations
    assert {"row_sum", "rsqrt", "inverse_width"} <= operations


def test_lowering_refuses_blocks_that_were_not_made_dense():
    @cell(state="h")
    def headed(x, h, W, R):
        return tanh(W.h @ x + block_diagonal(R.h, 2) @ h)

    with pytest.raises(BackendError, match="blocks"):
        lower(headed.graph)


@cell(state="h")
def squared(x, h, U, W, b):
    """Forms of the state with itself, and with what was made of it."""
    r = tanh(bilinear(U.r, h, h) + W.r @ x + b.r)
    return tanh(bilinear(U.h, r * h, h) + b.h)


@cell(state="h")
def crossed(x, h, U, W, M, R, b):
    """Forms of every two widths, one of which is as wide as the input."""
    s = bilinear(U.s, x, tanh(h * b.s))
    d = bilinear(R.d, s, h) * x
    return tanh(bilinear(M.h, d, x) + W.h @ d + s * b.h)


@pytest.mark.parametrize("member", [squared, crossed], ids=["squared", "crossed"])
def test_gradient_of_bilinear_forms_is_that_of_autograd(member, rng):
    found, expected = both(member.graph, rng)
    assert_close({key: found[key] for key in expected}, expected)
