"""What every cell has in common, and cells that are each other's special cases."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import torch

from equations import draw_parameters, units_for
from tolerance import TOLERANCES, assert_close
from unspool.cells import CELLS
from unspool.engine.reference import scan, step, unstack

D, H = 3, 6
PAGE = Path(__file__).parents[1] / "docs" / "cells.md"
every_cell = pytest.mark.parametrize("name", CELLS)


def draw(made, rng, units=H):
    """Parameters by name, an input and a state."""
    parameters = unstack(made.graph, draw_parameters(made.graph, D, units, rng))
    x = torch.randn(4, D, generator=rng, dtype=torch.float64)
    state = tuple(torch.rand(4, units, generator=rng, dtype=torch.float64) for _ in made.states)
    return parameters, x, state


def new_states(made, parameters, x, state):
    values = step(made.graph, parameters, x, state)
    return [values[index].expand_as(state[0]) for index in made.graph.updated]


@every_cell
def test_a_cell_is_its_equations_and_nothing_else(name):
    source = textwrap.dedent(inspect.getsource(CELLS[name].function))
    docstring, *equations, last = ast.parse(source).body[0].body
    assert isinstance(docstring, ast.Expr) and isinstance(last, ast.Return)
    assert all(isinstance(equation, ast.Assign) for equation in equations)
    assert len(equations) <= 12


@every_cell
def test_a_cell_names_its_source_in_one_line(name):
    [line] = CELLS[name].__doc__.splitlines()
    assert re.search(r"\((19|20)\d\d\)|lectures|torch\.nn", line)


@every_cell
def test_gates_stand_in_the_one_order(name):
    for family in CELLS[name].graph.families.values():
        for order in ("ifgo", "rzn"):
            members = [gate for gate in family.gates if gate in order]
            assert members == sorted(members, key=order.index)


@every_cell
def test_the_page_of_cells_has_a_row_for_every_cell(name):
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert sum(f"`{name}`" in row.split("|")[1] for row in rows) == 1


# The first cell of each pair computes what the second does, with weights made from the second's.
RELATIVES = {
    "an LSTM with opposite input and forget gates is the coupled one": (
        "lstm", "coupled_lstm", lambda p: {f"{w}.i": -p[f"{w}.f"] for w in "WUb"},
    ),
    "a peephole LSTM that does not peep is an LSTM": (
        "peephole_lstm", "lstm", lambda p: {f"V.{k}": 0 * p["b.i"] for k in "ifo"},
    ),
    "a Mogrifier whose sums are zero is an LSTM": (
        "mogrifier_lstm", "lstm",
        lambda p: {f"Q.x{k}": 0 * p["W.i"].T for k in (1, 3, 5)}
        | {f"R.h{k}": 0 * p["W.i"] for k in (2, 4)},
    ),
    "a GRU whose two gates are one is the minimal gated unit": (
        "gru_take", "mgu", lambda p: {f"{w}.{k}": p[f"{w}.f"] for w in "WUb" for k in "rz"},
    ),
    "a GRU that takes where the other keeps is the other": (
        "gru_take", "gru", lambda p: {f"{w}.z": -p[f"{w}.z"] for w in "WUb"},
    ),
    "and so with the reset after the product": (
        "gru_reset_after_take", "gru_reset_after",
        lambda p: {f"{w}.z": -p[f"{w}.z"] for w in "WUb"},
    ),
    "a rectified network with a diagonal matrix is the independent one": (
        "rnn_relu", "indrnn", lambda p: {"U.h": torch.diag(p["u.h"])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("relation", RELATIVES)
def test_a_cell_becomes_its_relative_when(relation, rng):
    general, special, tied = RELATIVES[relation]
    parameters, x, state = draw(CELLS[special], rng)
    found = new_states(CELLS[general], {**parameters, **tied(parameters)}, x, state)
    assert_close(found, new_states(CELLS[special], parameters, x, state))


def test_slstm_with_heads_mixes_units_only_within_each(rng):
    made = CELLS["slstm"].with_options(heads=3)
    parameters, x, state = draw(made, rng, units_for(made.graph, 6))
    changed = state[0].clone()
    changed[:, :2] += 0.5  # the units of the first head
    before = new_states(made, parameters, x, state)
    after = new_states(made, parameters, x, (changed, *state[1:]))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, 2:], other[:, 2:])
    assert not torch.equal(before[0][:, :2], after[0][:, :2])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("i", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize("f", [-200.0, 0.0, 200.0])
def test_slstm_has_finite_gradients_for_gates_of_any_size(i, f, dtype):
    graph = CELLS["slstm"].graph
    parameters = {
        "W": torch.zeros(4, 1, dtype=dtype),
        "R": torch.zeros(4, 1, 1, dtype=dtype),
        "b": torch.tensor([i, f, 0.5, 200.0], dtype=dtype),  # gates stand in the order i f g o
    }
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    start = tuple(torch.zeros(1, 1, dtype=dtype) for _ in graph.states)
    outputs, state, trace = scan(
        graph, leaves, torch.ones(50, 1, 1, dtype=dtype), start, trace=True
    )
    # Every step stores the same candidate, so the weighted mean c / n is the candidate.
    assert_close(outputs, torch.tensor(0.5, dtype=dtype).tanh().expand_as(outputs))
    assert trace["n"].ge(1).all()
    sum(value.sum() for value in (outputs, *state)).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves.values())
