"""A step cut at the edge of time: what needs only x is hoisted, the rest truly recurs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unspool.engine.gradient import ROW, RULES, Builder, lower
from unspool.engine.graph import Graph, Node, depends_on_state, simplify
from unspool.engine.nodes import COMPARISONS, PRODUCTS
from unspool.engine.sums import state_free_first


@dataclass(frozen=True, slots=True)
class Split:
    """A step cut at the edge of time.

    Attributes:
        whole: the simplified, lowered step; what is hoisted is evaluated over it.
        core: the step that truly recurs. Its inputs are named ``s0``, ``s1``, … and its parameters
            keep their names or, where computed beforehand, are called ``p0``, ``p1``, …
        streams: for each input of the core the node of ``whole`` it carries.
        prepared: for each ``p`` parameter the node of ``whole`` it holds.
    """

    whole: Graph
    core: Graph
    streams: tuple[int, ...]
    prepared: tuple[int, ...]


def split(graph: Graph) -> Split:
    """Cut a step into what needs only x and what recurs; sums are reordered to hoist more.

    Example:
        >>> from unspool.cells import CELLS
        >>> [node.name for node in split(CELLS["gru"].graph).core.nodes if node.op == "input"]
        ['s0', 's1', 's2']
    """
    whole = simplify(lower(simplify(state_free_first(simplify(_dense(graph))))))
    dynamic = [
        d or n.op == "sequence" for d, n in zip(depends_on_state(whole), whole.nodes, strict=True)
    ]
    for index, node in enumerate(whole.nodes):
        dynamic[index] = dynamic[index] or any(dynamic[arg] for arg in node.args)
    timed = _reached(whole.nodes, "input")
    cut = _cut(whole, dynamic, timed)
    followed = _elementwise_of_sums(whole)
    inside = [dynamic[i] or (timed[i] and i in followed) for i in range(len(dynamic))]
    swept = _cut(whole, inside, timed)
    pays = len(swept.streams) <= len(cut.streams)
    return swept if pays and all(_is_sum(whole.nodes, i) for i in swept.streams) else cut


def _cut(whole: Graph, dynamic: list[bool], timed: list[bool]) -> Split:
    """The cut along the edge of what is ``dynamic``; the rest is hoisted where ``timed``."""
    wanted = {*whole.updated, whole.output, *(index for _, index in whole.gates)}
    read = {
        arg
        for node, inside in zip(whole.nodes, dynamic, strict=True)
        if inside
        for arg in node.args
    }
    # Memory holds numbers, no choices: what chooses inside is compared inside.
    dynamic = [
        inside or (index in read and node.op in COMPARISONS)
        for index, (node, inside) in enumerate(zip(whole.nodes, dynamic, strict=True))
    ]
    for index, node in enumerate(whole.nodes):
        if dynamic[index]:
            wanted.update(arg for arg in node.args if not dynamic[arg])
    builder = Builder()
    moved: dict[int, int] = {}
    streams: list[int] = []
    prepared: list[int] = []
    for index, node in enumerate(whole.nodes):
        if dynamic[index]:
            args = tuple(moved[arg] for arg in node.args)
            moved[index] = builder.add_node(replace(node, args=args))
        elif index not in wanted:
            continue
        elif node.op in ("parameter", "constant", "inverse_width"):
            moved[index] = builder.add_node(node)
        elif timed[index]:
            moved[index] = builder.leaf("input", f"s{len(streams)}", node.shape)
            streams.append(index)
        else:
            moved[index] = builder.leaf("parameter", f"p{len(prepared)}", node.shape)
            prepared.append(index)

    def end(index: int) -> int:
        """What leaves the step has memory of its own, also where it is hoisted."""
        leaf = not builder.nodes[moved[index]].args
        return builder.add("identity", moved[index], shape=("H",)) if leaf else moved[index]

    updated, output = tuple(end(index) for index in whole.updated), end(whole.output)
    core = Graph(
        tuple(builder.nodes),
        whole.states,
        updated,
        output,
        tuple((name, moved[index]) for name, index in whole.gates),
    )
    return Split(whole, core, tuple(streams), tuple(prepared))


def _elementwise_of_sums(whole: Graph) -> set[int]:
    """What follows elementwise from sums W x + b, so that the sweep of the step may compute it.

    Hoisted, each operation would be a pass over all steps of its own, forwards and backwards. It
    stays hoisted where several sums become one stream: more of them would have to be kept.
    """
    nodes, inside = whole.nodes, _reached(whole.nodes, "state")
    ends = {*whole.updated, whole.output}
    # Sums over a row would keep threads from sharing units where nothing else does.
    mixed = any(i and n.op in (*PRODUCTS, "row_sum") for i, n in zip(inside, nodes, strict=True))
    shapes = (("H",), ROW) if mixed else (("H",),)
    followed: set[int] = set()
    for index, node in enumerate(nodes):
        known = [
            arg in followed or _is_sum(nodes, arg) or _is_fixed(nodes[arg]) for arg in node.args
        ]
        if node.op in RULES and node.shape in shapes and all(known) and not inside[index]:
            followed.add(index)
    return {index for index in followed - ends if not _is_sum(nodes, index)}


def _is_sum(nodes: tuple[Node, ...], index: int) -> bool:
    node = nodes[index]
    if node.op == "add" and nodes[node.args[1]].op == "parameter":
        node = nodes[node.args[0]]
    return node.op == "matmul" and node.shape == ("H",) and nodes[node.args[1]].op == "input"


def _is_fixed(node: Node) -> bool:
    return node.op in ("constant", "inverse_width") or (
        node.op == "parameter" and node.shape == ("H",)
    )


def _dense(graph: Graph) -> Graph:
    """Block-diagonal products as products of the whole matrix, zeros and all."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op == "blocks":
            matrix = node.args[0]
            nodes[matrix] = replace(nodes[matrix], shape=("H", "H"))
    nodes = [replace(n, op="matmul") if n.op == "blocks" else n for n in nodes]
    return replace(graph, nodes=tuple(nodes))


def _reached(nodes: tuple[Node, ...], op: str) -> list[bool]:
    reached: list[bool] = []
    for node in nodes:
        reached.append(node.op == op or any(reached[arg] for arg in node.args))
    return reached
