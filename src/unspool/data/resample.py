"""One way to bring a sound to another rate: a windowed sinc, as a bank of polyphase filters."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unspool.data.sound_settings import HIGHEST_RATE, LOWEST_RATE
from unspool.errors import DataError


def resample(sound: Float[Tensor, "B T"], rate: int, wanted: int) -> Float[Tensor, "B S"]:
    """A sound at another rate, its length rounded up.

        y[m] = Σ_n  x[n] · h(m / wanted - n / rate),    h = sinc below the cutoff, under a Kaiser
        window of `ZEROS` crossings to each side

    Both rates are divided by their greatest common divisor: with L outputs for M inputs there are
    L different filters, all applied by one convolution of stride M. What lies above half the lower
    rate is at least `ATTENUATION` dB down; the sound outside its ends counts as silence.

    Args:
        sound: one sound or channel in each row; T may be 0.
        rate: its samples a second, 4,000 to 192,000.
        wanted: samples a second afterwards, in the same range.

    Returns:
        S = ⌈T · wanted / rate⌉ samples.

    Raises:
        DataError: if a rate is out of range.

    Source:
        Smith, Digital Audio Resampling Home Page (2002), "Theory of Ideal Bandlimited
        Interpolation"; Kaiser (1974) for the window.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 440 * torch.arange(4410) / 44100)[None]
        >>> there = torch.sin(2 * torch.pi * 440 * torch.arange(800) / 8000)
        >>> round((resample(tone, 44100, 8000)[0] - there)[100:-100].abs().max().item(), 3)
        0.0
    """
    for each in (rate, wanted):
        if not LOWEST_RATE <= each <= HIGHEST_RATE:
            raise DataError(
                f"resample: got {each} samples a second; wanted {LOWEST_RATE} to {HIGHEST_RATE}."
            )
    if rate == wanted:
        return sound
    divisor = math.gcd(rate, wanted)
    inputs, outputs = rate // divisor, wanted // divisor
    filters, before = _filters(inputs, outputs)
    T = sound.shape[1]
    S = -(-T * outputs // inputs)
    blocks = max(1, -(-S // outputs))
    after = max(0, (blocks - 1) * inputs + filters.shape[1] - before - T)
    padded = F.pad(sound, (before, after))[:, None]
    filters = filters.to(sound)[:, None]
    made = F.conv1d(padded, filters, stride=inputs)[:, :, :blocks]  # [B outputs blocks]
    return made.transpose(1, 2).reshape(len(sound), -1)[:, :S]


@functools.lru_cache(maxsize=4)
def _filters(inputs: int, outputs: int) -> tuple[Tensor, int]:
    """A filter for each output of a block, ``[outputs K]``, and samples before the block."""
    scale = min(1.0, outputs / inputs)  # the lower rate, in samples of the input
    cutoff = (1 - TRANSITION / ZEROS) * scale
    reach = ZEROS / scale
    before = math.ceil(reach)
    taps = before + math.ceil(reach + inputs * (outputs - 1) / outputs) + 1
    filters = np.empty((outputs, taps), np.float32)
    n = np.arange(taps) - before
    for m in range(outputs):
        t = m * inputs / outputs - n
        inside = np.abs(t) <= reach
        window = np.zeros(taps)
        window[inside] = np.i0(BETA * np.sqrt(1 - (t[inside] / reach) ** 2)) / np.i0(BETA)
        filters[m] = cutoff * np.sinc(cutoff * t) * window
    return torch.from_numpy(filters), before


# Crossings of zero on each side: more are sharper and slower.
ZEROS = 48
ATTENUATION = 80.0
# Kaiser's formulas for that attenuation: the shape of the window, and half the width of the
# transition in crossings, so that it ends where aliasing begins.
BETA = 0.1102 * (ATTENUATION - 8.7)
TRANSITION = (ATTENUATION - 8) / (2.285 * 2 * math.pi) / 2
