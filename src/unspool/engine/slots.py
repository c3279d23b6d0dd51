"""The places in memory a program reads and writes, in the order of its argument array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unspool.engine.graph import Node
from unspool.engine.stages import Program


@dataclass(frozen=True, slots=True)
class Slot:
    """Memory behind a node.

    Attributes:
        kind: ``load`` (a leaf or given node), ``store``, ``carry`` (the gradient arriving at a
            state, replaced in place), ``learnt`` (a sum over steps and rows).
        node: in the program's numbering.
    """

    kind: str
    node: int


def slots_of(program: Program) -> list[Slot]:
    """Every place, each once: first what is loaded, then what is stored, replaced and added up."""
    return list(dict.fromkeys(_slots(program)))


def _slots(program: Program) -> Iterator[Slot]:
    for index in sorted(_read(program)):
        node = program.nodes[index]
        leaf = not node.args and node.op not in ("constant", "inverse_width")
        if leaf or index in program.given:
            yield Slot("load", index)
    yield from (Slot("store", index) for index in program.stored)
    for stage in program.stages:
        yield from (Slot("carry", leaf) for leaf, _ in stage.carries)
        yield from (Slot("learnt", leaf) for leaf, _ in stage.learnt)


def _read(program: Program) -> set[int]:
    """All nodes the stages touch, but matrices, which are packed."""
    pending: list[int] = []
    for stage in program.stages:
        for index in (*stage.nodes, *stage.sums, *stage.scalars):
            pending += program.nodes[index].args
        pending += [node for _, node in (*stage.carries, *stage.learnt)]
        pending += stage.stores
        for group in stage.groups:
            pending += [operand for terms in group.terms for _, operand, _ in terms]
    seen: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in seen and not _is_matrix(program.nodes[index]):
            seen.add(index)
            if index not in program.given:
                pending += program.nodes[index].args
    return seen


def _is_matrix(node: Node) -> bool:
    return node.op == "parameter" and len(node.shape) > 1
