"""One of a few classes for a whole sequence, sound or image (many to one, one to one)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.errors import DataError
from unspool.models.sequence_model import SequenceModel
from unspool.tasks import supervised
from unspool.tasks.baselines import constant, images, numbers, sound, text
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.baselines.brackets import bracket_counting
from unspool.tasks.example_answers import TARGETS_FILE, ExampleAnswers, restore_answers
from unspool.tasks.example_batches import NO_TARGET, ExampleBatch, Part
from unspool.tasks.intervals import wilson
from unspool.tasks.metrics import classes
from unspool.tasks.mistakes import surest_mistakes
from unspool.tasks.supervised import SupervisedJob

build = supervised.build
measuring = supervised.measuring


@dataclass(frozen=True, slots=True)
class ClassRules:
    """Classes, each with a name.

    Attributes:
        labels: of the training part, sorted.
        temperature: by which logits are divided for the probabilities.

    Example:
        >>> ClassRules(("cat", "dog")).encode("dog")
        tensor(1)
    """

    labels: tuple[str, ...]
    temperature: float = 1.0
    task: str = "classify"
    unit: str = "example"
    measure: str = "accuracy"
    higher_is_better: bool = True

    @classmethod
    def fit(cls, targets: Sequence[str]) -> ClassRules:
        """The classes of a training part.

        Raises:
            DataError: if there are fewer than two.
        """
        labels = tuple(sorted(set(targets)))
        if len(labels) < 2:
            raise DataError(
                f"training part: every label is '{labels[0] if labels else ''}'; wanted two "
                "classes or more."
            )
        return cls(labels)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ClassRules:
        """What `to_dict` gave."""
        return cls(tuple(stored["labels"]), float(stored.get("temperature", 1.0)))

    def to_dict(self) -> dict[str, Any]:
        """The labels in their order, and the temperature."""
        return {"labels": list(self.labels), "temperature": self.temperature}

    def output(self) -> dict[str, Any]:
        """One vector of logits for a whole example."""
        return {"mapping": "one", "size": len(self.labels)}

    def encode(self, target: str) -> Tensor:
        """The place of a label; `NO_TARGET` for one that training never saw."""
        known = target in self.labels
        return torch.tensor(self.labels.index(target) if known else NO_TARGET)

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Cross-entropy, summed, in nats."""
        return F.cross_entropy(logits, batch.targets, ignore_index=NO_TARGET, reduction="sum")

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """The likeliest class of each row, and the probability of every class."""
        chances = torch.softmax(logits.double() / self.temperature, -1).tolist()
        best = logits.argmax(-1).tolist()
        return [
            {
                "answer": self.labels[place],
                "probability": row[place],
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for place, row in zip(best, chances, strict=True)
        ]

    def rows(self, truth: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """1 for every right answer, else 0; their mean is the accuracy."""
        return np.array([a == b for a, b in zip(truth, answers, strict=True)], dtype=float)

    def groups(self, truth: Sequence[str]) -> None:
        """Every example stands for itself."""
        return

    def measures(
        self, truth: Sequence[str], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Accuracy with its interval, F1, every class by itself, confusion."""
        given = [answer["answer"] for answer in answers]
        found = classes(list(truth), given)
        hits = int(self.rows(truth, given).sum())
        interval = wilson(hits, len(given))
        return {
            "score": found.accuracy,
            "interval": [interval.low, interval.high],
            "balanced_accuracy": found.balanced_accuracy,
            "macro_f1": found.macro_f1,
            **found.by_class(),
        }

    def sureness(
        self, truth: Sequence[str], answers: Sequence[Mapping[str, Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """How sure every answer is, and whether it is right."""
        sure = np.array([answer["probability"] for answer in answers])
        return sure, self.rows(truth, [answer["answer"] for answer in answers]) == 1.0

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Wrong answers, the surest first."""
        return surest_mistakes(part, answers)


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> SupervisedJob:
    """The job on labelled examples.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None fits encoder and labels on the training part.

    Raises:
        DataError: if there is only one class, or a part is empty.
    """
    return supervised.prepare(reading, settings, ClassRules, simple_methods, files)


def restore(files: Mapping[str, str], where: str) -> ExampleAnswers:
    """What turns a model's logits into classes."""
    rules = ClassRules.from_dict(json.loads(files[TARGETS_FILE]))
    return restore_answers(rules, files, where)


def simple_methods(job: SupervisedJob) -> Iterator[Baseline]:
    """Majority; what is simple and good for each kind of input; and a rule, where one holds."""
    train, test, reads = job.train, job.test, job.encoder.reads
    yield constant.majority(train.targets, len(test))
    if reads == "text":
        yield text.logistic_regression(train.inputs, train.targets, test.inputs, job.seed)
        yield text.naive_bayes(train.inputs, train.targets, test.inputs, job.seed)
        counted = bracket_counting(train.inputs, train.targets, test.inputs)
        if counted is not None:
            yield counted
    elif reads == "numbers":
        known, new = ([np.asarray(each) for each in part.inputs] for part in (train, test))
        yield numbers.boosting(known, train.targets, new, job.seed)
    elif reads == "sound":
        known, new = (_spectra(job.encoder, part.inputs) for part in (train, test))
        yield sound.support_vectors(known, train.targets, new, job.seed)
    elif reads == "image":
        known, new = (_points(part.encoded) for part in (train, test))
        yield images.edges_and_vectors(known, train.targets, new, job.seed)


def _spectra(encoder: Any, sounds: Sequence[Any]) -> np.ndarray:
    return np.stack([sound.log_spectrum(encoder.waveform(each).numpy()) for each in sounds])


def _points(encoded: Sequence[Tensor]) -> np.ndarray:
    """Images as the model reads them, colours last."""
    return torch.stack(list(encoded)).permute(0, 2, 3, 1).numpy()
