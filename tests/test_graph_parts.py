"""The parts of a graph that must be what they say: parameters, states, roles, comparisons."""

import pytest

from unspool.cells import CELLS
from unspool.engine.graph import Graph
from unspool.engine.language import cell, tanh, where
from unspool.errors import CellError


def stored(**changes):
    """A small graph as data, h + W.a x + b.a; ``changes`` replace entries."""
    data = {
        "nodes": [
            ["input", [], ["D"], "x", 0.0],
            ["state", [], ["H"], "h", 0.0],
            ["parameter", [], ["H", "D"], "W.a", 0.0],
            ["matmul", [2, 0], ["H"], "", 0.0],
            ["parameter", [], ["H"], "b.a", 0.0],
            ["add", [3, 4], ["H"], "", 0.0],
            ["add", [1, 5], ["H"], "", 0.0],
        ],
        "states": ["h"],
        "updated": [6],
        "output": 6,
        "gates": [["g", 5]],
    }
    return {**data, **changes}


def with_node(index, node):
    nodes = stored()["nodes"]
    nodes[index] = node
    return stored(nodes=nodes)


def with_more(node):
    """One more node, which nothing uses."""
    return stored(nodes=[*stored()["nodes"], node])


def with_parameter(name, shape=("H",)):
    return with_more(["parameter", [], list(shape), name, 0.0])


def test_small_graph_is_taken_as_it_was_stored():
    assert Graph.from_dict(stored()).to_dict() == stored()


FOREIGN = {
    "a parameter twice": with_parameter("b.a"),
    "a family of two shapes": with_parameter("W.b"),
    "a family by gates and whole": with_parameter("b"),
    "a parameter without a letter": with_parameter(".a"),
    "a gate without a name": with_parameter("b."),
    "a gate that moves the cursor": with_parameter("b.\x1b[2J"),
    "a family that is a path": with_parameter("/b.a"),
    "a parameter of four axes": with_parameter("q.a", ("H", "H", "H", "H")),
    "a parameter of a fixed size": with_parameter("q.a", (7,)),
    "a parameter of parts": with_parameter("q.a", ("H/2",)),
    "blocks that do not tile": with_parameter("q.a", (2, "H/3", "H/3")),
    "a parameter without a shape": with_parameter("q.a", ()),
    "a matrix in a sum": with_node(4, ["parameter", [], ["H", "D"], "b.a", 0.0]),
    "a matrix made negative": with_more(["neg", [2], ["H", "D"], "", 0.0]),
    "a state that is not read": stored(states=["h", "c"], updated=[6, 6]),
    "a state by another name": stored(states=["c"]),
    "a state twice": stored(states=["h", "h"], updated=[6, 6]),
    "a state without a name": stored(states=[""]),
    "a state that is a number": stored(states=[3]),
    "no states": stored(states=[], updated=[]),
    "a state too many in the result": stored(updated=[6, 5]),
    "a state that becomes the input": stored(updated=[0]),
    "an output as wide as the input": stored(output=0),
    "an output that is a matrix": stored(output=2),
    "an output that does not exist": stored(output=7),
    "an output before the first": stored(output=-1),
    "an output that is a truth value": stored(output=True),
    "a gate that does not exist": stored(gates=[["g", 99]]),
    "two gates of one name": stored(gates=[["g", 5], ["g", 3]]),
    "a gate with the name of a state": stored(gates=[["h", 5]]),
    "a gate that is no word": stored(gates=[["g\n", 5]]),
    "a gate that is a matrix": stored(gates=[["g", 2]]),
    "two inputs": with_more(["input", [], ["D"], "y", 0.0]),
    "no input": with_node(0, ["constant", [], [], "", 1.0]),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_graph_is_refused_when_it_holds(what):
    with pytest.raises(CellError, match=r"^cell: the stored equations are damaged"):
        Graph.from_dict(FOREIGN[what])


def test_matrix_on_what_is_as_wide_as_the_input_has_the_role_of_an_input_matrix():
    families = CELLS["mogrifier_lstm"].graph.families
    roles = {letter: family.role for letter, family in families.items()}
    expected = {"Q": "recurrent", "R": "input", "W": "input", "U": "recurrent", "b": "bias"}
    assert roles == expected


def test_comparison_with_a_name_is_used_but_is_no_gate():
    @cell(state="h")
    def choosing(x, h, W):
        n = tanh(W.n @ x)
        larger = n > h
        return where(larger, n, 0.5 * h)

    assert [name for name, _ in choosing.graph.gates] == ["n"]
    assert Graph.from_dict(choosing.graph.to_dict()).to_dict() == choosing.graph.to_dict()


def test_value_that_was_kept_from_another_step_is_refused():
    kept = []

    @cell(state="h")
    def keeping(x, h, W):
        n = tanh(W.n @ x)
        kept.append(n)
        return h + kept[0]

    @cell(state="h")
    def another(x, h, W):
        return h + kept[0] + W.n @ x

    assert keeping.graph
    with pytest.raises(CellError, match="`add` got a value of another cell's step; in `return h"):
        _ = another.graph
