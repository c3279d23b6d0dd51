"""A step, or its gradient, as stages: sweeps over the units, panel by panel.

A product needs its operand complete, and so does whatever looks at a whole row; both open a new
stage. Everything else is computed in the sweep in which its operands appear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from unspool.engine.graph import Node
from unspool.engine.sums import with_joined_products

PRODUCTS = ("matmul", "transposed", "products")
# Computed again in the backward pass rather than kept: arithmetic that costs less than memory.
CHEAP = ("add", "sub", "mul", "neg", "where", "maximum", "relu", "greater", "greater_equal")
CHEAP += ("identity", "spread", "centred", "normed")
# Dearer than arithmetic, yet cheaper than writing a value and reading it again much later, where
# what they are functions of is read anyway.
FUNCTIONS = ("sigmoid", "tanh", "exp")
# A cheap value is computed once more in a later sweep if that takes at most so many loads.
FEW_LOADS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Products of one stage that read the same vectors, summed side by side in registers.

    Attributes:
        nodes: one a sum.
        terms: for each sum its (matrix node, operand node, whether transposed), in the same order
            of operands for all.
    """

    nodes: tuple[int, ...]
    terms: tuple[tuple[tuple[int, int, bool], ...], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One sweep over the units.

    Attributes:
        axis: H or D.
        groups: products whose sums are made first, for a few rows and one panel.
        nodes: what is then computed from them, in order.
        stores: nodes written to memory.
        sums: row sums and maxima gathered on the way.
        scalars: numbers a row made of them when the sweep is over.
        carries: states whose incoming gradient is replaced here (backward only).
        learnt: vector parameters whose gradient is added up here (backward only).
    """

    axis: str
    groups: tuple[Group, ...]
    nodes: tuple[int, ...]
    stores: tuple[int, ...]
    sums: tuple[int, ...]
    scalars: tuple[int, ...]
    carries: tuple[tuple[int, int], ...] = ()
    learnt: tuple[tuple[int, int], ...] = ()

    def read(self, nodes: Sequence[Node]) -> set[int]:
        """Nodes it takes from memory or from earlier stages."""
        made = (*self.nodes, *self.sums, *self.scalars)
        found = {arg for node in made for arg in nodes[node].args}
        found |= {
            operand for group in self.groups for sums in group.terms for _, operand, _ in sums
        }
        return found | {node for _, node in (*self.carries, *self.learnt)}


@dataclass(frozen=True, slots=True)
class Program:
    """Stages over one list of nodes.

    Attributes:
        nodes: all of them.
        stages: in order.
        stored: every node that has memory of its own.
        given: nodes another pass stored, which are loaded.
        memory: for each node that was wanted, as the caller numbers it, the one that is stored.
        original: for each leaf and given node the caller's number.
    """

    nodes: tuple[Node, ...]
    stages: tuple[Stage, ...]
    stored: tuple[int, ...]
    given: frozenset[int]
    memory: Mapping[int, int]
    original: Mapping[int, int]

    @property
    def shared(self) -> bool:
        """Whether threads may share the units of a row: no number is gathered from all of them."""
        gathered = any(stage.sums or stage.scalars for stage in self.stages)
        return not gathered and not any(node.op == "outer" for node in self.nodes)

    @property
    def meets(self) -> bool:
        """Whether those threads have to wait for each other between sweeps."""
        return any(stage.groups or stage.axis != "H" for stage in self.stages)


def arrange(
    nodes: tuple[Node, ...],
    wanted: Iterable[int],
    given: frozenset[int],
    carries: Mapping[int, int],
    learnt: Mapping[int, int],
) -> Program:
    """Put what is needed into stages.

    Args:
        nodes: operands before their use.
        wanted: nodes that must end up in memory.
        given: nodes that are there already.
        carries: for each state leaf the node that becomes its incoming gradient.
        learnt: for each vector parameter the node to add up over steps and rows.
    """
    wanted = list(dict.fromkeys(wanted))
    found = [i for i, node in enumerate(nodes) if not node.args or i in given]
    nodes, moved = _with_copies(nodes, wanted, given)
    roots = [*(moved[i] for i in wanted), *carries.values(), *learnt.values()]
    nodes, places = with_joined_products(nodes, roots, given)
    memory = {index: places[moved[index]] for index in wanted}
    original = {places[index]: index for index in found}
    given = frozenset(places[index] for index in given)
    carries = {places[leaf]: places[node] for leaf, node in carries.items()}
    learnt = {places[leaf]: places[node] for leaf, node in learnt.items()}
    level = _Levels(nodes, given, {*memory.values(), *carries.values(), *learnt.values()})
    stored = {node for node in memory.values() if node not in given}
    level.sink(stored)
    stored |= level.crossing()
    stages_of_carries = {
        leaf: max(level.stage(node), level.last_read(nodes[leaf].name))
        for leaf, node in carries.items()
    }
    for leaf, node in carries.items():
        if level.computed(node) and stages_of_carries[leaf] > level.stage(node):
            stored.add(node)
    stages = [
        Stage(
            axis=axis,
            groups=_groups(nodes, level.products(number, axis)),
            nodes=level.elementwise(number, axis, stored),
            stores=tuple(sorted(i for i in stored if level.is_at(i, number, axis))),
            sums=level.sums(number, axis),
            scalars=level.scalars(number, axis),
            carries=tuple(
                (leaf, node)
                for leaf, node in carries.items()
                if stages_of_carries[leaf] == number and axis_of(nodes[leaf]) == axis
            ),
            learnt=tuple(
                (leaf, node)
                for leaf, node in learnt.items()
                if level.stage(node) == number and axis_of(nodes[leaf]) == axis
            ),
        )
        for number, axis in level.sweeps(carries, stages_of_carries, learnt)
    ]
    return Program(nodes, tuple(stages), tuple(sorted(stored)), given, memory, original)


class _Levels:
    """In which sweep every needed node is computed, and from which on it can be read.

    A leaf or given node is there from the start (`ready` is 0). A product is computed one sweep
    after its operand; a row sum is complete when the sweep that gathers it is over.
    """

    def __init__(self, nodes: tuple[Node, ...], given: frozenset[int], roots: set[int]) -> None:
        self.nodes, self.given = nodes, given
        self.needed: set[int] = set()
        self._need(roots)
        self.at: dict[int, int] = {}
        for index in sorted(self.needed):
            if self.computed(index):
                self.at[index] = self._when(nodes[index])

    def _need(self, roots: set[int]) -> None:
        pending = list(roots)
        while pending:
            index = pending.pop()
            if index not in self.needed:
                self.needed.add(index)
                if index not in self.given:
                    pending.extend(self.nodes[index].args)

    def computed(self, index: int) -> bool:
        """Whether this pass makes the value, rather than finding it."""
        return index not in self.given and bool(self.nodes[index].args)

    def _when(self, node: Node) -> int:
        if node.op in PRODUCTS:
            operands = node.args[1::2]
            return max(self.at[o] + 1 if self.computed(o) else 0 for o in operands)
        if node.op == "outer":
            return max(self.at[side] + 1 if self.computed(side) else 0 for side in node.args)
        return max((self.ready(arg) for arg in node.args), default=0)

    def ready(self, index: int) -> int:
        """The first sweep that can read a value where it computes others."""
        if not self.computed(index):
            return 0
        gathered = self.nodes[index].op in ("row_sum", "row_max")
        return self.at[index] + 1 if gathered else self.at[index]

    def stage(self, index: int) -> int:
        """The sweep a node is computed in; the first for what is there already."""
        return self.at.get(index, 0)

    def sink(self, stored: set[int]) -> None:
        """Move cheap values to the sweep that reads them, where their operands are in memory."""
        readers: dict[int, list[int]] = {}
        for index in self.at:
            for arg in self.nodes[index].args:
                readers.setdefault(arg, []).append(index)
        for index in sorted(self.at, reverse=True):
            node = self.nodes[index]
            later = min((self.at[r] for r in readers.get(index, [])), default=0)
            if (
                node.op in CHEAP
                and index not in stored
                and index in readers
                and later > self.at[index]
                and all(self.nodes[r].op not in (*PRODUCTS, "outer") for r in readers[index])
                and all(arg in stored or not self.computed(arg) for arg in node.args)
            ):
                self.at[index] = later

    def _loads(self, index: int) -> float:
        """Vectors to load for computing a value once more; infinite where it does not pay.

        The gradient that arrives at a state is replaced on the way, so nothing is made of it again.
        """
        node = self.nodes[index]
        if not is_vector(node):
            return 0.0
        if not self.computed(index):
            return math.inf if node.op == "adjoint" else 1.0
        if node.op not in CHEAP:
            return math.inf
        return math.fsum(self._loads(arg) for arg in node.args)

    def is_at(self, index: int, number: int, axis: str) -> bool:
        """Whether a vector is computed in this sweep."""
        return self.at.get(index) == number and axis_of(self.nodes[index]) == axis

    def sweeps(
        self, carries: Mapping[int, int], when: Mapping[int, int], learnt: Mapping[int, int]
    ) -> list[tuple[int, str]]:
        """Every (number, axis) with work in it, in order."""
        keys = {
            (number, axis_of(self.nodes[index]))
            for index, number in self.at.items()
            if is_vector(self.nodes[index])
        }
        keys |= {(when[leaf], axis_of(self.nodes[leaf])) for leaf in carries}
        keys |= {(self.stage(node), axis_of(self.nodes[leaf])) for leaf, node in learnt.items()}
        for index, number in self.at.items():
            if self.nodes[index].op in ("row_sum", "row_max"):
                keys.add((number, axis_of(self.nodes[self.nodes[index].args[0]])))
        # Outer products first: a vector they read may be replaced later in the same sweep.
        return sorted(keys, key=lambda key: (key[0], "*" not in key[1], key[1]))

    def crossing(self) -> set[int]:
        """Vectors that a later sweep or a product reads."""
        found = set()
        for index in self.at:
            node = self.nodes[index]
            for position, arg in enumerate(node.args):
                if not self.computed(arg) or not is_vector(self.nodes[arg]):
                    continue
                operand = (node.op in PRODUCTS and position % 2 == 1) or node.op == "outer"
                later = self.at[arg] < self.at[index] and self._loads(arg) > FEW_LOADS
                if operand or later:
                    found.add(arg)
        return found

    def last_read(self, state: str) -> int:
        """The last sweep that reads the gradient arriving at a state."""
        reads = [
            number
            for index, number in self.at.items()
            for arg in self.nodes[index].args
            if self.nodes[arg].op == "adjoint" and self.nodes[arg].name == state
        ]
        return max(reads, default=0)

    def products(self, number: int, axis: str) -> list[int]:
        """Products of a sweep."""
        return [i for i in self.at if self.is_at(i, number, axis) and self.nodes[i].op in PRODUCTS]

    def elementwise(self, number: int, axis: str, stored: set[int]) -> tuple[int, ...]:
        """The other vectors of a sweep, in order, with those that are computed once more."""
        found = {
            i for i in self.at if self.is_at(i, number, axis) and self.nodes[i].op not in PRODUCTS
        }
        pending = [*found, *self.sums(number, axis)]
        while pending:
            for arg in self.nodes[pending.pop()].args:
                again = self.computed(arg) and is_vector(self.nodes[arg]) and arg not in stored
                if again and arg not in found and self.at[arg] < number:
                    found.add(arg)
                    pending.append(arg)
        return tuple(sorted(found))

    def sums(self, number: int, axis: str) -> tuple[int, ...]:
        """Row sums and maxima gathered in a sweep."""
        return tuple(
            i
            for i, at in self.at.items()
            if at == number
            and self.nodes[i].op in ("row_sum", "row_max")
            and axis_of(self.nodes[self.nodes[i].args[0]]) == axis
        )

    def scalars(self, number: int, axis: str) -> tuple[int, ...]:
        """Numbers a row that can be computed once the sums of a sweep are complete."""
        if not self.sums(number, axis):
            return ()
        return tuple(
            i
            for i, at in self.at.items()
            if at == number + 1
            and axis_of(self.nodes[i]) == "1"
            and self.nodes[i].op not in ("row_sum", "row_max")
        )


def axis_of(node: Node) -> str:
    """H, D or a product such as D*H for a vector, "1" for a number a row, "" for a scalar."""
    return str(node.shape[0]) if node.shape else ""


def is_vector(node: Node) -> bool:
    """Whether a node has an entry for every unit or feature, or for every pair of them."""
    return axis_of(node) not in ("", "1")


def _with_copies(
    nodes: tuple[Node, ...], wanted: Iterable[int], given: frozenset[int]
) -> tuple[tuple[Node, ...], dict[int, int]]:
    """Give memory of their own to leaves that must be stored or are replaced while they are read.

    Returns:
        The nodes, copies at the end; and for each wanted node the one that is stored.
    """
    copies: dict[int, int] = {}
    grown = list(nodes)

    def copied(leaf: int) -> int:
        if leaf not in copies:
            grown.append(Node("identity", (leaf,), nodes[leaf].shape))
            copies[leaf] = len(grown) - 1
        return copies[leaf]

    moved = {i: copied(i) if not nodes[i].args and i not in given else i for i in wanted}
    for index, node in enumerate(nodes):
        if node.op == "transposed" and nodes[node.args[1]].op == "adjoint":
            grown[index] = replace(node, args=(node.args[0], copied(node.args[1])))
    return tuple(grown), moved


def _groups(nodes: tuple[Node, ...], products: list[int]) -> tuple[Group, ...]:
    """Products that read the same vectors, a few at a time."""
    alike: dict[tuple[tuple[int, bool], ...], list[int]] = {}
    terms: dict[int, tuple[tuple[int, int, bool], ...]] = {}
    for index in products:
        node = nodes[index]
        flags = node.name if node.op == "products" else {"matmul": "n", "transposed": "t"}[node.op]
        pairs = zip(node.args[::2], node.args[1::2], flags, strict=True)
        terms[index] = tuple((matrix, vector, flag == "t") for matrix, vector, flag in pairs)
        alike.setdefault(tuple((v, t) for _, v, t in terms[index]), []).append(index)
    return tuple(
        Group(tuple(some), tuple(terms[index] for index in some))
        for members in alike.values()
        for some in (members[k : k + WIDEST] for k in range(0, len(members), WIDEST))
    )


# Sums side by side in one group: with six rows they fill AVX-512's registers.
WIDEST = 4
