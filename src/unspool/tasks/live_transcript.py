"""A transcription that goes on while sound comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from unspool.data.sound import FrameStream
from unspool.errors import ConfigError
from unspool.layers.state import State
from unspool.models.ctc import Labels, PrefixBeam
from unspool.models.sequence_model import SequenceModel


class LiveTranscript:
    """What a model has understood of a sound so far.

    However the sound is cut into pieces, the text at its end is that of the whole sound.

    Args:
        model: that transcribes, of one direction; put into evaluation mode.
        encoder: of its sounds.
        spell: from labels to their text.
        beam: beginnings that are followed at once; 1 follows the likeliest path (greedy).

    Attributes:
        rate: samples a second that are expected.

    Raises:
        ConfigError: if the model or its frames need the end of a sound first.
    """

    def __init__(
        self,
        model: SequenceModel,
        encoder: Any,
        spell: Callable[[Labels], str],
        beam: int = 1,
    ) -> None:
        if encoder.settings.normalise == "utterance":
            raise ConfigError(
                "live transcript: the run has sound.normalise 'utterance', which takes the mean of "
                "a whole sound; transcribe whole files, or train with sound.normalise 'train'."
            )
        self.rate = encoder.settings.rate
        self._model, self._spell, self._stack = model.eval(), spell, encoder.settings.stack
        self._frames = FrameStream(encoder)
        self._waiting = torch.zeros(0, encoder.settings.features)  # fewer frames than a step has
        self._state: State | None = None
        self._path = PathReader() if beam == 1 else PrefixBeam(beam)
        self._ended = False
        # A model that cannot be read in pieces says so now, not in the middle of a sound.
        self._read(torch.zeros(self._stack, encoder.settings.features))

    @property
    def text(self) -> str:
        """What was understood so far."""
        if isinstance(self._path, PathReader):
            return self._spell(self._path.labels)
        return self._spell(self._path.best()[0][0])

    def hear(self, samples: Float32[np.ndarray, " T"]) -> str:
        """Read on; the text so far.

        Args:
            samples: the next piece of one channel, at `rate`; of any length.

        Raises:
            ConfigError: after `finish`.
            DataError: if a sample is not finite.
        """
        if self._ended:
            raise ConfigError("live transcript: is finished; begin another one.")
        self._go_on(self._frames.hear(samples))
        return self.text

    def finish(self) -> str:
        """The sound is over; its whole text.

        Raises:
            ConfigError: if it was finished before.
        """
        if self._ended:
            raise ConfigError("live transcript: is finished; begin another one.")
        self._go_on(self._frames.finish())
        if len(self._waiting):
            self._step(self._waiting)
        self._ended = True
        return self.text

    def _go_on(self, frames: Float[Tensor, "S F"]) -> None:
        waiting = torch.cat([self._waiting, frames])
        whole = len(waiting) - len(waiting) % self._stack
        if whole:
            self._step(waiting[:whole])
        self._waiting = waiting[whole:]

    def _step(self, frames: Float[Tensor, "S F"]) -> None:
        logits, self._state = self._read(frames)
        self._path.read(logits[0].cpu())

    @torch.no_grad()
    def _read(self, frames: Tensor) -> tuple[Tensor, State]:
        return self._model.read_on({"frames": frames[None].to(self._model.device)}, self._state)


class PathReader:
    """The labels of the likeliest path, read on step by step.

    Attributes:
        labels: those so far.

    Example:
        >>> path = PathReader(); path.read(torch.eye(3)[[1, 1, 0]]); path.read(torch.eye(3)[[1, 2]])
        >>> path.labels
        (1, 1, 2)
    """

    def __init__(self) -> None:
        self.labels: Labels = ()
        self._last = 0

    def read(self, logits: Float[Tensor, "T C"]) -> None:
        """Go on by some steps."""
        for label in logits.argmax(1).tolist():
            if label not in (0, self._last):
                self.labels = (*self.labels, label)
            self._last = label
