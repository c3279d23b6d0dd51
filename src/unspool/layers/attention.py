"""Attention: a query is scored against keys, and the values are summed by those scores.

The lectures' little steps, for one query q over the steps s of a memory:

    e_s = score(q, k_s)        every key gets a number
    a_s = exp(e_s) / Σ exp(e)  softmax: large ones are amplified, small ones drowned; Σ a_s = 1
    y   = Σ a_s v_s            the values, each as much as its share

A ``mask`` is True where a key may be used. A key that may not has the weight 0, exactly; where none
may be used all weights are 0, and so is y. What no query may use is never read: it may be NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError, choose
from unspool.layers.dense import dense, start
from unspool.layers.dropout import Dropout
from unspool.layers.state import State

Mask = Bool[Tensor, "*#batch #T S"] | None


def scaled_dot_product(
    query: Float[Tensor, "*batch T K"],
    keys: Float[Tensor, "*keys S K"],
    values: Float[Tensor, "*keys S C"],
    mask: Mask = None,
    causal: bool = False,
    weights: bool = False,
    dropout: Dropout | None = None,
) -> tuple[Float[Tensor, "*batch T C"], Float[Tensor, "*batch T S"] | None]:
    """Attention by scaled dot products, with its weights or by torch's fused code.

        Z = softmax(Q Kᵀ / √K) V

    Args:
        query: T queries a row.
        keys: S keys; where axes before T and S are heads, one may serve several heads of queries.
        values: as many as keys.
        mask: True where a key may be used; None uses all.
        causal: the queries are the last T of the S steps, and see none after their own.
        weights: make the weights, and from them the sum: the readable way, which the fused one is
            tested against.
        dropout: zeroes a share of the weights, from a generator of its own, which the fused code
            does not have: while it is active the weights are made.

    Returns:
        A vector a query, and the weights before dropout, or None.

    Source:
        Vaswani et al. (2017), equation 1; SYLLABUS I3.

    Example:
        >>> x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])  # "reza", "lives"
        >>> y, shares = scaled_dot_product(x, x, x, weights=True)
        >>> shares
        tensor([[0.7604, 0.2396],
                [0.0903, 0.9097]])
    """
    if mask is not None:
        grouped = keys.dim() > 3 and keys.shape[-3] != query.shape[-3]
        keys, values = _used(keys, mask, grouped), _used(values, mask, grouped)
    return _weighed(query, keys, values, mask, causal, weights, dropout)


def _weighed(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    causal: bool,
    weights: bool,
    dropout: Dropout | None,
) -> tuple[Tensor, Tensor | None]:
    """The same of keys and values that are numbers."""
    T, S = query.shape[-2], keys.shape[-2]
    grouped = keys.dim() > 3 and keys.shape[-3] != query.shape[-3]
    whole = causal and mask is None and T == S
    if causal and not whole and T > 1:
        order = torch.ones(T, S, dtype=torch.bool, device=query.device).tril(S - T)
        mask = order if mask is None else mask & order
    drops = dropout is not None and dropout.active
    if not weights and not drops:
        y = F.scaled_dot_product_attention(
            query, keys, values, mask, is_causal=whole and T > 1, enable_gqa=grouped
        )
        return y, None
    if whole and T > 1:
        mask = torch.ones(T, S, dtype=torch.bool, device=query.device).tril()
    if grouped:
        times = query.shape[-3] // keys.shape[-3]
        keys, values = keys.repeat_interleave(times, -3), values.repeat_interleave(times, -3)
    shares = softmax(query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1]), mask)
    kept = dropout(shares) if dropout is not None else shares
    return kept @ values, shares if weights else None


def softmax(scores: Float[Tensor, "*batch T S"], mask: Mask = None) -> Float[Tensor, "*batch T S"]:
    """Weights from scores: rows that sum to 1, or are all 0 where nothing may be used.

    Args:
        scores: of every key.
        mask: True where a key may be used; None uses all.

    Example:
        >>> softmax(torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[True, True, False]]))
        tensor([[0.2689, 0.7311, 0.0000]])
    """
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1).masked_fill(~mask, 0.0)


def dot_scores(
    query: Float[Tensor, "*batch T K"], keys: Float[Tensor, "*batch S K"], v: Tensor | None = None
) -> Float[Tensor, "*batch T S"]:
    """Alike if they point the same way: e_ts = q_t · k_s. Luong et al. (2015), equation 8, dot."""
    return query @ keys.transpose(-2, -1)


def scaled_dot_scores(
    query: Float[Tensor, "*batch T K"], keys: Float[Tensor, "*batch S K"], v: Tensor | None = None
) -> Float[Tensor, "*batch T S"]:
    """The same as large whatever the width: e_ts = q_t · k_s / √K. Vaswani et al. (2017), 3.2.1."""
    return dot_scores(query, keys) / math.sqrt(query.shape[-1])


def additive_scores(
    query: Float[Tensor, "*batch T A"], keys: Float[Tensor, "*batch S A"], v: Float[Tensor, " A"]
) -> Float[Tensor, "*batch T S"]:
    """A small network: e_ts = v · tanh(q_t + k_s). Bahdanau et al. (2015), appendix A.1.2."""
    hidden = torch.tanh(query[..., :, None, :] + keys[..., None, :, :])  # [B T S A]
    return hidden @ v


class Attention(nn.Module):
    """Queries ask a memory, by one of the scores in `SCORES`; its values are the memory itself.

        additive:    e_ts = v · tanh(W q_t + U m_s + b)       weights W, U, v, b
        dot:         e_ts = q_t · m_s                         none
        general:     e_ts = q_t · U m_s                       U
        scaled_dot:  e_ts = q_t · m_s / √D                    none

    Args:
        score: a key of `SCORES`.
        query: features of a query.
        memory: features of a step of the memory; as many for dot and scaled_dot.
        hidden: units of the additive score; 0 takes ``query``.
        generator: of the first weights; None is torch's global one.

    Attributes:
        width: features of what comes out, as many as the memory's.

    Raises:
        ConfigError: for a name that is not in the table, or widths that cannot be compared.

    Source:
        Bahdanau, Cho and Bengio (2015), appendix A.1.2; Luong, Pham and Manning (2015), equation 8.

    Example:
        >>> attention = Attention("additive", query=3, memory=4)
        >>> prepared = attention.prepare(torch.zeros(2, 4, 4))
        >>> context, weights = attention(torch.zeros(2, 1, 3), prepared)
        >>> context.shape, weights[0].tolist()
        (torch.Size([2, 1, 4]), [[0.25, 0.25, 0.25, 0.25]])
    """

    def __init__(
        self,
        score: str,
        query: int,
        memory: int,
        hidden: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.scores = choose(score, SCORES, "model.score")
        self.score, self.width = score, memory
        self.query = self.key = self.v = None
        if score == "additive":
            hidden = hidden or query
            self.query = dense(query, hidden, generator)
            self.key = _product(memory, hidden, generator)
            self.v = nn.Parameter(torch.empty(hidden))
            start(self.v, hidden, generator, rectified=False)
        elif score == "general":
            self.key = _product(memory, query, generator)
        elif query != memory:
            raise ConfigError(
                f"model.score: '{score}' compares queries of {query} features with a memory of "
                f"{memory}; wanted as many in both; 'general' learns to compare any."
            )

    def prepare(
        self, memory: Float[Tensor, "B S M"], mask: Bool[Tensor, "B S"] | None = None
    ) -> State:
        """Keys and values of a memory, each ``[B S …]``, made once for all queries.

        Args:
            memory: a vector a step.
            mask: False where a step is never used, so that anything may stand there, NaN too.
        """
        memory = memory if mask is None else torch.where(mask[..., None], memory, 0.0)
        return State([memory if self.key is None else self.key(memory), memory])

    def forward(
        self,
        query: Float[Tensor, "B T Q"],
        prepared: tuple[Tensor, ...],
        mask: Bool[Tensor, "B S"] | None = None,
        weights: bool = True,
    ) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B T S"] | None]:
        """What the queries find.

        Args:
            query: T queries a row.
            prepared: a memory, as `prepare` gave it.
            mask: True where a step of the memory may be used; None uses all.
            weights: return them. They are made in any case: for one head with values wider than
                keys, torch's fused code was measured to take up to three times as long.

        Returns:
            For each query the sum of the memory by its weights, and the weights or None.
        """
        keys, values = prepared
        mask = None if mask is None else mask[:, None]
        if self.query is not None:
            query = self.query(query)
        shares = softmax(self.scores(query, keys, self.v), mask)
        return shares @ values, shares if weights else None

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return self.score


class MultiHeadAttention(nn.Module):
    """Several scaled dot products side by side, each on projections of its own.

        y = W_O [y_1; …; y_N] + b_O,     y_n = softmax(q_n k_nᵀ / √K) v_n
        q = W_Q x + b_Q,   k = W_K m + b_K,   v = W_V m + b_V,   each cut into N heads of K features

    Args:
        query: features of a query, N·K.
        memory: features of a step of the memory.
        heads: N, a divisor of ``query``.
        dropout: share of weights zeroed while training.
        biases: add b_Q, b_K, b_V and b_O.
        generator: of the first weights; None is torch's global one.

    Attributes:
        width: features of what comes out, as many as a query's.

    Raises:
        ConfigError: if the features of a query cannot be cut into so many heads.

    Source:
        Vaswani et al. (2017), section 3.2.2; SYLLABUS I4.

    Example:
        >>> attention = MultiHeadAttention(query=8, memory=6, heads=2)
        >>> prepared = attention.prepare(torch.zeros(2, 5, 6))
        >>> y, weights = attention(torch.zeros(2, 3, 8), prepared)
        >>> y.shape, weights.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 2, 3, 5]))
    """

    def __init__(
        self,
        query: int,
        memory: int,
        heads: int = 4,
        dropout: float = 0.0,
        biases: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or query % heads:
            raise ConfigError(
                f"model.heads: {heads} heads of {query} features; wanted a divisor of them."
            )
        self.heads, self.width = heads, query
        self.dropout = Dropout(dropout)
        made = dense if biases else _product
        self.query = made(query, query, generator)
        # Keys and values below each other: one product for both.
        self.source = made(memory, 2 * query, generator)
        self.output = made(query, query, generator)

    def prepare(
        self, memory: Float[Tensor, "B S M"], mask: Bool[Tensor, "B S"] | None = None
    ) -> State:
        """Keys and values of a memory, each ``[B N S K]``, made once for all queries.

        Args:
            memory: a vector a step.
            mask: False where a step is never used, so that anything may stand there, NaN too.
        """
        memory = memory if mask is None else torch.where(mask[..., None], memory, 0.0)
        parts = self.source(memory).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2)
        return State(parts.chunk(2, 1))

    def forward(
        self,
        query: Float[Tensor, "B T Q"],
        prepared: tuple[Tensor, ...],
        mask: Bool[Tensor, "B S"] | None = None,
        weights: bool = True,
    ) -> tuple[Float[Tensor, "B T Q"], Float[Tensor, "B N T S"] | None]:
        """What the queries find.

        Args:
            query: T queries a row.
            prepared: a memory, as `prepare` gave it.
            mask: True where a step of the memory may be used; None uses all.
            weights: make them explicitly and return them; without, all is fused code.
        """
        keys, values = prepared
        mask = None if mask is None else mask[:, None, None]
        q = self.query(query).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        y, shares = _weighed(q, keys, values, mask, False, weights, self.dropout)
        return self.output(y.transpose(1, 2).flatten(2)), shares


def _product(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A matrix without a bias."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
    start(layer.weight, inputs, generator, rectified=False)
    return layer


def _used(x: Tensor, mask: Tensor, grouped: bool) -> Tensor:
    """Zero where no query may use a key, whatever stood there."""
    used = mask.any(-2)
    if grouped and mask.dim() > 2 and mask.shape[-3] > 1:
        used = used.unflatten(-2, (x.shape[-3], -1)).any(-2)
    return torch.where(used[..., None], x, 0.0)


SCORES: dict[str, Callable[..., Tensor]] = {
    "additive": additive_scores,
    "dot": dot_scores,
    "general": dot_scores,
    "scaled_dot": scaled_dot_scores,
}
