"""Second derivatives of a fused scan: the same recurrence again, as a loop that autograd records.

The fused gradient is a program, not a graph of operations, so it cannot be differentiated itself.
When a gradient is asked for that will be differentiated again, the core runs as this readable loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unspool.engine.graph import resolve
from unspool.engine.plan import Plan
from unspool.engine.reference import TORCH
from unspool.engine.rows import Rows, sorted_rows, unsorted_rows


def core_loop(
    plan: Plan,
    rows: Rows,
    features: int,
    mask: Tensor | None,
    parameters: Mapping[str, Tensor],
    state: Sequence[Tensor],
    streams: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Outputs ``[T B H]`` and final states of the core, by operations autograd knows.

    Args:
        plan: of the cell.
        rows: the order of reading.
        features: D.
        mask: dropout factors ``[B H]``, or None.
        parameters: each gate's own, and what was prepared, by name.
        state: before the first step.
        streams: what was hoisted, packed in reading order, one tensor for each input of the core.
    """
    core, units = plan.core, state[0].shape[-1]
    now = [sorted_rows(value, rows) for value in state]
    if mask is not None:
        mask = sorted_rows(mask, rows)
    outputs: list[Tensor] = []
    for t in range(rows.steps):
        first, last = int(rows.offsets[t]), int(rows.offsets[t + 1])
        active = last - first
        leaves = {f"s{k}": stream[first:last] for k, stream in enumerate(streams)}
        leaves |= dict(zip(core.states, (value[:active] for value in now), strict=True))
        leaves |= parameters
        if mask is not None:
            leaves["m"] = mask[:active]
        values = _values(plan, leaves, features, units)
        outputs.append(values[core.output].expand(active, units))
        now = [
            torch.cat([values[index].expand(active, units), before[active:]])
            for index, before in zip(core.updated, now, strict=True)
        ]
    packed = torch.cat(outputs)
    if rows.source is not None:
        whole = packed.new_zeros(rows.steps * rows.batch, units)
        packed = whole.index_copy(0, rows.source, packed)
    final = [_unsorted(value, rows) for value in now]
    return (packed.view(rows.steps, rows.batch, units), *final)


def _unsorted(value: Tensor, rows: Rows) -> Tensor:
    if rows.order is None:
        return value
    return unsorted_rows(value, rows)


def _values(plan: Plan, leaves: Mapping[str, Tensor], features: int, units: int) -> list[Tensor]:
    values: list[Tensor] = []
    like = next(iter(leaves.values()))
    for node in plan.core.nodes:
        match node.op:
            case "constant":
                value = like.new_tensor(node.value)
            case "inverse_width":
                value = like.new_tensor(1.0 / resolve(node.name, features, units))
            case "input" | "state" | "parameter" | "sequence":
                value = leaves[node.name]
            case _:
                value = TORCH[node.op](*(values[arg] for arg in node.args))
        values.append(value)
    return values
