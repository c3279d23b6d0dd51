"""Whether a stored graph could have come from a trace: nothing a stranger wrote is taken on trust.

Compiled code walks over memory by the shapes that stand in the graph, so each is found anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unspool.engine.nodes import ARITY, COMPARISONS, MOST_BLOCKS, PRODUCTS, ROWS, Node

if TYPE_CHECKING:
    from unspool.engine.graph import Graph

Shape = tuple[str | int, ...]


def check(graph: Graph) -> None:
    """Refuse a graph that could not have come from a trace.

    Raises:
        ValueError: naming the first thing that is wrong.
    """
    _check_states(graph)
    for index, node in enumerate(graph.nodes):
        if node.op not in ARITY or len(node.args) != ARITY[node.op]:
            raise ValueError(f"node {index} is {node.op!r} of {len(node.args)} operands")
        if any(type(arg) is not int or not 0 <= arg < index for arg in node.args):
            raise ValueError(f"node {index} uses a value that comes later")
        if not math.isfinite(node.value):
            raise ValueError(f"node {index} holds the constant {node.value}")
        _check_shape(f"node {index}", node, [graph.nodes[arg] for arg in node.args], graph.states)
    _check_parameters(graph)
    _check_ends(graph)


def _check_states(graph: Graph) -> None:
    if not graph.states or len(graph.updated) != len(graph.states):
        raise ValueError("states and their new values differ in number")
    if not all(isinstance(name, str) and name.isidentifier() for name in graph.states):
        raise ValueError("a state has no proper name")
    leaves = sorted(n.name for n in graph.nodes if n.op == "state")
    if leaves != sorted(set(graph.states)) or len(leaves) != len(graph.states):
        raise ValueError("the states that are read are not the states that are declared")
    if sum(node.op == "input" for node in graph.nodes) != 1:
        raise ValueError("there is not one input")


def _check_shape(where: str, node: Node, operands: list[Node], states: tuple[str, ...]) -> None:
    for position, operand in enumerate(operands):
        if (operand.op in COMPARISONS) != (node.op == "where" and position == 0):
            raise ValueError(f"{where} takes a comparison for a number or the other way round")
    if node.op in PRODUCTS:
        wanted = _of_product(where, node.op, *operands)
    elif node.op == "parameter":
        wanted = node.shape
        if not (_is_dense(wanted) or _is_blocks(wanted)):
            raise ValueError(f"{where} is a parameter of shape {list(wanted)}")
    elif node.op in ("input", "state", "constant"):
        wanted = {"input": ("D",), "state": ("H",), "constant": ()}[node.op]
    elif node.op == "sequence":
        raise ValueError(f"{where} is drawn anew for every sequence")
    else:
        wanted = _of_elements(where, node, operands)
    if node.shape != wanted:
        raise ValueError(f"{where} has the shape {list(node.shape)}; wanted {list(wanted)}")


def _of_product(where: str, op: str, parameter: Node, *vectors: Node) -> Shape:
    """The shape of a product of a parameter that fits its vectors."""
    inner = [axis for vector in vectors for axis in vector.shape]
    if parameter.op == "parameter" and all(len(vector.shape) == 1 for vector in vectors):
        if op == "blocks" and _is_blocks(parameter.shape) and inner == ["H"]:
            return ("H",)
        if op != "blocks" and [*parameter.shape[1:]] == inner:
            return parameter.shape[:1]
    raise ValueError(f"{where} is a product whose operands do not fit")


def _of_elements(where: str, node: Node, operands: list[Node]) -> Shape:
    """The shape of what is done to each element, or to each row."""
    shapes = {operand.shape for operand in operands}
    if any(len(shape) > 1 for shape in shapes) or len(shapes - {()}) > 1:
        raise ValueError(f"{where} mixes shapes")
    if node.op in ROWS and (() in shapes or node.value < 0.0):
        raise ValueError(f"{where} is no row")
    return max(shapes, key=len)


def _check_parameters(graph: Graph) -> None:
    """Names are unique; a family has one shape, and is used whole or by its gates."""
    shapes: dict[str, Shape] = {}
    names: set[str] = set()
    for node in graph.nodes:
        if node.op != "parameter":
            continue
        letter, dot, gate = node.name.partition(".")
        if not letter.isidentifier() or bool(dot) != bool(gate) or not gate.isprintable():
            raise ValueError(f"a parameter is called {node.name!r}")
        again = node.name in names or (letter in shapes and (not dot or letter in names))
        if again or shapes.setdefault(letter, node.shape) != node.shape:
            raise ValueError(f"parameter {node.name!r} does not fit its family")
        names.add(node.name)


def _check_ends(graph: Graph) -> None:
    for index in (*graph.updated, graph.output, *(index for _, index in graph.gates)):
        if type(index) is not int or not 0 <= index < len(graph.nodes):
            raise ValueError(f"value {index!r} does not exist")
        if graph.nodes[index].op in COMPARISONS or len(graph.nodes[index].shape) > 1:
            raise ValueError(f"value {index} is no vector")
    if any(graph.nodes[i].shape not in ((), ("H",)) for i in (*graph.updated, graph.output)):
        raise ValueError("a state or the output is not as wide as the layer")
    names = [*graph.states, *(name for name, _ in graph.gates)]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise ValueError("gates and states do not have names of their own")


def _is_dense(shape: Shape) -> bool:
    return 1 <= len(shape) <= 3 and all(axis in ("D", "H") for axis in shape)


def _is_blocks(shape: Shape) -> bool:
    if len(shape) != 3 or type(shape[0]) is not int or not 1 <= shape[0] <= MOST_BLOCKS:
        return False
    return shape[1:] == (f"H/{shape[0]}",) * 2
