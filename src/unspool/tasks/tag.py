"""One label for every step: words and their tags, frames and what they show (synced)."""

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
from unspool.tasks.baselines import constant
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.baselines.tags import frequent_tags
from unspool.tasks.example_answers import TARGETS_FILE, ExampleAnswers, restore_answers
from unspool.tasks.example_batches import NO_TARGET, ExampleBatch, Part
from unspool.tasks.intervals import bootstrap_mean
from unspool.tasks.metrics import classes
from unspool.tasks.mistakes import mistaken_steps
from unspool.tasks.spans import scheme_of, span_scores
from unspool.tasks.supervised import SupervisedJob

build = supervised.build
measuring = supervised.measuring


@dataclass(frozen=True, slots=True)
class TagRules:
    """Labels of steps.

    Attributes:
        labels: of the training part, sorted.
        scheme: of span tags, such as IOB2; None for labels that mark no spans.
        temperature: by which logits are divided for the probabilities; not with a CRF.

    Example:
        >>> TagRules(("DET", "NOUN")).encode(["NOUN", "DET"])
        tensor([1, 0])
    """

    labels: tuple[str, ...]
    scheme: str | None = None
    temperature: float = 1.0
    task: str = "tag"
    unit: str = "step"
    measure: str = "accuracy"
    higher_is_better: bool = True

    @classmethod
    def fit(cls, targets: Sequence[Sequence[str]]) -> TagRules:
        """The labels of a training part.

        Raises:
            DataError: if there are fewer than two.
        """
        labels = tuple(sorted({label for tags in targets for label in tags}))
        if len(labels) < 2:
            raise DataError(
                f"training part: every label is '{labels[0] if labels else ''}'; wanted two or "
                "more."
            )
        return cls(labels, scheme_of(targets))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TagRules:
        """What `to_dict` gave."""
        temperature = float(stored.get("temperature", 1.0))
        return cls(tuple(stored["labels"]), stored["scheme"], temperature)

    def to_dict(self) -> dict[str, Any]:
        """The labels in their order, their scheme, and the temperature."""
        return {
            "labels": list(self.labels),
            "scheme": self.scheme,
            "temperature": self.temperature,
        }

    def output(self) -> dict[str, Any]:
        """A vector of logits for every step; span tags hang together, so a CRF joins them."""
        output = {"mapping": "each", "size": len(self.labels)}
        if self.scheme is not None:
            output |= {"crf": True, "labels": list(self.labels)}
        return output

    def encode(self, target: Sequence[str]) -> Tensor:
        """The places of labels; `NO_TARGET` for one that training never saw."""
        places = {label: place for place, label in enumerate(self.labels)}
        return torch.tensor([places.get(label, NO_TARGET) for label in target])

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Negative log-likelihood, summed, in nats: of each step, or of whole sequences."""
        if model.crf is None:
            targets = batch.targets.flatten()
            return F.cross_entropy(
                logits.flatten(0, 1), targets, ignore_index=NO_TARGET, reduction="sum"
            )
        return -model.crf.log_likelihood(logits, batch.targets.clamp(min=0), batch.lengths).sum()

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """The likeliest label of every step, or the likeliest labels together."""
        best = logits.argmax(-1) if model.crf is None else model.crf.decode(logits, lengths)
        if model.crf is None:
            sure = torch.softmax(logits.double() / self.temperature, -1).max(-1).values
        else:
            sure = model.crf.marginals(logits, lengths).max(-1).values
        counts = [logits.shape[1]] * len(logits) if lengths is None else lengths.tolist()
        return [
            {
                "answer": [self.labels[place] for place in places[:count]],
                "probability": chances[:count],
            }
            for places, chances, count in zip(best.tolist(), sure.tolist(), counts, strict=True)
        ]

    def rows(self, truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> np.ndarray:
        """1 for every right step, else 0; their mean is the accuracy."""
        pairs = zip(truth, answers, strict=True)
        return np.array(
            [a == b for tags, own in pairs for a, b in zip(tags, own, strict=True)], float
        )

    def groups(self, truth: Sequence[Sequence[str]]) -> list[int]:
        """The steps of a sequence belong together."""
        return [number for number, tags in enumerate(truth) for _ in tags]

    def measures(
        self, truth: Sequence[Sequence[str]], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Accuracy of steps with its interval, whole sequences, and of spans strict F1."""
        given = [answer["answer"] for answer in answers]
        interval = bootstrap_mean(self.rows(truth, given), self.groups(truth))
        measured = {
            "score": interval.value,
            "interval": [interval.low, interval.high],
            "sequences": float(
                np.mean([list(a) == list(b) for a, b in zip(truth, given, strict=True)])
            ),
        }
        flat = [[label for labels in part for label in labels] for part in (truth, given)]
        measured |= classes(*flat).by_class()
        if self.scheme is not None:
            spans = span_scores(truth, given, self.scheme)
            measured |= {"span_precision": spans.precision, "span_recall": spans.recall}
            measured |= {"span_f1": spans.f1}
            measured["spans"] = {
                kind: {"precision": each.precision, "recall": each.recall, "f1": each.f1}
                | {"support": each.there}
                for kind, each in spans.kinds.items()
            }
        return measured

    def sureness(
        self, truth: Sequence[Sequence[str]], answers: Sequence[Mapping[str, Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """How sure the label of every step is, and whether it is right."""
        sure = np.array([chance for answer in answers for chance in answer["probability"]])
        return sure, self.rows(truth, [answer["answer"] for answer in answers]) == 1.0

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Words and the labels that they most often got instead of their own."""
        return mistaken_steps(part, answers)


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> SupervisedJob:
    """The job on labelled sequences.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None fits encoder and labels on the training part.

    Raises:
        DataError: if there is only one label, or a part is empty.
    """
    return supervised.prepare(reading, settings, TagRules, simple_methods, files)


def restore(files: Mapping[str, str], where: str) -> ExampleAnswers:
    """What turns a model's logits into labels."""
    rules = TagRules.from_dict(json.loads(files[TARGETS_FILE]))
    return restore_answers(rules, files, where)


def simple_methods(job: SupervisedJob) -> Iterator[Baseline]:
    """The commonest label; for words also the commonest of each word."""
    train, test = job.train, job.test
    commonest = constant.majority([tag for tags in train.targets for tag in tags], 1)
    yield Baseline(
        name="majority label",
        answers=[commonest.answers * len(tags) for tags in test.targets],
        seconds=commonest.seconds,
        reproduce=commonest.reproduce,
    )
    if job.encoder.reads == "words":
        yield frequent_tags(train.inputs, train.targets, test.inputs, job.seed)
