"""Random cells: equations drawn by hypothesis as source text, so that a failure can be read."""

import linecache
import math
from itertools import count

import torch
from hypothesis import strategies as st

from unspool.engine import language

# No comparison can be a tie, no value leaves the safe range of exp and log, no row norm divides by
# next to nothing: what remains is honest rounding.
OPERATIONS = [
    "{a} + {b}",
    "{a} - {b}",
    "-{a}",
    "1 - 0.5 * {a}",
    "tanh({a}) * {b}",
    "{a} / (1.5 + {b} * {b})",
    "sigmoid({a})",
    "tanh({a})",
    "relu({a} + 0.05)",
    "exp(tanh({a}))",
    "log(1.5 + {a} * {a})",
    "maximum({a}, {b} - 0.05)",
    "where({a} > 0.1, {b}, {c})",
    "softmax({a})",
    "layer_norm({a}, s.{k}, t.{k}, 0.1)",
    "W.{k} @ x",
    "W.{k} @ x + U.{k} @ {a} + b.{k}",
    "{a} + (U.{k} @ {b} - {c})",
    "U.{k} @ {a}",
    "V.{k} * {a}",
    "{a} + b.{k}",
    "W.{k} @ (x * sigmoid(A.{k} @ {a}))",
    "W.{k} @ (x * softmax(A.{k} @ {a}))",
]
LETTERS = "WUAVbst"
NUMBERS = count()


@st.composite
def sources(draw):
    """The text of a cell of one or two states."""
    states = draw(st.sampled_from([["h"], ["h", "c"]]))
    values, lines = [*states], []
    for k in range(draw(st.integers(2, 7))):
        operation = draw(st.sampled_from(OPERATIONS))
        operands = {letter: draw(st.sampled_from(values)) for letter in "abc"}
        lines.append(f"v{k} = {operation.format(k=f'g{k}', **operands)}")
        values.append(f"v{k}")
    last, other = draw(st.sampled_from(values[-3:])), values[-1]
    if "c" in states:
        lines.append(f"c = 0.6 * c + 0.4 * tanh({other})")
        last = f"{last} - c"
    lines.append(f"h = tanh(0.5 * ({last} + W.h @ x) + 0.3 * h)")
    families = [f for f in LETTERS if any(f"{f}." in line for line in lines)]
    head = f"def drawn(x, {', '.join([*states, *families])}):"
    return "\n    ".join([head, *lines, f"return {', '.join(states)}"])


def make_cell(source):
    """The cell of a text."""
    name = f"<drawn {next(NUMBERS)}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    scope = {}
    exec(compile(source, name, "exec"), vars(language).copy(), scope)
    states = [s for s in ("h", "c") if f", {s}," in source.partition("\n")[0]]
    return language.cell(state=" ".join(states))(scope["drawn"])


def define(source, state, output=None, remember=True):
    """The cell ``mine`` of a text, which stands in a file of its own as far as messages know."""
    name = f"/nowhere/drawn{next(NUMBERS)}.py"
    if remember:
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    scope = {**vars(language), "math": math, "torch": torch}
    exec(compile(source, name, "exec"), scope)
    return language.cell(state=state, output=output)(scope["mine"])


def draw_parameters(graph, features, units, rng, dtype=torch.float64, scale=0.5):
    """Every family drawn, matrices small enough for a recurrence that contracts."""
    parameters = {}
    for family in graph.families.values():
        sizes = family.sizes(features, units)
        wide = scale if len(sizes) == 1 else min(scale, 1.5 / sizes[-1] ** 0.5)
        drawn = torch.rand(sizes, generator=rng, dtype=torch.float64) * 2 - 1
        parameters[family.name] = (drawn * wide).to(dtype)
    return parameters


def units_for(graph, least):
    """The fewest units from ``least`` on that the blocks of a cell divide."""
    axes = {axis for family in graph.families.values() for axis in family.shape}
    blocks = [int(axis.partition("/")[2]) for axis in axes if "/" in str(axis)]
    return next(H for H in range(least, 1000) if all(H % block == 0 for block in blocks))
