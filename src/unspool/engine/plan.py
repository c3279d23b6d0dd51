"""A cell made ready for the fused backend: schedule and code, made once and kept with the cell."""

from __future__ import annotations

from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.graph import Graph, mask_recurrent_products
from unspool.engine.language import Cell
from unspool.engine.llvm import Code, generate
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
    def forward(self) -> Side:
        """The step's program; compiled when first needed."""
        return Side(self, self.schedule.forward, reverse=False)

    @cached_property
    def backward(self) -> Side:
        """The gradient's program; compiled when first needed."""
        return Side(self, self.schedule.backward, reverse=True)

    @cached_property
    def step(self) -> Side:
        """One step with nothing hoisted, for streaming: the products with x are in it too."""
        return Side(self, self.schedule.step, reverse=False)

    def padded(self, width: int) -> int:
        """A width filled up to whole panels."""
        panel = 2 * self.lanes
        return -(-width // panel) * panel


class Side:
    """One program with its code."""

    def __init__(self, plan: Plan, program: Program, reverse: bool) -> None:
        name = str(plan.dtype).removeprefix("torch.")
        self.plan, self.program = plan, program
        self.code: Code = generate(program, name, kernels.host(), reverse)
        self.kernel = kernels.kernel(self.code.text)


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
    if len({bias is None for _, bias in found}) > 1:
        return None
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
