"""Image files as arrays, read by Pillow; importable without torch."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from unspool.data.table import short
from unspool.data.text import printable
from unspool.errors import DataError


def read_image(path: Path) -> np.ndarray:
    """The points of an image file, uint8: grey ``[H W]`` or colours ``[H W 3]``.

    Grey stays grey, 16 bits become 8, palettes and other colours become red, green and blue, and
    what is transparent is laid on white. Of several pictures in a file the first is read.

    Raises:
        DataError: if it cannot be read, has more than `MOST_POINTS` points, or Pillow is missing.
    """
    name = printable(path)
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{name}: image files are read by Pillow, which is missing; "
            "pip install 'unspool[image]', or give an array."
        ) from error
    try:
        with warnings.catch_warnings():
            # Pillow warns of huge and odd files; the one is refused here, the other is read.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if math.prod(image.size) > MOST_POINTS:
                    width, height = image.size
                    raise DataError(
                        f"{name}: has {width} x {height} points; wanted {MOST_POINTS} or fewer."
                    )
                return _points(image, Image)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise nearly everything for a damaged file
        raise DataError(f"{name}: cannot be read as an image ({short(str(error))}).") from error


def _points(image: Any, module: Any) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, np.float64)
        return np.clip(np.nan_to_num(values) / 257, 0, 255).round().astype(np.uint8)
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        paper = module.new("RGBA", over.size, (255, 255, 255, 255))
        grey = image.mode in ("LA", "La", "L", "1")
        image = module.alpha_composite(paper, over).convert("L" if grey else "RGB")
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.array(image, np.uint8)


MOST_POINTS = 50_000_000
