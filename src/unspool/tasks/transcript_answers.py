"""What a run that transcribes says of a sound, whole or while it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from unspool.models.decoding_settings import DecodingSettings
from unspool.models.sequence_model import SequenceModel
from unspool.tasks.example_answers import ExampleAnswers
from unspool.tasks.live_transcript import LiveTranscript


@dataclass(frozen=True, slots=True)
class TranscriptAnswers:
    """What transcribes with a trained model, whole sounds or while they come in.

    Attributes:
        answers: of whole sounds.
    """

    answers: ExampleAnswers

    @property
    def encoder(self) -> Any:
        """Of the sounds."""
        return self.answers.encoder

    @property
    def rules(self) -> Any:
        """Of the texts."""
        return self.answers.rules

    def files(self) -> dict[str, str]:
        """What was learnt of inputs and of targets, as JSON files by name."""
        return self.answers.files()

    def predict(
        self, model: SequenceModel, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """One text for every sound; see `ExampleAnswers.predict`."""
        return self.answers.predict(model, inputs, names)

    def predict_examples(self, model: SequenceModel, examples: Any) -> list[dict[str, Any]]:
        """The same for what was read from a file."""
        return self.answers.predict_examples(model, examples)

    def with_beam(self, width: int) -> TranscriptAnswers:
        """The same with another number of beginnings that are followed; 1 is greedy.

        Raises:
            ConfigError: for fewer than one.
        """
        DecodingSettings(beam=width)
        rules = replace(self.answers.rules, beam=width)
        return TranscriptAnswers(replace(self.answers, rules=rules))

    def live(self, model: SequenceModel) -> LiveTranscript:
        """A transcription of sound that still comes in.

        Raises:
            ConfigError: if the model or its sounds need the end first.
        """
        rules = self.answers.rules
        return LiveTranscript(model, self.answers.encoder, rules.text, rules.beam)
