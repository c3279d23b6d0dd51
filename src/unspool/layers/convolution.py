"""Convolution, max pooling and batch normalisation, with the arithmetic of their sizes.

SAME padding also works at a stride above one, which `torch.nn.Conv2d` refuses: an output then has
⌈n / stride⌉ steps on every axis, and where the padding is odd the extra zero stands at the end.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ShapeError
from unspool.layers.dense import start
from unspool.layers.pooling import blank
from unspool.layers.sizes import Padding, check_window, output_size, same_padding
from unspool.shapes import mask_of


class Convolution(nn.Module):
    """One filter for every output map, moved over one or two axes.

        y[o, p] = b[o] + Σ_i Σ_k w[o, i, k] · x[i, s·p + d·k − before]

    Args:
        inputs: maps in.
        outputs: maps out, one filter each.
        kernel: side of a filter.
        axes: 1 for sequences, 2 for images.
        stride: places a filter moves on, s.
        padding: ``same``, ``valid`` (none), or zeros to add on both sides.
        dilation: distance between the places that a filter covers, d.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for a size that cannot be.

    Example:
        >>> layer = Convolution(3, 100, kernel=3, stride=2)
        >>> layer(torch.zeros(1, 3, 200, 300)).shape, sum(p.numel() for p in layer.parameters())
        (torch.Size([1, 100, 100, 150]), 2800)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        axes: Literal[1, 2] = 2,
        stride: int = 1,
        padding: Padding = "same",
        dilation: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_window("Convolution", kernel, stride, padding, dilation)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.axes, self.dilation = axes, dilation
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *[kernel] * axes))
        self.bias = nn.Parameter(torch.zeros(outputs))
        start(self.weight, inputs * kernel**axes, generator, rectified=True)

    def forward(self, x: Float[Tensor, "B inputs *places"]) -> Float[Tensor, "B outputs *fewer"]:
        """Apply the filters.

        Args:
            x: maps, then one or two axes of places.

        Raises:
            ShapeError: if an axis is too short for a filter.
        """
        if x.dim() != self.axes + 2:
            raise ShapeError(
                f"Convolution: the inputs have {x.dim()} axes; wanted {self.axes + 2}."
            )
        sizes = [self.output_size(size) for size in x.shape[2:]]
        pads = [
            same_padding(size, self.kernel, self.stride, self.dilation)
            if self.padding == "same"
            else (0, 0) if self.padding == "valid" else (self.padding, self.padding)
            for size in x.shape[2:]
        ]  # fmt: skip
        even = all(before == after for before, after in pads)
        if not even:
            x = F.pad(x, [side for pair in reversed(pads) for side in pair])
        weight = self.weight
        if self.axes == 2:  # the maps of a place side by side in memory: filters and pooling gain
            x, weight = (each.contiguous(memory_format=torch.channels_last) for each in (x, weight))
        y = (F.conv1d if self.axes == 1 else F.conv2d)(
            x, weight, self.bias, stride=self.stride, dilation=self.dilation,
            padding=[before for before, _ in pads] if even else 0,
        )  # fmt: skip
        assert list(y.shape[2:]) == sizes
        return y.contiguous(memory_format=torch.channels_last) if self.axes == 2 else y

    def output_size(self, size: int) -> int:
        """Places of the output along an axis of ``size`` places."""
        return output_size(size, self.kernel, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        outputs, inputs = self.weight.shape[:2]
        return (
            f"{inputs} → {outputs}, kernel={self.kernel}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}"
        )


class MaxPooling(nn.Module):
    """The largest value in every window of an image; nothing to learn, as many maps as before.

    Args:
        kernel: side of a window.
        stride: places a window moves on; None takes ``kernel``.

    Raises:
        ConfigError: for a size that cannot be.

    Example:
        >>> x = torch.zeros(1, 1, 6, 6)
        >>> x[0, 0, 1, 4] = x[0, 0, 3, 1] = 1.0
        >>> MaxPooling(3)(x)[0, 0]
        tensor([[0., 1.],
                [1., 0.]])
    """

    def __init__(self, kernel: int, stride: int | None = None) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, kernel if stride is None else stride
        check_window("MaxPooling", self.kernel, self.stride, "valid", 1)

    def forward(self, x: Float[Tensor, "B maps W1 H1"]) -> Float[Tensor, "B maps W2 H2"]:
        """Pool each map.

        Raises:
            ShapeError: if an axis is shorter than a window.
        """
        for size in x.shape[2:]:
            output_size(size, self.kernel, self.stride, "valid")
        return F.max_pool2d(x, self.kernel, self.stride)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.kernel}, stride={self.stride}"


class BatchNormalisation(nn.Module):
    """Each map of images brought to mean 0 and deviation 1, then scaled and moved as is learnt.

        y = gain · (x − mean) / sqrt(variance + ε) + bias

    In training mean and variance are those of the batch, over all its images and places; running
    means of both are kept, and used in evaluation, where no image depends on its neighbours.

    Args:
        maps: how many there are.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2.

    Example:
        >>> y = BatchNormalisation(1)(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
        >>> [round(value, 3) for value in y.flatten().tolist()]
        [-1.0, 1.0]
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))
        self.register_buffer("mean", torch.zeros(maps))
        self.register_buffer("variance", torch.ones(maps))

    def forward(self, x: Float[Tensor, "B maps rows columns"]) -> Tensor:
        """The maps, normalised; a single value has no deviation, so it takes the running one."""
        whole = self.training and x.numel() > x.shape[1]
        return F.batch_norm(x, self.mean, self.variance, self.gain, self.bias, whole)


def pool_steps(
    x: Float[Tensor, "B T D"], lengths: Int64[Tensor, " B"] | None, kernel: int
) -> tuple[Float[Tensor, "B S D"], Int64[Tensor, " B"] | None]:
    """The largest value of each feature in every so many steps; a last window may be shorter.

    Windows start at the first step, so padding at the end moves none of them.

    Args:
        x: a vector a step, padded at the end.
        lengths: true lengths, 1…T; None when all rows are full.
        kernel: steps of a window.

    Returns:
        One vector a window, zero in the padding, and how many windows each row has.

    Example:
        >>> pool_steps(torch.tensor([[[1.0], [2.0], [0.5]]]), None, 2)[0].flatten()
        tensor([2.0000, 0.5000])
    """
    B, T, D = x.shape
    if lengths is not None:
        x = torch.where(mask_of(lengths, T)[..., None], x, -torch.inf)
    missing = -T % kernel
    x = F.pad(x, (0, 0, 0, missing), value=-torch.inf)
    pooled = x.reshape(B, (T + missing) // kernel, kernel, D).amax(2)
    if lengths is None:
        return pooled, None
    windows = -(-lengths // kernel)
    return blank(pooled, windows), windows
