"""From images to tensors: any size and mode, brought to one, normalised by the training part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from unspool.data.augment import mirrored, moved
from unspool.data.image_file import read_image
from unspool.data.image_settings import ImageSettings
from unspool.errors import DataError

Collated = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """An image as numbers around zero, channels first.

    Attributes:
        settings: size, reading order and what training varies.
        height: points of every image.
        width: points of every image.
        channels: 1 if all training images are grey, else 3.
        mean: of every channel in the training part, in units of 0 … 1.
        deviation: of every channel in the training part.
        reads: of examples.
    """

    settings: ImageSettings
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    reads: str = "image"

    @classmethod
    def fit(cls, images: Sequence[Any], settings: ImageSettings) -> ImageEncoder:
        """Measure the images of a training part, before any scaling.

        Args:
            images: paths, or uint8 arrays ``[H W]`` or ``[H W 3]``.
            settings: ``size`` 0 takes the size that most of them have; the first such on a tie.

        Raises:
            DataError: if there are none, or one cannot be read.

        Example:
            >>> grey = np.zeros((4, 4), np.uint8); grey[1:3, 1:3] = 255
            >>> encoder = ImageEncoder.fit([grey], ImageSettings())
            >>> encoder.mean, [round(each, 3) for each in encoder.encode(grey)[0, 1].tolist()]
            ((0.25,), [-0.577, 1.732, 1.732, -0.577])
        """
        if not len(images):
            raise DataError("images: got none to learn from; wanted one or more.")
        sizes: Counter[tuple[int, int]] = Counter()
        grey, coloured = np.zeros(256, np.int64), np.zeros((3, 256), np.int64)
        for image in images:
            points = _array(image)
            sizes[points.shape[:2]] += 1
            if points.ndim == 2:
                grey += np.bincount(points.ravel(), minlength=256)
            else:
                for channel in range(3):
                    each = np.bincount(points[..., channel].ravel(), minlength=256)
                    coloured[channel] += each
        counts = coloured + grey if coloured.any() else grey[None]
        levels = np.arange(256) / 255
        mean = counts @ levels / counts.sum(1)
        deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
        deviation[deviation == 0] = 1.0
        common = sizes.most_common(1)[0][0]
        height, width = (settings.size, settings.size) if settings.size else common
        return cls(
            settings, height, width, len(counts), tuple(mean.tolist()), tuple(deviation.tolist())
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ImageEncoder:
        """What `to_dict` gave."""
        settings = ImageSettings(**stored["settings"])
        sizes = (int(stored[name]) for name in ("height", "width", "channels"))
        return cls(settings, *sizes, tuple(stored["mean"]), tuple(stored["deviation"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reads": self.reads,
            "settings": asdict(self.settings),
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "mean": list(self.mean),
            "deviation": list(self.deviation),
        }

    @property
    def kind(self) -> str:
        """Frames where an image is read row by row, else an image."""
        return "frames" if self.settings.rows else "image"

    @property
    def shape(self) -> dict[str, Any]:
        """Size and channels; of rows, the numbers of one."""
        if self.settings.rows:
            return {"kind": self.kind, "size": self.width * self.channels}
        sizes = {"height": self.height, "width": self.width, "channels": self.channels}
        return {"kind": self.kind, **sizes}

    def encode(self, image: Any) -> Float32[Tensor, "channels height width"]:
        """An image at the wanted size, normalised.

        Colours become grey by their brightness (0.299, 0.587, 0.114) where training saw grey only.
        Other sizes are scaled until they fit inside, in proportion and smoothed; beside them
        stands the mean of the training part, which is 0.

        Raises:
            DataError: if it cannot be read, or is no such array.
        """
        points = torch.from_numpy(_array(image).astype(np.float32) / 255)
        points = points[..., None] if points.dim() == 2 else points
        if self.channels == 1 and points.shape[2] == 3:
            points = points @ torch.tensor(BRIGHTNESS)[:, None]
        points = points.expand(-1, -1, self.channels)
        scaled = (points - torch.tensor(self.mean)) / torch.tensor(self.deviation)
        return _fitted(scaled.permute(2, 0, 1), self.height, self.width).contiguous()

    def collate(self, encoded: Sequence[Tensor]) -> Collated:
        """Images side by side ``[B channels height width]``; or their rows as ``frames``."""
        images = torch.stack(list(encoded))
        lengths = torch.full((len(images),), self.height)
        return self._named(images), lengths

    def vary(
        self, inputs: Mapping[str, Tensor], lengths: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A training batch with its images moved, and mirrored where the settings say so."""
        if self.settings.rows:
            frames = inputs["frames"]
            images = frames.unflatten(2, (self.width, self.channels)).permute(0, 3, 1, 2)
        else:
            images = inputs["image"]
        if self.settings.shift:
            images = moved(images, self.settings.shift, generator)
        if self.settings.mirror:
            images = mirrored(images, generator)
        return self._named(images)

    def _named(self, images: Tensor) -> dict[str, Tensor]:
        if self.settings.rows:
            return {"frames": images.permute(0, 2, 3, 1).flatten(2)}  # [B height width·channels]
        return {"image": images}


def _fitted(image: Float[Tensor, "C H W"], height: int, width: int) -> Tensor:
    """Scaled in proportion to fit inside, in the middle of zeros."""
    H, W = image.shape[1:]
    if (height, width) == (H, W):
        return image
    scale = min(height / H, width / W)
    inner = max(1, round(H * scale)), max(1, round(W * scale))
    small = F.interpolate(
        image[None].contiguous(), inner, mode="bilinear", antialias=True, align_corners=False
    )[0]
    above, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return F.pad(small, (left, width - inner[1] - left, above, height - inner[0] - above))


def _array(image: Any) -> np.ndarray:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    points = np.asarray(image)
    fits = points.ndim == 2 or (points.ndim == 3 and points.shape[2] == 3)
    if points.dtype != np.uint8 or not fits or not points.size:
        raise DataError(
            f"image: got {points.dtype} of shape {list(points.shape)}; wanted uint8 [H W] or "
            "[H W 3]."
        )
    return points


# Of red, green and blue (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)
