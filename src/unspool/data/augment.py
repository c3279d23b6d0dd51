"""Variations that training makes of sounds, spectra and images; all drawn from a generator."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


def shifted(
    sound: Float[Tensor, " T"], most: int, generator: torch.Generator
) -> Float[Tensor, " T"]:
    """A sound moved forth or back; what leaves one end is lost, silence comes in at the other.

    Args:
        sound: the samples.
        most: samples it moves at most, ≥ 0; never by more than a quarter of its length.
        generator: of the distance, equally likely each.

    Example:
        >>> moved = shifted(torch.ones(8), 2, torch.Generator().manual_seed(0))
        >>> len(moved), int(moved.sum()) >= 6
        (8, True)
    """
    most = min(most, len(sound) // 4)
    by = int(torch.randint(-most, most + 1, (), generator=generator))
    moved = torch.zeros_like(sound)
    if by >= 0:
        moved[by:] = sound[: len(sound) - by]
    else:
        moved[:by] = sound[-by:]
    return moved


def sped(
    sound: Float[Tensor, " T"], most: float, generator: torch.Generator
) -> Float[Tensor, " S"]:
    """A sound played faster or slower; its pitch and its formants move along.

    Args:
        sound: the samples.
        most: the speed lies between 1 - most and 1 + most, 0 ≤ most < 1; equally likely each.
        generator: of the speed.

    Returns:
        S = round(T / speed) samples, at least one, interpolated in straight lines.

    Source:
        Ko et al. (2015), Audio Augmentation for Speech Recognition, section 2.

    Example:
        >>> varied = sped(torch.ones(100), 0.2, torch.Generator().manual_seed(0))
        >>> 83 <= len(varied) <= 125, round(float(varied.min()), 6)
        (True, 1.0)
    """
    speed = 1 + most * (2 * float(torch.rand((), generator=generator)) - 1)
    wanted = max(1, round(len(sound) / speed))
    return F.interpolate(sound[None, None], wanted, mode="linear", align_corners=True)[0, 0]


def noisy(
    sound: Float[Tensor, " T"], least: float, generator: torch.Generator
) -> Float[Tensor, " T"]:
    """A sound with white noise, between ``least`` and ``least`` + 30 decibels below it.

    A silent sound stays silent.

    Args:
        sound: the samples.
        least: decibels from the sound's mean power down to the noise's.
        generator: of the strength and of the noise.
    """
    decibels = least + NOISE_RANGE * float(torch.rand((), generator=generator))
    power = sound.square().mean() * 10 ** (-decibels / 10)
    noise = torch.randn(len(sound), generator=generator, dtype=sound.dtype)
    return sound + power.sqrt() * noise


def masked(
    frames: Float[Tensor, "B T F"],
    lengths: Int64[Tensor, " B"],
    most_frames: int,
    most_bands: int,
    generator: torch.Generator,
    bands: int,
) -> Float[Tensor, "B T F"]:
    """Spectra of which a stretch of frames and a stretch of bands are blanked to zero each.

    Zero is the mean of normalised frames. Of a sound, at most a quarter of its frames is blanked;
    of the bands at most half.

    Args:
        frames: normalised; what stands in the padding is left.
        lengths: frames of each sound.
        most_frames: frames blanked at most; every width from 0 is equally likely.
        most_bands: bands blanked at most.
        generator: of widths and places.
        bands: of a frame; what stands behind them, such as their deltas, is blanked along.

    Source:
        Park et al. (2019), SpecAugment, section 2; one mask of each kind, no warping.
    """
    _, T, numbers = frames.shape
    steps, features = torch.arange(T), torch.arange(numbers) % bands
    result = frames.clone()
    for row, length in enumerate(lengths.tolist()):
        across = _stretch(min(most_frames, length // 4), length, generator)
        along = _stretch(min(most_bands, bands // 2), bands, generator)
        in_time = (steps >= across[0]) & (steps < across[1])
        in_bands = (features >= along[0]) & (features < along[1])
        blank = (in_time[:, None] | in_bands) & (steps < length)[:, None]
        result[row] = result[row].masked_fill(blank.to(frames.device), 0.0)
    return result


def moved(
    images: Float[Tensor, "B C height width"], most: int, generator: torch.Generator
) -> Float[Tensor, "B C height width"]:
    """Each image moved by up to ``most`` points in both directions; its border is repeated.

    Args:
        images: any numbers.
        most: points, ≥ 0.
        generator: of the distances.
    """
    B, _, height, width = images.shape
    by = torch.randint(-most, most + 1, (2, B, 1), generator=generator)
    rows = (torch.arange(height) + by[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + by[1]).clamp(0, width - 1)
    which = torch.arange(B)[:, None, None]
    # Indices apart from each other put their axes first: [B height width C].
    found = images[which, :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2).contiguous()


def mirrored(
    images: Float[Tensor, "B C height width"], generator: torch.Generator
) -> Float[Tensor, "B C height width"]:
    """Each image, or with a chance of one half its mirror image."""
    turn = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(turn[:, None, None, None].to(images.device), images.flip(-1), images)


def _stretch(most: int, length: int, generator: torch.Generator) -> tuple[int, int]:
    wide = int(torch.randint(0, most + 1, (), generator=generator))
    start = int(torch.randint(0, length - wide + 1, (), generator=generator))
    return start, start + wide


NOISE_RANGE = 30.0
