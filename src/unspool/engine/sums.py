"""Sums taken apart and put together again: state-free terms first, products in one node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from unspool.engine.gradient import Builder
from unspool.engine.graph import Graph, Node, depends_on_state


def state_free_first(graph: Graph) -> Graph:
    """Sums with what does not depend on a state first, so that it can be hoisted.

    (W x + U h) + b   becomes   (W x + b) + U h
    """
    dynamic = depends_on_state(graph)
    uses = uses_of(graph.nodes)
    fixed = {*graph.updated, graph.output, *(index for _, index in graph.gates)}
    builder = Builder()
    moved: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        parts = terms_of(graph.nodes, index, uses, fixed) if node.op in ("add", "sub") else []
        still = [t for t in parts if not dynamic[t[1]]]
        if len(parts) < 3 or not still or len(still) == len(parts):
            args = tuple(moved[arg] for arg in node.args)
            moved[index] = builder.add_node(replace(node, args=args, line=0))
            continue
        ordered = still + [t for t in parts if dynamic[t[1]]]
        moved[index] = summed(builder, [(sign, moved[i]) for sign, i in ordered])
    return replace(
        graph,
        nodes=tuple(builder.nodes),
        updated=tuple(moved[index] for index in graph.updated),
        output=moved[graph.output],
        gates=tuple((name, moved[index]) for name, index in graph.gates),
    )


def with_joined_products(
    nodes: tuple[Node, ...], roots: Iterable[int], given: frozenset[int]
) -> tuple[tuple[Node, ...], dict[int, int]]:
    """Sums of products as one node, so that one register gathers them all.

    A ``products`` node has the operands (matrix, vector, matrix, vector, …) and in its name for
    each pair ``n`` or ``t``, whether the matrix is transposed.

    Returns:
        The nodes and where each old one stands now.
    """
    roots = set(roots)
    order = _ordered(nodes)
    uses = uses_of(nodes)
    fixed = roots | given
    builder = Builder()
    moved: dict[int, int] = {}
    for index in order:
        node = nodes[index]
        parts = terms_of(nodes, index, uses, fixed) if node.op in ("add", "sub") else []
        products = [
            term
            for sign, term in parts
            if sign > 0
            and nodes[term].op in ("matmul", "transposed")
            and uses[term] == 1
            and term not in fixed
        ]
        if len(products) < 2:
            args = tuple(moved[arg] for arg in node.args)
            moved[index] = builder.add_node(replace(node, args=args))
            continue
        fused = (1, _joined(builder, nodes, products, moved))
        others = [(sign, moved[term]) for sign, term in parts if term not in products]
        moved[index] = summed(builder, [fused, *others])
    return tuple(builder.nodes), moved


def terms_of(
    nodes: tuple[Node, ...], index: int, uses: list[int], fixed: set[int], sign: int = 1
) -> list[tuple[int, int]]:
    """A sum as its terms with their signs; a part with another use stays whole."""
    found: list[tuple[int, int]] = []
    node = nodes[index]
    signs = {"add": (sign, sign), "sub": (sign, -sign), "neg": (-sign,)}[node.op]
    for arg, each in zip(node.args, signs, strict=True):
        if nodes[arg].op in ("add", "sub", "neg") and uses[arg] == 1 and arg not in fixed:
            found += terms_of(nodes, arg, uses, fixed, each)
        else:
            found.append((each, arg))
    return found


def summed(builder: Builder, terms: list[tuple[int, int]]) -> int:
    """The sum of terms with signs, added from the left."""
    sign, total = terms[0]
    if sign < 0:
        total = builder.add("neg", total)
    for sign, term in terms[1:]:
        total = builder.add("add" if sign > 0 else "sub", total, term)
    return total


def uses_of(nodes: tuple[Node, ...]) -> list[int]:
    """How often each node is an operand."""
    uses = [0] * len(nodes)
    for node in nodes:
        for arg in node.args:
            uses[arg] += 1
    return uses


def _ordered(nodes: tuple[Node, ...]) -> list[int]:
    """Positions in an order in which operands come first, also where copies stand at the end."""
    order: list[int] = []
    placed: set[int] = set()

    def place(index: int) -> None:
        if index not in placed:
            placed.add(index)
            for arg in nodes[index].args:
                place(arg)
            order.append(index)

    for index in range(len(nodes)):
        place(index)
    return order


def _joined(
    builder: Builder, nodes: tuple[Node, ...], products: list[int], moved: Mapping[int, int]
) -> int:
    args: list[int] = []
    for index in products:
        args += [moved[arg] for arg in nodes[index].args]
    flags = "".join("t" if nodes[index].op == "transposed" else "n" for index in products)
    return builder.add_node(Node("products", tuple(args), nodes[products[0]].shape, flags))
