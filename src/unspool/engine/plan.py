"""A cell made ready for the fused backend: schedule and code, made once and kept with the cell."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.gradient import CENTRED
from unspool.engine.graph import Graph, mask_recurrent_products
from unspool.engine.language import Cell
from unspool.engine.llvm import Code, generate
from unspool.engine.nodes import Node
from unspool.engine.products import product_code
from unspool.engine.schedule import Schedule, schedule
from unspool.engine.stages import Program
from unspool.errors import BackendError


class Plan:
    """Everything about a cell that does not depend on sizes: schedule and code, made once.

    Args:
        cell: the equations.
        masked: whether what enters the recurrent products is multiplied by a mask.
        dtype: of all tensors.
    """

    def __init__(self, cell: Cell, masked: bool, dtype: torch.dtype) -> None:
        graph = mask_recurrent_products(cell.graph) if masked else cell.graph
        self.dtype = dtype
        self.graph = cell.graph
        self.families = graph.families
        self.schedule: Schedule = schedule(graph)
        self.core: Graph = self.schedule.split.core
        self.lanes = kernels.host().lanes(dtype.itemsize)
        self.streams = [i for i, n in enumerate(self.core.nodes) if n.op == "input"]
        self.linear = linear_streams(self)

    @cached_property
    def reused(self) -> dict[int, int]:
        """Stored values of the forward program that can lie where an input of the core lay.

        An input whose last reader is the sweep that makes the value is not needed any more; so the
        gates take the place of the sums they were made of. Only for streams that are our own.

        Returns:
            By node of the program the input, as the core numbers it.
        """
        if self.linear is None:
            return {}
        program = self.schedule.forward
        leaves = {program.original[i]: i for i in program.original}
        ends = {*self.core.updated, self.core.output}
        kept = {program.memory[index] for index in program.memory if index not in ends}
        gates = {index for _, index in self.core.gates}
        free = [s for s in self.streams if s not in self.schedule.read_backward and s not in gates]
        last: dict[int, int] = {}
        for number, stage in enumerate(program.stages):
            for index in stage.read(program.nodes):
                last[index] = number
        found: dict[int, int] = {}
        for number, stage in enumerate(program.stages):
            for node in stage.stores:
                ready = [s for s in free if last.get(leaves[s], 0) <= number]
                if node in kept and ready and stage.axis == "H":
                    found[node] = ready[0]
                    free.remove(ready[0])
        return found

    @cached_property
    def shared(self) -> bool:
        """Whether threads may share the units of a row, forwards and backwards."""
        return self.schedule.forward.shared and self.schedule.backward.shared

    @cached_property
    def diagonal(self) -> bool:
        """Whether no unit looks at another, forwards and backwards."""
        return self.shared and not (self.schedule.forward.meets or self.schedule.backward.meets)

    @cached_property
    def parameter_nodes(self) -> dict[str, int]:
        """The core's parameters by name."""
        return {n.name: i for i, n in enumerate(self.core.nodes) if n.op == "parameter"}

    @cached_property
    def learnt_whole(self) -> tuple[str, int] | None:
        """A family that learns in one product: its name, and the state all its gates multiply.

        The gradients of its gates' sums have to be those of the streams, in the same order, and
        there must be no other matrix.
        """
        full, program = self.schedule.gradient, self.schedule.backward
        adjoints = {self.core.nodes[m.parameter].name: m.adjoint for m in full.matrices}
        operands = {matrix.operand for matrix in full.matrices}
        family = self.families.get(next(iter(adjoints), "").partition(".")[0])
        if self.linear is None or family is None or len(family.shape) != 2 or len(operands) != 1:
            return None
        gates = self.gate_parameters[family.name]
        if set(gates) != set(adjoints) or len(gates) != len(full.matrices):
            return None
        places = [program.memory[adjoints[gate]] for gate in gates]
        columns = [program.memory.get(full.leaves.get(stream, -1)) for stream in self.streams]
        [operand] = operands
        state = self.core.nodes[operand].op == "state"
        return (family.name, operand) if state and places == columns else None

    @cached_property
    def core_families(self) -> list[str]:
        """The families the core itself reads; the others are in its streams."""
        names = (name.removesuffix(CENTRED) for name in self.parameter_nodes)
        letters = {name.partition(".")[0] for name in names}
        return [name for name in self.families if name in letters]

    @cached_property
    def gate_parameters(self) -> dict[str, tuple[str, ...]]:
        """For each family the names of its gates' parameters, in its order."""
        return {
            family.name: tuple(
                f"{family.name}.{gate}" if gate else family.name for gate in family.gates
            )
            for family in self.families.values()
        }

    @cached_property
    def whole_families(self) -> dict[tuple[str, ...], tuple[str, bool]]:
        """By the names of all its gates a family, and whether it is centred."""
        plain = {names: (family, False) for family, names in self.gate_parameters.items()}
        around = {
            tuple(name + CENTRED for name in names): (family, True)
            for family, names in self.gate_parameters.items()
        }
        return plain | around

    @cached_property
    def centred(self) -> frozenset[str]:
        """Families of which layer norms take what is left without the mean."""
        nodes = (*self.schedule.split.whole.nodes, *self.core.nodes)
        names = (node.name for node in nodes if node.op == "parameter")
        return frozenset(name.partition(".")[0] for name in names if name.endswith(CENTRED))

    @cached_property
    def permuted(self) -> list[int]:
        """Tensors of bilinear forms whose axes the way back reads in another order."""
        full = self.schedule.gradient
        later = range(full.num_forward, len(full.nodes))
        return [index for index in later if full.nodes[index].op == "parameter"]

    @cached_property
    def num_products(self) -> int:
        """How many matrices a step multiplies with."""
        groups = (group for stage in self.schedule.forward.stages for group in stage.groups)
        return sum(len(group.nodes) * len(group.terms[0]) for group in groups)

    @cached_property
    def forward(self) -> Side:
        """The step's program; compiled when first needed."""
        return Side(self, self.schedule.forward, reverse=False)

    @cached_property
    def fed(self) -> Side:
        """The step's program with the products with x in it; compiled when first needed."""
        return Side(self, self.schedule.fed, reverse=False)

    @cached_property
    def leaves(self) -> tuple[Node, ...]:
        """The core's nodes and after them those of the whole step, as `fed` numbers its leaves."""
        return (*self.core.nodes, *self.schedule.split.whole.nodes)

    @cached_property
    def fed_leaves(self) -> dict[str, int]:
        """What the `fed` program reads besides the core's leaves, by name; x by its own."""
        first = len(self.core.nodes)
        return {
            self.leaves[number].name: number
            for number in self.schedule.fed.original.values()
            if number >= first and self.leaves[number].name
        }

    @cached_property
    def backward(self) -> Side:
        """The gradient's program; compiled when first needed."""
        return Side(self, self.schedule.backward, reverse=True)

    @cached_property
    def step(self) -> Side:
        """One step with nothing hoisted, for streaming: the products with x are in it too."""
        return Side(self, self.schedule.step, reverse=False)

    @cached_property
    def unpacked(self) -> Side | None:
        """One step on weights that are read where they lie; None where they are not those."""
        program = self.schedule.step
        leaves = [node for node in program.nodes if node.op == "parameter"]
        terms = (t for s in program.stages for g in s.groups for sums in g.terms for t in sums)
        asis = not any(node.name.endswith(CENTRED) for node in leaves)
        asis = asis and all(len(family.shape) < 3 for family in self.families.values())
        asis = asis and not any(transposed for _, _, transposed in terms)
        ends = [program.memory[index] for index in self.schedule.split.whole.updated]
        single = len(set(ends)) == len(ends)
        return Side(self, program, reverse=False, unpacked=True) if asis and single else None

    @cached_property
    def recurring(self) -> Side:
        """One step of what recurs, for streams that look up what needs only x."""
        return Side(self, self.schedule.recurring, reverse=False)

    def heads(self, name: str) -> int:
        """How many blocks the matrix of this name has on its diagonal; 1 for any other."""
        family = self.families.get(name.partition(".")[0])
        if family is None or name.endswith(CENTRED) or len(family.shape) != 3:
            return 1
        return family.shape[0] if isinstance(family.shape[0], int) else 1

    def padded(self, width: int) -> int:
        """A width filled up to whole panels."""
        panel = 2 * self.lanes
        return -(-width // panel) * panel


class Side:
    """One program with its code.

    Attributes:
        plan, program, code, kernel: what it is, in ever less readable form.
        products: for each of the code's arrays of product functions their addresses.
    """

    def __init__(self, plan: Plan, program: Program, reverse: bool, unpacked: bool = False) -> None:
        name = str(plan.dtype).removeprefix("torch.")
        self.plan, self.program = plan, program
        self._over_time: dict[tuple[bool, bool], tuple[frozenset[int], frozenset[int]]] = {}
        self.code: Code = generate(program, name, kernels.host(), reverse, unpacked)
        self.kernel = kernels.kernel(self.code.text)
        self.products = [_functions(name, wide, rows) for wide, rows in self.code.products]

    def over_time(self, training: bool, traced: bool) -> tuple[frozenset[int], frozenset[int]]:
        """Stored nodes that leave a forward call, and with them all that time moves."""
        if (training, traced) not in self._over_time:
            core, schedule, memory = self.plan.core, self.plan.schedule, self.program.memory
            ends = {*core.updated, core.output, *(i for _, i in core.gates if traced)}
            kept = schedule.kept | schedule.read_backward if training else frozenset()
            leaving = frozenset(memory[index] for index in ends & memory.keys())
            inside = frozenset(memory[index] for index in kept & memory.keys())
            self._over_time[training, traced] = leaving, leaving | inside
        return self._over_time[training, traced]

    @cached_property
    def heads_of_terms(self) -> list[int]:
        """How many blocks the matrices of each group's terms have, group by group."""
        return [
            self.heads([sums[term][0] for sums in group.terms])
            for group in self.code.groups
            for term in range(len(group.terms[0]))
        ]

    def heads(self, matrices: Sequence[int]) -> int:
        """How many blocks all of some matrices, nodes of the program, have on their diagonal."""
        counts = {self.plan.heads(self.program.nodes[matrix].name) for matrix in matrices}
        return counts.pop() if len(counts) == 1 else 1


def _functions(dtype: str, wide: int, rows: int) -> Any:
    """Addresses of the functions for products, by number of rows."""
    found = (ctypes.c_int64 * (rows + 1))()
    kernels.kernel(product_code(dtype, kernels.host(), wide, rows)).call(ctypes.addressof(found))
    return found


def linear_streams(plan: Plan) -> list[tuple[str, str | None]] | None:
    """For each stream the matrix and bias of ``W x + b``, if all are of that form."""
    whole = plan.schedule.split.whole
    found: list[tuple[str, str | None]] = []
    for index in plan.schedule.split.streams:
        node, bias = whole.nodes[index], None
        if node.op == "add" and whole.nodes[node.args[1]].op == "parameter":
            bias = whole.nodes[node.args[1]].name
            node = whole.nodes[node.args[0]]
        if node.op != "matmul" or whole.nodes[node.args[1]].op != "input" or node.shape != ("H",):
            return None
        found.append((whole.nodes[node.args[0]].name, bias))
    return found or None


def refusal(cell: Cell, like: Tensor, masked: bool) -> str | None:
    """Why the fused backend cannot serve a call, or None when it can.

    Args:
        cell: the equations.
        like: a tensor of the call's device and dtype.
        masked: whether there is dropout inside the recurrence.
    """
    if like.device.type != "cpu":
        return f"it runs on the CPU, the inputs are on {like.device}"
    if like.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, the inputs are {like.dtype}"
    try:
        plan_of(cell, masked, like.dtype)
    except BackendError as error:
        return str(error)
    return None


_PLANS: WeakKeyDictionary[Cell, dict[tuple[bool, torch.dtype], Plan | BackendError]]
_PLANS = WeakKeyDictionary()


def plan_of(cell: Cell, masked: bool, dtype: torch.dtype) -> Plan:
    """The plan of a cell, made at its first use.

    Raises:
        BackendError: if its equations cannot be compiled.
    """
    plans = _PLANS.setdefault(cell, {})
    if (masked, dtype) not in plans:
        try:
            plans[masked, dtype] = Plan(cell, masked, dtype)
        except BackendError as error:
            plans[masked, dtype] = error
    plan = plans[masked, dtype]
    if isinstance(plan, BackendError):
        raise plan
    return plan
