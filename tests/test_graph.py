"""The traced step as data: stored and read again, simplified, recognised."""

import copy
import json
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equations import define, draw_parameters, make_cell, sources, units_for
from unspool.cells import CELLS
from unspool.engine.graph import ARITY, Graph, simplify
from unspool.engine.reference import step, unstack
from unspool.errors import CellError

# The graph as data.


@pytest.mark.parametrize("name", CELLS)
def test_graph_survives_json(name):
    graph = CELLS[name].graph
    back = Graph.from_dict(json.loads(json.dumps(graph.to_dict())))
    assert back.to_dict() == graph.to_dict()
    assert (back.fingerprint, back.families, back.gates) == (
        graph.fingerprint, graph.families, graph.gates,
    )  # fmt: skip


@settings(deadline=None, max_examples=15, derandomize=True)
@given(source=sources())
def test_graph_of_a_drawn_cell_survives_json(source):
    graph = make_cell(source).graph
    data = json.loads(json.dumps(graph.to_dict()))
    assert Graph.from_dict(data).to_dict() == data


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.just(10**400)
    | st.sampled_from([*ARITY, "D", "H", "H/2", "D/0", "h", "c", "W.i", "W", "U.", "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)  # fmt: skip


def places(data, at=()):
    """Every place in nested lists and mappings."""
    yield at
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from places(data[key], (*at, key))


PLACES = {
    name: [at for at in places(json.loads(json.dumps(CELLS[name].to_dict()))) if at]
    for name in ("gru", "slstm", "multiplicative_rnn")
}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(data=st.data())
def test_only_a_cell_error_comes_of_a_graph_that_somebody_changed(data):
    name = data.draw(st.sampled_from(sorted(PLACES)))
    stored = json.loads(json.dumps(CELLS[name].to_dict()))
    *path, last = data.draw(st.sampled_from(PLACES[name]))
    holder = stored
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(ANYTHING)
    try:
        graph = Graph.from_dict(stored)
    except CellError as error:
        assert str(error).startswith("cell: the stored equations are damaged")
        return
    # What is let through must run: every shape fits, so nothing reads where it must not.
    units = units_for(graph, 4)
    rng = torch.Generator().manual_seed(1)
    parameters = unstack(graph, draw_parameters(graph, 3, units, rng))
    state = tuple(torch.ones(2, units, dtype=torch.float64) for _ in graph.states)
    x = torch.ones(2, 3, dtype=torch.float64)
    values = step(graph, parameters, x, state)
    for node, value in zip(graph.nodes, values, strict=True):
        if node.op != "parameter":
            assert value.dim() <= 2
            assert not node.shape or value.shape[-1] == {"D": 3, "H": units}[node.shape[0]]
    simplify(graph)


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, {"nodes": 3}, {"nodes": [[]]}])
def test_only_a_cell_error_comes_of_what_is_no_graph(junk, unchecked):
    with pytest.raises(CellError, match="damaged"):
        Graph.from_dict(junk)


@pytest.mark.parametrize("name", ["lstm", "slstm"])
def test_a_cell_survives_pickle_and_copies(name):
    back = pickle.loads(pickle.dumps(CELLS[name]))
    assert back.function is None
    assert (back.name, back.states, back.fingerprint) == (
        name, CELLS[name].states, CELLS[name].fingerprint,
    )  # fmt: skip
    assert copy.deepcopy(CELLS[name]) is CELLS[name]


def stored_with(operation):
    """A small graph in which the last node but the sum is ``operation`` of x's product and h."""
    return {
        "nodes": [
            ["input", [], ["D"], "x", 0.0], ["state", [], ["H"], "h", 0.0],
            ["parameter", [], ["H", "D"], "W", 0.0], ["matmul", [2, 0], ["H"], "", 0.0],
            operation, ["add", [4, 3], ["H"], "", 0.0],
        ],
        "states": ["h"], "updated": [5], "output": 5, "gates": [],
    }  # fmt: skip


FOREIGN = {
    "a comparison as a number": ["greater", [3, 1], ["H"], "", 0.0],
    "a number no float holds": ["constant", [], [], "", 10**400],
    "a number that is not finite": ["constant", [], [], "", math.inf],
    "a value from the future": ["neg", [5], ["H"], "", 0.0],
    "an operand too many": ["neg", [1, 3], ["H"], "", 0.0],
    "an unknown operation": ["system", [1], ["H"], "", 0.0],
    "another width": ["neg", [1], ["D"], "", 0.0],
    "mixed widths": ["add", [0, 1], ["H"], "", 0.0],
    "a product that does not fit": ["matmul", [2, 1], ["H"], "", 0.0],
    "a second input": ["input", [], ["D"], "y", 0.0],
    "a mask": ["sequence", [], ["H"], "m", 0.0],
}


def test_a_small_graph_is_taken():
    assert Graph.from_dict(stored_with(["neg", [1], ["H"], "", 0.0])).updated == (5,)


@pytest.mark.parametrize("what", FOREIGN)
def test_a_graph_is_refused_that_holds(what):
    with pytest.raises(CellError, match="damaged"):
        Graph.from_dict(stored_with(FOREIGN[what]))


# Simplification and fingerprints.

EXTREMES = [0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 1e-310, math.inf, -math.inf, math.nan]
NEUTRAL = [
    "{a} + 0", "0 + {a}", "{a} - 0", "{a} + -0.0", "{a} - -0.0", "{a} * 1", "1 * {a}", "{a} / 1",
    "--{a}", "{a} * 0", "0 * {a}", "{a} - {a}", "{a} + {b}", "{b} + {a}", "{a} * {b}", "1 / {a}",
    "{a} / {b}", "maximum({a}, {b})", "maximum({b}, {a})", "identity({a})", "{a} * 0.0",
    "{a} * -0.0", "2 * 3 * {a}", "relu({a})", "exp({a})", "log({a})", "where({a} > 0, {a}, 0)",
    "tanh({a})", "{a} + (0 - 0)", "0 / {a}", "-{a}",
]  # fmt: skip


@settings(deadline=None, max_examples=25, derandomize=True)
@given(data=st.data())
def test_simplifying_changes_no_value_not_even_of_nan_and_infinity(data):
    names, lines = ["h", "g"], ["g = W.g * x0"]
    for k in range(data.draw(st.integers(2, 12))):
        operation = data.draw(st.sampled_from(NEUTRAL))
        a, b = (data.draw(st.sampled_from(names)) for _ in "ab")
        lines.append(f"v{k} = ({operation.format(a=a, b=b)}) * 1")
        names.append(f"v{k}")
    source = "\n    ".join(
        ["def mine(x, h, W, S):", "x0 = S.x @ x", *lines, f"return {names[-1]} + h"]
    )
    graph = define(source, "h").graph
    fewer = simplify(graph)
    n = len(EXTREMES)
    h = torch.tensor([EXTREMES], dtype=torch.float64)
    shifted = h[0].roll(data.draw(st.integers(0, n - 1)))
    parameters = {"W.g": shifted, "S.x": torch.ones(n, 1, dtype=torch.float64)}
    x = torch.ones(1, 1, dtype=torch.float64)
    before, after = (step(each, parameters, x, (h,)) for each in (graph, fewer))
    for (name, old), (_, new) in zip(graph.gates, fewer.gates, strict=True):
        one, other = before[old].expand(1, n), after[new].expand(1, n)
        same = (one == other) & (one.signbit() == other.signbit()) | one.isnan() & other.isnan()
        assert same.all(), f"{name}: {one} is now {other}\n{source}"
    assert len(fewer.nodes) <= len(graph.nodes)


def test_simplifying_leaves_out_what_adds_nothing():
    def nodes(equation):
        source = f"def mine(x, h, W):\n    return {equation}"
        return len(define(source, "h").simplified.nodes)

    least = nodes("h + W.h @ x")
    for equation in ("1 * h + W.h @ x", "--h + W.h @ x", "h / 1 + W.h @ x", "h - 0 + W.h @ x"):
        assert nodes(equation) == least, equation
    assert nodes("h * (2 + 3) + W.h @ x") == nodes("h * 5 + W.h @ x")
    twice = "tanh(h + W.h @ x) * tanh(h + W.h @ x)"
    assert nodes(twice) == nodes("tanh(h + W.h @ x)") + 1


def test_fingerprint_sees_structure_and_not_names():
    def of(source, state="h"):
        return define(source, state).fingerprint

    plain = of("def mine(x, h, W, U):\n    g = W.g @ x\n    return tanh(g + U.g @ h)")
    renamed = of("def mine(y, s, A, B):\n    k = A.q @ y\n    return tanh(k + B.q @ s)", "s")
    unnamed = of("def mine(x, h, W, U):\n    return tanh(W.g @ x + U.g @ h)")
    assert plain == renamed == unnamed
    others = [
        "def mine(x, h, W, U):\n    return relu(W.g @ x + U.g @ h)",
        "def mine(x, h, W, U):\n    return tanh(W.g @ x - U.g @ h)",
        "def mine(x, h, W, U):\n    return tanh(2 * (W.g @ x) + U.g @ h)",
        "def mine(x, h, W, U):\n    return tanh(3 * (W.g @ x) + U.g @ h)",
        "def mine(x, h, W, U, b):\n    return tanh(W.g @ x + U.g @ h + b.g)",
        "def mine(x, h, W, u):\n    return tanh(W.g @ x + u.g * h)",
    ]
    prints = {plain, *(of(source) for source in others)}
    assert len(prints) == len(others) + 1


def test_every_cell_has_a_fingerprint_of_its_own():
    assert len({made.fingerprint for made in CELLS.values()}) == len(CELLS)
