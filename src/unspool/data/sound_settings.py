"""How sounds become frames: the ``[sound]`` table of a configuration; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import ConfigError, unknown

NORMALISATIONS = ("train", "utterance")
# Below this, nothing of speech is left; above it, no recorder goes.
LOWEST_RATE, HIGHEST_RATE = 4000, 192_000
LARGEST_STACK = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundSettings:
    """Rate, bands and windows of the log-mel spectrum, and what training varies.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> settings = SoundSettings(rate=16000)
        >>> settings.window_samples, settings.hop_samples, settings.fft
        (400, 160, 512)
    """

    rate: int = 8000
    """Samples a second; every sound is brought to it."""
    bands: int = 40
    """Mel bands of a frame."""
    window: float = 0.025
    """Seconds of a frame."""
    hop: float = 0.01
    """Seconds from one frame to the next."""
    deltas: int = 1
    """What stands beside the bands: 0 nothing, 1 how they rise and fall, 2 how that changes, too;
    it tells less of the voice and more of what is said."""
    normalise: str = "train"
    """train (mean and deviation of each band in the training part; can stream), or utterance
    (less each sound's own mean, which cancels the microphone)."""
    max_seconds: float = 60.0
    """The longest sound that is read; longer ones are refused."""
    shift: float = 0.1
    """Seconds by which training moves a sound at most, forth and back; 0 leaves it."""
    noise: float = 20.0
    """Training adds noise, at least so many decibels below the sound; 0 adds none."""
    speed: float = 0.0
    """Training plays a sound faster or slower by up to this share, which also raises or lowers its
    voice: of use for speech, wrong where the pitch tells; 0 leaves it."""
    mask_frames: int = 10
    """Frames that training blanks at most, together (SpecAugment); 0 blanks none."""
    mask_bands: int = 8
    """Bands that training blanks at most, together (SpecAugment); 0 blanks none."""
    stack: int = 1
    """Frames that are read as one step; more make a model faster and its steps coarser."""
    stream: bool = True
    """Transcribe with a model that can answer while sound still comes in; without it, models that
    need the end are allowed as well."""

    def __post_init__(self) -> None:
        problems = []
        if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
            problems.append(
                f"sound.rate: got {self.rate}; wanted {LOWEST_RATE} to {HIGHEST_RATE} a second."
            )
        if self.bands < 1:
            problems.append(f"sound.bands: got {self.bands}; wanted 1 or more.")
        if not 0 < self.hop <= self.window <= 1:
            problems.append(
                f"sound.hop, sound.window: got {self.hop} and {self.window} s; wanted "
                "0 < hop ≤ window ≤ 1."
            )
        elif self.hop * self.rate < 1:
            problems.append(f"sound.hop: {self.hop} s is less than a sample.")
        if self.normalise not in NORMALISATIONS:
            problems.append(unknown("sound.normalise", self.normalise, NORMALISATIONS))
        if not 0 <= self.deltas <= 2:
            problems.append(f"sound.deltas: got {self.deltas}; wanted 0, 1 or 2.")
        if not self.max_seconds > 0:
            problems.append(f"sound.max_seconds: got {self.max_seconds}; wanted more than 0.")
        if not 1 <= self.stack <= LARGEST_STACK:
            problems.append(f"sound.stack: got {self.stack}; wanted 1 to {LARGEST_STACK}.")
        if not 0 <= self.speed < 0.5:
            problems.append(f"sound.speed: got {self.speed}; wanted 0 ≤ share < 0.5.")
        for name in ("shift", "noise", "mask_frames", "mask_bands"):
            if not getattr(self, name) >= 0:
                problems.append(f"sound.{name}: got {getattr(self, name)}; wanted 0 or more.")
        if not problems and self.bands > self.fft // 4:
            problems.append(
                f"sound.bands: {self.bands} are more than {self.window_samples} samples of "
                f"a window tell apart; wanted {self.fft // 4} or fewer, or a longer sound.window."
            )
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def window_samples(self) -> int:
        """Samples of a frame."""
        return round(self.window * self.rate)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.rate)

    @property
    def features(self) -> int:
        """Numbers of a frame: the bands, and for each as many deltas."""
        return self.bands * (1 + self.deltas)

    @property
    def fft(self) -> int:
        """Samples of the transform: the power of two that holds a frame."""
        return 1 << max(1, (self.window_samples - 1).bit_length())
