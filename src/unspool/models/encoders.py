"""Encoders by the family's settings; convolutions and dense layers are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.errors import ConfigError, ShapeError
from unspool.layers.convolution import BatchNormalisation, Convolution, MaxPooling, pool_steps
from unspool.layers.dense import dense
from unspool.layers.dropout import Dropout
from unspool.layers.pooling import blank
from unspool.layers.recurrent import Recurrent
from unspool.layers.sizes import output_size
from unspool.models.settings import (
    ConvolutionSettings,
    LeNetSettings,
    ModelSettings,
    PerceptronSettings,
    RecurrentSettings,
    TransformerSettings,
)
from unspool.models.transformer import TransformerEncoder

# LeNet reads 32 pixels on a side; smaller images stand in the middle of zeros.
LENET_SIDE = 32
Lengths = Tensor | None


class StepConvolution(nn.Module):
    """Convolutions over time, each followed by a ReLU; padding reads as zeros at every layer.

    Args:
        inputs: features of a step, D.
        settings: widths, kernel, dilation, pooling over time, dropout.
        generator: of the first weights.

    Attributes:
        width: features of an output step.

    Example:
        >>> encoder = StepConvolution(3, ConvolutionSettings(hidden=5, pool=2))
        >>> outputs, lengths = encoder(torch.zeros(2, 7, 3), torch.tensor([7, 4]))
        >>> outputs.shape, lengths
        (torch.Size([2, 2, 5]), tensor([2, 1]))
    """

    def __init__(
        self,
        inputs: int,
        settings: ConvolutionSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.width, self.residual = settings.hidden, settings.residual
        self.pools = [
            (layer + 1) % settings.pool_every == 0 and settings.pool > 1
            for layer in range(settings.layers)
        ]
        self.pool = settings.pool
        self.layers = nn.ModuleList(
            Convolution(
                settings.hidden if layer else inputs,
                settings.hidden,
                settings.kernel,
                axes=1,
                dilation=settings.dilation**layer,
                generator=generator,
            )
            for layer in range(settings.layers)
        )
        self.dropout = Dropout(settings.dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Lengths = None
    ) -> tuple[Float[Tensor, "B S H"], Lengths]:
        """Read sequences.

        Args:
            x: a vector a step, padded at the end.
            lengths: true lengths, 1…T; None when all rows are full.

        Returns:
            A vector a step, zero in the padding, and the lengths that pooling leaves.
        """
        x = blank(x, lengths)
        for layer, convolution in enumerate(self.layers):
            y = convolution(x.transpose(1, 2)).transpose(1, 2).relu()
            if self.residual and y.shape == x.shape:
                y = y + x
            y = blank(y, lengths)
            if self.pools[layer]:
                y, lengths = pool_steps(y, lengths, self.pool)
            x = self.dropout(y) if layer + 1 < len(self.layers) else y
        return x, lengths

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """Steps that are left of so many."""
        for pools in self.pools:
            if pools and lengths is not None:
                lengths = -(-lengths // self.pool)
        return lengths


class ImageConvolution(nn.Module):
    """Convolutions over an image, each followed by a ReLU, with max pooling in between.

    Where the settings say so, each map is normalised over the batch before the ReLU.

    Args:
        shape: ``channels``, ``height`` and ``width`` of an image.
        settings: widths, kernel, pooling, dropout; maps double after each pooling.
        generator: of the first weights.

    Attributes:
        maps: feature maps of the last layer.
        sides: places of each of them, down and across.
        width: values of all of them together.

    Raises:
        ConfigError: if the image is used up before the last pooling.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2, for the normalisation.

    Example:
        >>> shape = {"channels": 1, "height": 28, "width": 28}
        >>> ImageConvolution(shape, ConvolutionSettings(hidden=32)).width
        3136
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: ConvolutionSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        pool = settings.pool or 2
        maps, wanted = shape["channels"], settings.hidden
        sides = [shape["height"], shape["width"]]
        self.residual = settings.residual
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        self.pools: list[bool] = []
        for layer in range(settings.layers):
            self.layers.append(
                Convolution(
                    maps, wanted, settings.kernel, dilation=settings.dilation**layer,
                    generator=generator,
                )
            )  # fmt: skip
            self.norms.append(BatchNormalisation(wanted) if settings.batch_norm else nn.Identity())
            maps = wanted
            self.pools.append((layer + 1) % settings.pool_every == 0 and pool > 1)
            if self.pools[-1]:
                if min(sides) < pool:
                    raise ConfigError(
                        f"model.layers: pooling {pool}×{pool} after layer {layer + 1} needs as many"
                        f" pixels, and {sides[0]}×{sides[1]} are left; use fewer layers, "
                        "a smaller pool or a larger pool_every."
                    )
                sides = [output_size(side, pool, pool) for side in sides]
                wanted *= 2
        self.pooling = MaxPooling(pool)
        self.dropout = Dropout(settings.dropout)
        self.maps, self.sides = maps, tuple(sides)
        self.width = maps * sides[0] * sides[1]

    def forward(
        self, x: Float[Tensor, "B maps rows columns"], lengths: Lengths = None
    ) -> tuple[Float[Tensor, "B 1 values"], Lengths]:
        """All maps in one row; there is one step."""
        return self.read(x).flatten(1)[:, None], None

    def read(
        self, x: Float[Tensor, "B maps rows columns"]
    ) -> Float[Tensor, "B features places_down places_across"]:
        """The maps of the last layer, `maps` of them, each of `sides`."""
        for layer, convolution in enumerate(self.layers):
            y = convolution(x)
            added = self.residual and y.shape == x.shape
            if self.pools[layer] and not added:
                y = self.pooling(y)  # what comes after it has a quarter of the work then
            y = self.norms[layer](y).relu()
            if added:
                y = self.pooling(y + x) if self.pools[layer] else y + x
            x = self.dropout(y) if layer + 1 < len(self.layers) else y
        return x


class LeNet(nn.Module):
    """Convolution, pooling, convolution, pooling, two dense layers; a ReLU after each but pooling.

    The third dense layer is the head's. The lecture gives filters of 5×5 and pooling of 2×2 with
    stride 2; widths are in the settings.

    Args:
        shape: ``channels``, ``height`` and ``width`` of an image.
        settings: widths and dropout.
        generator: of the first weights.

    Attributes:
        width: units of the second dense layer.

    Source:
        LeCun, Bottou, Bengio and Haffner (1998), section II.B; with max pooling and ReLU.

    Example:
        >>> lenet = LeNet({"channels": 1, "height": 28, "width": 28}, LeNetSettings())
        >>> sum(weight.numel() for weight in lenet.parameters()) + 84 * 10 + 10
        61706
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: LeNetSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sides = [max(shape["height"], LENET_SIDE), max(shape["width"], LENET_SIDE)]
        self.pads = [
            part
            for size, side in ((shape["width"], sides[1]), (shape["height"], sides[0]))
            for part in ((side - size) // 2, side - size - (side - size) // 2)
        ]
        self.first = Convolution(
            shape["channels"], settings.first_maps, 5, padding="valid", generator=generator
        )
        self.second = Convolution(
            settings.first_maps, settings.second_maps, 5, padding="valid", generator=generator
        )
        self.pooling = MaxPooling(2)
        for _ in range(2):
            sides = [output_size(output_size(side, 5), 2, 2) for side in sides]
        values = settings.second_maps * sides[0] * sides[1]
        self.third = dense(values, settings.first_dense, generator, rectified=True)
        self.fourth = dense(settings.first_dense, settings.second_dense, generator, rectified=True)
        self.dropout = Dropout(settings.dropout)
        self.width = settings.second_dense

    def forward(
        self, x: Float[Tensor, "B maps rows columns"], lengths: Lengths = None
    ) -> tuple[Float[Tensor, "B 1 values"], Lengths]:
        """What the second dense layer gives; there is one step."""
        x = nn.functional.pad(x, self.pads)
        for convolution in (self.first, self.second):
            x = self.pooling(convolution(x).relu())
        x = self.dropout(self.third(x.flatten(1)).relu())
        return self.fourth(x).relu()[:, None], None


class Perceptron(nn.Module):
    """Dense layers with a ReLU after each: the same at every step, or over all of a fixed size.

    Args:
        inputs: features of a step, or values of an image.
        settings: widths and dropout; ``pooling = "flatten"`` reads a window at once.
        steps: of a window that is read at once; 0 reads step by step.
        generator: of the first weights.

    Attributes:
        width: units of the last layer.

    Example:
        >>> Perceptron(3, PerceptronSettings(hidden=5))(torch.zeros(2, 7, 3))[0].shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        inputs: int,
        settings: PerceptronSettings,
        steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.steps, self.width, self.residual = steps, settings.hidden, settings.residual
        first = inputs * (steps or 1)
        self.layers = nn.ModuleList(
            dense(settings.hidden if layer else first, settings.hidden, generator, rectified=True)
            for layer in range(settings.layers)
        )
        self.dropout = Dropout(settings.dropout)

    def forward(
        self, x: Float[Tensor, "B *T D"], lengths: Lengths = None
    ) -> tuple[Float[Tensor, "B S H"], Lengths]:
        """A vector a step; of images and windows there is one.

        Raises:
            ShapeError: if a sequence is longer than the window that is read at once.
        """
        if x.dim() == 4:
            x = x.flatten(1)[:, None]
        else:
            x = blank(x, lengths)
            if self.steps:
                x, lengths = self._window(x, lengths), None
        for layer, linear in enumerate(self.layers):
            y = linear(x).relu()
            if self.residual and layer:
                y = y + x
            x = self.dropout(y) if layer + 1 < len(self.layers) else y
        return x, lengths

    def _window(self, x: Tensor, lengths: Lengths) -> Tensor:
        """All steps in one row; what is missing at the end of a window is zero."""
        longest = x.shape[1] if lengths is None else int(lengths.max())
        if longest > self.steps:
            raise ShapeError(
                f"Perceptron: a sequence has {longest} steps; a window has {self.steps}."
            )
        x = x[:, : self.steps]
        x = nn.functional.pad(x, (0, 0, 0, self.steps - x.shape[1]))
        return x.flatten(1)[:, None]

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """Steps that are left of so many."""
        return None if self.steps or lengths is None else lengths


def build_encoder(
    shape: Mapping[str, Any],
    width: int,
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None,
) -> nn.Module:
    """The encoder of a family.

    Args:
        shape: of the inputs, as `unspool.models.fronts` says.
        width: features of a step.
        settings: of the family.
        cell: the equations of a recurrent family.
        generator: of the first weights.

    Raises:
        ConfigError: if the family cannot read such inputs.

    Example:
        >>> build_encoder({"kind": "tokens"}, 4, PerceptronSettings(layers=3), None, None).width
        128
    """
    is_image = shape["kind"] == "image"
    if isinstance(settings, RecurrentSettings):
        return build_recurrent(width, settings, cell, generator)
    if isinstance(settings, TransformerSettings):
        return TransformerEncoder(width, settings, generator)
    if isinstance(settings, ConvolutionSettings):
        if is_image:
            return ImageConvolution(shape, settings, generator)
        if settings.batch_norm:
            raise ConfigError("model.batch_norm: is for images, and these are sequences.")
        return StepConvolution(width, settings, generator)
    if isinstance(settings, LeNetSettings):
        return LeNet(shape, settings, generator)
    steps = 0
    if settings.pooling == "flatten" and not is_image:
        steps = shape.get("steps", 0)
        if not steps:
            raise ConfigError(
                "model.pooling: 'flatten' needs sequences of one fixed length, and these have "
                "none; use last, mean, max or attention."
            )
    return Perceptron(width, settings, steps, generator)


def build_recurrent(
    width: int,
    settings: RecurrentSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> Recurrent:
    """The recurrent layers that settings ask for.

    Args:
        width: features of a step.
        settings: of the layers.
        cell: their equations.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: without a cell.
    """
    if cell is None:
        raise ConfigError(f"model.name: '{settings.name}' is recurrent and came without its cell.")
    return Recurrent(
        cell,
        width,
        settings.hidden,
        settings.layers,
        bidirectional=settings.bidirectional,
        residual=settings.residual,
        dropout=settings.dropout,
        recurrent_dropout=settings.recurrent_dropout,
        learn_initial_state=settings.learn_initial_state,
        initialisation=settings.initialisation,
        forget_bias=settings.forget_bias,
        generator=generator,
    )
