"""What a person reads of a compiled cell: its schedule in words, its code as LLVM IR."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count

from unspool.engine.graph import Node
from unspool.engine.language import Cell
from unspool.engine.schedule import Schedule, schedule
from unspool.engine.stages import CHEAP, Program, Stage

SUM, PRODUCT, ATOM = range(3)
REPEATED = re.compile(r"<(\w+ [\w.+-]+)(?:, \1)+>")


def describe(plan: Schedule) -> str:
    """A schedule in words: hoisted, stage by stage, kept, computed again, learnt.

    Products are written as in a cell, ``U.i @ h``; a state's new value has a prime, ``h'``; ``∂``
    stands before the gradient of the loss by a value.

    Args:
        plan: as `unspool.engine.schedule.schedule` makes it.

    Returns:
        Lines of text.

    Example:
        >>> from unspool.cells import CELLS
        >>> print(describe(schedule(CELLS["rnn"].graph)).partition("The step")[0].rstrip())
        Before the loop, for all steps at once (small layers: in the loop)
          s0 = W.h @ x + b.h
    """
    names = _names(plan)
    forward = _Words(plan.forward, _placed(plan.forward, names))
    backward = _Words(plan.backward, _placed(plan.backward, names))
    parts = [
        ("Before the loop, for all steps at once (small layers: in the loop)", _hoisted(plan)),
        (f"The step: {_stages(plan.forward)}", forward.stages()),
        ("Kept for the way back, at every step", _kept(plan, names)),
        ("Computed again on the way back", _again(plan, names)),
        (f"The step backwards: {_stages(plan.backward)}", backward.stages()),
        ("After the loop, one product each over all steps and rows", _learnt(plan, names)),
    ]
    lines = [[title, *(f"  {line}" for line in body)] for title, body in parts]
    return "\n".join(line for part in lines if len(part) > 1 for line in part)


def llvm_text(cell: Cell, dtype: str = "float32", backward: bool = False) -> str:
    """The LLVM IR that is compiled for a cell on this machine.

    A constant that is the same in every lane is written once, ``splat (float 0x3ff…)``.

    Args:
        cell: the equations.
        dtype: "float32" or "float64".
        backward: the gradient's program instead of the step's.

    Raises:
        BackendError: if the cell or the machine cannot be served.

    Example:
        >>> from unspool.cells import CELLS
        >>> '@"program"' in llvm_text(CELLS["gru"])
        True
    """
    from unspool.engine.kernels import host
    from unspool.engine.llvm import generate
    from unspool.engine.products import product_code

    plan = schedule(cell.graph)
    program = plan.backward if backward else plan.forward
    code = generate(program, dtype, host(), reverse=backward)
    parts = [code.text]
    for wide, rows in code.products:
        parts.append(f"; A module apart: functions for products of {wide} vectors side by side.\n")
        parts.append(product_code(dtype, host(), wide, rows))
    return REPEATED.sub(r"splat (\1)", "\n".join(parts))


def _stages(program: Program) -> str:
    number = len(program.stages)
    return f"{number} stage" + "s" * (number != 1)


def _names(plan: Schedule) -> dict[int, str]:
    """What the values of both passes are called, by node of the joint list."""
    core, full = plan.split.core, plan.gradient
    names: dict[int, str] = {}
    for index, node in enumerate(full.nodes):
        if node.op == "adjoint":
            names[index] = "∂output" if node.name == "output" else f"∂{node.name}'"
        elif node.op in ("input", "state", "parameter", "sequence"):
            names[index] = node.name
    for name, index in (*zip(core.states, core.updated, strict=True),):
        names.setdefault(index, f"{name}'")
    for name, index in core.gates:
        names.setdefault(index, name)
    numbers = count()
    for index in sorted(plan.kept):
        if index not in names:
            names[index] = f"k{next(numbers)}"
    for leaf, index in full.leaves.items():
        if full.nodes[leaf].op == "input":
            names.setdefault(index, f"∂{full.nodes[leaf].name}")
    for outer in full.matrices:
        names.setdefault(outer.adjoint, f"∂({names[outer.parameter]} @ …)")
    return names


def _placed(program: Program, names: Mapping[int, str]) -> dict[int, str]:
    """The same names by the program's own numbers."""
    placed = {node: names[index] for index, node in program.memory.items() if index in names}
    for node, index in program.original.items():
        if index in names:
            placed[node] = names[index]
    numbers = count()
    for node in program.stored:
        if node not in placed:
            placed[node] = f"m{next(numbers)}"
    return placed


def _hoisted(plan: Schedule) -> Iterator[str]:
    whole = plan.split.whole
    leaves = {i: node.name for i, node in enumerate(whole.nodes) if node.name and not node.args}
    words = _Words(whole.nodes, leaves)
    for letter, places in (("s", plan.split.streams), ("p", plan.split.prepared)):
        for number, index in enumerate(places):
            yield f"{letter}{number} = {words.formula(index)}"


def _kept(plan: Schedule, names: Mapping[int, str]) -> Iterator[str]:
    core, words = plan.split.core, _Words(plan.gradient.nodes, names)
    ends = sorted({*core.updated, core.output} - plan.kept)
    dear = [i for i in sorted(plan.kept) if core.nodes[i].op not in CHEAP]
    read = [i for i in sorted(plan.kept) if core.nodes[i].op in CHEAP]
    for group, why in (
        (ends, "the results themselves"),
        (dear, "dearer to compute than to read"),
        (read, "what a weight's gradient is a product with"),
    ):
        if group:
            yield f"{', '.join(words.use(index) for index in group)}: {why}"


def _again(plan: Schedule, names: Mapping[int, str]) -> Iterator[str]:
    words = _Words(plan.gradient.nodes, names)
    if plan.again:
        formulas = [words.formula(index) for index in sorted(plan.again)]
        yield f"{', '.join(formulas)}: cheaper to compute than to read"


def _learnt(plan: Schedule, names: Mapping[int, str]) -> Iterator[str]:
    full = plan.gradient
    words = _Words(full.nodes, names)
    for outer in full.matrices:
        operand = words.use(outer.operand, PRODUCT)
        yield f"∂{names[outer.parameter]} = Σ {names[outer.adjoint]} {operand}ᵀ"
    streams = [names[i] for i in full.leaves if full.nodes[i].op == "input"]
    if streams:
        yield f"and from {', '.join(f'∂{name}' for name in streams)} what was hoisted, x included"


class _Words:
    """Nodes as text that stops at what has a name."""

    def __init__(self, nodes: tuple[Node, ...] | Program, names: Mapping[int, str]) -> None:
        self.program = nodes if isinstance(nodes, Program) else None
        self.nodes = nodes.nodes if isinstance(nodes, Program) else nodes
        self.names = names

    def stages(self) -> Iterator[str]:
        """Every stage with its products and equations."""
        assert self.program is not None
        for number, stage in enumerate(self.program.stages, start=1):
            products = [self.formula(node) for group in stage.groups for node in group.nodes]
            summed = "; sums side by side: " + ", ".join(products) if products else ""
            yield f"stage {number}, over {stage.axis}{summed}"
            yield from (f"  {line}" for line in self.equations(stage))

    def equations(self, stage: Stage) -> Iterator[str]:
        """What a stage stores, carries on, adds up."""
        for node in stage.stores:
            yield f"{self.names[node]} = {self.formula(node)}"
        for node in (*stage.sums, *stage.scalars):
            if node in self.names:
                yield f"{self.names[node]} = {self.formula(node)}, once a row"
        for leaf, node in stage.carries:
            name = self.nodes[leaf].name
            yield f"∂{name} = {self.use(node)}, the ∂{name}' of the step before"
        for leaf, node in stage.learnt:
            yield f"∂{self.names[leaf]} += {self.use(node)}"

    def use(self, index: int, least: int = SUM) -> str:
        """A node where it is read: its name if it has one."""
        return self.names[index] if index in self.names else self.formula(index, least)

    def formula(self, index: int, least: int = SUM) -> str:
        """A node spelt out, in parentheses where it holds together less than its place asks."""
        node = self.nodes[index]
        text, holds = self._spelt(node)
        return f"({text})" if holds < least else text

    def _spelt(self, node: Node) -> tuple[str, int]:
        args = node.args
        match node.op:
            case "constant":
                return f"{node.value:g}", ATOM
            case "inverse_width":
                return f"1/{node.name}", PRODUCT
            case "add":
                return f"{self.use(args[0])} + {self.use(args[1])}", SUM
            case "sub" | "centred":
                return f"{self.use(args[0])} - {self.use(args[1], PRODUCT)}", SUM
            case "mul" | "normed":
                return f"{self.use(args[0], PRODUCT)} * {self.use(args[1], ATOM)}", PRODUCT
            case "div":
                return f"{self.use(args[0], PRODUCT)} / {self.use(args[1], ATOM)}", PRODUCT
            case "neg":
                return f"-{self.use(args[0], ATOM)}", PRODUCT
            case "greater" | "greater_equal":
                sign = ">" if node.op == "greater" else ">="
                return f"{self.use(args[0])} {sign} {self.use(args[1])}", SUM
            case "identity" | "spread":
                return self.use(args[0], ATOM), ATOM
            case "matmul" | "transposed" | "products":
                flags = {"matmul": "n", "transposed": "t"}.get(node.op, node.name)
                pairs = zip(args[::2], args[1::2], flags, strict=True)
                terms = [
                    f"{self.use(matrix, ATOM)}{'ᵀ' * (flag == 't')} @ {self.use(vector, ATOM)}"
                    for matrix, vector, flag in pairs
                ]
                return " + ".join(terms), SUM if len(terms) > 1 else PRODUCT
        name = {"row_sum": "sum", "row_max": "max"}.get(node.op, node.op)
        return f"{name}({', '.join(self.use(arg) for arg in args)})", ATOM
