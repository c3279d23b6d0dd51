"""How images become tensors: the ``[image]`` table of a configuration; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import ConfigError

LARGEST_SIDE = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """Size and reading order of images, and what training varies.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> ImageSettings(size=32).rows
        False
    """

    size: int = 0
    """Points of each side after scaling; 0 keeps the size that most training images have."""
    rows: bool = False
    """Read an image as a sequence of its rows, each a frame, whatever the model."""
    shift: int = 0
    """Points by which training moves an image at most."""
    mirror: bool = False
    """Training mirrors every second image; wrong for digits and letters."""

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.size <= LARGEST_SIDE:
            problems.append(f"image.size: got {self.size}; wanted 0 to {LARGEST_SIDE}.")
        if self.shift < 0:
            problems.append(f"image.shift: got {self.shift}; wanted 0 or more.")
        if problems:
            raise ConfigError(" ".join(problems))
