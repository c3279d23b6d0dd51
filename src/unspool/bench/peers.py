"""The custom cells as one writes them by hand in PyTorch: the input product once, then a loop.

These are peers: they are written to be fast, with stacked gates and one product a step, and share
no code with the engine. Parameters are ours, stacked by family in the gate order of `CELLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Loop = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


def gru(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The lectures' GRU.

    Args:
        x: ``[B T D]``.
        weights: ``W``, ``U`` and ``b`` of the gates r, z, n.

    Returns:
        Outputs ``[B T H]``.
    """
    H = weights["U"].shape[1]
    gates, candidate = weights["U"][: 2 * H], weights["U"][2 * H :]
    sums = F.linear(x.transpose(0, 1), weights["W"], weights["b"])  # [T B 3H]
    h = x.new_zeros(x.shape[0], H)
    outputs = []
    for rz_sum, n_sum in zip(sums[..., : 2 * H], sums[..., 2 * H :], strict=True):
        r, z = torch.sigmoid(torch.addmm(rz_sum, h, gates.T)).chunk(2, -1)
        n = torch.tanh(torch.addmm(n_sum, r * h, candidate.T))
        h = torch.lerp(n, h, z)
        outputs.append(h)
    return torch.stack(outputs, 1)


def peephole_lstm(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The LSTM whose gates see the cell state; gates i, f, g, o, peepholes ``V`` of i, f, o."""
    H = weights["U"].shape[1]
    to_if, to_o = weights["V"][: 2 * H], weights["V"][2 * H :]
    sums = F.linear(x.transpose(0, 1), weights["W"], weights["b"])  # [T B 4H]
    h = c = x.new_zeros(x.shape[0], H)
    outputs = []
    for x_sum in sums:
        all_sums = torch.addmm(x_sum, h, weights["U"].T)
        if_sum, g_sum, o_sum = all_sums.split([2 * H, H, H], -1)
        i, f = torch.sigmoid(if_sum + to_if * torch.cat([c, c], -1)).chunk(2, -1)
        c = f * c + i * torch.tanh(g_sum)
        h = torch.sigmoid(o_sum + to_o * c) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs, 1)


def layer_norm_lstm(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The layer-norm LSTM; gains and shifts stacked xi hi xf hf xg hg xo ho c."""
    B, T, _ = x.shape
    H = weights["U"].shape[1]
    gain, shift = weights["alpha"].view(9, H), weights["beta"].view(9, H)
    x_sums = F.linear(x.transpose(0, 1), weights["W"]).view(T, B, 4, H)
    x_sums = F.layer_norm(x_sums, (H,)) * gain[0:8:2] + shift[0:8:2]
    gain_h, shift_h = gain[1:8:2], shift[1:8:2]
    h = c = x.new_zeros(B, H)
    outputs = []
    for x_sum in x_sums:
        h_sum = F.layer_norm(F.linear(h, weights["U"]).view(B, 4, H), (H,))
        i, f, g, o = (x_sum + torch.addcmul(shift_h, h_sum, gain_h)).unbind(1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(F.layer_norm(c, (H,), gain[8], shift[8]))
        outputs.append(h)
    return torch.stack(outputs, 1)


def multiplicative_lstm(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The multiplicative LSTM; ``W`` of m, i, f, g, o, ``U`` of m, ``V`` of the gates."""
    H = weights["U"].shape[1]
    x_time = x.transpose(0, 1)
    to_m = F.linear(x_time, weights["W"][:H])  # [T B H]
    sums = F.linear(x_time, weights["W"][H:], weights["b"])  # [T B 4H]
    h = c = x.new_zeros(x.shape[0], H)
    outputs = []
    for m_x, x_sum in zip(to_m, sums, strict=True):
        m = m_x * F.linear(h, weights["U"])
        all_sums = torch.addmm(x_sum, m, weights["V"].T)
        i, f = torch.sigmoid(all_sums[:, : 2 * H]).chunk(2, -1)
        g, o = torch.tanh(all_sums[:, 2 * H : 3 * H]), torch.sigmoid(all_sums[:, 3 * H :])
        c = f * c + i * g
        h = o * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs, 1)


LOOPS: dict[str, Loop] = {
    "layer_norm_lstm": layer_norm_lstm,
    "peephole_lstm": peephole_lstm,
    "gru": gru,
    "multiplicative_lstm": multiplicative_lstm,
}
