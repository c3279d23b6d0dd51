"""Attention to the nearest steps only: blocks of a band instead of a T×T matrix.

One of the lectures' approximations (SYLLABUS I10): every step sees ``window`` steps, itself
included, so cost and memory grow with T·window. A step still hears of what lies further back
through the layers below: L layers reach L·(window − 1) steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from unspool.layers.attention import scaled_dot_product
from unspool.layers.dropout import Dropout

# Queries of a block; narrower windows would make more blocks than they save work.
LEAST_BLOCK = 64


def band(
    queries: Int64[Tensor, "*B T"], keys: Int64[Tensor, "*B S"], window: int, causal: bool
) -> Bool[Tensor, "*B T S"]:
    """Which keys a query sees, by their steps.

    Args:
        queries: the step of each query.
        keys: the step of each key.
        window: steps seen, the own one included; 0 sees all.
        causal: see none after the own step; otherwise as many after as before.

    Example:
        >>> band(torch.arange(4), torch.arange(4), 2, True).int()
        tensor([[1, 0, 0, 0],
                [1, 1, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)
    """
    back = queries[..., :, None] - keys[..., None, :]
    after = 0 if causal else window - 1
    if not window:
        return back >= 0 if causal else torch.ones_like(back, dtype=torch.bool)
    return (back < window) & (back >= -after)


def window_attention(
    q: Float[Tensor, "B N T K"],
    k: Float[Tensor, "B N S K"],
    v: Float[Tensor, "B N S C"],
    window: int,
    causal: bool,
    mask: Bool[Tensor, "B S"] | None = None,
    dropout: Dropout | None = None,
) -> Float[Tensor, "B N T C"]:
    """Scaled dot products within the window, without a T×S matrix.

    Queries are cut into blocks; each block meets the few keys that any of its queries may see.

    Args:
        q: queries of the last T of the S steps.
        k: keys.
        v: values.
        window: steps seen, the own one included, ≥ 1.
        causal: see none after the own step; otherwise as many after as before.
        mask: True where a key may be used; None uses all.
        dropout: zeroes a share of the weights.

    Returns:
        What full attention with the mask `band` gives. A query that may use no key gives anything.

    Source:
        Beltagy, Peters and Cohan (2020), "Longformer", section 3.1.

    Example:
        >>> q, k, v = torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2), torch.eye(3)[None, None]
        >>> window_attention(q, k, v, 2, True)[0, 0]
        tensor([[1.0000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.5000, 0.5000]])
    """
    B, _, T, _ = q.shape
    past = k.shape[2] - T
    left, right = window - 1, 0 if causal else window - 1
    block = min(T, max(window, LEAST_BLOCK))
    blocks = -(-T // block)
    span = block + left + right
    # Key 0 of block 0 lies `left` steps before query 0; what is missing at the ends is filled up.
    ends = (left - past, blocks * block + right - T)
    q = F.pad(q, (0, 0, 0, blocks * block - T)).unflatten(2, (blocks, block))
    q = q.transpose(1, 2).flatten(0, 1)  # [B·blocks N block K]
    keys = _spans(k, ends, span, block)
    values = _spans(v, ends, span, block)
    own = torch.arange(block, device=q.device)
    reached = torch.arange(span, device=q.device) - left
    starts = torch.arange(blocks, device=q.device)[:, None] * block
    real = (reached + starts >= -past) & (reached + starts < T)  # [blocks span]
    allowed = real[None, :, None] & band(own, reached, window, causal)  # [1 blocks block span]
    if mask is not None:
        usable = F.pad(mask, ends).unfold(1, span, block)  # [B blocks span]
        allowed = allowed & usable[:, :, None]
    # No weights over nothing, in the padding: a quotient of zeros would spoil gradients.
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    allowed = allowed.expand(B, -1, -1, -1).flatten(0, 1)[:, None]
    y, _ = scaled_dot_product(q, keys, values, allowed, dropout=dropout)
    return y.unflatten(0, (B, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :T]


def _spans(x: Tensor, ends: tuple[int, int], span: int, block: int) -> Tensor:
    """The keys or values that each block of queries may see ``[B·blocks N span K]``."""
    filled = F.pad(x, (0, 0, *ends))
    return filled.unfold(2, span, block).permute(0, 2, 1, 4, 3).flatten(0, 1)
