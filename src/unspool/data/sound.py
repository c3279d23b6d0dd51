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

from unspool.data.augment import masked, noisy, shifted
from unspool.data.resample import resample
from unspool.data.sound_settings import SoundSettings
from unspool.data.table import short
from unspool.data.text import printable
from unspool.data.wav import decode_wav
from unspool.errors import DataError

Collated = tuple[dict[str, Tensor], Tensor]


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """The samples of a WAV or FLAC file, float32 ``[T channels]``, and how many there are a second.

    Raises:
        DataError: if it cannot be read, is damaged, or is FLAC and soundfile is missing.
    """
    name = printable(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({short(str(error))}).") from error
    if data[:4] != b"fLaC":
        return decode_wav(data, name)
    try:
        import soundfile
    except ImportError as error:
        raise DataError(
            f"{name}: FLAC is read by soundfile, which is missing; "
            "pip install 'unspool[audio]', or write WAV."
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"{name}: cannot be read as FLAC ({short(str(error))}).") from error
    if not samples.size:
        raise DataError(f"{name}: holds no samples.")
    return samples, int(rate)


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


@functools.lru_cache(maxsize=8)
def _filters(rate: int, bands: int, fft: int) -> Tensor:
    return mel_filters(rate, bands, fft)


@dataclass(frozen=True, slots=True)
class SoundEncoder:
    """A sound as normalised log-mel frames.

    Attributes:
        settings: rate, bands, windows and what training varies.
        mean: of every band in the training part.
        deviation: of every band in the training part.
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
            torch.Size([9, 40])
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
        """Bands of a frame."""
        return {"kind": self.kind, "size": self.settings.bands}

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
        """Normalised frames of a sound; with a generator, of the sound shifted and with noise.

        A silent sound gives finite frames like any other.

        Raises:
            DataError: as `waveform`.
        """
        waveform = self.waveform(sound)
        if generator is not None:
            most = round(self.settings.shift * self.settings.rate)
            waveform = shifted(waveform, most, generator)
            if self.settings.noise:
                waveform = noisy(waveform, self.settings.noise, generator)
        frames = self._frames(waveform)
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
            inputs["frames"], lengths, settings.mask_frames, settings.mask_bands, generator
        )
        return {**inputs, "frames": frames}

    def _frames(self, waveform: Tensor) -> Tensor:
        frames = log_mel(waveform, self.settings)
        return frames - frames.mean(0) if self.settings.normalise == "utterance" else frames


LOWEST_FREQUENCY = 20.0
# Energy of a frame in which nothing but rounding to 16 bits is left.
FLOOR = 1e-9
SMALLEST_DEVIATION = 1e-3
