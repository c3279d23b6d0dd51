r"""A cell's equations as mathematics: `latex` for a page, `plain` for a terminal.

One renderer walks the traced graph and stops at what has a name; two tables of notation, `LATEX`
and `PLAIN`, say what each sign looks like. Since it reads the graph, a cell brought back from a
saved model is written like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, count

from unspool.engine.graph import Graph, Node
from unspool.engine.language import Cell

# How tightly a formula holds together; what is looser than its place asks for gets parentheses.
CASES, SUM, FACTORS, SCALED, APPLIED, ATOM = range(6)


def latex(cell: Cell) -> str:
    r"""The equations as an ``aligned`` block for math mode, one line a gate or state.

    Args:
        cell: any cell.

    Returns:
        LaTeX that needs ``amsmath`` and nothing else; MathJax and KaTeX read it too.

    Example:
        >>> from unspool.cells import CELLS
        >>> print(latex(CELLS["rnn"]))
        \begin{aligned}
        h_t &= \tanh(W_{h} x_t + U_{h} h_{t-1} + b_{h})
        \end{aligned}
    """
    lines = [f"{name} &= {formula}" for name, formula in _Renderer(cell.graph, LATEX).equations()]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def plain(cell: Cell) -> str:
    """The equations for a terminal, one line a gate or state, the equals signs aligned.

    Args:
        cell: any cell.

    Example:
        >>> from unspool.cells import CELLS
        >>> print(plain(CELLS["mingru"]))
        z[t] = σ(W_z x[t] + b_z)
        n[t] = W_n x[t] + b_n
        h[t] = (1 - z[t]) ⊙ h[t-1] + z[t] ⊙ n[t]
    """
    pairs = _Renderer(cell.graph, PLAIN).equations()
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:{width}} = {formula}" for name, formula in pairs)


@dataclass(frozen=True, slots=True)
class Notation:
    """What the signs look like.

    Attributes:
        functions: by operation, the name before the parentheses.
        times: between factors, unit by unit.
        scaled: between a number and what it scales.
        variable: name and time, such as "t-1" ("" outside time) to text.
        parameter: letter and gate ("" for a family used whole) to text.
        fraction: numerator and denominator to text, or None to write them in a row.
        choice: condition, then, otherwise to text, and how tightly it holds.
        at_least: the sign of ``>=``.
        transposed: after a vector that stands as a row.
        parentheses: around a formula.
        power_of_ten: mantissa and exponent to text.
    """

    functions: Mapping[str, str]
    times: str
    scaled: str
    variable: Callable[[str, str], str]
    parameter: Callable[[str, str], str]
    fraction: Callable[[str, str], str] | None
    choice: tuple[Callable[[str, str, str], str], int]
    at_least: str
    transposed: str
    parentheses: Callable[[str], str]
    power_of_ten: Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class _Formula:
    """A piece of text, how tightly it holds, and whether it begins with a minus."""

    text: str
    holds: int
    minus: bool = False


class _Renderer:
    """The walk over one graph in one notation."""

    def __init__(self, graph: Graph, notation: Notation) -> None:
        self.graph, self.notation = graph, notation
        self.moves = _change_with_time(graph)
        self.names = _names(graph)

    def equations(self) -> list[tuple[str, str]]:
        """Left and right sides: what has a name, in order, and states that take over a value."""
        lines = [(index, False, name) for index, name in self.names.items()]
        for state, index in zip(self.graph.states, self.graph.updated, strict=True):
            if self.names.get(index) != state:
                lines.append((index, True, state))
        pairs = []
        for index, taken_over, name in sorted(lines):
            time = "t" if taken_over or self.moves[index] else ""
            formula = self.use(index) if taken_over else self.formula(index)
            pairs.append((self.notation.variable(name, time), formula.text))
        return pairs

    def use(self, index: int) -> _Formula:
        """A node inside an equation: its name if it has one."""
        if index in self.names:
            time = "t" if self.moves[index] else ""
            return _Formula(self.notation.variable(self.names[index], time), ATOM)
        return self.formula(index)

    def within(self, index: int, least: int, first: bool = False) -> str:
        """A node's text, in parentheses if it is too loose or its minus would follow a sign."""
        part = self.use(index)
        if part.holds < least or (part.minus and not first):
            return self.notation.parentheses(part.text)
        return part.text

    def formula(self, index: int) -> _Formula:
        """The right side of a node."""
        node, notation = self.graph.nodes[index], self.notation
        match node.op:
            case "input" | "state" | "sequence" | "parameter" | "constant":
                return self.leaf(node)
            case "add" | "sub":
                return self.sum(node)
            case "neg":
                return _Formula("-" + self.within(node.args[0], FACTORS), SUM, minus=True)
            case "mul":
                return self.product(node)
            case "div":
                return self.quotient(node)
            case "matmul" | "blocks":
                vector = self.within(node.args[1], APPLIED)
                return _Formula(f"{self.use(node.args[0]).text} {vector}", APPLIED)
            case "bilinear":
                tensor, x, z = (self.within(arg, ATOM) for arg in node.args)
                return _Formula(f"{x}{notation.transposed} {tensor} {z}", APPLIED)
            case "greater" | "greater_equal":
                sign = notation.at_least if node.op == "greater_equal" else ">"
                left, right = (self.within(arg, SUM, True) for arg in node.args)
                return _Formula(f"{left} {sign} {right}", CASES)
            case "where":
                write, holds = notation.choice
                return _Formula(write(*(self.use(arg).text for arg in node.args)), holds)
            case "identity":
                return self.use(node.args[0])
            case "layer_norm":
                z, gain, bias = (self.use(arg).text for arg in node.args)
                inside = f"{z}; {gain}, {bias}"
            case _:
                inside = ", ".join(self.use(arg).text for arg in node.args)
        return _Formula(notation.functions[node.op] + notation.parentheses(inside), ATOM)

    def leaf(self, node: Node) -> _Formula:
        """A symbol or a number."""
        if node.op == "parameter":
            letter, _, gate = node.name.partition(".")
            return _Formula(self.notation.parameter(letter, gate), ATOM)
        if node.op == "constant":
            return self.number(node.value)
        time = {"input": "t", "state": "t-1", "sequence": ""}[node.op]
        return _Formula(self.notation.variable(node.name, time), ATOM)

    def number(self, value: float) -> _Formula:
        """A constant with all its digits."""
        whole = value.is_integer() and abs(value) < 1e15
        text = str(int(abs(value))) if whole else repr(abs(value))
        mantissa, _, power = text.partition("e")
        if power:
            text = self.notation.power_of_ten(mantissa.removesuffix(".0"), str(int(power)))
        if value < 0:
            return _Formula(f"-{text}", SUM, minus=True)
        return _Formula(text, FACTORS if power else ATOM)

    def sum(self, node: Node) -> _Formula:
        """A sum or difference."""
        left, right = node.args
        sign, least = {"add": ("+", SUM), "sub": ("-", FACTORS)}[node.op]
        text = f"{self.within(left, SUM, True)} {sign} {self.within(right, least)}"
        return _Formula(text, SUM, self.use(left).minus)

    def product(self, node: Node) -> _Formula:
        """Two factors; between a number and what it scales there is no sign."""
        left, right = (self.use(arg) for arg in node.args)
        constant, scaled = (self.graph.nodes[arg].op == "constant" for arg in node.args)
        # W x ⊙ y without parentheses could be W (x ⊙ y), and a ⊙ b / c could be (a ⊙ b) / c.
        loose = () if constant or scaled else (SCALED, APPLIED)
        quotient = self.notation.fraction is None and self.is_quotient(node.args[1])
        first, second = left.text, right.text
        if left.holds in loose or (left.holds < FACTORS and not (constant and left.minus)):
            first = self.notation.parentheses(first)
        if right.holds in loose or right.holds < FACTORS or quotient:
            second = self.notation.parentheses(second)
        between = self.notation.times
        if constant and not second[0].isdigit():
            between = self.notation.scaled
        if constant and left.minus:
            return _Formula(first + between + second, SUM, minus=True)
        opens = (constant and right.holds in (SCALED, APPLIED)) or (
            scaled and left.holds in (SCALED, APPLIED)
        )
        return _Formula(first + between + second, SCALED if opens else FACTORS)

    def is_quotient(self, index: int) -> bool:
        """Whether a node is written out as one thing over another."""
        return self.graph.nodes[index].op == "div" and index not in self.names

    def quotient(self, node: Node) -> _Formula:
        """One thing over another."""
        above, below = (self.use(arg) for arg in node.args)
        if self.notation.fraction is not None:
            return _Formula(self.notation.fraction(above.text, below.text), FACTORS)
        top, bottom = above.text, below.text
        if above.holds != FACTORS and above.holds != ATOM:
            top = self.notation.parentheses(top)
        if below.holds != ATOM:
            bottom = self.notation.parentheses(bottom)
        return _Formula(f"{top} / {bottom}", FACTORS)


def _names(graph: Graph) -> dict[int, str]:
    """By node its name: gates, states, the output, and whatever unnamed sum is used twice."""
    names: dict[int, str] = {}
    for name, index in (*graph.gates, *zip(graph.states, graph.updated, strict=True)):
        if graph.nodes[index].args:
            names.setdefault(index, name)
    taken = {*names.values(), *graph.states, *(n.name.partition(".")[0] for n in graph.nodes)}
    free = [letter for letter in ALPHABET if not any(letter == name[:1] for name in taken)]
    letters = chain(free, (f"v{number}_" for number in count()))
    if graph.output not in names and graph.nodes[graph.output].args:
        names[graph.output] = "y" if "y" not in taken else next(letters)
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    shared = [
        index
        for index, node in enumerate(graph.nodes)
        if uses[index] > 1 and node.args and node.op not in UNNAMED and index not in names
    ]
    letter = next(letters)
    for number, index in enumerate(shared, start=1):
        names[index] = f"{letter}{number}" if len(shared) > 1 else letter
    return dict(sorted(names.items()))


def _change_with_time(graph: Graph) -> list[bool]:
    moves: list[bool] = []
    for node in graph.nodes:
        moves.append(node.op in ("input", "state") or any(moves[arg] for arg in node.args))
    return moves


def _latex_name(name: str) -> str:
    """A word upright, a letter slanted, a number behind it as ``x^{(1)}``."""
    word = name.rstrip("0123456789")
    digits = name[len(word) :]
    if f" {word} " in GREEK:
        base = f"\\{word}"
    else:
        base = word if len(word) == 1 and word != "_" else _upright(word)
    return f"{base}^{{({digits})}}" if digits else base


def _upright(word: str) -> str:
    escaped = word.replace("_", r"\_")
    return f"\\mathrm{{{escaped}}}"


def _latex_variable(name: str, time: str) -> str:
    word, _, below = name.partition("_")
    if not word or not below:
        word, below = name, ""
    subscript = ",".join(part for part in (_latex_gate(below), time) if part)
    if not subscript:
        return _latex_name(word)
    return (
        f"{_latex_name(word)}_{subscript}"
        if subscript == "t"
        else (f"{_latex_name(word)}_{{{subscript}}}")
    )


def _latex_gate(gate: str) -> str:
    """A gate below a letter, as it stands in the source: ``xi`` is x and i, not ξ."""
    return gate if len(gate) < 2 else _upright(gate)


def _latex_parameter(letter: str, gate: str) -> str:
    return f"{_latex_name(letter)}_{{{_latex_gate(gate)}}}" if gate else _latex_name(letter)


def _latex_parentheses(inside: str) -> str:
    tall = "\\frac" in inside or "cases" in inside
    return f"\\left({inside}\\right)" if tall else f"({inside})"


def _latex_choice(condition: str, then: str, otherwise: str) -> str:
    return (
        f"\\begin{{cases}} {then} & \\text{{if }} {condition} \\\\ "
        f"{otherwise} & \\text{{otherwise}} \\end{{cases}}"
    )


# Too small, or no number: written out wherever they are used.
UNNAMED = ("neg", "identity", "greater", "greater_equal")
# For what the author gave no name; not t, which is time.
ALPHABET = "suvqabcdefgklmnopr"
GREEK = (
    " alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega "
)

LATEX = Notation(
    functions={
        "sigmoid": r"\sigma",
        "tanh": r"\tanh",
        "relu": r"\operatorname{ReLU}",
        "exp": r"\exp",
        "log": r"\log",
        "maximum": r"\max",
        "softmax": r"\operatorname{softmax}",
        "layer_norm": r"\operatorname{LN}",
    },
    times=r" \odot ",
    scaled=r"\,",
    variable=_latex_variable,
    parameter=_latex_parameter,
    fraction=lambda above, below: f"\\frac{{{above}}}{{{below}}}",
    choice=(_latex_choice, CASES),
    at_least=r"\ge",
    transposed=r"^\top",
    parentheses=_latex_parentheses,
    power_of_ten=lambda mantissa, power: (
        f"10^{{{power}}}" if mantissa == "1" else f"{mantissa} \\cdot 10^{{{power}}}"
    ),
)
PLAIN = Notation(
    functions={
        "sigmoid": "σ",
        "tanh": "tanh",
        "relu": "ReLU",
        "exp": "exp",
        "log": "log",
        "maximum": "max",
        "softmax": "softmax",
        "layer_norm": "LN",
    },
    times=" ⊙ ",
    scaled=" ",
    variable=lambda name, time: f"{name}[{time}]" if time else name,
    parameter=lambda letter, gate: f"{letter}_{gate}" if gate else letter,
    fraction=None,
    choice=(lambda condition, then, otherwise: f"({then} if {condition} else {otherwise})", ATOM),
    at_least="≥",
    transposed="ᵀ",
    parentheses=lambda inside: f"({inside})",
    power_of_ten=lambda mantissa, power: f"{mantissa}e{power}",
)
