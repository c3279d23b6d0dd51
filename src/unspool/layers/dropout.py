"""Dropout whose masks are a function of where training stands, so that nothing need be saved."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from unspool.errors import ConfigError


class Dropout(nn.Module):
    """Zero a share of the values while training and scale up the rest.

    The masks come from a generator that `reseed` sets from (seed, step, …, layer); without it they
    come from torch's global one.

    Args:
        rate: share of the values to zero, 0 ≤ rate < 1.

    Raises:
        ConfigError: if the rate is outside.

    Source:
        Srivastava et al. (2014); the scaling is their section 10, "inverted".
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"Dropout: rate is {rate}; wanted 0 ≤ rate < 1.")
        self.rate = rate
        self.generator: torch.Generator | None = None

    @property
    def active(self) -> bool:
        """Whether a mask would be drawn now."""
        return self.training and self.rate > 0.0

    def mask(self, like: Tensor, *shape: int) -> Tensor:
        """Factors of the given shape: 0 with probability ``rate``, else 1 / (1 − rate).

        Args:
            like: where dtype and device come from.
            *shape: of the mask.
        """
        keep = torch.rand(shape, generator=self.generator) >= self.rate
        return keep.to(like) / (1.0 - self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a fresh mask, or ``x`` itself when not training."""
        return x * self.mask(x, *x.shape) if self.active else x

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"rate={self.rate}"


def reseed(model: nn.Module, *position: int) -> None:
    """Make every mask drawn from now on a pure function of ``position`` and the layer.

    Args:
        model: whose `Dropout` layers are meant.
        *position: numbers that say where training stands, such as seed, step, rank and part.
    """
    layers = [module for module in model.modules() if isinstance(module, Dropout)]
    for index, layer in enumerate(layers):
        layer.generator = torch.Generator().manual_seed(derived_seed(*position, index))


def derived_seed(*position: int | str) -> int:
    """A 63-bit seed that differs for every sequence of numbers.

    Example:
        >>> derived_seed(0, 1) != derived_seed(1, 0)
        True
    """
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
