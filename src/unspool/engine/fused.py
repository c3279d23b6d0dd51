"""The fused CPU backend: tensors in, one compiled program forwards and one backwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unspool.engine.arguments import check_arguments
from unspool.engine.backward import run_backward
from unspool.engine.call import Call, run_forward
from unspool.engine.graph import resolve
from unspool.engine.hoist import (
    filled,
    hoist,
    parameter_nodes,
    prepare,
    single_parameters,
    sums,
    sums_backward,
    weights_of_streams,
)
from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.engine.memory import POOL
from unspool.engine.plan import Plan, plan_of, refusal
from unspool.engine.rows import Rows, arrange_rows, sorted_rows, unsorted_rows
from unspool.engine.stages import axis_of
from unspool.engine.together import scan_team
from unspool.engine.twice import core_loop

__all__ = ["refusal", "scan"]


def scan(
    cell: Cell,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"] | Lookup,
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
        x: inputs, time first, or where to look them up; the padding is never read.
        state: before the first step, each ``[B H]``.
        lengths: of the rows; None when all are full.
        reverse: each row from its own last step to its first.
        mask: dropout factors for what enters recurrent products.
        trace: also return every gate and state over time.

    Raises:
        ShapeError: for tensors that do not fit one another.
    """
    plan = plan_of(cell, mask is not None, state[0].dtype)
    check_arguments(plan.families, parameters, x, state, cell.states, lengths, mask)
    T, B, D = x.shape
    rows = arrange_rows(T, B, lengths, reverse)
    if isinstance(x, Lookup):
        packed = x.flat(rows.source)
    else:
        packed = x.reshape(T * B, D) if rows.source is None else rows.packed(x)
    units = state[0].shape[-1]
    again = None
    if isinstance(packed, Tensor) and plan.linear is not None:
        streams = [packed, *weights_of_streams(plan, parameters, units)]
        prepared = prepare(plan, parameters, units, D)
    else:
        again = partial(hoist, plan, parameters, packed, units)
        streams, prepared = again()
    traced = [index for _, index in plan.core.gates] if trace else None
    names = list(plan.families)
    tensors = [*(parameters[name] for name in names), *prepared, *state, *streams]
    if not torch.is_grad_enabled():  # which `forward` below cannot see: it never is in there
        tensors = [tensor.detach() for tensor in tensors]
    results = _Core.apply(
        plan, rows, traced, len(names), len(prepared), D, mask, again, *tensors
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


# Bytes of the weights of x for each row, up to so many rows, up to which a program multiplies with
# them itself, step by step: it reads them at every step, and the sums of all steps need not be
# written down and read again.
FED_BYTES, FED_ROWS = 2**15, 8
Hoist = Callable[[], tuple[list[Tensor], list[Tensor]]]


class _Core(torch.autograd.Function):
    """The recurrence itself; everything that needs only x has been done.

    Unless that is a sum ``W x + b`` (`Plan.linear`): then ``again`` is None and x, all weights and
    all biases stand where the streams would. They are made in here, before the loop or in it.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, rows: Rows, traced: list[int] | None, num_families: int,
        num_prepared: int, features: int, mask: Tensor | None, again: Hoist | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.set_materialize_grads(False)  # zeros for every entry of a trace
        split = [num_families, num_prepared, len(plan.core.states)]
        families, prepared, state, streams = _parts(tensors, split)
        units = state[0].shape[-1]
        by_rows, across = scan_team(plan, rows.batch, units)
        call = Call(plan, rows, units, features, by_rows * across, across=across)
        _place_parameters(call, families, prepared)
        inputs: Sequence[Tensor] = streams if again is None else ()
        fed = again is None and _feeds(plan, inputs[1], rows.batch)
        if fed:
            _feed(call, *inputs)
        else:
            _place_streams(call, [sums(*inputs)] if inputs else streams)
        for name, value in zip(plan.core.states, state, strict=True):
            node = _state_node(plan, name)
            if node is not None:
                call.start[node] = filled(sorted_rows(value, rows), plan.padded(units)).contiguous()
        if mask is not None:
            mask = mask.clone()  # the backward pass reads it, whatever becomes of the caller's
            call.mask = filled(sorted_rows(mask, rows), plan.padded(units)).contiguous()
        training = any(ctx.needs_input_grad)
        run_forward(call, training, traced is not None, fed)
        outputs = _unpacked(call, plan.core.output)
        final = [_final(call, call.memory[index]) for index in plan.core.updated]
        traces = []
        if traced is not None:
            wanted = [*traced, *plan.core.updated]
            traces = [_trace(call, index, training) for index in wanted]
            ctx.mark_non_differentiable(*traces)
        if training:
            # The streams are not saved: their memory may hold gates by now (`Plan.reused`).
            ctx.save_for_backward(*families, *prepared, *state, *inputs)
            for stream in plan.streams:
                if stream not in plan.schedule.read_backward:
                    call.memory.pop(stream, None)
            for leaf in plan.fed_leaves.values() if fed else ():
                call.memory.pop(leaf, None)
            ctx.memory_versions = [(m, m._version) for m in call.memory.values()]
            ctx.call, ctx.split, ctx.mask, ctx.again = call, split, mask, again
            ctx.shapes = [tensor.shape for tensor in tensors]
            ctx.num_traces = len(traces)
        return (outputs, *final, *traces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        call: Call = ctx.call
        tensors = ctx.saved_tensors  # notices parameters that were changed in place
        if any(memory._version != version for memory, version in ctx.memory_versions):
            raise RuntimeError(
                "unspool.scan: outputs or trace values that the gradient needs were modified by "
                "an in-place operation; work on a copy, such as outputs.clone()."
            )
        if torch.is_grad_enabled():
            results = _differentiable_gradients(ctx, tensors, gradients)
        else:
            asked = ctx.needs_input_grad[8:]
            results = run_backward(call, gradients, ctx.shapes, ctx.split, asked)
            if ctx.again is None:
                inputs = tensors[sum(ctx.split) :]
                results[-1:] = sums_backward(results[-1], inputs, asked[sum(ctx.split) :])
        return (None,) * 8 + tuple(results)


def _differentiable_gradients(
    ctx: Any, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients, made of operations that can be differentiated again."""
    call: Call = ctx.call
    plan = call.plan
    # Through views the streams, which are made of the parameters, count as inputs of their own.
    streams = ctx.again()[0] if ctx.again else ()
    tensors = [tensor.view_as(tensor) for tensor in (*tensors, *streams)]
    families, prepared, state, streams = _parts(tensors, ctx.split)
    if ctx.again is None:
        streams = [torch.nn.functional.linear(*streams)]
    values = single_parameters(plan, dict(zip(plan.families, families, strict=True)))
    values |= {f"p{number}": tensor for number, tensor in enumerate(prepared)}
    if plan.linear is not None:
        streams = streams[0].split(plan.padded(call.units), 1)
    widths = [resolve(plan.core.nodes[i].shape[0], call.features, call.units) for i in plan.streams]
    cut = [stream[:, :width] for stream, width in zip(streams, widths, strict=True)]
    made = core_loop(plan, call.rows, call.features, ctx.mask, values, state, cut)
    pairs = [(m, g) for m, g in zip(made, gradients, strict=False) if g is not None]
    wanted = [k for k, needed in enumerate(ctx.needs_input_grad[8:]) if needed]
    found = torch.autograd.grad(
        [m for m, _ in pairs], [tensors[k] for k in wanted], [g for _, g in pairs],
        create_graph=True, allow_unused=True,
    )  # fmt: skip
    results: list[Tensor | None] = [None] * len(tensors)
    for k, gradient in zip(wanted, found, strict=True):
        results[k] = gradient
    return results


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


def _place_parameters(call: Call, families: Sequence[Tensor], prepared: Sequence[Tensor]) -> None:
    plan = call.plan
    given = dict(zip(plan.families, families, strict=True))
    values = single_parameters(plan, {name: given[name] for name in plan.core_families})
    values |= {f"p{number}": tensor for number, tensor in enumerate(prepared)}
    call.matrices, call.vectors = parameter_nodes(plan, plan.core.nodes, values)


def _feeds(plan: Plan, weights: Tensor, rows: int) -> bool:
    """Whether the products with x stand in the loop: where few weights serve many rows."""
    return not plan.diagonal and weights.nbytes <= FED_BYTES * min(rows, FED_ROWS)


def _feed(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None = None) -> None:
    """Place x and what makes streams of it, for a program that does so itself."""
    plan, size = call.plan, call.plan.padded(call.units)
    assert plan.linear is not None
    biases = [None] * len(plan.linear) if bias is None else bias.split(size)
    for (name, added), matrix, vector in zip(plan.linear, weights.split(size), biases, strict=True):
        call.matrices[plan.fed_leaves[name]] = matrix
        if added is not None and vector is not None:
            call.vectors[plan.fed_leaves[added]] = vector.contiguous()
    [place] = (n for n in plan.fed_leaves.values() if plan.leaves[n].op == "input")
    call.memory[place] = x.contiguous()


def _place_streams(call: Call, streams: Sequence[Tensor]) -> None:
    plan = call.plan
    if plan.linear is not None:
        parts = streams[0].chunk(len(plan.streams), 1)
        call.memory |= zip(plan.streams, parts, strict=True)
    else:
        for node, stream in zip(plan.streams, streams, strict=True):
            call.memory[node] = stream


def _unpacked(call: Call, node: int) -> Tensor:
    """What a node held over time, back as ``[T B width]``, zero in the padding."""
    rows, value = call.rows, call.memory[node]
    axis = axis_of(call.plan.core.nodes[node])
    width = {"H": call.units, "D": call.features}[axis]
    if rows.source is not None:
        return rows.spread(value[:, :width])
    whole = value.view(rows.steps, rows.batch, -1)
    return whole if value.shape[1] == width else whole[..., :width].clone()


def _trace(call: Call, node: int, training: bool) -> Tensor:
    """What a node held over time: in training the memory itself, guarded by its version.

    Where no backward pass would notice, a change of the outputs must not reach the trace: what is
    the outputs' memory, or another entry's, is copied.
    """
    rows, value, core = call.rows, call.memory[node], call.plan.core
    if rows.source is not None:
        return _unpacked(call, node)
    width = {"H": call.units, "D": call.features}[axis_of(core.nodes[node])]
    whole = value[:, :width].view(rows.steps, rows.batch, width)
    others = [core.output, *(i for _, i in core.gates if node in core.updated)]
    if training or all(call.memory[other] is not value for other in others):
        return whole.detach()
    copy = POOL.empty(rows.total, width, value.dtype).view_as(whole)
    return copy.copy_(whole)


def _final(call: Call, value: Tensor) -> Tensor:
    return unsorted_rows(value.index_select(0, call.rows.last)[:, : call.units], call.rows)
