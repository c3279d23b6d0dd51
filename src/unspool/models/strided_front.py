"""Convolutions that move on by two places, between images or sounds and a transformer's blocks.

Attention weighs every step against every other, so few steps that each say much are cheaper than
many that say little; and what stands close together belongs together, which a convolution knows
from the start and attention would have to learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import ConfigError
from unspool.layers.convolution import Convolution
from unspool.layers.pooling import blank
from unspool.models.settings import TransformerSettings

KERNEL, STRIDE = 3, 2
PLACES = 0.02  # deviation of the first vectors of the places of an image
AXES = {"image": 2, "frames": 1}


class StridedFront(nn.Module):
    """Convolutions of 3 with stride 2 over an image or the frames of a sound, a ReLU in between.

    Each halves the steps, or both sides, and has twice the maps of the one before; the last has as
    many as the blocks have features. The places of an image follow each other row by row from the
    top, and each adds a vector of its own.

    Args:
        front: what gives the image, or a vector a frame.
        shape: of the inputs, as `unspool.models.fronts` says.
        settings: ``convolutions`` and ``hidden``.
        generator: of the first weights; None is torch's global one.

    Attributes:
        width: features of a step.
        sides: places of an image down and across; None for sounds.

    Raises:
        ConfigError: for inputs that are neither.

    Source:
        for sounds Radford et al. (2022, Whisper), section 2.2; for images Xiao et al. (2021),
        "Early convolutions help transformers see better", section 4.

    Example:
        >>> from unspool.models.fronts import FrameFront
        >>> shape, settings = {"kind": "frames", "size": 40}, TransformerSettings(convolutions=2)
        >>> front = StridedFront(FrameFront(shape), shape, settings)
        >>> x, lengths = front({"frames": torch.zeros(2, 9, 40)}, torch.tensor([9, 4]))
        >>> x.shape, lengths
        (torch.Size([2, 3, 128]), tensor([3, 1]))
    """

    def __init__(
        self,
        front: nn.Module,
        shape: Mapping[str, Any],
        settings: TransformerSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        kind, count = shape["kind"], settings.convolutions
        if kind not in AXES:
            raise ConfigError(
                f"model.convolutions: are for images and the frames of sounds, and these are "
                f"{kind}; leave it out."
            )
        self.front, self.width, self.sides = front, settings.hidden, None
        maps = shape["channels"] if kind == "image" else front.width
        self.layers = nn.ModuleList()
        for left in reversed(range(count)):
            # As many zeros on both sides whatever the size: with SAME padding where a filter
            # stands would depend on the longest sequence of the batch.
            wanted = max(1, settings.hidden >> left)
            layer = Convolution(
                maps, wanted, KERNEL, axes=AXES[kind], stride=STRIDE, padding=KERNEL // 2,
                generator=generator,
            )  # fmt: skip
            self.layers.append(layer)
            maps = wanted
        if kind == "image":
            sides = [shape["height"], shape["width"]]
            self.sides = tuple(_halved(side, count) for side in sides)
            places = torch.empty(self.sides[0] * self.sides[1], self.width)
            self.places = nn.Parameter(places.normal_(0.0, PLACES, generator=generator))

    def forward(
        self, inputs: Mapping[str, Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """A vector a step, and how many are left; what stands in the padding is never read."""
        x, lengths = self.front(inputs, lengths)
        if self.sides is not None:
            for layer in self.layers[:-1]:
                x = layer(x).relu()
            return self.layers[-1](x).flatten(2).transpose(1, 2) + self.places, None
        for number, layer in enumerate(self.layers):
            x = blank(x.relu() if number else x, lengths)
            x = layer(x.transpose(1, 2)).transpose(1, 2)
            lengths = None if lengths is None else -(-lengths // STRIDE)
        return x, lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Steps that so many frames make."""
        return _halved(self.front.output_lengths(lengths), len(self.layers))


def _halved(size: Any, times: int) -> Any:
    """Places that are left of so many."""
    for _ in range(times):
        size = -(-size // STRIDE)
    return size
