"""Linear attention: a cost that does not grow with the steps before, by leaving out the softmax.

    y_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j)  =  φ(q_i)·S / φ(q_i)·z
    S = Σ_j φ(k_j) v_jᵀ,      z = Σ_j φ(k_j),      φ(x) = elu(x) + 1 > 0

Sums over all steps are made once; sums over the steps before are a recurrence, so a model that
reads one way is a recurrent network whose state is (S, z). One of the lectures' approximations of
attention (SYLLABUS I10): it has other weights than softmax, not nearly the same ones.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Steps whose pairs are multiplied out at once, between two updates of the sums.
CHUNK = 64
# Added to the divisor: with a turn of queries and keys it could come near zero.
LEAST = 1e-6

Sums = tuple[Tensor, Tensor]


def feature(x: Tensor) -> Tensor:
    """What stands for the exponential: elu(x) + 1, positive and smooth.

    Source:
        Katharopoulos et al. (2020), equation 7.

    Example:
        >>> feature(torch.tensor([0.0, 2.0]))
        tensor([1., 3.])
    """
    return torch.nn.functional.elu(x) + 1.0


def linear_attention(
    q: Float[Tensor, "B N T K"],
    k: Float[Tensor, "B N S K"],
    v: Float[Tensor, "B N S K"],
    mask: Bool[Tensor, "B S"] | None = None,
) -> Float[Tensor, "B N T K"]:
    """Every step sees every step: two products, T·K² each, and no T×S matrix.

    Args:
        q: φ of the queries, positive.
        k: φ of the keys, positive.
        v: values.
        mask: True where a key may be used; None uses all.

    Source:
        Katharopoulos et al. (2020), equations 5 and 6.

    Example:
        >>> q = k = torch.ones(1, 1, 2, 4)
        >>> linear_attention(q, k, torch.tensor([[[[1.0] * 4, [3.0] * 4]]]))[0, 0, :, 0]
        tensor([2., 2.])
    """
    if mask is not None:
        k = torch.where(mask[:, None, :, None], k, 0.0)
    sums = k.transpose(-2, -1) @ v  # [B N K K]
    total = k.sum(-2, keepdim=True)  # [B N 1 K]
    return (q @ sums) / (q * total).sum(-1, keepdim=True).clamp(min=LEAST)


def causal_linear_attention(
    q: Float[Tensor, "B N T K"],
    k: Float[Tensor, "B N T K"],
    v: Float[Tensor, "B N T K"],
    sums: Sums | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Tensor, "B N T K"], Sums]:
    """Every step sees itself and those before it, and goes on from the sums of earlier ones.

    Chunk by chunk: pairs within one are multiplied out, all before it come from the sums. With a
    chunk of one step it is the recurrence itself.

    Args:
        q: φ of the queries, positive.
        k: φ of the keys, positive.
        v: values.
        sums: S ``[B N K K]`` and z ``[B N K]`` of the steps before; None starts at zero.
        chunk: steps of a chunk, ≥ 1; the result does not depend on it but for rounding.

    Returns:
        Outputs, and the sums after the last step.

    Source:
        Katharopoulos et al. (2020), equations 9 to 12, 18 to 20.

    Example:
        >>> q = k = torch.ones(1, 1, 2, 4)
        >>> y, _ = causal_linear_attention(q, k, torch.tensor([[[[1.0] * 4, [3.0] * 4]]]))
        >>> y[0, 0, :, 0]
        tensor([1., 2.])
    """
    B, N, T, K = q.shape
    S, z = sums if sums is not None else (v.new_zeros(B, N, K, v.shape[-1]), v.new_zeros(B, N, K))
    outputs = []
    for start in range(0, T, chunk):
        here = slice(start, min(start + chunk, T))
        q_here, k_here, v_here = q[:, :, here], k[:, :, here], v[:, :, here]
        weights = (q_here @ k_here.transpose(-2, -1)).tril()
        above = q_here @ S + weights @ v_here
        below = (q_here @ z[..., None]) + weights.sum(-1, keepdim=True)
        outputs.append(above / below.clamp(min=LEAST))
        S = S + k_here.transpose(-2, -1) @ v_here
        z = z + k_here.sum(-2)
    return torch.cat(outputs, 2), (S, z)
