"""The way back through a fused scan: one program, then one product for every weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unspool.engine.call import Call, found, run
from unspool.engine.gradient import CENTRED, ORDERS
from unspool.engine.graph import Family
from unspool.engine.hoist import centred, filled
from unspool.engine.memory import POOL
from unspool.engine.outer import sum_of_outer
from unspool.engine.plan import Plan
from unspool.engine.rows import places_before, sorted_rows, unsorted_rows
from unspool.engine.stages import axis_of

# Numbers in the pairs that are made at once for the gradient of a bilinear form.
MOST_PAIRS = 1 << 22
WHOLE = slice(None)


def run_backward(
    call: Call,
    gradients: Sequence[Tensor | None],
    shapes: Sequence[torch.Size],
    split: Sequence[int],
    asked: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of every tensor `_Core.forward` took, in its order; None where nobody asked."""
    plan, program, rows = call.plan, call.plan.backward.program, call.rows
    full = plan.schedule.gradient
    width = plan.padded(call.units)
    arriving = {"output": _packed_gradient(call, gradients[0], width)}
    for name, given in zip(plan.core.states, gradients[1:], strict=False):
        carried = torch.zeros(rows.batch, width, dtype=plan.dtype)
        if given is not None:
            carried[:, : call.units] = sorted_rows(given, rows)
        arriving[name] = carried
    _place_permuted(call)
    memory, block = _backward_memory(call)
    learnt = [
        program.original[slot.node] for slot in plan.backward.code.slots if slot.kind == "learnt"
    ]
    sums: dict[int, Tensor] = {}
    if learnt:
        # Thread by thread and a line apart: a core that fetches ahead must not take the other's.
        totals = torch.zeros(call.threads, len(learnt), width + plan.lanes, dtype=plan.dtype)
        sums = dict(zip(learnt, totals.unbind(1), strict=True))
    wanted = set(program.memory.values())
    slots: list[tuple[Tensor, bool, Tensor | None]] = []
    for slot in plan.backward.code.slots:
        node = program.nodes[slot.node]
        if slot.kind == "store":
            timed = slot.node in wanted
            slots.append((memory[slot.node], timed, None))
        elif slot.kind == "carry":
            slots.append((arriving[node.name], False, None))
        elif slot.kind == "learnt":
            slots.append((sums[program.original[slot.node]], False, None))
        elif node.op == "adjoint":
            slots.append((arriving[node.name], node.name == "output", None))
        else:
            slots.append(found(call, full.nodes, program.original[slot.node]))
    run(call, plan.backward, slots)
    whole = plan.learnt_whole if width == call.units else None
    families: dict[str, Tensor] = {}
    matrices: dict[int, Tensor] = {}
    if any(asked[: split[0]]):
        if whole is not None and block is not None:
            families[whole[0]] = _outer(call, block, whole[1])
        else:
            matrices = _matrix_gradients(call, memory)
    vectors = dict(zip(learnt, totals.sum(0), strict=True)) if learnt else {}
    vectors |= {leaf: vectors[same] for leaf, same in plan.schedule.learnt_alike.items()}
    found_states = [
        unsorted_rows(arriving[name], rows)[:, : call.units] if wanted else None
        for name, wanted in zip(plan.core.states, asked[sum(split[:2]) :], strict=False)
    ]
    return [
        *_of_parameters(call, families, matrices, vectors, shapes, split),
        *found_states,
        *_of_streams(call, memory, block),
    ]


def _place_permuted(call: Call) -> None:
    """The tensors of bilinear forms with their axes in the orders the way back reads them in."""
    full, core = call.plan.schedule.gradient, call.plan.core
    for index in call.plan.permuted:
        node = full.nodes[index]
        name, bracket, order = node.name.partition("(")
        source = call.plan.parameter_nodes[name]
        sizes = [call.units if a == "H" else call.features for a in core.nodes[source].shape]
        whole = call.matrices[source].unflatten(1, (sizes[1], -1))[..., : sizes[2]]
        turned = whole.permute(ORDERS[bracket + order])
        call.matrices[index] = filled(turned, call.plan.padded(turned.shape[2])).flatten(1)


def _packed_gradient(call: Call, gradient: Tensor | None, width: int) -> Tensor:
    """The gradient at the outputs in reading order, padded."""
    plan, rows = call.plan, call.rows
    if gradient is None:
        return torch.zeros(rows.total, width, dtype=plan.dtype)
    if rows.source is not None:
        return filled(rows.gathered(gradient), width).contiguous()
    if gradient.is_contiguous() and width == call.units:
        return gradient.view(rows.total, width)
    packed = POOL.empty(rows.total, width, plan.dtype)
    packed.view(rows.steps, rows.batch, width)[..., : call.units].copy_(gradient)
    if width > call.units:
        packed[:, call.units :].zero_()
    return packed


def _backward_memory(call: Call) -> tuple[dict[int, Tensor], Tensor | None]:
    """Memory of the backward program; gradients of stacked streams side by side in one block."""
    plan, program, rows = call.plan, call.plan.backward.program, call.rows
    full = plan.schedule.gradient
    memory: dict[int, Tensor] = {}
    block = None
    if plan.linear is not None:
        width = plan.padded(call.units)
        block = POOL.empty(rows.total, width * len(plan.streams), plan.dtype)
        for stream, column in zip(plan.streams, block.chunk(len(plan.streams), 1), strict=True):
            if stream in full.leaves:
                memory.setdefault(program.memory[full.leaves[stream]], column)
    wanted = set(program.memory.values())
    for places in _learning_together(plan, memory):
        width = plan.padded(call.units)
        beside = POOL.empty(rows.total, width * len(places), plan.dtype)
        memory |= zip(places, beside.split(width, 1), strict=True)
    inside = [node for node in program.stored if node not in memory]
    sizes = [
        (rows.total if node in wanted else rows.batch, call.width(node, program.nodes))
        for node in inside
    ]
    return memory | dict(zip(inside, POOL.several(sizes, plan.dtype), strict=True)), block


def _learning_together(plan: Plan, placed: Mapping[int, Tensor]) -> list[list[int]]:
    """Gradients of sums of one operand that may stand side by side, to be one product."""
    program, full = plan.backward.program, plan.schedule.gradient
    alike: dict[int, dict[int, None]] = {}
    for outer in reversed(full.matrices):  # in the order of the equations, as families stack them
        place = program.memory[outer.adjoint]
        if (
            place in program.stored
            and place not in placed
            and full.nodes[outer.adjoint].shape == ("H",)
        ):
            alike.setdefault(outer.operand, {})[place] = None
    seen: set[int] = set()
    found = []
    for places in alike.values():
        fresh = [place for place in places if place not in seen]
        seen.update(fresh)
        if len(fresh) > 1:
            found.append(fresh)
    return found


def _matrix_gradients(call: Call, memory: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """DU for every recurrent matrix; gates that share operand and memory in one product."""
    plan, program = call.plan, call.plan.backward.program
    full = plan.schedule.gradient
    found: dict[int, Tensor] = {}
    by_operand: dict[int, list[tuple[int, Tensor]]] = {}
    for outer in full.matrices:
        adjoint = memory[program.memory[outer.adjoint]]
        by_operand.setdefault(outer.operand, []).append((outer.parameter, adjoint))
    for operand, pairs in by_operand.items():
        depth = call.matrices[pairs[0][0]].shape[1]
        for side_by_side in _side_by_side(pairs):
            first = side_by_side[0][1]
            wide = first.shape[1] * len(side_by_side)
            adjoints = first.as_strided((first.shape[0], wide), (first.stride(0), 1))
            heads = {plan.heads(plan.core.nodes[parameter].name) for parameter, _ in side_by_side}
            if heads != {1} and call.units == first.shape[1] and len(heads) == 1:
                total = _outer_of_blocks(call, adjoints, operand, heads.pop())
            else:
                total = _outer(call, adjoints, operand)[:, :depth]
            for k, (parameter, _) in enumerate(side_by_side):
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


def _outer_of_blocks(call: Call, adjoints: Tensor, operand: int, heads: int) -> Tensor:
    """The same where only the blocks on the diagonal count, zero elsewhere."""
    width, size = call.units, call.units // heads
    by_head = adjoints.unflatten(1, (-1, heads, size))
    total = adjoints.new_zeros(adjoints.shape[1] // width, heads, size, width)
    for n in range(heads):
        part = slice(n * size, (n + 1) * size)
        found = _outer(call, by_head[:, :, n].flatten(1), operand, part)
        total[:, n, :, part] = found.unflatten(0, (-1, size))
    return total.view(-1, width)


def _outer(call: Call, adjoints: Tensor, operand: int, part: slice = WHOLE) -> Tensor:
    """Σ over entries of adjoint times operand; a state's operand is its value one step before.

    Args:
        call: where they lie.
        adjoints: the first, ``[N, any]``.
        operand: the node of the second.
        part: which of its columns.
    """
    node = call.plan.core.nodes[operand]
    if node.op == "outer":
        return _outer_of_pairs(call, adjoints, *(_over_time(call, arg) for arg in node.args))
    if node.op != "state":
        return sum_of_outer((adjoints, call.memory[operand][:, part]))
    core, rows = call.plan.core, call.rows
    after = call.memory[core.updated[core.states.index(node.name)]][:, part]
    first = rows.batch
    start = adjoints[:first], call.start[operand][:, part]
    if rows.total == first:
        return sum_of_outer(start)
    if rows.order is None:
        before = after[: rows.total - first]
    else:
        before = after.index_select(0, places_before(rows))
    return sum_of_outer(start, (adjoints[first:], before))


def _outer_of_pairs(call: Call, adjoints: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The same with every pair of two vectors' entries, made for some steps at a time."""
    right = filled(right, call.plan.padded(right.shape[1]))
    total = adjoints.new_zeros(adjoints.shape[1], left.shape[1] * right.shape[1])
    some = max(1, MOST_PAIRS // total.shape[1])
    for given, a, b in zip(adjoints.split(some), left.split(some), right.split(some), strict=True):
        total.addmm_(given.T, (a[:, :, None] * b[:, None]).flatten(1))
    return total


def _over_time(call: Call, index: int) -> Tensor:
    """A side of an outer product at every entry; a state's is its value one step before."""
    core, rows = call.plan.core, call.rows
    node = core.nodes[index]
    match node.op:
        case "parameter":
            value = call.vectors[index].expand(rows.total, -1)
        case "state":
            after = call.memory[core.updated[core.states.index(node.name)]]
            before = call.start[index][: int(rows.offsets[1])]
            value = torch.cat([before, after.index_select(0, places_before(rows))])
        case _:
            value = call.memory[index]
    return value[:, : call.units if axis_of(node) == "H" else call.features]


def _of_parameters(
    call: Call,
    whole: Mapping[str, Tensor],
    matrices: Mapping[int, Tensor],
    vectors: Mapping[int, Tensor],
    shapes: Sequence[torch.Size],
    split: Sequence[int],
) -> list[Tensor | None]:
    """The gradients of families and of what was prepared, in their shapes."""
    plan = call.plan
    found = {name: matrices.get(i, vectors.get(i)) for name, i in plan.parameter_nodes.items()}
    results: list[Tensor | None] = []
    for family, shape in zip(plan.families.values(), shapes, strict=False):
        if family.name in whole or family.name not in plan.core_families:
            results.append(whole.get(family.name))
            continue
        names = plan.gate_parameters[family.name]
        total = _stacked([found.get(name) for name in names], shape, family, plan.dtype)
        arounds = [found.get(name + CENTRED) for name in names]
        if len(shape) == 3:  # the mean is that of a row of the whole matrix, not of a block
            arounds = [a if a is None else centred(a[: call.units], 0) for a in arounds]
        around = _stacked(arounds, shape, family, plan.dtype)
        if around is not None and len(shape) < 3:
            around = centred(around.unflatten(0, (len(names), -1)), 1).flatten(0, 1)
        if around is not None:
            total = around if total is None else total + around
        results.append(total)
    for number in range(split[1]):
        leaf = plan.parameter_nodes.get(f"p{number}")
        total = None if leaf is None else vectors.get(leaf)
        size = shapes[split[0] + number]
        results.append(None if total is None else total[: size[0]].reshape(size))
    return results


def _of_streams(
    call: Call, memory: Mapping[int, Tensor], block: Tensor | None
) -> list[Tensor | None]:
    """The gradients of the streams; of stacked ones their block."""
    plan, program = call.plan, call.plan.backward.program
    leaves = plan.schedule.gradient.leaves
    if block is None:
        places = [leaves.get(stream) for stream in plan.streams]
        return [None if leaf is None else memory[program.memory[leaf]] for leaf in places]
    width = plan.padded(call.units)
    for stream, column in zip(plan.streams, block.chunk(len(plan.streams), 1), strict=True):
        if stream not in leaves:  # of a gate that nothing but a trace reads
            column.zero_()
            continue
        made = memory[program.memory[leaves[stream]]]
        if made.data_ptr() != column.data_ptr():
            column.copy_(made)
        if width > call.units:
            column[:, call.units :].zero_()  # 0/0 in the filling would reach dx as NaN
    return [block]


def _stacked(
    parts: list[Tensor | None], shape: torch.Size, family: Family, dtype: torch.dtype
) -> Tensor | None:
    """A family's gradient from its gates'; blocks are cut out of the dense ones."""
    if all(part is None for part in parts):
        return None
    if (beside := _beside(parts, shape)) is not None:
        return beside
    whole = torch.zeros(shape, dtype=dtype)
    for target, part in zip(whole.chunk(len(family.gates)), parts, strict=True):
        if part is None:
            continue
        if len(shape) == 3 and isinstance(family.shape[0], str):
            target.copy_(part.unflatten(1, (shape[1], -1))[..., : shape[2]])
        elif len(shape) == 3:
            size = shape[1]
            for n, square in enumerate(target):
                square.copy_(part[n * size : (n + 1) * size, n * size : (n + 1) * size])
        else:
            target.copy_(part[: target.shape[0]])
    return whole


def _beside(parts: list[Tensor | None], shape: torch.Size) -> Tensor | None:
    """Gates that lie one behind the other in one memory already, as one tensor."""
    first, height = parts[0], shape[0] // len(parts)
    if first is None or len(shape) != 2:
        return None
    for k, part in enumerate(parts):
        if part is None or part.shape != (height, shape[1]) or not part.is_contiguous():
            return None
        start = first.storage_offset() + k * height * shape[1]
        whole = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not whole or part.storage_offset() != start:
            return None
    return first.as_strided(shape, (shape[1], 1))
