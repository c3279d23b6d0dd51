"""A cell's equations as mathematics: what is written, read again, computes what the cell does."""

import json
import linecache
import re

import pytest
import torch
from hypothesis import given, settings

from equations import draw_parameters, make_cell, sources, units_for
from tolerance import assert_close
from unspool.cell_listing import equations
from unspool.cells import CELLS
from unspool.cli import main
from unspool.engine.language import Cell, bilinear, cell, exp, maximum, sigmoid, tanh, where
from unspool.engine.latex import latex, plain
from unspool.engine.listing import describe
from unspool.engine.reference import TORCH, step, unstack
from unspool.engine.schedule import schedule

TOKEN = re.compile(r"\s*(\d[\d.]*(?:e-?\d+)?|[^\W\d]\w*\[t(?:-1)?\]|[^\W\d]\w*|[⊙≥ᵀ]|.)")
FUNCTIONS = {"σ": "sigmoid", "tanh": "tanh", "ReLU": "relu", "exp": "exp", "log": "log",
             "max": "maximum", "softmax": "softmax", "LN": "layer_norm"}  # fmt: skip


class Reader:
    """Formulas as `plain` writes them, computed by the usual rules: a product of neighbours first
    and from the right, then ⊙ and / from the left, then sums."""

    def __init__(self, values, parameters):
        self.values, self.parameters = values, parameters

    def read(self, text):
        self.tokens = TOKEN.findall(text)
        value = self.sum()
        assert not self.tokens, f"left over: {self.tokens}"
        return value

    def next(self):
        return self.tokens[0] if self.tokens else ""

    def take(self, *wanted):
        if self.next() in wanted:
            return self.tokens.pop(0)
        return ""

    def sum(self):
        value = -self.product() if self.take("-") else self.product()
        while sign := self.take("+", "-"):
            other = self.product()
            value = value + other if sign == "+" else value - other
        return value

    def product(self):
        value = self.applied()
        while sign := self.take("⊙", "/"):
            other = self.applied()
            value = value * other if sign == "⊙" else value / other
        return value

    def applied(self):
        value = self.atom()
        if self.take("ᵀ"):
            tensor, z = self.atom(), self.atom()
            return TORCH["bilinear"](tensor, value, z)
        if self.next() and self.next() not in "+-⊙/);,>≥" and self.next() not in ("if", "else"):
            other = self.applied()
            if torch.is_tensor(value) and value.dim() == 3:
                return TORCH["blocks"](value, other)
            wide = torch.is_tensor(value) and value.dim() == 2
            return TORCH["matmul"](value, other) if wide else value * other
        return value

    def atom(self):
        token = self.tokens.pop(0)
        if token == "(":
            value = self.sum()
            if self.take("if"):
                value = self.choice(value)
            assert self.take(")")
            return value
        if token[0].isdigit():
            return torch.tensor(float(token), dtype=torch.float64)
        if token in FUNCTIONS:
            assert self.take("(")
            arguments = [self.sum()]
            while self.take(",", ";"):
                arguments.append(self.sum())
            assert self.take(")")
            epsilon = [self.epsilon] if token == "LN" else []
            return TORCH[FUNCTIONS[token]](*arguments, *epsilon)
        return self.values[token] if token in self.values else self.parameters[token]

    def choice(self, then):
        left, sign, right = self.sum(), self.tokens.pop(0), self.sum()
        assert self.take("else")
        condition = left > right if sign == ">" else left >= right
        return torch.where(condition, then, self.sum())


def check_reading(made, rng):
    """Every equation, evaluated in order by a reader who knows only the text."""
    graph = made.graph
    units = units_for(graph, 3)
    parameters = unstack(graph, draw_parameters(graph, 2, units, rng))
    x = torch.randn(3, 2, dtype=torch.float64, generator=rng)
    state = tuple(
        torch.rand(3, units, dtype=torch.float64, generator=rng) + 0.1 for _ in graph.states
    )
    expected = step(graph, parameters, x, state)

    values = {f"{name}[t-1]": value for name, value in zip(graph.states, state, strict=True)}
    reader = Reader(values, {k.replace(".", "_"): v for k, v in parameters.items()})
    [entry] = [node.name for node in graph.nodes if node.op == "input"]
    values[f"{entry}[t]"] = x
    reader.epsilon = max((n.value for n in graph.nodes if n.op == "layer_norm"), default=0.0)
    for line in plain(made).splitlines():
        name, _, formula = line.partition(" = ")
        values[name.rstrip()] = reader.read(formula)
    ends = [*zip(graph.states, graph.updated, strict=True), *graph.gates]
    for name, index in ends:
        found = values.get(f"{name}[t]", values.get(name))
        wanted = expected[index]
        assert_close(found.expand_as(wanted), wanted)


@pytest.mark.parametrize("name", CELLS)
def test_plain_equations_read_again_compute_what_the_cell_computes(name, rng):
    check_reading(CELLS[name], rng)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(source=sources())
def test_equations_of_a_drawn_cell_read_again_compute_the_same(source):
    made = make_cell(source)
    check_reading(made, torch.Generator().manual_seed(1))
    assert marks_balance(latex(made))


@pytest.mark.parametrize("name", CELLS)
def test_every_gate_and_state_has_one_equation_in_both_notations(name):
    made = CELLS[name]
    names = [*(gate for gate, _ in made.graph.gates), *made.states]
    lefts = [line.partition(" = ")[0].strip() for line in plain(made).splitlines()]
    assert sorted(set(lefts)) == sorted(lefts)
    assert {f"{name}[t]" for name in names} <= set(lefts)
    text = latex(made)
    assert len(text.splitlines()) == len(lefts) + 2
    assert text.count(" &= ") == len(lefts)
    for letter in {node.name.partition(".")[0] for node in made.graph.nodes if node.name}:
        assert letter in text


def balanced(text):
    """Braces, parentheses and environments, each closed by its like."""
    opening = {"}": "{", ")": "(", r"\right": r"\left"}
    waiting = []
    marks = re.findall(r"\\begin\{\w+\}|\\end\{\w+\}|\\left|\\right|\\[{}]|[{}()]", text)
    for mark in marks:
        if mark.startswith(r"\begin"):
            waiting.append(mark)
        elif mark.startswith(r"\end"):
            if not waiting or waiting.pop() != mark.replace("end", "begin"):
                return False
        elif mark in opening:
            if not waiting or waiting.pop() != opening[mark]:
                return False
        elif mark in ("{", "(", r"\left"):
            if mark == r"\left":
                continue
            waiting.append(mark)
    return not waiting


def marks_balance(text):
    return balanced(text.replace(r"\left", "").replace(r"\right", "")) and (
        text.count(r"\left(") == text.count(r"\right)")
    )


@pytest.mark.parametrize("name", CELLS)
def test_latex_closes_what_it_opens(name):
    assert marks_balance(latex(CELLS[name]))


@pytest.mark.parametrize("text", ["{", "(}", r"\begin{cases}", "a)", r"\left(a)"])
def test_what_is_not_closed_is_noticed(text):
    assert not marks_balance(text)


def test_latex_of_the_lstm_is_the_lecture_slide():
    assert latex(CELLS["lstm"]).splitlines() == [
        r"\begin{aligned}",
        r"i_t &= \sigma(W_{i} x_t + U_{i} h_{t-1} + b_{i}) \\",
        r"f_t &= \sigma(W_{f} x_t + U_{f} h_{t-1} + b_{f}) \\",
        r"g_t &= \tanh(W_{g} x_t + U_{g} h_{t-1} + b_{g}) \\",
        r"o_t &= \sigma(W_{o} x_t + U_{o} h_{t-1} + b_{o}) \\",
        r"c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\",
        r"h_t &= o_t \odot \tanh(c_t)",
        r"\end{aligned}",
    ]


FORMULAS = {
    "a - (h + b.a)": "a[t] - (h[t-1] + b_a)",
    "a + (h + b.a)": "a[t] + h[t-1] + b_a",
    "a - (h - b.a)": "a[t] - (h[t-1] - b_a)",
    "(a - h) * b.a": "(a[t] - h[t-1]) ⊙ b_a",
    "a * (h * b.a)": "a[t] ⊙ h[t-1] ⊙ b_a",
    "a * (h / b.a)": "a[t] ⊙ (h[t-1] / b_a)",
    "a * h / b.a": "a[t] ⊙ h[t-1] / b_a",
    "a / (h * b.a)": "a[t] / (h[t-1] ⊙ b_a)",
    "-(a + h)": "-(a[t] + h[t-1])",
    "-a * h": "(-a[t]) ⊙ h[t-1]",
    "-(a * h)": "-a[t] ⊙ h[t-1]",
    "a + -h": "a[t] + (-h[t-1])",
    "-a + h": "-a[t] + h[t-1]",
    "a - -2 * h": "a[t] - (-2 h[t-1])",
    "2 * (3 * (a + h))": "2 ⊙ 3 (a[t] + h[t-1])",
    "(a + h) * 0.5": "(a[t] + h[t-1]) ⊙ 0.5",
    "1e-5 * a + h": "1e-5 a[t] + h[t-1]",
    "2 * (U.a @ h) * a": "(2 U_a h[t-1]) ⊙ a[t]",
    "U.a @ (U.c @ h + a)": "U_a (U_c h[t-1] + a[t])",
    "where(a >= h, -a, a - h)": "(-a[t] if a[t] ≥ h[t-1] else a[t] - h[t-1])",
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_parentheses_stand_where_they_are_needed_and_nowhere_else(formula):
    families = [letter for letter in "Ub" if f"{letter}." in formula]
    source = (
        f"def drawn(x, h, W, {', '.join(families)}{', ' * bool(families)}s):\n"
        f"    a = tanh(W.a @ x + s.a)\n    y = {formula}\n    return 0.5 * (y + h)"
    )
    made = make_cell(source)
    [line] = [line for line in plain(made).splitlines() if line.startswith("y")]
    assert line.partition(" = ")[2] == FORMULAS[formula]


def test_fraction_and_cases_are_written_tall():
    @cell(state="h n")
    def tall(x, h, n, W):
        p = where(n > 1, h, 2.5e-8) * (1 / (1 + exp(-(W.p @ x))))
        return maximum(p, h), n + 1

    text = latex(tall)
    assert r"\left(\begin{cases} h_{t-1} & \text{if } n_{t-1} > 1" in text
    assert r"2.5 \cdot 10^{-8} & \text{otherwise} \end{cases}\right) \odot \frac{1}" in text
    assert marks_balance(text)


def test_names_are_written_as_mathematics():
    @cell(state="h")
    def named(x, h, alpha, W):
        gamma = tanh(W.gamma @ x)
        x1 = gamma * h
        log_i = x1 + alpha.xi * h
        keep = log_i * 2
        return keep - x1

    lefts = [line.partition(" &=")[0] for line in latex(named).splitlines()[1:-1]]
    assert lefts == [r"\gamma_t", "x^{(1)}_t", r"\mathrm{log}_{i,t}", r"\mathrm{keep}_t", "h_t"]
    assert r"\alpha_{\mathrm{xi}} \odot h_{t-1}" in latex(named)


def test_a_value_without_a_name_that_is_used_twice_gets_one():
    def square(z):
        return z * z

    @cell(state="h")
    def squared(x, h, W):
        return square(W.h @ x + h)

    assert plain(squared) == "s[t] = W_h x[t] + h[t-1]\nh[t] = s[t] ⊙ s[t]"


def test_a_value_that_never_changes_has_no_time():
    @cell(state="h")
    def fading(x, h, W, a):
        f = tanh(a.f)
        return f * h + W.h @ x

    assert plain(fading).splitlines()[0] == "f    = tanh(a_f)"


def test_a_state_that_takes_over_another_has_its_equation():
    @cell(state="h p")
    def delayed(x, h, p, W):
        new = tanh(W.h @ x + p)
        return new, h

    assert plain(delayed) == "p[t] = h[t-1]\nh[t] = tanh(W_h x[t] + p[t-1])"


def test_an_output_of_its_own_has_an_equation():
    @cell(state="c", output="h")
    def exposed(x, c, W, U):
        c = c + W.c @ x
        h = U.h @ tanh(c)  # noqa: F841 - the output
        return c

    assert plain(exposed).splitlines()[-1] == "h[t] = U_h tanh(c[t])"


def test_both_notations_know_bilinear_products():
    @cell(state="h")
    def product(x, h, M):
        return tanh(bilinear(M.h, x, h))

    assert plain(product) == "h[t] = tanh(x[t]ᵀ M_h h[t-1])"
    assert r"\tanh(x_t^\top M_{h} h_{t-1})" in latex(product)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_brought_back_from_its_graph_is_written_alike(name):
    back = Cell.from_dict(CELLS[name].to_dict())
    assert (latex(back), plain(back)) == (latex(CELLS[name]), plain(CELLS[name]))


def test_cells_command_shows_the_equations_of_a_cell_without_readable_source():
    made = make_cell("def drawn(x, h, W):\n    return tanh(h + W.h @ x)")
    shown = ["h[t] = tanh(h[t-1] + W_h x[t])"]
    linecache.clearcache()
    assert equations(made) == shown
    assert equations(Cell.from_dict(made.to_dict())) == shown
    assert equations(cell(state="h")(lambda x, h, W: tanh(h + W.h @ x))) == shown


def test_cells_command_leaves_no_formula_out_that_stands_in_the_return():
    @cell(state="h")
    def keeper(x, h, W):
        k = sigmoid(W.k @ x)
        return k * h + (1 - k) * (W.n @ x)

    assert equations(keeper) == plain(keeper).splitlines()


def test_cells_command_shows_schedule_and_code_of_one_cell(capsys):
    made = CELLS["gru"]
    assert main(["cells", "gru", "--schedule"]) == 0
    printed = capsys.readouterr().out
    assert describe(schedule(made.graph)) in printed and "define" not in printed
    assert main(["cells", "gru", "--schedule", "--llvm", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schedule"] == describe(schedule(made.graph))
    assert "define" in record["llvm"]
    assert main(["cells", "--llvm"]) == 2
    assert "want the NAME of one cell" in capsys.readouterr().err


def test_cells_command_writes_latex(capsys):
    assert main(["cells", "gru", "--latex"]) == 0
    printed = capsys.readouterr().out
    assert latex(CELLS["gru"]) in printed
    assert main(["cells", "gru"]) == 0
    assert "aligned" not in capsys.readouterr().out
