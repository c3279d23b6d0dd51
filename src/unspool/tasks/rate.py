"""A number of stars for a whole sequence (many to one, ordered)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.layers.ordinal import ordinal_log_probs, ordinal_loss
from unspool.models.sequence_model import SequenceModel
from unspool.tasks import supervised
from unspool.tasks.baselines import constant, text
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.example_answers import TARGETS_FILE, ExampleAnswers, restore_answers
from unspool.tasks.example_batches import ExampleBatch, Part
from unspool.tasks.intervals import bootstrap_mean
from unspool.tasks.metrics import accuracy, weighted_kappa, within_one
from unspool.tasks.mistakes import furthest_off
from unspool.tasks.supervised import SupervisedJob

build = supervised.build
measuring = supervised.measuring


@dataclass(frozen=True, slots=True)
class RatingRules:
    """Ordered values, such as 1, 2, 4 and 5 stars.

    Attributes:
        values: of the training part, ascending.

    Example:
        >>> RatingRules((1.0, 2.0, 4.0, 5.0)).encode(4.0)
        tensor(2)
    """

    values: tuple[float, ...]
    task: str = "rate"
    unit: str = "example"
    measure: str = "mean absolute error"
    higher_is_better: bool = False

    @classmethod
    def fit(cls, targets: Sequence[float]) -> RatingRules:
        """The values of a training part.

        Raises:
            DataError: if there are fewer than two, or too many to be steps of a scale.
        """
        values = tuple(sorted({float(target) for target in targets}))
        if not 2 <= len(values) <= MOST_VALUES:
            raise DataError(
                f"training part: {len(values)} different ratings; wanted 2 to {MOST_VALUES} steps "
                "of a scale."
            )
        return cls(values)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RatingRules:
        """What `to_dict` gave."""
        return cls(tuple(float(value) for value in stored["values"]))

    def to_dict(self) -> dict[str, Any]:
        """The values in their order."""
        return {"values": list(self.values)}

    def output(self) -> dict[str, Any]:
        """One score for a whole example, and a threshold between each two values."""
        return {"mapping": "ordinal", "size": len(self.values)}

    def encode(self, target: float) -> Tensor:
        """The place of a rating; of one that training never saw, the nearest."""
        distances = [abs(value - float(target)) for value in self.values]
        return torch.tensor(distances.index(min(distances)))

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Negative log-likelihood of the ordered classes, summed, in nats."""
        return ordinal_loss(logits, batch.targets).sum()

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """The median of each row's distribution, which errs least, its mean, and all chances."""
        chances = ordinal_log_probs(logits.double()).exp()
        places = (chances.cumsum(-1) < 0.5).sum(-1).clamp(max=len(self.values) - 1).tolist()
        means = (chances @ torch.tensor(self.values, dtype=torch.float64)).tolist()
        return [
            {
                "answer": self.values[place],
                "mean": mean,
                "probabilities": {
                    f"{value:g}": chance for value, chance in zip(self.values, row, strict=True)
                },
            }
            for place, mean, row in zip(places, means, chances.tolist(), strict=True)
        ]

    def rows(self, truth: Sequence[float], answers: Sequence[float]) -> np.ndarray:
        """How far off every answer is."""
        return np.abs(np.asarray(truth, float) - np.asarray(answers, float))

    def groups(self, truth: Sequence[float]) -> None:
        """Every example stands for itself."""
        return

    def measures(
        self, truth: Sequence[float], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Mean absolute error with its interval, share within one, exact share, kappa."""
        given = [float(answer["answer"]) for answer in answers]
        wanted = [float(target) for target in truth]
        interval = bootstrap_mean(self.rows(wanted, given))
        return {
            "score": interval.value,
            "interval": [interval.low, interval.high],
            "within_one": within_one(wanted, given),
            "exact": accuracy(wanted, given),
            "kappa": weighted_kappa(wanted, given),
        }

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The ratings that are furthest off."""
        return furthest_off(part, answers)


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> SupervisedJob:
    """The job on rated examples.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None fits encoder and values on the training part.

    Raises:
        DataError: if there is only one rating, or a part is empty.
    """
    return supervised.prepare(reading, settings, RatingRules, simple_methods, files)


def restore(files: Mapping[str, str], where: str) -> ExampleAnswers:
    """What turns a model's logits into ratings."""
    rules = RatingRules.from_dict(json.loads(files[TARGETS_FILE]))
    return restore_answers(rules, files, where)


def simple_methods(job: SupervisedJob) -> Iterator[Baseline]:
    """The best constant; for text also TF-IDF with ridge regression."""
    train, test = job.train, job.test
    yield constant.median(train.targets, len(test))
    if job.encoder.reads == "text":
        texts, wanted = [[str(each) for each in part.inputs] for part in (train, test)]
        yield text.ridge_regression(texts, train.targets, wanted, job.seed)


MOST_VALUES = 20
