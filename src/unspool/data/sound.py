"""From sounds to frames of log-mel energies: read, made mono, brought to one rate, normalised."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from unspool.data.augment import masked, noisy, shifted, sped
from unspool.data.resample import resample
from unspool.data.sound_file import read_sound
from unspool.data.sound_settings import SoundSettings
from unspool.data.text import printable
from unspool.errors import DataError

Collated = tuple[dict[str, Tensor], Tensor]


def mel_filters(rate: int, bands: int, fft: int) -> Float[Tensor, "K F"]:
    """Triangles over the frequencies of a transform, equally spaced and equally high in mel.

        mel(f) = 2595 · log10(1 + f / 700)

    The first begins at `LOWEST_FREQUENCY` Hz, the last ends at half the rate.

    Args:
        rate: samples a second.
        bands: triangles, F.
        fft: samples of the transform; it has K = fft / 2 + 1 frequencies.

    Source:
        Young et al., The HTK Book (3.4), section 5.4.

    Example:
        >>> mel_filters(8000, 20, 256).shape
        torch.Size([129, 20])
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (LOWEST_FREQUENCY, rate / 2))
    corners = 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (
        (frequencies - left) / (centre - left),
        (right - frequencies) / (right - centre),
    )
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel(sound: Float32[Tensor, " T"], settings: SoundSettings) -> Float32[Tensor, "S F"]:
    """Log energies of the mel bands in every frame.

    Frame s looks at the samples from s · hop on and at none before or after its window, so frames
    can be made while a sound still comes in. The last one is filled up with silence; a sound
    shorter than a window is one frame.

    Args:
        sound: at ``settings.rate``, T ≥ 1.
        settings: bands, window and hop.

    Returns:
        S = 1 + ⌈max(0, T - window) / hop⌉ frames; natural logarithm of the energy, at least
        log(`FLOOR`).

    Example:
        >>> log_mel(torch.zeros(8000), SoundSettings()).shape
        torch.Size([99, 40])
    """
    window, hop = settings.window_samples, settings.hop_samples
    count = 1 + max(0, -(-(len(sound) - window) // hop))
    # A transform centres its window in its `fft` samples, so they begin so much earlier.
    early = (settings.fft - window) // 2
    late = (count - 1) * hop + settings.fft - early - len(sound)
    padded = nn.functional.pad(sound, (early, max(0, late)))
    spectrum = torch.stft(
        padded, settings.fft, hop, window, torch.hann_window(window), center=False,
        return_complex=True,
    )  # fmt: skip
    power = spectrum[:, :count].abs().square().T  # [S K]
    filters = _filters(settings.rate, settings.bands, settings.fft)
    return (power @ filters / window).clamp(min=FLOOR).log()


def with_deltas(frames: Float[Tensor, "S F"], deltas: int) -> Float[Tensor, "S G"]:
    """Frames, their slopes over time beside them, and the slopes of those.

        d_t = Σ_n n · (x_{t+n} - x_{t-n}) / (2 · Σ_n n²),  n = 1 … `REACH`

    Before the first and after the last frame stands that frame again.

    Args:
        frames: any numbers, S ≥ 0.
        deltas: how often.

    Returns:
        G = F · (1 + deltas) numbers a frame.

    Source:
        Young et al., The HTK Book (3.4), equation 5.16.

    Example:
        >>> with_deltas(torch.arange(6.0)[:, None] ** 2, 2)[2:4, :2]
        tensor([[4., 4.],
                [9., 6.]])
    """
    if not len(frames):
        return frames.new_zeros(0, frames.shape[1] * (1 + deltas))
    parts = [frames]
    for _ in range(deltas):
        before, after = (
            parts[-1][place].expand(REACH, -1) for place in (slice(1), slice(-1, None))
        )
        given, slope = torch.cat([before, parts[-1], after]), torch.zeros_like(frames)
        for n in range(1, REACH + 1):
            later, earlier = given[REACH + n :][: len(frames)], given[REACH - n :][: len(frames)]
            slope = slope + n * (later - earlier)
        parts.append(slope / (2 * sum(n * n for n in range(1, REACH + 1))))
    return torch.cat(parts, 1)


@functools.lru_cache(maxsize=8)
def _filters(rate: int, bands: int, fft: int) -> Tensor:
    return mel_filters(rate, bands, fft)


@dataclass(frozen=True, slots=True)
class SoundEncoder:
    """A sound as normalised log-mel frames.

    Attributes:
        settings: rate, bands, windows and what training varies.
        mean: of every number of a frame in the training part.
        deviation: of every number of a frame in the training part.
        source_rate: samples a second of waveforms that come without a file.
        kind: of the model's inputs.
        reads: of examples.
    """

    settings: SoundSettings
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    source_rate: int
    kind: str = "frames"
    reads: str = "sound"

    @classmethod
    def fit(
        cls, sounds: Sequence[Any], settings: SoundSettings, source_rate: int = 0
    ) -> SoundEncoder:
        """Measure the bands of a training part.

        Args:
            sounds: paths, or waveforms ``[T]`` or ``[T channels]``.
            settings: of the frames.
            source_rate: samples a second of waveforms; 0 takes ``settings.rate``.

        Raises:
            DataError: if there are none, or one cannot be read.

        Example:
            >>> encoder = SoundEncoder.fit([np.ones(800, np.float32)], SoundSettings())
            >>> encoder.encode(np.ones(800, np.float32)).shape
            torch.Size([9, 80])
        """
        if not len(sounds):
            raise DataError("sounds: got none to learn from; wanted one or more.")
        unfitted = cls(settings, (), (), source_rate or settings.rate)
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for sound in sounds:
            frames = unfitted._frames(unfitted.waveform(sound)).double()
            count += len(frames)
            total = total + frames.sum(0)
            squares = squares + frames.square().sum(0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # A band in which nothing ever happens says nothing; it is not blown up.
        deviation = deviation.where(deviation > SMALLEST_DEVIATION, 1.0)
        return cls(settings, tuple(mean.tolist()), tuple(deviation.tolist()), unfitted.source_rate)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SoundEncoder:
        """What `to_dict` gave."""
        settings = SoundSettings(**stored["settings"])
        mean, deviation = tuple(stored["mean"]), tuple(stored["deviation"])
        return cls(settings, mean, deviation, int(stored["source_rate"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reads": self.reads,
            "settings": asdict(self.settings),
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "source_rate": self.source_rate,
        }

    @property
    def shape(self) -> dict[str, Any]:
        """Numbers of a frame, and frames of a step where those are several."""
        stack = {"stack": self.settings.stack} if self.settings.stack > 1 else {}
        return {"kind": self.kind, "size": self.settings.features, **stack}

    @property
    def varies(self) -> bool:
        """Whether training changes sounds before they become frames."""
        settings = self.settings
        return bool(settings.shift or settings.noise or settings.speed)

    def waveform(self, sound: Any) -> Float32[Tensor, " T"]:
        """A file or waveform as one channel at the wanted rate; channels are averaged.

        Raises:
            DataError: if it cannot be read, is empty, too long, or not finite.
        """
        if isinstance(sound, str | Path):
            where = printable(sound)
            samples, rate = read_sound(Path(sound))
        else:
            where, rate = "sound", self.source_rate
            samples = np.asarray(sound, np.float32)
        samples = samples[:, None] if samples.ndim == 1 else samples
        if samples.ndim != 2 or not samples.size:
            raise DataError(
                f"{where}: has the shape {list(np.shape(samples))}; wanted one sample or more, "
                "[T] or [T channels]."
            )
        if not np.isfinite(samples).all():
            raise DataError(f"{where}: holds NaN or an infinite number.")
        if len(samples) > self.settings.max_seconds * rate:
            raise DataError(
                f"{where}: is {len(samples) / rate:.1f} s long; sound.max_seconds is "
                f"{self.settings.max_seconds:g}: raise it, or cut the sound."
            )
        mono = torch.from_numpy(np.ascontiguousarray(samples.mean(1, dtype=np.float32)))
        return resample(mono[None], rate, self.settings.rate)[0]

    def encode(
        self, sound: Any, generator: torch.Generator | None = None
    ) -> Float32[Tensor, "S F"]:
        """Normalised frames of a sound; with a generator, of the sound varied.

        Variations are its speed, its place in time and noise, each as the settings say.

        A silent sound gives finite frames like any other.

        Raises:
            DataError: as `waveform`.
        """
        waveform = self.waveform(sound)
        if generator is not None:
            settings = self.settings
            if settings.speed:
                waveform = sped(waveform, settings.speed, generator)
            waveform = shifted(waveform, round(settings.shift * settings.rate), generator)
            if settings.noise:
                waveform = noisy(waveform, settings.noise, generator)
        return self.normalised(self._frames(waveform))

    def normalised(self, frames: Float32[Tensor, "S F"]) -> Float32[Tensor, "S F"]:
        """Frames by the mean and deviation of each of their numbers in the training part."""
        return (frames - torch.tensor(self.mean)) / torch.tensor(self.deviation)

    def collate(self, encoded: Sequence[Tensor]) -> Collated:
        """Sounds side by side: ``frames`` ``[B T F]``, padded with 0, and their lengths ``[B]``."""
        lengths = torch.tensor([len(frames) for frames in encoded])
        return {"frames": nn.utils.rnn.pad_sequence(list(encoded), batch_first=True)}, lengths

    def vary(
        self, inputs: Mapping[str, Tensor], lengths: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A training batch with stretches of frames and bands blanked; see `masked`."""
        settings = self.settings
        frames = masked(
            inputs["frames"], lengths, settings.mask_frames, settings.mask_bands, generator,
            settings.bands,
        )  # fmt: skip
        return {**inputs, "frames": frames}

    def _frames(self, waveform: Tensor) -> Tensor:
        frames = log_mel(waveform, self.settings)
        if self.settings.normalise == "utterance":
            frames = frames - frames.mean(0)
        return with_deltas(frames, self.settings.deltas)


class FrameStream:
    """Frames of a sound that comes in piece by piece: together those that `encode` gives it whole.

    Args:
        encoder: normalises each frame by the training part.

    Example:
        >>> encoder = SoundEncoder.fit([np.ones(800, np.float32)], SoundSettings())
        >>> stream, sound = FrameStream(encoder), np.ones(800, np.float32)
        >>> len(stream.hear(sound[:500])), len(stream.hear(sound[500:])), len(stream.finish())
        (2, 4, 3)
    """

    def __init__(self, encoder: SoundEncoder) -> None:
        self.encoder = encoder
        self._waiting = torch.zeros(0)  # from the first sample of the next frame on
        self._first = True
        # The frames that came last, of which the first `_said` have been given.
        self._known, self._said = torch.zeros(0, encoder.settings.bands), 0

    def hear(self, samples: Float32[np.ndarray, " T"]) -> Float32[Tensor, "S F"]:
        """The frames that can be made by now, and were not before.

        Args:
            samples: one channel at ``settings.rate``.

        Raises:
            DataError: if they are no such array, or not finite.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise DataError(
                f"sound: a piece has the shape {list(samples.shape)} or is not finite; wanted one "
                f"channel [T] at {self.encoder.settings.rate} samples a second."
            )
        settings = self.encoder.settings
        window, hop = settings.window_samples, settings.hop_samples
        waiting = torch.cat([self._waiting, torch.tensor(samples)])
        count = 0 if len(waiting) < window else 1 + (len(waiting) - window) // hop
        self._waiting = waiting[count * hop :]
        self._first = self._first and not count
        if not count:
            return torch.zeros(0, settings.features)
        return self._given(log_mel(waiting[: (count - 1) * hop + window], settings))

    def finish(self) -> Float32[Tensor, "S F"]:
        """The frames that waited for what comes after, and the last one, filled up with silence.

        That last one is there if samples are left that no frame has covered.
        """
        settings = self.encoder.settings
        covered = 0 if self._first else settings.window_samples - settings.hop_samples
        last = torch.zeros(0, settings.bands)
        if len(self._waiting) > covered:
            last = log_mel(self._waiting, settings)
        return self._given(last, finished=True)

    def _given(self, frames: Tensor, finished: bool = False) -> Tensor:
        """What can be said of frames by now: each delta has to see `REACH` more of them."""
        deltas = self.encoder.settings.deltas
        reach = REACH * deltas
        known = torch.cat([self._known, frames])
        stop = len(known) if finished else max(self._said, len(known) - reach)
        found = self.encoder.normalised(with_deltas(known, deltas))[self._said : stop]
        forgotten = max(0, stop - reach)
        self._known, self._said = known[forgotten:], stop - forgotten
        return found


LOWEST_FREQUENCY = 20.0
# Energy of a frame in which nothing but rounding to 16 bits is left.
FLOOR = 1e-9
SMALLEST_DEVIATION = 1e-3
# Frames to either side that a delta looks at.
REACH = 2
