"""The readable loop: what a cell computes, step by step, in plain PyTorch.

This is the definition of the right answer. It walks over the *unsimplified* graph, one node after
the other, one step after the other; every other backend is tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unspool.engine.graph import Graph


def unstack(graph: Graph, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each gate's own part of the stacked families.

    Args:
        graph: the step.
        parameters: by family, gates stacked along the first axis.

    Returns:
        By parameter name, such as ``W.i``.
    """
    single: dict[str, Tensor] = {}
    for family in graph.families.values():
        parts = parameters[family.name].chunk(len(family.gates))
        for gate, part in zip(family.gates, parts, strict=True):
            single[f"{family.name}.{gate}" if gate else family.name] = part
    return single


def step(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "B D"],
    state: tuple[Tensor, ...],
    mask: Float[Tensor, "B H"] | None = None,
) -> list[Tensor]:
    """Every value of one step.

    Args:
        graph: the step.
        parameters: by name, as `unstack` gives them.
        x: input.
        state: of the step before, in the cell's order.
        mask: for the ``sequence`` leaf of `unspool.engine.graph.mask_recurrent_products`.

    Returns:
        One tensor a node, in node order.
    """
    values: list[Tensor] = []
    for node in graph.nodes:
        args = [values[arg] for arg in node.args]
        match node.op:
            case "input":
                value = x
            case "sequence":
                assert mask is not None
                value = mask
            case "state":
                value = state[graph.states.index(node.name)]
            case "parameter":
                value = parameters[node.name]
            case "constant":
                value = x.new_full((), node.value)
            case "layer_norm":
                value = TORCH["layer_norm"](*args, node.value)
            case _:
                value = TORCH[node.op](*args)
        values.append(value)
    return values


def scan(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"],
    state: tuple[Tensor, ...],
    valid: Bool[Tensor, "T B"] | None = None,
    mask: Float[Tensor, "B H"] | None = None,
    trace: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """Run the step over time.

    Args:
        graph: the step.
        parameters: stacked, by family.
        x: inputs, time first.
        state: before the first step, each ``[B H]``.
        valid: True where a step belongs to its row; None when all do. Past its end a row is not
            computed at all, so that nothing in the padding, not even a logarithm of zero, can
            reach a gradient: it keeps its state and puts out zeros.
        mask: dropout factors drawn once a sequence.
        trace: also keep every gate and state.

    Returns:
        Outputs ``[T B H]``, the state after each row's last step, and the kept values by name,
        each ``[T B H]``; the last is empty without ``trace``.
    """
    single = unstack(graph, parameters)
    batch, units = state[0].shape
    full = [True] * x.shape[0] if valid is None else valid.all(1).tolist()
    outputs: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {}
    for t in range(x.shape[0]):
        rows = None if valid is None or full[t] else valid[t].nonzero()[:, 0]  # [N]
        before = tuple(_chosen(value, rows) for value in state)
        drawn = None if mask is None else _chosen(mask, rows)
        values = step(graph, single, _chosen(x[t], rows), before, drawn)
        count = batch if rows is None else len(rows)
        new = [values[index].expand(count, units) for index in graph.updated]
        if trace:
            named = [(name, _as_rows(values[index], count)) for name, index in graph.gates]
            for name, value in (*named, *zip(graph.states, new, strict=True)):
                kept.setdefault(name, []).append(_padded(value, rows, batch))
        outputs.append(_padded(values[graph.output].expand(count, units), rows, batch))
        if rows is not None:
            new = [old.index_copy(0, rows, n) for old, n in zip(state, new, strict=True)]
        state = tuple(new)
    return torch.stack(outputs), state, {name: torch.stack(all_) for name, all_ in kept.items()}


def _as_rows(value: Tensor, count: int) -> Tensor:
    """A gate as ``[N, width]``, also where it does not depend on the row."""
    value = value.reshape(1, 1) if value.dim() == 0 else value
    return value.expand(count, value.shape[-1])


def _chosen(value: Tensor, rows: Tensor | None) -> Tensor:
    return value if rows is None else value.index_select(0, rows)


def _padded(value: Tensor, rows: Tensor | None, batch: int) -> Tensor:
    """``value`` at its rows of the batch, zero elsewhere."""
    if rows is None:
        return value
    return value.new_zeros(batch, value.shape[-1]).index_copy(0, rows, value)


def dense_blocks(blocks: Float[Tensor, "N K K"]) -> Float[Tensor, "H H"]:
    """The matrix a block-diagonal parameter stands for."""
    return torch.block_diag(*blocks)


def _matmul(matrix: Tensor, vector: Tensor) -> Tensor:
    return vector @ matrix.flatten(1).T


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return (left[..., :, None] * right[..., None, :]).flatten(-2)


def _blocks(blocks: Tensor, vector: Tensor) -> Tensor:
    heads, width, _ = blocks.shape
    parts = vector.reshape(*vector.shape[:-1], heads, width)
    return torch.einsum("...nk,njk->...nj", parts, blocks).reshape(vector.shape)


def _bilinear(tensor: Tensor, x: Tensor, z: Tensor) -> Tensor:
    return torch.einsum("ijk,...j,...k->...i", tensor, x, z)


def _layer_norm(z: Tensor, gain: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    return torch.nn.functional.layer_norm(z, z.shape[-1:], gain, bias, epsilon)


TORCH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "maximum": lambda a, b: torch.maximum(torch.as_tensor(a), torch.as_tensor(b)),
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "where": torch.where,
    "softmax": lambda z: torch.softmax(z, -1),
    "layer_norm": _layer_norm,
    "row_sum": lambda z: z.sum(-1, keepdim=True),
    "row_max": lambda z: z.amax(-1, keepdim=True),
    "rsqrt": torch.rsqrt,
    "centred": torch.sub,
    "normed": torch.mul,
    "spread": lambda z: z,
    "matmul": _matmul,
    "outer": _outer,
    "blocks": _blocks,
    "bilinear": _bilinear,
}
