"""A number on a continuous scale for a whole sequence (many to one)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.models.sequence_model import SequenceModel
from unspool.tasks.example_batches import ExampleBatch, Part
from unspool.tasks.intervals import bootstrap_mean
from unspool.tasks.mistakes import furthest_off


@dataclass(frozen=True, slots=True)
class AmountRules:
    """Numbers less their mean over their deviation; the model gives one for each sequence.

    Attributes:
        mean: of the training part.
        deviation: of the training part; 1 where all are the same.
        loss_of: what a difference costs: squared or absolute.

    Example:
        >>> rules = AmountRules.fit([1.0, 3.0])
        >>> rules.encode(5.0)
        tensor(3.)
    """

    mean: float
    deviation: float
    loss_of: str = "squared"
    task: str = "rate"
    unit: str = "example"
    measure: str = "mean absolute error"
    higher_is_better: bool = False

    @classmethod
    def fit(cls, targets: Sequence[float], loss_of: str = "squared") -> AmountRules:
        """The scale of a training part.

        Raises:
            DataError: if a number is not finite, or there are none.
        """
        values = np.asarray(targets, float)
        if not len(values) or not np.isfinite(values).all():
            raise DataError("training part: wanted one finite number or more to learn.")
        return cls(float(values.mean()), float(values.std()) or 1.0, loss_of)

    def to_dict(self) -> dict[str, Any]:
        """The scale, and what a difference costs."""
        return {"mean": self.mean, "deviation": self.deviation, "loss_of": self.loss_of}

    def output(self) -> dict[str, Any]:
        """One number for a whole example."""
        return {"mapping": "one", "size": 1}

    def encode(self, target: float) -> Tensor:
        """A number on the scale of the training part."""
        return torch.tensor((float(target) - self.mean) / self.deviation, dtype=torch.float32)

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Squared or absolute differences on that scale, summed."""
        left = logits[:, 0] - batch.targets
        return (left.square() if self.loss_of == "squared" else left.abs()).sum()

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """The number of each row, on its own scale."""
        found = logits[:, 0].double() * self.deviation + self.mean
        return [{"answer": value} for value in found.tolist()]

    def rows(self, truth: Sequence[float], answers: Sequence[float]) -> np.ndarray:
        """How far off every answer is."""
        return np.abs(np.asarray(truth, float) - np.asarray(answers, float))

    def groups(self, truth: Sequence[float]) -> None:
        """Every example stands for itself."""
        return

    def measures(
        self, truth: Sequence[float], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Mean absolute error with its interval."""
        interval = bootstrap_mean(self.rows(truth, [answer["answer"] for answer in answers]))
        return {"score": interval.value, "interval": [interval.low, interval.high]}

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The numbers that are furthest off."""
        return furthest_off(part, answers)
