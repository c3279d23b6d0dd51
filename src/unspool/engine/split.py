"""A step cut at the edge of time: what needs only x is hoisted, the rest truly recurs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unspool.engine.gradient import Builder, lower
from unspool.engine.graph import Graph, Node, depends_on_state, simplify
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
    whole = simplify(lower(state_free_first(simplify(_dense(graph)))))
    dynamic = [
        d or n.op == "sequence" for d, n in zip(depends_on_state(whole), whole.nodes, strict=True)
    ]
    for index, node in enumerate(whole.nodes):
        dynamic[index] = dynamic[index] or any(dynamic[arg] for arg in node.args)
    timed = _reached(whole.nodes, "input")
    wanted = {*whole.updated, whole.output, *(index for _, index in whole.gates)}
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
