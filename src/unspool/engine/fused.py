"""The fused CPU backend: tensors in, one compiled program forwards and one backwards."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.graph import Graph, mask_recurrent_products, resolve
from unspool.engine.language import Cell
from unspool.engine.llvm import HEADER, WORDS, Code, generate
from unspool.engine.reference import TORCH, dense_blocks, unstack
from unspool.engine.schedule import Program, Schedule, axis_of, schedule
from unspool.errors import BackendError


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows are read at which step, longest first, without any padding.

    Attributes:
        steps, batch, total: T, B, and how many (step, row) pairs there are.
        offsets: int64 ``[T + 1]``; step t is entries ``offsets[t]`` to ``offsets[t + 1]``.
        order: the rows by falling length; None when they stand as they are.
        source: for each entry its place in the flattened ``[T·B]`` input; None for the identity.
        last: for each sorted row its last entry.
    """

    steps: int
    batch: int
    total: int
    offsets: Int64[Tensor, " T1"]
    order: Int64[Tensor, " B"] | None
    source: Int64[Tensor, " N"] | None
    last: Int64[Tensor, " B"]


def arrange_rows(
    steps: int, batch: int, lengths: Int64[Tensor, " B"] | None, reverse: bool
) -> Rows:
    """The order a scan reads in.

    Args:
        steps: T.
        batch: B.
        lengths: of the rows; None when all are full.
        reverse: each row from its last step to its first.
    """
    if lengths is None or bool((lengths == steps).all()):
        source = None
        if reverse:
            source = torch.arange(steps * batch).view(steps, batch).flip(0).flatten()
        offsets = torch.arange(steps + 1) * batch
        last = torch.arange(batch) + (steps - 1) * batch
        return Rows(steps, batch, steps * batch, offsets, None, source, last)
    order = torch.argsort(lengths, descending=True, stable=True)
    falling = lengths[order]
    t = torch.arange(steps)[:, None]
    active = t < falling                                               # [T B]
    counts = active.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    time = falling - 1 - t if reverse else t.expand(steps, batch)
    source = (time * batch + order)[active]
    last = offsets[falling - 1] + torch.arange(batch)
    return Rows(steps, batch, int(offsets[-1]), offsets, order, source, last)


class Plan:
    """Everything about a cell that does not depend on sizes: schedule and code, made once.

    Args:
        cell: the equations.
        masked: whether what enters the recurrent products is multiplied by a mask.
        dtype: of all tensors.
    """

    def __init__(self, cell: Cell, masked: bool, dtype: torch.dtype) -> None:
        graph = mask_recurrent_products(cell.graph) if masked else cell.graph
        self.cell, self.dtype = cell, dtype
        self.families = graph.families
        self.schedule: Schedule = schedule(graph)
        self.core: Graph = self.schedule.split.core
        host = kernels.host()
        self.lanes = host.lanes(dtype.itemsize)
        self.forward = Side(self, self.schedule.forward, reverse=False)
        self.streams = [i for i, n in enumerate(self.core.nodes) if n.op == "input"]
        self.linear = _linear_streams(self)

    @cached_property
    def backward(self) -> Side:
        """The gradient's program; compiled when first needed."""
        return Side(self, self.schedule.backward, reverse=True)

    def padded(self, width: int) -> int:
        """A width filled up to whole panels."""
        panel = 2 * self.lanes
        return -(-width // panel) * panel


class Side:
    """One program with its code."""

    def __init__(self, plan: Plan, program: Program, reverse: bool) -> None:
        name = str(plan.dtype).removeprefix("torch.")
        host = kernels.host()
        self.program = program
        self.code: Code = generate(program, name, plan.lanes, host.registers, reverse)
        self.kernel = kernels.kernel(self.code.text)


@dataclass(slots=True)
class Call:
    """One scan: sizes, and the memory behind every node of the core.

    Attributes:
        memory: by node of the joint list; time-indexed ones are ``[N, width]``.
        start: state before the first step, sorted and padded, by state node.
        matrices: recurrent matrices by parameter node, unpadded.
        vectors: vector parameters by node, padded.
    """

    plan: Plan
    rows: Rows
    units: int
    features: int
    threads: int
    memory: dict[int, Tensor] = field(default_factory=dict)
    start: dict[int, Tensor] = field(default_factory=dict)
    matrices: dict[int, Tensor] = field(default_factory=dict)
    vectors: dict[int, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None

    def width(self, node: int, nodes: Sequence[Any]) -> int:
        """Padded width of a node's rows."""
        axis = axis_of(nodes[node])
        if axis == "1":
            return 1
        return self.plan.padded(self.units if axis == "H" else self.features)


def refusal(cell: Cell, x: Tensor) -> str | None:
    """Why the fused backend cannot serve a call, or None when it can."""
    if x.device.type != "cpu":
        return f"it runs on the CPU, the inputs are on {x.device}"
    if x.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, the inputs are {x.dtype}"
    try:
        plan_of(cell, False, x.dtype)
    except BackendError as error:
        return str(error)
    return None


_PLANS: dict[tuple[int, bool, torch.dtype], tuple[Cell, Plan | BackendError]] = {}


def plan_of(cell: Cell, masked: bool, dtype: torch.dtype) -> Plan:
    """The plan of a cell, made at its first use.

    Raises:
        BackendError: if its equations cannot be compiled.
    """
    key = (id(cell), masked, dtype)
    if key not in _PLANS:
        try:
            _PLANS[key] = (cell, Plan(cell, masked, dtype))
        except BackendError as error:
            _PLANS[key] = (cell, error)
    plan = _PLANS[key][1]
    if isinstance(plan, BackendError):
        raise plan
    return plan


def scan(
    cell: Cell,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"],
    state: tuple[Tensor, ...],
    *,
    lengths: Int64[Tensor, " B"] | None = None,
    reverse: bool = False,
    mask: Float[Tensor, "B H"] | None = None,
    trace: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """Outputs, final state and trace from the compiled program.

    Args:
        cell: one that `refusal` does not refuse.
        parameters: stacked, by family.
        x: inputs, time first; what stands in the padding is never read.
        state: before the first step, each ``[B H]``.
        lengths: of the rows; None when all are full.
        reverse: each row from its own last step to its first.
        mask: dropout factors for what enters recurrent products.
        trace: also return every gate and state over time.
    """
    plan = plan_of(cell, mask is not None, x.dtype)
    T, B, D = x.shape
    rows = arrange_rows(T, B, lengths, reverse)
    packed = x.reshape(T * B, D)
    if rows.source is not None:
        packed = _Pack.apply(packed, rows.source)
    streams, prepared = _hoist(plan, parameters, packed, state[0].shape[-1])
    traced = [index for _, index in plan.core.gates] if trace else None
    names = list(plan.families)
    results = _Core.apply(
        plan, rows, traced, len(names), len(prepared), D, mask,
        *(parameters[name] for name in names), *prepared, *state, *streams,
    )  # fmt: skip
    count = len(state)
    outputs, final = results[0], tuple(results[1 : 1 + count])
    kept: dict[str, Tensor] = {}
    if trace:
        values = results[1 + count :]
        for (name, _), value in zip(plan.core.gates, values, strict=False):
            kept[name] = value
        for name, value in zip(plan.core.states, values[len(plan.core.gates) :], strict=True):
            kept[name] = value
    return outputs, final, kept


class _Pack(torch.autograd.Function):
    """Rows gathered in reading order; every source row is taken at most once."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, source: Tensor) -> Tensor:
        ctx.source, ctx.shape = source, rows.shape
        return rows.index_select(0, source)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].new_zeros(ctx.shape).index_copy_(0, ctx.source, gradients[0]), None


def _linear_streams(plan: Plan) -> list[tuple[str, str | None]] | None:
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


def _hoist(
    plan: Plan, parameters: Mapping[str, Tensor], packed: Tensor, units: int
) -> tuple[list[Tensor], list[Tensor]]:
    """What needs only x, for all steps at once: streams, and parameters computed beforehand."""
    if plan.linear is not None and not plan.schedule.split.prepared:
        return [_stacked_streams(plan, parameters, packed, units)], []
    whole, cut = plan.schedule.split.whole, plan.schedule.split
    values: dict[int, Tensor] = {}
    single = _single(plan, parameters)

    def value(index: int) -> Tensor:
        if index not in values:
            node = whole.nodes[index]
            match node.op:
                case "input":
                    result = packed
                case "parameter":
                    result = single[node.name]
                case "constant":
                    result = packed.new_tensor(node.value)
                case "inverse_width":
                    result = packed.new_tensor(1.0 / resolve(node.name, packed.shape[1], units))
                case _:
                    result = TORCH[node.op](*(value(arg) for arg in node.args))
            values[index] = result
        return values[index]

    streams = []
    for index in cut.streams:
        width = resolve(whole.nodes[index].shape[0], packed.shape[1], units)
        result = value(index).expand(packed.shape[0], width)
        streams.append(_filled(result, plan.padded(width)).contiguous())
    prepared = [value(index) for index in cut.prepared]
    return streams, prepared


def _stacked_streams(
    plan: Plan, parameters: Mapping[str, Tensor], packed: Tensor, units: int
) -> Tensor:
    """All streams side by side from one product, each filled up to whole panels."""
    assert plan.linear is not None
    weights = _rows_of(plan, parameters, [weight for weight, _ in plan.linear], units)
    if plan.linear[0][1] is None:
        return packed @ weights.T
    bias = _rows_of(plan, parameters, [bias or "" for _, bias in plan.linear], units)
    return torch.addmm(bias, packed, weights.T)


def _rows_of(
    plan: Plan, parameters: Mapping[str, Tensor], names: list[str], units: int
) -> Tensor:
    """Gates of one or several families stacked in the given order, each padded to panels."""
    letters = {name.partition(".")[0] for name in names}
    padded = plan.padded(units)
    if len(letters) == 1:
        family = plan.families[letters.copy().pop()]
        if [f"{family.name}.{g}" if g else family.name for g in family.gates] == names:
            whole = parameters[family.name]
            if padded == units:
                return whole
            parts = whole.reshape(len(names), units, *whole.shape[1:])
            return _filled_axis(parts, padded, 1).flatten(0, 1)
    single = _single(plan, parameters)
    return torch.cat([_filled_axis(single[name], padded, 0) for name in names])


def _single(plan: Plan, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each gate's own parameter, block-diagonal ones written out."""
    single = unstack(plan.cell.graph, parameters)
    return {name: dense_blocks(t) if t.dim() == 3 else t for name, t in single.items()}


def _filled(x: Tensor, width: int) -> Tensor:
    """Rows filled up with zeros to a width."""
    return x if x.shape[-1] == width else torch.nn.functional.pad(x, (0, width - x.shape[-1]))


def _filled_axis(x: Tensor, size: int, axis: int) -> Tensor:
    if x.shape[axis] == size:
        return x
    shape = list(x.shape)
    shape[axis] = size - x.shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)


class _Core(torch.autograd.Function):
    """The recurrence itself; everything that needs only x has been done."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, rows: Rows, traced: list[int] | None, num_families: int,
        num_prepared: int, features: int, mask: Tensor | None, *tensors: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        split = [num_families, num_prepared, len(plan.core.states)]
        families, prepared, state, streams = _parts(tensors, split)
        units = state[0].shape[-1]
        threads = max(1, min(torch.get_num_threads(), rows.batch))
        call = Call(plan, rows, units, features, threads)
        _place_parameters(call, families, prepared)
        _place_streams(call, streams)
        for name, value in zip(plan.core.states, state, strict=True):
            node = _state_node(plan, name)
            if node is not None:
                call.start[node] = _filled(_sorted(value, rows), plan.padded(units)).contiguous()
        if mask is not None:
            call.mask = _filled(_sorted(mask, rows), plan.padded(units)).contiguous()
        training = any(ctx.needs_input_grad)
        _run_forward(call, training or traced is not None)
        memory = plan.forward.program.memory
        outputs = _unpacked(call, call.memory[memory[plan.core.output]])
        final = [_final(call, call.memory[memory[index]]) for index in plan.core.updated]
        traces = []
        if traced is not None:
            wanted = [*traced, *plan.core.updated]
            traces = [_unpacked(call, call.memory[memory[index]], copy=True) for index in wanted]
            ctx.mark_non_differentiable(*traces)
        if training:
            ctx.call, ctx.split = call, split
            ctx.shapes = [tensor.shape for tensor in tensors]
            ctx.num_traces = len(traces)
        return (outputs, *final, *traces)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        call: Call = ctx.call
        results = _run_backward(call, gradients, ctx.shapes, ctx.split)
        return (None,) * 7 + tuple(results)


def _parts(tensors: Sequence[Tensor], sizes: list[int]) -> list[Sequence[Tensor]]:
    parts, at = [], 0
    for size in sizes:
        parts.append(tensors[at : at + size])
        at += size
    return [*parts, tensors[at:]]


def _state_node(plan: Plan, name: str) -> int | None:
    for index, node in enumerate(plan.core.nodes):
        if node.op == "state" and node.name == name:
            return index
    return None


def _place_parameters(
    call: Call, families: Sequence[Tensor], prepared: Sequence[Tensor]
) -> None:
    plan = call.plan
    stacked = dict(zip(plan.families, families, strict=True))
    single = _single(plan, stacked)
    for index, node in enumerate(plan.core.nodes):
        if node.op != "parameter":
            continue
        if node.name in single:
            tensor = single[node.name]
        else:
            tensor = prepared[int(node.name[1:])]
        if tensor.dim() == 2:
            call.matrices[index] = tensor
        else:
            call.vectors[index] = _filled(tensor, plan.padded(tensor.shape[0])).contiguous()


def _place_streams(call: Call, streams: Sequence[Tensor]) -> None:
    plan = call.plan
    if plan.linear is not None and len(streams) == 1 and len(plan.streams) >= 1:
        width = plan.padded(call.units)
        for k, node in enumerate(plan.streams):
            call.memory[node] = streams[0][:, k * width : (k + 1) * width]
    else:
        for node, stream in zip(plan.streams, streams, strict=True):
            call.memory[node] = stream


def _sorted(value: Tensor, rows: Rows) -> Tensor:
    return value if rows.order is None else value.index_select(0, rows.order)


def _unsorted(value: Tensor, rows: Rows) -> Tensor:
    if rows.order is None:
        return value
    return torch.empty_like(value).index_copy_(0, rows.order, value)


def _unpacked(call: Call, value: Tensor, copy: bool = False) -> Tensor:
    """``[N, width]`` back as ``[T B H]``, zero in the padding."""
    rows, width = call.rows, min(call.units, value.shape[-1])
    value = value[:, :width]
    if rows.source is None:
        whole = value.view(rows.steps, rows.batch, width)
        return whole.clone() if copy or width != call.plan.padded(width) else whole
    whole = value.new_zeros(rows.steps * rows.batch, width)
    return whole.index_copy_(0, rows.source, value).view(rows.steps, rows.batch, width)


def _final(call: Call, value: Tensor) -> Tensor:
    return _unsorted(value.index_select(0, call.rows.last)[:, : call.units], call.rows)


def _run_forward(call: Call, training: bool) -> None:
    """Fill the memory of every node the caller or the backward pass will read."""
    plan, program = call.plan, call.plan.forward.program
    core = plan.core
    always = {program.memory[index] for index in (*core.updated, core.output)}
    wanted = set(program.memory.values())
    memory: dict[int, Tensor] = {}
    timed: dict[int, bool] = {}
    for node in program.stored:
        timed[node] = node in always or (training and node in wanted)
        height = call.rows.total if timed[node] else call.rows.batch
        memory[node] = torch.empty(height, call.width(node, program.nodes), dtype=plan.dtype)
    for index, node in program.memory.items():
        call.memory[index] = memory[node]
    slots: list[tuple[Tensor, bool, Tensor | None]] = []
    for slot in plan.forward.code.slots:
        if slot.kind == "store":
            slots.append((memory[slot.node], timed[slot.node], None))
        else:
            slots.append(_found(call, core.nodes, program.original[slot.node]))
    _run(call, plan.forward, slots)


def _found(
    call: Call, nodes: Sequence[Any], index: int
) -> tuple[Tensor, bool, Tensor | None]:
    """Memory of a leaf or of what the forward pass stored: tensor, whether time moves it, start."""
    core = call.plan.core
    match nodes[index].op:
        case "parameter":
            return call.vectors[index], False, None
        case "state":
            after = core.updated[core.states.index(nodes[index].name)]
            return call.memory[after], True, call.start[index]
        case "sequence":
            assert call.mask is not None
            return call.mask, False, None
    return call.memory[index], True, None


def _run_backward(
    call: Call,
    gradients: Sequence[Tensor | None],
    shapes: Sequence[torch.Size],
    split: Sequence[int],
) -> list[Tensor | None]:
    """Gradients of every tensor `_Core.forward` took, in its order."""
    plan, program, rows = call.plan, call.plan.backward.program, call.rows
    full = plan.schedule.gradient
    width = plan.padded(call.units)
    arriving = {"output": _packed_gradient(call, gradients[0], width)}
    for name, given in zip(plan.core.states, gradients[1:], strict=False):
        carried = torch.zeros(rows.batch, width, dtype=plan.dtype)
        if given is not None:
            carried[:, : call.units] = _sorted(given, rows)
        arriving[name] = carried
    memory, block = _backward_memory(call)
    sums: dict[int, Tensor] = {}
    slots: list[tuple[Tensor, bool, Tensor | None]] = []
    for slot in plan.backward.code.slots:
        node = program.nodes[slot.node]
        if slot.kind == "store":
            timed = slot.node in set(program.memory.values())
            slots.append((memory[slot.node], timed, None))
        elif slot.kind == "carry":
            slots.append((arriving[node.name], False, None))
        elif slot.kind == "learnt":
            leaf = program.original[slot.node]
            sums[leaf] = torch.zeros(call.threads, len(call.vectors[leaf]), dtype=plan.dtype)
            slots.append((sums[leaf], False, None))
        elif node.op == "adjoint":
            slots.append((arriving[node.name], node.name == "output", None))
        else:
            slots.append(_found(call, full.nodes, program.original[slot.node]))
    _run(call, plan.backward, slots)
    matrices = _matrix_gradients(call, memory, block)
    vectors = {leaf: total.sum(0) for leaf, total in sums.items()}
    return _collected(call, memory, block, matrices, vectors, arriving, shapes, split)


def _packed_gradient(call: Call, gradient: Tensor | None, width: int) -> Tensor:
    """The gradient at the outputs in reading order, padded."""
    rows = call.rows
    if gradient is None:
        return torch.zeros(rows.total, width, dtype=call.plan.dtype)
    flat = gradient.reshape(rows.steps * rows.batch, call.units)
    if rows.source is not None:
        flat = flat.index_select(0, rows.source)
    return _filled(flat, width).contiguous()


def _backward_memory(call: Call) -> tuple[dict[int, Tensor], Tensor | None]:
    """Memory of the backward program; gradients of stacked streams lie side by side in one block."""
    plan, program, rows = call.plan, call.plan.backward.program, call.rows
    full = plan.schedule.gradient
    memory: dict[int, Tensor] = {}
    block = None
    if plan.linear is not None:
        width = plan.padded(call.units)
        block = torch.empty(rows.total, width * len(plan.streams), dtype=plan.dtype)
        for k, stream in enumerate(plan.streams):
            place = program.memory[full.leaves[stream]]
            memory.setdefault(place, block[:, k * width : (k + 1) * width])
    wanted = set(program.memory.values())
    for node in program.stored:
        if node not in memory:
            height = rows.total if node in wanted else rows.batch
            memory[node] = torch.empty(
                height, call.width(node, program.nodes), dtype=plan.dtype
            )
    return memory, block


def _matrix_gradients(
    call: Call, memory: Mapping[int, Tensor], block: Tensor | None
) -> dict[int, Tensor]:
    """dU for every recurrent matrix; gates that share operand and memory in one product."""
    plan, program = call.plan, call.plan.backward.program
    full = plan.schedule.gradient
    found: dict[int, Tensor] = {}
    by_operand: dict[int, list[tuple[int, Tensor]]] = {}
    for outer in full.matrices:
        adjoint = memory[program.memory[outer.adjoint]]
        by_operand.setdefault(outer.operand, []).append((outer.parameter, adjoint))
    for operand, pairs in by_operand.items():
        depth = call.matrices[pairs[0][0]].shape[1]
        for run in _side_by_side(pairs):
            first = run[0][1]
            wide = first.shape[1] * len(run)
            adjoints = first.as_strided((first.shape[0], wide), (first.stride(0), 1))
            total = _outer(call, adjoints, operand)[:, :depth]
            for k, (parameter, _) in enumerate(run):
                start = k * first.shape[1]
                part = total[start : start + call.matrices[parameter].shape[0]]
                found[parameter] = found[parameter] + part if parameter in found else part
    return found


def _side_by_side(pairs: list[tuple[int, Tensor]]) -> list[list[tuple[int, Tensor]]]:
    """Runs of tensors that are neighbouring columns of one memory."""
    runs: list[list[tuple[int, Tensor]]] = []
    for parameter, tensor in sorted(pairs, key=lambda pair: pair[1].data_ptr()):
        if runs:
            before = runs[-1][-1][1]
            end = before.data_ptr() + before.shape[1] * before.element_size()
            if end == tensor.data_ptr() and before.stride(0) == tensor.stride(0) > before.shape[1]:
                runs[-1].append((parameter, tensor))
                continue
        runs.append([(parameter, tensor)])
    return runs


def _outer(call: Call, adjoints: Tensor, operand: int) -> Tensor:
    """Σ over entries of adjoint times operand; a state's operand is its value one step before."""
    node = call.plan.core.nodes[operand]
    if node.op != "state":
        return adjoints.T @ call.memory[operand]
    core, rows = call.plan.core, call.rows
    after = call.memory[core.updated[core.states.index(node.name)]]
    first = int(rows.offsets[1])
    total = adjoints[:first].T @ call.start[operand][:first]
    if rows.total > first:
        if rows.order is None:
            before = after[: rows.total - rows.batch]
        else:
            before = after.index_select(0, _places_before(rows))
        total.addmm_(adjoints[first:].T, before)
    return total


def _places_before(rows: Rows) -> Int64[Tensor, " M"]:
    """For every entry after the first step the entry of its row one step earlier."""
    counts = rows.offsets.diff()
    shift = counts[:-1].repeat_interleave(counts[1:])
    return torch.arange(int(rows.offsets[1]), rows.total) - shift


def _collected(
    call: Call,
    memory: Mapping[int, Tensor],
    block: Tensor | None,
    matrices: Mapping[int, Tensor],
    vectors: Mapping[int, Tensor],
    arriving: Mapping[str, Tensor],
    shapes: Sequence[torch.Size],
    split: Sequence[int],
) -> list[Tensor | None]:
    """The gradients in the order and shapes of the tensors they belong to."""
    plan, program = call.plan, call.plan.backward.program
    full = plan.schedule.gradient
    by_name = {n.name: i for i, n in enumerate(plan.core.nodes) if n.op == "parameter"}
    results: list[Tensor | None] = []
    for family, shape in zip(plan.families.values(), shapes, strict=False):
        parts = []
        for gate in family.gates:
            index = by_name.get(f"{family.name}.{gate}" if gate else family.name)
            parts.append(None if index is None else matrices.get(index, vectors.get(index)))
        results.append(_stacked(parts, shape, len(family.gates), plan.dtype))
    for number in range(split[1]):
        leaf = by_name.get(f"p{number}")
        total = None if leaf is None else vectors.get(leaf)
        size = shapes[split[0] + number]
        results.append(None if total is None else total[: size[0]].reshape(size))
    for name in plan.core.states:
        results.append(_unsorted(arriving[name], call.rows)[:, : call.units])
    if block is not None:
        width = plan.padded(call.units)
        for k, stream in enumerate(plan.streams):
            made = memory[program.memory[full.leaves[stream]]]
            column = block[:, k * width : (k + 1) * width]
            if made.data_ptr() != column.data_ptr():
                column.copy_(made)
        results.append(block)
    else:
        for stream in plan.streams:
            leaf = full.leaves.get(stream)
            results.append(None if leaf is None else memory[program.memory[leaf]])
    return results


def _stacked(
    parts: list[Tensor | None], shape: torch.Size, gates: int, dtype: torch.dtype
) -> Tensor | None:
    """A family's gradient from its gates'; blocks are cut out of the dense ones."""
    if all(part is None for part in parts):
        return None
    whole = torch.zeros(shape, dtype=dtype)
    for target, part in zip(whole.chunk(gates), parts, strict=True):
        if part is None:
            continue
        if len(shape) == 3:
            size = shape[1]
            for n, square in enumerate(target):
                square.copy_(part[n * size : (n + 1) * size, n * size : (n + 1) * size])
        else:
            target.copy_(part[: target.shape[0]])
    return whole


def _run(
    call: Call, side: Side, slots: Sequence[tuple[Tensor, bool, Tensor | None]]
) -> None:
    """Fill the argument array and call the program."""
    plan, rows, code = call.plan, call.rows, side.code
    split = _shares(rows, call.threads)
    most = int(split.diff().max())
    numbers = code.widest * plan.lanes + most * (code.num_sums * plan.lanes + code.num_scalars)
    size = -(-numbers * plan.dtype.itemsize // 64) * 64 + 64
    scratch = torch.empty(size * call.threads, dtype=torch.uint8)
    counter = ctypes.c_int64(0)
    H, D = call.units, call.features
    words = [
        ctypes.addressof(counter), call.threads, rows.steps, rows.offsets.data_ptr(),
        split.data_ptr(), H, plan.padded(H), D, plan.padded(D), scratch.data_ptr(), size, most,
    ]  # fmt: skip
    assert len(words) == HEADER
    for tensor, timed, start in slots:
        stride = tensor.stride(0) if tensor.dim() == 2 else 0
        begin = (start.data_ptr(), start.stride(0)) if start is not None else (0, 0)
        words += [tensor.data_ptr(), stride, int(timed), *begin]
    assert len(words) == HEADER + WORDS * len(slots)
    packed = [pack for group in _packed(call, side) for pack in group]
    words += [pack.data_ptr() for pack in packed]
    array = (ctypes.c_int64 * len(words))(*words)
    side.kernel(ctypes.addressof(array), call.threads)


def _shares(rows: Rows, threads: int) -> Int64[Tensor, " N1"]:
    """Borders between the threads' runs of rows: equal numbers of steps, not of rows."""
    if rows.order is None:
        return torch.arange(threads + 1) * rows.batch // threads
    counts = rows.offsets.diff()
    lengths = (counts[:, None] > torch.arange(rows.batch)).sum(0)
    done = lengths.cumsum(0)
    targets = torch.arange(1, threads) * rows.total // threads
    inner = torch.searchsorted(done, targets) + 1
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), inner, torch.tensor([rows.batch])])
    return ends.clamp(max=rows.batch)


def _packed(call: Call, side: Side) -> list[list[Tensor]]:
    """Weights in the order the products read them: panel, input, sum, lane."""
    plan = call.plan
    original = side.program.original
    packs = []
    for group, fold in zip(side.code.groups, side.code.fold, strict=True):
        terms = []
        for term in range(len(group.terms[0])):
            parts = []
            for sums in group.terms:
                matrix, _, transposed = sums[term]
                weights = call.matrices[original[matrix]]
                weights = weights.T if transposed else weights
                units, depth = weights.shape
                weights = _filled_axis(weights, plan.padded(units), 0)
                panels = weights.reshape(-1, fold, plan.lanes, depth)
                parts.append(panels.permute(0, 3, 1, 2))               # [P K fold L]
            terms.append(torch.stack(parts, 2).contiguous())           # [P K sums fold L]
        packs.append(terms)
    return packs
