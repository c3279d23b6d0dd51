"""One step of a cell as a graph: nodes, symbolic shapes, simplification, JSON.

A `Graph` is what `unspool.engine.language` makes of a cell's equations. Its nodes stand in an order
in which every operand comes before its use. The graph is plain data: saved with a model, it brings
the cell back without running anybody's Python.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unspool.engine.checks import check
from unspool.engine.nodes import ARITY, LEAVES, PRODUCTS, ROWS, Node, resolve
from unspool.errors import CellError

__all__ = [
    "ARITY",
    "FOLDS",
    "LEAVES",
    "PRODUCTS",
    "ROWS",
    "Family",
    "Graph",
    "Node",
    "depends_on_state",
    "leaves",
    "mask_recurrent_products",
    "resolve",
    "simplify",
]


@dataclass(frozen=True, slots=True)
class Family:
    """The parameters that share a letter, stacked along their first axis in gate order.

    Attributes:
        name: the letter, such as ``W``.
        gates: names behind the dot, in the order of first use; ("",) for a family used whole.
        shape: of one gate, in D, H and numbers.
        role: what the parameter does, which decides how it starts: ``input`` (a product with x, or
            with what is as wide), ``recurrent`` (a product with a state or what was made of one),
            ``diagonal`` (an elementwise factor), ``bias``, ``gain`` (the scale of a layer norm).
    """

    name: str
    gates: tuple[str, ...]
    shape: tuple[str | int, ...]
    role: str

    def sizes(self, features: int, units: int) -> tuple[int, ...]:
        """Numbers for the stacked shape.

        Example:
            >>> Family("W", ("i", "f"), ("H", "D"), "input").sizes(features=3, units=5)
            (10, 3)
        """
        sizes = [resolve(axis, features, units) for axis in self.shape]
        return (len(self.gates) * sizes[0], *sizes[1:])


@dataclass(frozen=True, slots=True)
class Graph:
    """A traced step.

    Attributes:
        nodes: in order of computation.
        states: names of the states, in the cell's own order.
        updated: for each state the node that holds its new value.
        output: the node a layer hands on.
        gates: the named values of a step that are not states, in source order.
    """

    nodes: tuple[Node, ...]
    states: tuple[str, ...]
    updated: tuple[int, ...]
    output: int
    gates: tuple[tuple[str, int], ...]

    @property
    def families(self) -> dict[str, Family]:
        """The parameters by family, in the order of first use."""
        members: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            if node.op == "parameter":
                members.setdefault(node.name.partition(".")[0], []).append(index)
        return {name: self._family(name, indices) for name, indices in members.items()}

    def _family(self, name: str, indices: list[int]) -> Family:
        gates = tuple(self.nodes[index].name.partition(".")[2] for index in indices)
        return Family(name, gates, self.nodes[indices[0]].shape, self._role(indices[0]))

    def _role(self, parameter: int) -> str:
        for node in self.nodes:
            if parameter not in node.args:
                continue
            position = node.args.index(parameter)
            if node.op in PRODUCTS:
                depends = depends_on_state(self)
                states = [a for a in node.args[1:] if depends[a] and self.nodes[a].shape == ("H",)]
                return "recurrent" if states else "input"
            if node.op == "layer_norm" and position == 1:
                return "gain"
            if node.op in ("mul", "div"):
                return "diagonal"
        return "bias"

    def parameter_count(self, features: int, units: int) -> int:
        """How many numbers the cell learns.

        Args:
            features: D.
            units: H.
        """
        return sum(math.prod(f.sizes(features, units)) for f in self.families.values())

    @property
    def fingerprint(self) -> str:
        """A hash of what is computed, blind to the names of gates and to source lines."""
        families = self.families
        letters = list(families)
        rows: list[Any] = [self.updated, self.output]
        for node in self.nodes:
            name: Any = node.name
            if node.op == "parameter":
                family, _, gate = node.name.partition(".")
                name = [letters.index(family), families[family].gates.index(gate)]
            elif node.op == "state":
                name = self.states.index(node.name)
            elif node.op in ("input", "sequence"):
                name = node.op
            rows.append([node.op, node.args, node.shape, name, node.value])
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, for JSON; `from_dict` is its inverse."""
        return {
            "nodes": [[n.op, list(n.args), list(n.shape), n.name, n.value] for n in self.nodes],
            "states": list(self.states),
            "updated": list(self.updated),
            "output": self.output,
            "gates": [[name, index] for name, index in self.gates],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Graph:
        """The graph a mapping describes, every entry checked.

        Raises:
            CellError: if it is not a graph; the data may come from a stranger.
        """
        try:
            nodes = tuple(
                Node(str(op), tuple(args), tuple(shape), str(name), float(value))
                for op, args, shape, name, value in data["nodes"]
            )
            graph = cls(
                nodes,
                tuple(data["states"]),
                tuple(data["updated"]),
                data["output"],
                tuple((str(name), index) for name, index in data["gates"]),
            )
            check(graph)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CellError(f"cell: the stored equations are damaged ({error}).") from error
        return graph


def depends_on_state(graph: Graph) -> list[bool]:
    """For each node, whether the step before has a part in it."""
    depends: list[bool] = []
    for node in graph.nodes:
        depends.append(node.op == "state" or any(depends[arg] for arg in node.args))
    return depends


def mask_recurrent_products(graph: Graph) -> Graph:
    """The same step with a dropout mask on every vector that enters a recurrent product.

        U @ h   becomes   U @ (h * m),      m drawn once a sequence

    Returns:
        A graph with one more leaf, the ``sequence`` node ``m`` of width H.

    Source:
        Gal and Ghahramani (2016), section 4: the same mask at every time step.
    """
    depends = depends_on_state(graph)
    nodes = [Node("sequence", (), ("H",), "m")]
    moved: dict[int, int] = {}
    masked: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        args = [moved[arg] for arg in node.args]
        if node.op in PRODUCTS:
            for position, arg in enumerate(node.args[1:], start=1):
                if depends[arg] and graph.nodes[arg].shape == ("H",):
                    if arg not in masked:
                        nodes.append(Node("mul", (moved[arg], 0), ("H",)))
                        masked[arg] = len(nodes) - 1
                    args[position] = masked[arg]
        nodes.append(replace(node, args=tuple(args)))
        moved[index] = len(nodes) - 1
    return _moved(graph, nodes, moved)


def simplify(graph: Graph) -> Graph:
    """The same values by fewer nodes.

    Constants are folded, neutral elements dropped, equal expressions computed once, and what
    nothing needs is left out. Nothing that would change how NaN, infinities or the sign of a zero
    travel is done: ``z * 0`` stays, and so does ``z + 0``, which is 0 where z is -0.
    """
    nodes: list[Node] = []
    moved: dict[int, int] = {}
    known: dict[tuple[Any, ...], int] = {}
    for index, node in enumerate(graph.nodes):
        new = replace(node, args=tuple(moved[arg] for arg in node.args), line=0)
        same = _neutral(new, nodes)
        if same is None:
            new = _folded(new, nodes)
            operands = tuple(sorted(new.args)) if new.op in ("add", "mul") else new.args
            key = (new.op, operands, new.shape, new.name, repr(new.value))
            same = known.get(key)
            if same is None:
                nodes.append(new)
                same = known[key] = len(nodes) - 1
        moved[index] = same
    return _without_dead(_moved(graph, nodes, moved))


def _neutral(node: Node, nodes: list[Node]) -> int | None:
    """The operand that ``node`` equals, if it only passes one on."""
    if node.op == "identity":
        return node.args[0]
    if node.op == "neg" and nodes[node.args[0]].op == "neg":
        return nodes[node.args[0]].args[0]
    neutral = NEUTRAL.get(node.op)
    if neutral is None:
        return None
    passed = [(node.args[0], node.args[1])]
    if node.op in ("add", "mul"):
        passed.append((node.args[1], node.args[0]))
    for operand, other in passed:
        if nodes[operand].shape == node.shape and _is_constant(nodes[other], neutral):
            return operand
    return None


def _is_constant(node: Node, value: float) -> bool:
    """By what they are written as: 0 and -0 are two numbers."""
    return node.op == "constant" and repr(node.value) == repr(value)


def _folded(node: Node, nodes: list[Node]) -> Node:
    """A constant in place of arithmetic on constants, where that cannot fail."""
    compute = FOLDS.get(node.op)
    operands = [nodes[arg] for arg in node.args]
    if compute is None or not operands or any(operand.op != "constant" for operand in operands):
        return node
    try:
        value = compute(*(operand.value for operand in operands))
    except (ArithmeticError, ValueError):
        return node
    return Node("constant", value=value) if math.isfinite(value) else node


def _without_dead(graph: Graph) -> Graph:
    alive = set(graph.updated) | {graph.output} | {index for _, index in graph.gates}
    for index in reversed(range(len(graph.nodes))):
        if index in alive:
            alive.update(graph.nodes[index].args)
    keep = [
        index
        for index, node in enumerate(graph.nodes)
        if index in alive or node.op in ("input", "sequence", "state", "parameter")
    ]
    moved = {old: new for new, old in enumerate(keep)}
    nodes = [
        replace(graph.nodes[old], args=tuple(moved[arg] for arg in graph.nodes[old].args))
        for old in keep
    ]
    return _moved(graph, nodes, moved)


def _moved(graph: Graph, nodes: list[Node], moved: Mapping[int, int]) -> Graph:
    return replace(
        graph,
        nodes=tuple(nodes),
        updated=tuple(moved[index] for index in graph.updated),
        output=moved[graph.output],
        gates=tuple((name, moved[index]) for name, index in graph.gates),
    )


def leaves(graph: Graph, op: str) -> Iterator[tuple[int, Node]]:
    """Positions and nodes of one kind of leaf."""
    return ((index, node) for index, node in enumerate(graph.nodes) if node.op == op)


def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


# What leaves the other operand as it is, on the right of each.
NEUTRAL = {"add": -0.0, "mul": 1.0, "sub": 0.0, "div": 1.0}
FOLDS: dict[str, Callable[..., float]] = {
    "neg": lambda z: -z,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": max,
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "relu": lambda z: max(z, 0.0),
    "exp": math.exp,
    "log": math.log,
}
