"""Dense layers, started from a generator of one's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def dense(
    inputs: int, outputs: int, generator: torch.Generator | None = None, rectified: bool = False
) -> nn.Linear:
    """A linear layer whose biases start at zero.

        y = W x + b,        W uniform in ± √(gain / inputs),  gain 6 before a ReLU, else 1

    Args:
        inputs: features in.
        outputs: features out.
        generator: of the first weights; None is torch's global one.
        rectified: whether a ReLU follows, which halves the variance.

    Source:
        He, Zhang, Ren and Sun (2015), equation 10.

    Example:
        >>> dense(3, 2).bias.tolist()
        [0.0, 0.0]
    """
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    start(layer.weight, inputs, generator, rectified)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def start(weight: Tensor, fan_in: int, generator: torch.Generator | None, rectified: bool) -> None:
    """Fill a weight in place, uniform in ± √(gain / fan_in), so that signals keep their size.

    Args:
        weight: of a dense layer or a convolution.
        fan_in: values that one output sums over.
        generator: where random numbers come from; None is torch's global one.
        rectified: whether a ReLU follows.
    """
    bound = math.sqrt((6.0 if rectified else 1.0) / fan_in)
    weight.uniform_(-bound, bound, generator=generator)
