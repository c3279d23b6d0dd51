"""Learning from labelled examples: what classify, rate, tag, listen and see share.

A task is told apart by its `Rules`: what its targets are, what the model gives, how an answer is
read from it and measured. Everything else is here: batches, order, evaluation, judging.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.data.encoders import encode_all, fit_encoder, length_of, num_cut
from unspool.data.examples import Examples
from unspool.data.reading import Reading
from unspool.engine.language import Cell
from unspool.errors import ConfigError, DataError
from unspool.layers.dropout import derived_seed
from unspool.layers.state import State
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import ModelSettings
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.example_answers import (
    EVALUATION_ROWS,
    TARGETS_FILE,
    ExampleAnswers,
    Rules,
    answer_all,
    restored_encoder,
)
from unspool.tasks.example_batches import ExampleBatch, Part, mixed, order, side_by_side
from unspool.tasks.pretrained import Pretrained, ids_of
from unspool.tasks.temperature import Tempered, temperature_of, trust
from unspool.tasks.verdicts import Scored, compare


@dataclass(frozen=True, kw_only=True)
class SupervisedJob:
    """A task on labelled examples, as the `unspool.tasks.job.Job` it is.

    Attributes:
        rules: of the task.
        encoder: of the inputs, fitted on the training part.
        train: what is learnt.
        validation: what chooses the step.
        test: what is measured once, at the end.
        batch: examples side by side.
        seed: of the order.
        simple: the simple methods, given the job.
        warnings: what a person should know.
        measured_on: the part that `judge` reads, in words.
        pretrained: vectors that the words start from; None draws their own.
        mixup: strength of mixing examples in training; 0 leaves them.

    Raises:
        ConfigError: for a ``mixup`` of what cannot be mixed.
    """

    rules: Rules
    encoder: Any
    train: Part
    validation: Part
    test: Part
    batch: int
    seed: int
    simple: Callable[[SupervisedJob], Iterator[Baseline]]
    warnings: tuple[str, ...] = ()
    measured_on: str = "test part"
    pretrained: Pretrained | None = None
    mixup: float = 0.0
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.mixup and not self._can_be_mixed():
            raise ConfigError(
                "train.mixup: mixes the numbers of sounds, images or series with one label each; "
                "these examples are not such; leave it out."
            )

    def _can_be_mixed(self) -> bool:
        inputs, _ = self.encoder.collate(self.train.encoded[:1])
        return self.train.numbers[0].dim() == 0 and all(
            isinstance(value, Tensor) and value.is_floating_point() for value in inputs.values()
        )

    @property
    def unit(self) -> str:
        """What one target is called."""
        return self.rules.unit

    def files(self) -> dict[str, str]:
        """What was learnt of inputs and of targets."""
        return ExampleAnswers(self.rules, self.encoder).files()

    def shape(self) -> dict[str, Any]:
        """What goes in, and what comes out."""
        vectors = {} if self.pretrained is None else self.pretrained.shape
        return {"input": {**self.encoder.shape, **vectors}, "output": self.rules.output()}

    def start(self, model: SequenceModel) -> str | None:
        """Give a fresh model what was learnt elsewhere; what that is, in a sentence."""
        if self.pretrained is None:
            return None
        self.pretrained.fill(model)
        return self.pretrained.said(ids_of(self.train.encoded))

    def facts(self) -> dict[str, Any]:
        """Examples of all parts."""
        return {
            "train_tokens": len(self.train),
            "validation_tokens": len(self.validation),
            "test_tokens": len(self.test),
            "measure": self.rules.measure,
        }

    def epoch_steps(self) -> int:
        """Batches that read every example once."""
        return math.ceil(len(self.train) / self.batch)

    def work(self, model: SequenceModel) -> Examination:
        """What the training loop wants."""
        return Examination(model, self)

    def batch_of(
        self, part: Part, rows: Sequence[int], draw: torch.Generator | None = None
    ) -> ExampleBatch:
        """Some examples of a part side by side; with a generator, each varied before encoding."""
        if draw is not None and getattr(self.encoder, "varies", False):
            encoded = [self.encoder.encode(part.inputs[row], draw) for row in rows]
        else:
            encoded = [part.encoded[row] for row in rows]
        inputs, lengths = self.encoder.collate(encoded)
        return ExampleBatch(inputs, lengths, side_by_side([part.numbers[row] for row in rows]))

    def judge(self, model: SequenceModel) -> dict[str, Any]:
        """All figures on the test part."""
        rules, test = self.rules, self.test
        answers = answer_all(model, rules, self.encoder, test.encoded)
        self._rows[MODEL] = rules.rows(test.targets, [answer["answer"] for answer in answers])
        return {
            **self._heading(),
            "rows": len(test),
            **self._measured(answers),
            **self._trusted(model, answers),
            "errors": rules.errors(test, answers),
        }

    def calibrated(self, model: SequenceModel) -> SupervisedJob:
        """The same job with one temperature, fitted on the validation part, for its probabilities.

        The answers stay the same. Nothing changes for a task without probabilities of its own, for
        labels that a CRF joins, and where a temperature has no best value.
        """
        if not isinstance(self.rules, Tempered) or model.crf is not None:
            return self
        temperature = temperature_of(model, self.encoder, self.validation)
        return replace(self, rules=replace(self.rules, temperature=temperature))

    def _trusted(
        self, model: SequenceModel, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Whether answers are right as often as they are sure, with the temperature and without."""
        if not isinstance(self.rules, Tempered):
            return {}
        found = trust(self.rules.sureness(self.test.targets, answers))
        if self.rules.temperature != 1.0:
            plain_rules = replace(self.rules, temperature=1.0)
            before = answer_all(model, plain_rules, self.encoder, self.test.encoded)
            untouched = trust(plain_rules.sureness(self.test.targets, before))
            found["calibration_error_before"] = untouched["calibration_error"]
        return {**found, "temperature": self.rules.temperature}

    def baselines(self) -> Iterator[dict[str, Any]]:
        """The simple methods, each fitted on the training part and measured like the model."""
        for method in self.simple(self):
            given = [plain(answer) for answer in method.answers]
            self._rows[method.name] = self.rules.rows(self.test.targets, given)
            measured = self._measured([{"answer": answer} for answer in given])
            yield {
                "name": method.name,
                **self._heading(),
                "score": measured["score"],
                "interval": measured["interval"],
                **{name: measured[name] for name in BESIDE if name in measured},
                "seconds": method.seconds,
                "reproduce": method.reproduce,
            }

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """What the measure is the mean of, by method; see `unspool.tasks.job.RowWise`."""
        return self._rows

    @property
    def row_groups(self) -> Sequence[int] | None:
        """Which of those rows belong together."""
        return self.rules.groups(self.test.targets)

    def _heading(self) -> dict[str, Any]:
        rules = self.rules
        return {
            "measure": rules.measure,
            "higher_is_better": rules.higher_is_better,
            "unit": rules.unit,
        }

    def _measured(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self.rules.measures(self.test.targets, answers)

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Whether the model was worth training, in a plain sentence."""
        if not all(each["name"] in self._rows for each in baselines):
            list(self.baselines())  # of a run that goes on: only the figures were written down
        methods = [
            Scored(each["name"], each["score"], rows=self._rows[each["name"]]) for each in baselines
        ]
        model = Scored(name, judged["score"], rows=self._rows[MODEL])
        groups = self.rules.groups(self.test.targets)
        higher = self.rules.higher_is_better
        return compare(model, methods, self.rules.measure, higher, groups=groups).sentence


class Examination:
    """The work of a model of examples, as the training loop wants it.

    Args:
        model: what is trained.
        job: whose examples.
    """

    def __init__(self, model: SequenceModel, job: SupervisedJob) -> None:
        self.model, self.job = model, job
        self._epoch: tuple[int, list[list[int]]] = (-1, [])  # of the epoch being read

    def batch(self, step: int) -> ExampleBatch:
        """The examples of one update: every epoch all of them, in an order of its own.

        Examples of about the same length stand side by side, which wastes no work on padding.
        """
        job = self.job
        epoch, index = divmod(step, job.epoch_steps())
        if self._epoch[0] != epoch:
            lengths = [length_of(each) for each in job.train.encoded]
            self._epoch = epoch, order(lengths, job.batch, job.seed, epoch)
        draw = torch.Generator().manual_seed(derived_seed(job.seed, step, "vary"))
        batch = job.batch_of(job.train, self._epoch[1][index], draw)
        if hasattr(job.encoder, "vary"):
            varied = job.encoder.vary(batch.inputs, batch.lengths, draw)
            batch = replace(batch, inputs=varied)
        if job.mixup:
            batch = mixed(batch, job.mixup, draw)
        return batch.to(self.model.device)

    def loss(self, batch: ExampleBatch, state: State | None) -> tuple[Tensor, None]:
        """Summed over the targets of a batch, in nats; nothing is carried on."""
        rules, logits = self.job.rules, self.model(batch.inputs, batch.lengths)
        loss = rules.loss(self.model, logits, batch)
        if batch.others is None:
            return loss, None
        other = rules.loss(self.model, logits, replace(batch, targets=batch.others))
        return batch.share * loss + (1 - batch.share) * other, None

    @torch.no_grad()
    def evaluate(self) -> float:
        """Nats per target on the validation part."""
        self.model.eval()
        job, total, count = self.job, 0.0, 0
        for start in range(0, len(job.validation), EVALUATION_ROWS):
            rows = range(start, min(start + EVALUATION_ROWS, len(job.validation)))
            batch = job.batch_of(job.validation, rows).to(self.model.device)
            total += self.loss(batch, None)[0].item()
            count += batch.num_targets
        return total / count

    def sample(self) -> str | None:
        """What the model says to a few examples of the validation part."""
        job = self.job
        few = range(min(SAMPLES, len(job.validation)))
        answers = answer_all(
            self.model, job.rules, job.encoder, [job.validation.encoded[row] for row in few]
        )
        lines = [
            f"{_shown(job.validation.inputs[row])} → {_shown(answer['answer'])} "
            f"(true: {_shown(job.validation.targets[row])})"
            for row, answer in zip(few, answers, strict=True)
        ]
        return "\n".join(lines)


def prepare(
    reading: Reading,
    settings: Any,
    rules: Any,
    simple: Callable[[SupervisedJob], Iterator[Baseline]],
    files: Mapping[str, str] | None = None,
) -> SupervisedJob:
    """A job on what was read.

    Args:
        reading: examples and their parts.
        settings: as `unspool.config.Settings`.
        rules: the class of the task's `Rules`, with ``fit`` and ``from_dict``.
        simple: the simple methods.
        files: of a run that goes on; None fits encoder and targets on the training part.

    Raises:
        DataError: if a part is empty, or the training part cannot be learnt from.
    """
    parts = {name: reading.examples.take(reading.parts[name]) for name in PARTS}
    for name, part in parts.items():
        if not len(part):
            raise DataError(
                f"{name} part: has no examples out of {len(reading.examples)}; give more rows, "
                "or another data.split."
            )
    if files is None:
        encoder = fit_encoder(parts["train"], settings)
        rules = rules.fit(parts["train"].targets)
    else:
        encoder = restored_encoder(files)
        rules = rules.from_dict(json.loads(files[TARGETS_FILE]))
    pretrained = Pretrained.of(encoder, settings)
    if files is None and pretrained is not None:
        pretrained.check_width(settings)
    made = {name: encoded_part(part, encoder, rules) for name, part in parts.items()}
    cut = sum(num_cut(encoder, parts[name], made[name].encoded) for name in PARTS)
    told = f"{cut} of {len(reading.examples)} inputs were cut to data.max_length."
    return SupervisedJob(
        rules=rules,
        encoder=encoder,
        **made,
        batch=settings.train.batch,
        seed=settings.seed,
        simple=simple,
        warnings=(*reading.warnings, *([told] if cut else [])),
        pretrained=pretrained,
        mixup=settings.train.mixup,
    )


def encoded_part(examples: Examples, encoder: Any, rules: Rules) -> Part:
    """Examples as numbers.

    Raises:
        DataError: for one that cannot be encoded, with its place.
    """
    encoded = encode_all(encoder, examples)
    numbers = [rules.encode(target) for target in examples.targets]
    return Part(examples.inputs, examples.targets, encoded, numbers, examples.places)


def measuring(job: SupervisedJob, found: Reading, name: str) -> SupervisedJob:
    """The same job, judged on all examples of another file.

    Raises:
        DataError: if it has other inputs or targets.
    """
    test = encoded_part(found.examples, job.encoder, job.rules)
    return replace(job, test=test, measured_on=name, _rows={})


def plain(answer: Any) -> Any:
    """An answer without numpy's types."""
    return answer.item() if isinstance(answer, np.generic) else answer


def build(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> SequenceModel:
    """A fresh model, as `unspool.tasks.job.Builds` says; `SupervisedJob.shape` gives its shape."""
    return SequenceModel(shape["input"], shape["output"], settings, cell, generator)


def _shown(value: Any) -> str:
    """An input, target or answer on part of a line."""
    text = " ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


PARTS = ("train", "validation", "test")
BESIDE = ("balanced_accuracy",)  # what the simple methods are compared by as well, where it is told
MODEL = ""  # the model's own rows, among those of the simple methods
SAMPLES = 3
LONGEST_SHOWN = 60
