"""What runs when: hoisted out of time, in product stages inside it, kept or computed again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from unspool.engine.gradient import Gradient, gradient
from unspool.engine.graph import Graph, Node
from unspool.engine.split import Split, split
from unspool.engine.stages import CHEAP, FUNCTIONS, Program, arrange, is_vector


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
        return self._back[0]

    @cached_property
    def again(self) -> frozenset[int]:
        """Nodes of the core's forward pass that the backward pass computes again."""
        return self._back[1]

    @cached_property
    def _back(self) -> tuple[frozenset[int], frozenset[int]]:
        return _read_back(self.gradient, self.split.core)

    @cached_property
    def forward(self) -> Program:
        """The core, step by step forwards."""
        core = self.split.core
        # A gate that is a stream lies in memory already; one that is the old state gets a copy.
        traced = [index for _, index in core.gates if core.nodes[index].op != "input"]
        wanted = [*core.updated, core.output, *sorted(self.kept), *traced]
        return arrange(core.nodes, wanted, frozenset(), {}, {})

    @cached_property
    def read_backward(self) -> frozenset[int]:
        """Inputs of the core that the way back reads as well."""
        program = self.backward
        read = {index for stage in program.stages for index in stage.read(program.nodes)}
        found = {program.original[index] for index in read if index in program.original}
        streams = {i for i, node in enumerate(self.split.core.nodes) if node.op == "input"}
        return frozenset(streams & (found | self.gradient.operands))

    @cached_property
    def fed(self) -> Program:
        """The core forwards from x itself: what is hoisted stands in the step, and is not kept.

        Leaves of the whole step are numbered after the nodes of the core.
        """
        core, whole = self.split.core, self.split.whole
        nodes: list[Node] = []
        numbers: list[int] = []
        moved: dict[int, int] = {}

        def add(number: int, node: Node, offset: int) -> None:
            args = tuple(moved[offset + arg] for arg in node.args)
            moved[number] = len(nodes)
            nodes.append(replace(node, args=args))
            numbers.append(number)

        for index in sorted(_with_operands(whole.nodes, self.split.streams)):
            add(len(core.nodes) + index, whole.nodes[index], len(core.nodes))
        streams = iter(self.split.streams)
        for index, node in enumerate(core.nodes):
            if node.op == "input":
                moved[index] = moved[len(core.nodes) + next(streams)]
            else:
                add(index, node, 0)
        kept = sorted(self.kept | self.read_backward | {index for _, index in core.gates})
        wanted = {index: moved[index] for index in (*core.updated, core.output, *kept)}
        program = arrange(tuple(nodes), wanted.values(), frozenset(), {}, {})
        return replace(
            program,
            memory={index: program.memory[place] for index, place in wanted.items()},
            original={place: numbers[index] for place, index in program.original.items()},
        )

    @cached_property
    def step(self) -> Program:
        """The whole step, nothing hoisted: what a stream runs."""
        whole = self.split.whole
        return arrange(whole.nodes, [*whole.updated, whole.output], frozenset(), {}, {})

    @cached_property
    def recurring(self) -> Program:
        """One step of the core and nothing kept: a stream whose inputs are rows of a table."""
        core = self.split.core
        return arrange(core.nodes, [*core.updated, core.output], frozenset(), {}, {})

    @cached_property
    def learnt_alike(self) -> dict[int, int]:
        """Vector parameters whose gradient is that of another one, and which."""
        full = self.gradient
        first: dict[int, int] = {}
        for leaf, node in full.leaves.items():
            if full.nodes[leaf].op == "parameter" and len(full.nodes[leaf].shape) == 1:
                first.setdefault(node, leaf)
        return {
            leaf: first[node]
            for leaf, node in full.leaves.items()
            if first.get(node, leaf) != leaf and len(full.nodes[leaf].shape) == 1
        }

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
                case "parameter" if leaf not in self.learnt_alike:
                    if len(full.nodes[leaf].shape) == 1:
                        learnt[leaf] = node
        return arrange(full.nodes, wanted, frozenset(given), carries, learnt)


def _with_operands(nodes: Sequence[Node], roots: Iterable[int]) -> set[int]:
    """Some nodes and all they are made of."""
    found: set[int] = set()
    pending = list(roots)
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(nodes[index].args)
    return found


def schedule(graph: Graph) -> Schedule:
    """The schedule of a traced step.

    Raises:
        BackendError: for an operation the fused backends do not have.
    """
    cut = split(graph)
    return Schedule(cut, gradient(cut.core))


def _read_back(full: Gradient, core: Graph) -> tuple[frozenset[int], frozenset[int]]:
    """Values of the forward pass that the backward pass needs: kept ones, and cheap ones."""
    there = {*core.updated, core.output}
    needed = {*full.leaves.values(), *(m.adjoint for m in full.matrices)}
    for index in reversed(range(full.num_forward, len(full.nodes))):
        if index in needed:
            needed.update(full.nodes[index].args)
    operands = {index for index in full.operands if full.nodes[index].args} - there
    kept: set[int] = set()
    again: set[int] = set()
    pending = [index for index in needed if index < full.num_forward]
    read = {index for index in pending if not full.nodes[index].args}  # inputs and old states
    while pending:
        index = pending.pop()
        node = full.nodes[index]
        if index in kept | again | there or not node.args:
            continue
        if node.op in CHEAP:
            again.add(index)
            pending.extend(node.args)
            read.update(arg for arg in node.args if not full.nodes[arg].args)
        else:
            kept.add(index)
    kept |= operands
    at_hand = kept | there | read
    for index in sorted(kept - operands):
        node = full.nodes[index]
        if node.op in FUNCTIONS and is_vector(node) and at_hand.issuperset(node.args):
            kept.remove(index)
            again.add(index)
    return frozenset(kept), frozenset(again - operands)
