"""Attention of a sequence to itself, and to another one: projections, heads, what is remembered.

The weighing itself, a softmax over scaled dot products, is `unspool.layers.attention`; a window and
the linear form have files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unspool.layers.attention import scaled_dot_product
from unspool.layers.dropout import Dropout
from unspool.layers.linear_attention import causal_linear_attention, feature, linear_attention
from unspool.layers.positions import Rotation
from unspool.layers.window_attention import LEAST_BLOCK, band, window_attention

# Of one block: keys and values of the steps before ``[B M S K]``, or the sums of linear attention.
Memory = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What every block of one pass shares: where its steps stand, and what they may see.

    Attributes:
        queries: steps of the queries, ``[T]``, or ``[B T]`` where rows stand at different steps.
        keys: the same of the keys, those remembered first; below zero there is none.
        valid: True where a new step is no padding ``[B T]``; None where all are.
        rotation: of the new steps; None where nothing is turned.
    """

    queries: Int64[Tensor, "*B T"]
    keys: Int64[Tensor, "*B S"]
    valid: Bool[Tensor, "B T"] | None = None
    rotation: Rotation | None = None

    @property
    def usable(self) -> Bool[Tensor, "#B S"] | None:
        """True where a key is a step; None where all are."""
        past = self.keys.shape[-1] - self.queries.shape[-1]
        found = None
        if past and int(self.keys.min()) < 0:
            found = self.keys >= 0
        if self.valid is not None:
            before = self.keys[..., :past] >= 0
            before = before.expand(len(self.valid), past)
            found = torch.cat([before, self.valid], 1)
        return found

    def mask(self, window: int, causal: bool) -> Bool[Tensor, "#B 1 T S"]:
        """True where a query may use a key."""
        seen = band(self.queries, self.keys, window, causal)
        seen = seen if seen.dim() == 3 else seen[None]
        usable = self.usable
        if usable is not None:
            seen = seen & (usable if usable.dim() == 2 else usable[None])[:, None]
        # A padded query may see nothing; it sees all, so that no weights are made over nothing.
        return (seen | ~seen.any(-1, keepdim=True))[:, None]


class SelfAttention(nn.Module):
    """Every step asks all others: full, within a window, or linear.

        q_i = W_Q x_i,   k_i = W_K x_i,   v_i = W_V x_i,   x'_i = Σ_j a_ij v_j

    Several heads have parts of q, k and v each; a key head may serve several query heads.

    Args:
        width: D.
        heads: N, of queries; a divisor of the width.
        key_heads: M, of keys and values; a divisor of ``heads``.
        kind: full, window or linear.
        window: steps seen, for window.
        causal: see none after the own step.
        dropout: share of weights zeroed; linear attention has none.
        biases: add one after every product.

    Source:
        Vaswani et al. (2017), section 3.2; grouped key heads: Ainslie et al. (2023), section 2.2;
        SYLLABUS I1 to I4.

    Example:
        >>> attention = SelfAttention(8, heads=4, key_heads=2)
        >>> steps = torch.arange(5)
        >>> y, (k, v), _ = attention(torch.zeros(2, 5, 8), Sight(queries=steps, keys=steps))
        >>> y.shape, k.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 2, 5, 2]))
    """

    def __init__(
        self,
        width: int,
        heads: int,
        key_heads: int = 0,
        kind: str = "full",
        window: int = 0,
        causal: bool = True,
        dropout: float = 0.0,
        biases: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads or heads
        self.head = width // heads
        self.kind, self.causal = kind, causal
        self.dropout = Dropout(dropout)
        self.window = window if kind == "window" else 0
        # Queries, keys and values below each other: one product for the three.
        self.project = linear(width, (heads + 2 * self.key_heads) * self.head, biases)
        self.output = linear(width, width, biases)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        sight: Sight,
        memory: Memory | None = None,
        explicit: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], Memory, Tensor | None]:
        """Read steps.

        Args:
            x: a vector a step, zero in the padding.
            sight: where they stand and what they see.
            memory: of the steps before, as an earlier call returned it.
            explicit: make the weights a_ij, rows that sum to 1, and from them the sum: the
                readable way, which the fast ones are tested against. Linear attention has none of
                steps before.

        Returns:
            A vector a step, the memory of all steps, and the weights ``[B N T S]`` or None.
        """
        q, k, v = self.split(x, sight.rotation)
        weights = None
        if self.kind == "linear":
            y, kept = self._linear(q, k, v, sight, memory)
        else:
            if memory is not None:
                k, v = torch.cat([memory[0], k], 2), torch.cat([memory[1], v], 2)
            kept = (k, v)
            y, weights = self._attend(q, k, v, sight, explicit)
        if explicit and self.kind == "linear" and memory is None:
            weights = self._linear_weights(q, self._shared(k), sight)
            y = weights @ self._shared(v)
        return self.output(y.transpose(1, 2).flatten(2)), kept, weights

    def split(
        self, x: Float[Tensor, "B T D"], turn: Rotation | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries ``[B N T K]``, keys and values ``[B M T K]``, the first two turned."""
        asked, sizes = self.heads + self.key_heads, (self.heads, self.key_heads)
        parts = self.project(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
        both, values = parts.split((asked, self.key_heads), 1)
        if turn is not None:
            both = turn(both)
        queries, keys = both.split(sizes, 1)
        return queries, keys, values

    def _linear_weights(self, q: Tensor, k: Tensor, sight: Sight) -> Tensor:
        """φ(q_i)·φ(k_j) over its sum."""
        mask = sight.mask(self.window, self.causal)
        scores = torch.where(mask, feature(q) @ feature(k).transpose(-2, -1), 0.0)
        return scores / scores.sum(-1, keepdim=True)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, sight: Sight, explicit: bool
    ) -> tuple[Tensor, Tensor | None]:
        T, S = q.shape[2], k.shape[2]
        if self.window and 2 * max(self.window, LEAST_BLOCK) < S and not explicit:
            usable = sight.usable
            if usable is not None:
                usable = usable.expand(len(q), -1)
            k, v = self._shared(k), self._shared(v)
            y = window_attention(q, k, v, self.window, self.causal, usable, self.dropout)
            return y, None
        whole = self.causal and T == S and (not self.window or self.window >= S)
        mask = None
        if not whole and not self._sees_all(T, S, sight):
            mask = sight.mask(self.window, self.causal)
        return scaled_dot_product(q, k, v, mask, whole, explicit, self.dropout)

    def _sees_all(self, T: int, S: int, sight: Sight) -> bool:
        """Whether every query may use every key, so that no mask is needed."""
        one_way = not self.causal or T == 1
        return one_way and (not self.window or self.window >= S) and sight.usable is None

    def _linear(
        self, q: Tensor, k: Tensor, v: Tensor, sight: Sight, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        q, k, v = feature(q), feature(self._shared(k)), self._shared(v)
        if sight.valid is not None:
            k = torch.where(sight.valid[:, None, :, None], k, 0.0)
        if self.causal:
            return causal_linear_attention(q, k, v, memory)
        return linear_attention(q, k, v), (k, v)

    def _shared(self, x: Tensor) -> Tensor:
        """Key heads as often as there are queries for them."""
        if self.heads == self.key_heads:
            return x
        return x.repeat_interleave(self.heads // self.key_heads, 1)


def linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """A linear layer whose numbers its stack draws, from a generator of its own."""
    return nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
