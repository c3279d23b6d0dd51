"""What runs when: hoisted out of time, in product stages inside it, kept or computed again.

    split(cell graph)   -> what needs only x (done for all steps at once), and the core
    forward / backward  -> the core and its gradient as stages

A stage is one sweep over the units, panel by panel. A product needs its operand complete, and so
does whatever looks at a whole row; both open a new stage. Everything else is computed in the sweep
in which its operands appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from unspool.engine.gradient import Builder, Gradient, gradient, lower
from unspool.engine.graph import Graph, Node, depends_on_state, simplify

PRODUCTS = ("matmul", "transposed", "products")
# Computed again in the backward pass rather than kept: arithmetic that costs less than memory.
CHEAP = ("add", "sub", "mul", "neg", "where", "maximum", "relu", "greater", "greater_equal")
CHEAP += ("identity", "spread")


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


@dataclass(frozen=True)
class Schedule:
    """Everything a backend needs to know of a cell.

    Attributes:
        split: hoisted and recurring part.
        gradient: both passes of the core as one list of nodes.
    """

    split: Split
    gradient: Gradient

    @cached_property
    def kept(self) -> frozenset[int]:
        """Nodes of the core's forward pass that the backward pass reads."""
        return _kept(self.gradient, self.split.core)

    @cached_property
    def forward(self) -> Program:
        """The core, step by step forwards."""
        core = self.split.core
        traced = [index for _, index in core.gates]
        wanted = [*core.updated, core.output, *sorted(self.kept), *traced]
        return arrange(core.nodes, wanted, frozenset(), {}, {})

    @cached_property
    def backward(self) -> Program:
        """Its gradient, step by step backwards."""
        core, full = self.split.core, self.gradient
        given = self.kept | {*core.updated, core.output}
        wanted = [m.adjoint for m in full.matrices]
        carries: dict[int, int] = {}
        learnt: dict[int, int] = {}
        for leaf, node in full.leaves.items():
            match full.nodes[leaf].op:
                case "state":
                    carries[leaf] = node
                case "input":
                    wanted.append(node)
                case "parameter" if len(full.nodes[leaf].shape) == 1:
                    learnt[leaf] = node
        return arrange(full.nodes, wanted, frozenset(given), carries, learnt)


def schedule(graph: Graph) -> Schedule:
    """The schedule of a traced step.

    Raises:
        BackendError: for an operation the fused backends do not have.
    """
    cut = split(graph)
    return Schedule(cut, gradient(cut.core))


def split(graph: Graph) -> Split:
    """Cut a step into what needs only x and what recurs; sums are reordered to hoist more.

    Example:
        >>> from unspool.cells import CELLS
        >>> [node.name for node in split(CELLS["gru"].graph).core.nodes if node.op == "input"]
        ['s0', 's1', 's2']
    """
    whole = simplify(lower(_regrouped(simplify(_dense(graph)))))
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
    core = Graph(
        tuple(builder.nodes),
        whole.states,
        tuple(moved[index] for index in whole.updated),
        moved[whole.output],
        tuple((name, moved[index]) for name, index in whole.gates),
    )
    return Split(whole, core, tuple(streams), tuple(prepared))


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
    nodes, places = _with_summed_products(nodes, roots, given)
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
            nodes=level.elementwise(number, axis),
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
                and all(self.nodes[r].op not in PRODUCTS for r in readers[index])
                and all(arg in stored or not self.computed(arg) for arg in node.args)
            ):
                self.at[index] = later

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
            if axis_of(self.nodes[index]) in ("H", "D")
        }
        keys |= {(when[leaf], axis_of(self.nodes[leaf])) for leaf in carries}
        keys |= {(self.stage(node), axis_of(self.nodes[leaf])) for leaf, node in learnt.items()}
        for index, number in self.at.items():
            if self.nodes[index].op in ("row_sum", "row_max"):
                keys.add((number, axis_of(self.nodes[self.nodes[index].args[0]])))
        return sorted(keys)

    def crossing(self) -> set[int]:
        """Vectors that a later sweep or a product reads."""
        found = set()
        for index in self.at:
            node = self.nodes[index]
            for position, arg in enumerate(node.args):
                if not self.computed(arg) or axis_of(self.nodes[arg]) not in ("H", "D"):
                    continue
                operand = node.op in PRODUCTS and position % 2 == 1
                if operand or self.at[arg] < self.at[index]:
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

    def elementwise(self, number: int, axis: str) -> tuple[int, ...]:
        """The other vectors of a sweep, in order."""
        return tuple(
            i
            for i in self.at
            if self.is_at(i, number, axis) and self.nodes[i].op not in PRODUCTS
        )

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
    """H or D for a vector, "1" for a number a row, "" for a scalar."""
    return str(node.shape[0]) if node.shape else ""


def _dense(graph: Graph) -> Graph:
    """Block-diagonal products as products of the whole matrix, zeros and all."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op == "blocks":
            matrix = node.args[0]
            nodes[matrix] = replace(nodes[matrix], shape=("H", "H"))
    nodes = [replace(n, op="matmul") if n.op == "blocks" else n for n in nodes]
    return replace(graph, nodes=tuple(nodes))


def _regrouped(graph: Graph) -> Graph:
    """Sums with what does not depend on a state first, so that it can be hoisted.

    (W x + U h) + b   becomes   (W x + b) + U h
    """
    dynamic = depends_on_state(graph)
    uses = _uses(graph.nodes)
    fixed = {*graph.updated, graph.output, *(index for _, index in graph.gates)}
    builder = Builder()
    moved: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        terms = _terms(graph.nodes, index, uses, fixed) if node.op in ("add", "sub") else []
        still = [t for t in terms if not dynamic[t[1]]]
        if len(terms) < 3 or not still or len(still) == len(terms):
            args = tuple(moved[arg] for arg in node.args)
            moved[index] = builder.add_node(replace(node, args=args, line=0))
            continue
        ordered = still + [t for t in terms if dynamic[t[1]]]
        moved[index] = _summed(builder, [(sign, moved[i]) for sign, i in ordered])
    return replace(
        graph,
        nodes=tuple(builder.nodes),
        updated=tuple(moved[index] for index in graph.updated),
        output=moved[graph.output],
        gates=tuple((name, moved[index]) for name, index in graph.gates),
    )


def _terms(
    nodes: tuple[Node, ...], index: int, uses: list[int], fixed: set[int], sign: int = 1
) -> list[tuple[int, int]]:
    """A sum as its terms with their signs; a part with another use stays whole."""
    found: list[tuple[int, int]] = []
    node = nodes[index]
    signs = {"add": (sign, sign), "sub": (sign, -sign), "neg": (-sign,)}[node.op]
    for arg, each in zip(node.args, signs, strict=True):
        if nodes[arg].op in ("add", "sub", "neg") and uses[arg] == 1 and arg not in fixed:
            found += _terms(nodes, arg, uses, fixed, each)
        else:
            found.append((each, arg))
    return found


def _summed(builder: Builder, terms: list[tuple[int, int]]) -> int:
    sign, total = terms[0]
    if sign < 0:
        total = builder.add("neg", total)
    for sign, term in terms[1:]:
        total = builder.add("add" if sign > 0 else "sub", total, term)
    return total


def _uses(nodes: tuple[Node, ...]) -> list[int]:
    uses = [0] * len(nodes)
    for node in nodes:
        for arg in node.args:
            uses[arg] += 1
    return uses


def _reached(nodes: tuple[Node, ...], op: str) -> list[bool]:
    reached: list[bool] = []
    for node in nodes:
        reached.append(node.op == op or any(reached[arg] for arg in node.args))
    return reached


def _kept(full: Gradient, core: Graph) -> frozenset[int]:
    """Values of the forward pass that the backward pass cannot cheaply compute again."""
    there = {*core.updated, core.output}
    kept: set[int] = set()
    needed = {*full.leaves.values(), *(m.adjoint for m in full.matrices)}
    for index in reversed(range(full.num_forward, len(full.nodes))):
        if index in needed:
            needed.update(full.nodes[index].args)
    pending = [index for index in needed if index < full.num_forward]
    seen: set[int] = set()
    while pending:
        index = pending.pop()
        node = full.nodes[index]
        if index in seen or index in there or not node.args:
            continue
        seen.add(index)
        if node.op in CHEAP:
            pending.extend(node.args)
        else:
            kept.add(index)
    operands = {m.operand for m in full.matrices if full.nodes[m.operand].args}
    return frozenset(kept | (operands - there))


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


def _with_summed_products(
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
    uses = _uses(nodes)
    fixed = roots | given
    builder = Builder()
    moved: dict[int, int] = {}
    for index in order:
        node = nodes[index]
        terms = _terms(nodes, index, uses, fixed) if node.op in ("add", "sub") else []
        products = [
            term
            for sign, term in terms
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
        others = [(sign, moved[term]) for sign, term in terms if term not in products]
        moved[index] = _summed(builder, [fused, *others])
    return tuple(builder.nodes), moved


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
