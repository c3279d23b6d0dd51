"""What needs only the input, computed for all steps at once, before the recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unspool.engine.graph import Node, resolve
from unspool.engine.lookup import Lookup
from unspool.engine.plan import Plan
from unspool.engine.reference import TORCH, dense_blocks, unstack


def hoist(
    plan: Plan, parameters: Mapping[str, Tensor], packed: Tensor | Lookup, units: int
) -> tuple[list[Tensor], list[Tensor]]:
    """What needs only x, for all steps at once: streams, and parameters computed beforehand."""
    if plan.linear is not None and not plan.schedule.split.prepared:
        if isinstance(packed, Lookup):
            table = _stacked_streams(plan, parameters, packed.table, units)
            return [Lookup(table, packed.tokens).rows()[0]], []
        return [_stacked_streams(plan, parameters, packed, units)], []
    if isinstance(packed, Lookup):
        packed = packed.rows()[0]
    whole, cut = plan.schedule.split.whole, plan.schedule.split
    values: dict[int, Tensor] = {}
    single = single_parameters(plan, parameters)

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
        streams.append(filled(result, plan.padded(width)).contiguous())
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


def _rows_of(plan: Plan, parameters: Mapping[str, Tensor], names: list[str], units: int) -> Tensor:
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
            return filled_axis(parts, padded, 1).flatten(0, 1)
    single = single_parameters(plan, parameters)
    return torch.cat([filled_axis(single[name], padded, 0) for name in names])


def single_parameters(plan: Plan, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each gate's own parameter, block-diagonal ones written out."""
    single = unstack(plan.graph, parameters)
    return {name: dense_blocks(t) if t.dim() == 3 else t for name, t in single.items()}


def parameter_nodes(
    plan: Plan, nodes: Sequence[Node], values: Mapping[str, Tensor]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Matrices, unpadded, and vectors, padded, by the node that stands for them."""
    matrices: dict[int, Tensor] = {}
    vectors: dict[int, Tensor] = {}
    for index, node in enumerate(nodes):
        if node.op == "parameter":
            value = values[node.name]
            if value.dim() == 2:
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
