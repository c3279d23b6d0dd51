"""Ordered classes, such as stars: one score and a threshold between each two neighbours."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError
from unspool.layers.dense import start


class CumulativeLink(nn.Module):
    """How likely each threshold between neighbouring classes is passed.

        P(class > k | x) = σ(w·x − b_k),        b_0 < b_1 < … < b_{C−2}

    The logarithm of the step from one threshold to the next is learnt, so they stay ordered and
    every class keeps a probability above zero.

    Args:
        inputs: features, D.
        classes: ordered classes, C.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for fewer than two classes.

    Source:
        McCullagh (1980), section 2, the proportional-odds model.

    Example:
        >>> CumulativeLink(3, 5)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, inputs: int, classes: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"CumulativeLink: got {classes} classes; wanted 2 or more.")
        # Without a bias: the first threshold is one.
        self.weight = nn.Parameter(torch.empty(inputs))
        start(self.weight, inputs, generator, rectified=False)
        # As if all classes were equally likely where the score is zero.
        shares = torch.arange(1, classes) / classes
        thresholds = torch.logit(shares)
        self.first = nn.Parameter(thresholds[:1].clone())
        self.steps = nn.Parameter(thresholds.diff().log())

    @property
    def thresholds(self) -> Float[Tensor, " K"]:
        """The b_k, in ascending order."""
        return torch.cat([self.first, self.first + self.steps.exp().cumsum(0)])

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B K"]:
        """Logits of passing each threshold, in descending order."""
        return (x @ self.weight)[..., None] - self.thresholds


def ordinal_log_probs(logits: Float[Tensor, "B K"]) -> Float[Tensor, "B C"]:
    """Log-probabilities of all K + 1 classes from the logits of passing each threshold.

        P(k) = P(class > k − 1) − P(class > k)

    Args:
        logits: of `CumulativeLink`, strictly descending.

    Example:
        >>> ordinal_log_probs(torch.tensor([[1.0, -1.0]])).exp()
        tensor([[0.2689, 0.4621, 0.2689]])
    """
    first, last = F.logsigmoid(-logits[:, :1]), F.logsigmoid(logits[:, -1:])
    above, below = logits[:, :-1], logits[:, 1:]
    # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b − a)), which loses no digits far from zero.
    between = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))
    return torch.cat([first, between, last], -1)


def ordinal_loss(logits: Float[Tensor, "B K"], targets: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Minus the log-probability of the true class, in nats.

    Args:
        logits: of `CumulativeLink`.
        targets: classes, 0…K.

    Example:
        >>> ordinal_loss(torch.tensor([[1.0, -1.0]]), torch.tensor([1]))
        tensor([0.7719])
    """
    return -ordinal_log_probs(logits).gather(1, targets[:, None])[:, 0]


def expected_class(logits: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The mean class: the sum of the probabilities of passing each threshold.

    Example:
        >>> expected_class(torch.tensor([[1.0, -1.0]]))
        tensor([1.])
    """
    return logits.sigmoid().sum(-1)
