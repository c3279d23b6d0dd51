"""Inputs that are rows of a table, multiplied before they are looked up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Lookup:
    """Embedded tokens before the embedding is looked up.

        W @ table[token] + b  =  (table @ W.T + b)[token]

    so the product with W is made once a table row instead of once a token: for characters a few
    dozen rows against thousands of tokens.

    Attributes:
        table: the embedding.
        tokens: rows of it; batch first for a layer, time first inside the engine.

    Example:
        >>> look = Lookup(torch.eye(3), torch.tensor([[2], [0]]))
        >>> look.rows().shape
        torch.Size([2, 1, 3])
    """

    table: Float[Tensor, "V D"]
    tokens: Int64[Tensor, "T B"]

    def transpose(self) -> Lookup:
        """The other axis of tokens first."""
        return Lookup(self.table, self.tokens.T)

    @property
    def shape(self) -> torch.Size:
        """Of what is looked up: the tokens' axes and D."""
        return torch.Size((*self.tokens.shape, self.table.shape[1]))

    @property
    def pays(self) -> bool:
        """Whether there are clearly fewer rows than tokens."""
        return 2 * len(self.table) <= self.tokens.numel()

    def flat(self, source: Int64[Tensor, " N"] | None) -> Tensor | Lookup:
        """All tokens in a row, or those at ``source``; looked up unless multiplying first pays."""
        tokens = self.tokens.reshape(1, -1)
        if source is not None:
            tokens = tokens[:, source]
        flat = Lookup(self.table, tokens)
        return flat if flat.pays else flat.rows()[0]

    def rows(self) -> Float[Tensor, "T B D"]:
        """The embedded tokens."""
        return torch.nn.functional.embedding(self.tokens, self.table)
