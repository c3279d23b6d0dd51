"""What a task on examples is told apart by, and what its model says of an input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unspool.data.encoders import encode_all, encoder_from
from unspool.data.examples import Examples
from unspool.errors import CheckpointError, DataError
from unspool.models.sequence_model import SequenceModel
from unspool.tasks.example_batches import ExampleBatch, Part


@runtime_checkable
class Rules(Protocol):
    """What makes a task on examples the task it is.

    Attributes:
        task: a key of `unspool.tasks.table.TASKS`.
        unit: what one target is called.
        measure: name of the figure that is compared with the simple methods.
        higher_is_better: of that figure.
    """

    task: str
    unit: str
    measure: str
    higher_is_better: bool

    def output(self) -> dict[str, Any]:
        """What `SequenceModel` is to give."""
        ...

    def encode(self, target: Any) -> Tensor:
        """One target as numbers."""
        ...

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Summed over the targets of a batch, in nats."""
        ...

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """What each row says, as plain values with ``answer``."""
        ...

    def rows(self, truth: Sequence[Any], answers: Sequence[Any]) -> np.ndarray:
        """What the measure is the mean of, one number a row."""
        ...

    def groups(self, truth: Sequence[Any]) -> Sequence[int] | None:
        """Which of those rows belong together, such as the steps of a sentence."""
        ...

    def measures(
        self, truth: Sequence[Any], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """All figures of the task: the measure as ``score``, its ``interval``, and others."""
        ...

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The wrong answers that are worth reading, the worst first."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What was learnt of the targets, as plain JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class ExampleAnswers:
    """From a model's logits to what it says of an input.

    Attributes:
        rules: of the task.
        encoder: of the inputs.
    """

    rules: Rules
    encoder: Any

    def files(self) -> dict[str, str]:
        """What was learnt of inputs and of targets, as JSON files by name."""
        return {
            ENCODER_FILE: json.dumps(self.encoder.to_dict(), ensure_ascii=False) + "\n",
            TARGETS_FILE: json.dumps(self.rules.to_dict(), ensure_ascii=False) + "\n",
        }

    def predict(
        self, model: SequenceModel, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """One answer for every input, as plain values.

        Args:
            model: of the task.
            inputs: as the encoder reads them.
            names: what each is called in a message; None counts them.

        Raises:
            DataError: for an input that the model cannot read, with its name or number.
        """
        names = names or [f"input {number}" for number in range(1, len(inputs) + 1)]
        encoded = []
        for name, each in zip(names, inputs, strict=True):
            try:
                encoded.append(self.encoder.encode(each))
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        return answer_all(model, self.rules, self.encoder, encoded)

    def predict_examples(self, model: SequenceModel, examples: Examples) -> list[dict[str, Any]]:
        """The same for what was read from a file, with all that belongs to an input.

        Raises:
            DataError: for an input that the model cannot read, with its place.
        """
        return answer_all(model, self.rules, self.encoder, encode_all(self.encoder, examples))


@torch.no_grad()
def answer_all(
    model: SequenceModel, rules: Rules, encoder: Any, encoded: Sequence[Any]
) -> list[dict[str, Any]]:
    """What a model says to every input, in their order.

    Args:
        model: put into evaluation mode.
        rules: how an answer is read from logits.
        encoder: puts inputs side by side.
        encoded: numbers of every input.
    """
    model.eval()
    answers: list[dict[str, Any]] = []
    for start in range(0, len(encoded), EVALUATION_ROWS):
        inputs, lengths = encoder.collate(encoded[start : start + EVALUATION_ROWS])
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        answers += rules.answers(model, model(inputs, lengths), lengths)
    return answers


def restore_answers(rules: Rules, files: Mapping[str, str], where: str) -> ExampleAnswers:
    """What answers with a trained model.

    Args:
        rules: of the task.
        files: of the model.
        where: the folder, for messages.

    Raises:
        CheckpointError: if a file describes no encoder.
    """
    try:
        return ExampleAnswers(rules, restored_encoder(files))
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{where}: {ENCODER_FILE} describes no encoder ({error}).") from error


def restored_encoder(files: Mapping[str, str]) -> Any:
    """The encoder that a run has stored."""
    return encoder_from(json.loads(files[ENCODER_FILE]))


ENCODER_FILE = "encoder.json"
TARGETS_FILE = "targets.json"
EVALUATION_ROWS = 256
