"""One vector from all steps of a sequence; what stands in the padding is never read."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.errors import choose
from unspool.layers.dense import start
from unspool.shapes import mask_of


def blank(x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None) -> Tensor:
    """The same with zeros in the padding, whatever stood there, NaN too.

    Example:
        >>> blank(torch.tensor([[[1.0], [float("nan")]]]), torch.tensor([1])).flatten()
        tensor([1., 0.])
    """
    if lengths is None:
        return x
    return torch.where(mask_of(lengths, x.shape[1])[..., None], x, 0.0)


def last_step(
    x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None, directions: int = 1
) -> Float[Tensor, "B D"]:
    """What each direction knows when it has read everything.

    Args:
        x: outputs; of two directions the second half reads from the end.
        lengths: true lengths; None when all rows are full.
        directions: 1, or 2 for a bidirectional layer.

    Returns:
        The last valid step; of a second direction the first step, which it reads last.

    Example:
        >>> last_step(torch.tensor([[[1.0, 5.0], [2.0, 6.0]]]), None, directions=2)
        tensor([[2., 5.]])
    """
    rows = torch.arange(len(x), device=x.device)
    end = x[:, -1] if lengths is None else x[rows, lengths - 1]
    if directions == 1:
        return end
    half = x.shape[2] // 2
    return torch.cat([end[:, :half], x[:, 0, half:]], -1)


def mean_step(
    x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None
) -> Float[Tensor, "B D"]:
    """The mean over valid steps.

    Example:
        >>> mean_step(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    if lengths is None:
        return x.mean(1)
    return blank(x, lengths).sum(1) / lengths[:, None]


def largest_step(
    x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None
) -> Float[Tensor, "B D"]:
    """The largest value of each feature over valid steps.

    Example:
        >>> largest_step(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
        tensor([[3.]])
    """
    if lengths is not None:
        x = torch.where(mask_of(lengths, x.shape[1])[..., None], x, -torch.inf)
    return x.amax(1)


class Pooling(nn.Module):
    """One of the ways by name; ``attention`` has weights of its own.

        attention:  y = Σ_t a_t x_t,        a = softmax over valid steps of v · x_t

    Args:
        name: last, mean, max or attention.
        width: features of a step, D.
        directions: 2 if the second half of the features reads from the end.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for a name that is not in the table.

    Example:
        >>> Pooling("mean", 3)(torch.ones(2, 5, 3), torch.tensor([5, 2])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        name: str,
        width: int,
        directions: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.pool = choose(name, POOLINGS, "model.pooling")
        self.name, self.directions = name, directions
        self.score = None
        if name == "attention":
            self.score = nn.Parameter(torch.empty(width))
            start(self.score, width, generator, rectified=False)

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Pool over the steps.

        Args:
            x: a vector a step, padded at the end.
            lengths: true lengths, 1…T; None when all rows are full.
        """
        if self.score is not None:
            x = blank(x, lengths)
            return self._attend(x, x @ self.score, lengths)
        if self.name == "last":
            return last_step(x, lengths, self.directions)
        return self.pool(x, lengths)

    @staticmethod
    def _attend(x: Tensor, scores: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            scores = torch.where(mask_of(lengths, x.shape[1]), scores, -torch.inf)
        weights = scores.softmax(1)
        return (weights[:, None] @ x)[:, 0]

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return self.name


# Attention is the method that has weights, so it is no function.
POOLINGS = {"last": last_step, "mean": mean_step, "max": largest_step, "attention": None}
