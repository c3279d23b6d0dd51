"""What needs only the input, computed for all steps at once, before the recurrence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from unspool.engine.gradient import CENTRED, Axis
from unspool.engine.graph import Node, resolve
from unspool.engine.lookup import Lookup
from unspool.engine.memory import POOL
from unspool.engine.outer import sum_of_outer
from unspool.engine.plan import Plan
from unspool.engine.reference import TORCH, dense_blocks


def hoist(
    plan: Plan, parameters: Mapping[str, Tensor], packed: Tensor | Lookup, units: int
) -> tuple[list[Tensor], list[Tensor]]:
    """What needs only x, for all steps at once: streams, and parameters computed beforehand.

    Streams that are sums ``W x + b`` are one tensor, side by side.
    """
    cut = plan.schedule.split
    prepared = prepare(plan, parameters, units, packed.shape[-1])
    if plan.linear is not None:
        weights, *bias = weights_of_streams(plan, parameters, units)
        given = packed if isinstance(packed, Tensor) else packed.table
        made = torch.nn.functional.linear(given, weights, *bias)
        return [made if given is packed else Lookup(made, packed.tokens).rows()[0]], prepared
    if isinstance(packed, Lookup):
        packed = packed.rows()[0]
    value = _evaluator(plan, parameters, units, packed.shape[1], packed)
    streams = []
    for index in cut.streams:
        width = resolve(cut.whole.nodes[index].shape[0], packed.shape[1], units)
        result = value(index).expand(packed.shape[0], width)
        streams.append(filled(result, plan.padded(width)).contiguous())
    return streams, prepared


def prepare(
    plan: Plan, parameters: Mapping[str, Tensor], units: int, features: int
) -> list[Tensor]:
    """Parameters of the core that are computed from others, once for all steps."""
    if not plan.schedule.split.prepared:
        return []
    value = _evaluator(plan, parameters, units, features)
    return [value(index) for index in plan.schedule.split.prepared]


def _evaluator(
    plan: Plan,
    parameters: Mapping[str, Tensor],
    units: int,
    features: int,
    packed: Tensor | None = None,
) -> Callable[[int], Tensor]:
    """Nodes of the whole step that need no state, each computed once; x for those that read it."""
    whole = plan.schedule.split.whole
    single = single_parameters(plan, parameters)
    like = next(iter(parameters.values()))
    values: dict[int, Tensor] = {}

    def value(index: int) -> Tensor:
        if index not in values:
            node = whole.nodes[index]
            match node.op:
                case "input":
                    assert packed is not None
                    result = packed
                case "parameter":
                    result = single[node.name]
                case "constant":
                    result = like.new_tensor(node.value)
                case "inverse_width":
                    result = like.new_tensor(1.0 / resolve(node.name, features, units))
                case _:
                    result = TORCH[node.op](*(value(arg) for arg in node.args))
            values[index] = result
        return values[index]

    return value


def weights_of_streams(
    plan: Plan, parameters: Mapping[str, Tensor], units: int
) -> tuple[Tensor, ...]:
    """Of streams that are sums ``W x + b``: all weights, and all biases where there are any.

    Gate by gate, each filled up to whole panels.
    """
    assert plan.linear is not None
    weights = _rows_of(plan, parameters, [weight for weight, _ in plan.linear], units)
    bias = _biases(plan, parameters, [bias for _, bias in plan.linear], units)
    return (weights,) if bias is None else (weights, bias)


def _biases(
    plan: Plan, parameters: Mapping[str, Tensor], names: list[str | None], units: int
) -> Tensor | None:
    """Biases of all streams, zero where a stream has none."""
    given = [name for name in names if name is not None]
    if not given:
        return None
    if len(given) == len(names):
        return _rows_of(plan, parameters, given, units)
    width = plan.padded(units)
    parts = iter(_rows_of(plan, parameters, given, units).split(width))
    zeros = next(iter(parameters.values())).new_zeros(width)
    return torch.cat([zeros if name is None else next(parts) for name in names])


def sums(x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` in memory of the pool."""
    result = POOL.empty(len(x), len(weights), x.dtype)
    if bias is None:
        return torch.mm(x, weights.t(), out=result)
    return torch.addmm(bias, x, weights.t(), out=result)


def sums_backward(
    given: Tensor, inputs: Sequence[Tensor], asked: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of what `sums` was given, of those that are asked for."""
    x, weights = inputs[:2]
    of_x, of_weights, *of_bias = asked
    found = [given @ weights if of_x else None, sum_of_outer((given, x)) if of_weights else None]
    for wanted in of_bias:
        found.append(torch.mm(given.new_ones(1, len(given)), given)[0] if wanted else None)
    return found


def _rows_of(plan: Plan, parameters: Mapping[str, Tensor], names: list[str], units: int) -> Tensor:
    """Gates of one or several families stacked in the given order, each padded to panels."""
    padded = plan.padded(units)
    if tuple(names) in plan.whole_families:
        family, around = plan.whole_families[tuple(names)]
        whole = parameters[family]
        if padded == units and not around:
            return whole
        parts = whole.unflatten(0, (len(names), -1))
        return filled_axis(centred(parts, 1) if around else parts, padded, 1).flatten(0, 1)
    single = single_parameters(plan, parameters)
    return torch.cat([filled_axis(single[name], padded, 0) for name in names])


def single_parameters(plan: Plan, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each gate's own parameter of the families given, block-diagonal ones written out.

    Of families that layer norms take centred, beside them what is left without its mean.
    """
    single: dict[str, Tensor] = {}
    for family in plan.families.values():
        if family.name not in parameters:
            continue
        whole = parameters[family.name]
        names = plan.gate_parameters[family.name]
        parts: Sequence[Tensor] = whole.chunk(len(names))
        if _is_blocks(family.shape):
            parts = [dense_blocks(part) for part in parts]
        single |= zip(names, parts, strict=True)
        if family.name in plan.centred:
            if _is_blocks(family.shape):
                whole = torch.cat(list(parts))
            around = centred(whole.unflatten(0, (len(names), -1)), 1).unbind()
            single |= zip([name + CENTRED for name in names], around, strict=True)
    return single


def centred(values: Tensor, axis: int) -> Tensor:
    """Values less their mean over an axis."""
    return values - values.mean(axis, keepdim=True)


def _is_blocks(shape: Sequence[Axis]) -> bool:
    return len(shape) == 3 and isinstance(shape[0], int)


def parameter_nodes(
    plan: Plan, nodes: Sequence[Node], values: Mapping[str, Tensor]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Matrices, unpadded, and vectors, padded, by the node that stands for them."""
    matrices: dict[int, Tensor] = {}
    vectors: dict[int, Tensor] = {}
    for index, node in enumerate(nodes):
        if node.op == "parameter":
            value = values[node.name]
            if value.dim() == 3:
                matrices[index] = filled(value, plan.padded(value.shape[2])).flatten(1)
            elif value.dim() == 2:
                matrices[index] = value
            else:
                vectors[index] = filled(value, plan.padded(len(value))).contiguous()
    return matrices, vectors


def filled(x: Tensor, width: int) -> Tensor:
    """Rows filled up with zeros to a width."""
    return x if x.shape[-1] == width else torch.nn.functional.pad(x, (0, width - x.shape[-1]))


def filled_axis(x: Tensor, size: int, axis: int) -> Tensor:
    """Any axis filled up with zeros to a size."""
    if x.shape[axis] == size:
        return x
    shape = list(x.shape)
    shape[axis] = size - x.shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)
