"""The kernels torch brings along, for the few cells whose equation they compute.

A cell is served when its simplified graph is the graph of one of the templates below: nothing is
matched by name, so a cell of the user's own that spells out the same equation is served as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unspool.engine.language import Cell, cell, relu, sigmoid, tanh


@cell(state="h")
def _rnn_tanh(x, h, W, U, b):
    return tanh(W.h @ x + U.h @ h + b.h)


@cell(state="h")
def _rnn_relu(x, h, W, U, b):
    return relu(W.h @ x + U.h @ h + b.h)


@cell(state="h c")
def _lstm(x, h, c, W, U, b):
    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state="h")
def _gru(x, h, W, U, b, d):
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))
    return z * h + (1 - z) * n


KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    _rnn_tanh.fingerprint: torch.rnn_tanh,
    _rnn_relu.fingerprint: torch.rnn_relu,
    _lstm.fingerprint: torch.lstm,
    _gru.fingerprint: torch.gru,
}


def refusal(cell: Cell, trace: bool, masked: bool) -> str | None:
    """Why torch's kernels cannot serve a call, or None when they can."""
    if cell.fingerprint not in KERNELS:
        return f"no kernel of torch computes the equations of cell '{cell.name}'"
    if trace:
        return "torch's kernels do not hand out gates; a trace needs another backend"
    if masked:
        return "torch's kernels have no dropout inside the recurrence"
    return None


def scan(
    cell: Cell,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"],
    state: tuple[Tensor, ...],
    lengths: Int64[Tensor, " B"] | None,
) -> tuple[Float[Tensor, "T B H"], tuple[Tensor, ...]]:
    """Outputs and final state from torch's kernel for this cell.

    Args:
        cell: one that `refusal` does not refuse.
        parameters: stacked, by family.
        x: inputs, time first.
        state: before the first step, each ``[B H]``.
        lengths: of the rows; None when all are full.
    """
    kernel = KERNELS[cell.fingerprint]
    weights = torch_weights(cell, parameters)
    # cuDNN keeps what its backward pass needs only when told that it is training.
    training = torch.is_grad_enabled()
    hidden = [value[None] for value in state]
    if lengths is None:
        start = hidden if len(hidden) > 1 else hidden[0]
        outputs, *final = kernel(x, start, weights, True, 1, 0.0, training, False, False)
        return outputs, tuple(value[0] for value in final)
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    hidden = [value.index_select(1, packed.sorted_indices) for value in hidden]
    start = hidden if len(hidden) > 1 else hidden[0]
    data, *final = kernel(
        packed.data, packed.batch_sizes, start, weights, True, 1, 0.0, training, False
    )
    outputs, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
    return outputs, tuple(value[0].index_select(0, packed.unsorted_indices) for value in final)


def torch_weights(cell: Cell, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    """``weight_ih, weight_hh, bias_ih, bias_hh`` as `torch.nn` lays them out.

    The second bias is zero, but where the equation itself has one inside the reset gate.
    """
    # By position: the letters of a user's own cell may be others.
    W, U, b, *rest = (parameters[name] for name in cell.graph.families)
    inner = torch.zeros_like(b)
    if rest:
        inner = torch.cat([inner[: -len(rest[0])], rest[0]])
    return [W, U, b, inner]
