"""Learning from labelled examples: what classify, rate, tag, listen and see share.

A task is told apart by its `Rules`: what its targets are, what the model gives, how an answer is
read from it and measured. Everything else is here: batches, order, evaluation, judging.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.layers.dropout import derived_seed
from unspool.layers.state import State
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import ModelSettings


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

    def measures(
        self, truth: Sequence[Any], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """All figures of the task, with `measure` and its interval among them."""
        ...

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Which is best, in a plain sentence."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What was learnt of the targets, as plain JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class ExampleBatch:
    """Some examples side by side, as the training loop wants them.

    Attributes:
        inputs: tensors by name, batch first, padded at the end.
        lengths: true lengths, int64 ``[B]``.
        targets: one row each; of steps padded with `NO_TARGET`.
    """

    inputs: Mapping[str, Tensor]
    lengths: Tensor
    targets: Tensor

    @property
    def num_rows(self) -> int:
        """Examples."""
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        """A whole example is one step of the loop: gradients flow through all of it."""
        return 1

    @property
    def num_targets(self) -> int:
        """Values predicted."""
        return int((self.targets != NO_TARGET).sum())

    @property
    def first(self) -> bool:
        """Nothing is carried from one batch to the next."""
        return True

    def rows(self, start: int, stop: int) -> ExampleBatch:
        """Some of the examples."""
        inputs = {name: value[start:stop] for name, value in self.inputs.items()}
        return ExampleBatch(inputs, self.lengths[start:stop], self.targets[start:stop])

    def steps(self, start: int, stop: int) -> ExampleBatch:
        """All of it; see `num_steps`."""
        return self

    def to(self, device: torch.device) -> ExampleBatch:
        """The same elsewhere."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return ExampleBatch(inputs, self.lengths, self.targets.to(device))


@dataclass(frozen=True, slots=True)
class Part:
    """Examples of one part, read and encoded.

    Attributes:
        inputs: as they were read.
        targets: as they were read.
        encoded: numbers of every input, as the encoder gave them.
        numbers: numbers of every target.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    encoded: Sequence[Any]
    numbers: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.inputs)


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
    """

    rules: Rules
    encoder: Any
    train: Part
    validation: Part
    test: Part
    batch: int
    seed: int
    simple: Callable[[SupervisedJob], Iterator[dict[str, Any]]]
    warnings: tuple[str, ...] = ()
    measured_on: str = "test part"

    @property
    def unit(self) -> str:
        """What one target is called."""
        return self.rules.unit

    def files(self) -> dict[str, str]:
        """What was learnt of inputs and of targets."""
        return {
            ENCODER_FILE: json.dumps(self.encoder.to_dict(), ensure_ascii=False) + "\n",
            TARGETS_FILE: json.dumps(self.rules.to_dict(), ensure_ascii=False) + "\n",
        }

    def shape(self) -> dict[str, Any]:
        """What goes in, and what comes out."""
        return {"input": dict(self.encoder.shape), "output": self.rules.output()}

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

    def batch_of(self, part: Part, rows: Sequence[int]) -> ExampleBatch:
        """Some examples of a part side by side."""
        inputs, lengths = self.encoder.collate([part.encoded[row] for row in rows])
        return ExampleBatch(inputs, lengths, side_by_side([part.numbers[row] for row in rows]))

    def judge(self, model: SequenceModel) -> dict[str, Any]:
        """All figures on the test part."""
        answers = answer_all(model, self.rules, self.encoder, self.test.encoded)
        found = self.rules.measures(self.test.targets, answers)
        return {"measure": self.rules.measure, "unit": self.unit, "rows": len(self.test), **found}

    def baselines(self) -> Iterator[dict[str, Any]]:
        """The simple methods, each fitted on the training part and measured like the model."""
        return self.simple(self)

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Which is best, in a plain sentence."""
        return self.rules.verdict(name, judged, baselines)


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
            lengths = [len(each) for each in job.train.encoded]
            self._epoch = epoch, order(lengths, job.batch, job.seed, epoch)
        return job.batch_of(job.train, self._epoch[1][index]).to(self.model.device)

    def loss(self, batch: ExampleBatch, state: State | None) -> tuple[Tensor, None]:
        """Summed over the targets of a batch, in nats; nothing is carried on."""
        logits = self.model(batch.inputs, batch.lengths)
        return self.job.rules.loss(self.model, logits, batch), None

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


def side_by_side(numbers: Sequence[Tensor]) -> Tensor:
    """Targets of some examples: one number each, or one row each, padded with `NO_TARGET`.

    Example:
        >>> side_by_side([torch.tensor([1, 2]), torch.tensor([3])])
        tensor([[   1,    2],
                [   3, -100]])
    """
    if numbers[0].dim() == 0:
        return torch.stack(list(numbers))
    return nn.utils.rnn.pad_sequence(list(numbers), batch_first=True, padding_value=NO_TARGET)


def order(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """All examples in batches of nearly equal length, in an order that the epoch decides.

    Examples are shuffled, then sorted by length within runs of some batches; the batches are
    shuffled again. Each example comes exactly once.

    Args:
        lengths: of every example.
        batch: examples of a batch; one of them may be smaller.
        seed: of the run.
        epoch: from 0.

    Example:
        >>> batches = order([3, 1, 4, 1, 5], batch=2, seed=0, epoch=0)
        >>> sorted(row for rows in batches for row in rows)
        [0, 1, 2, 3, 4]
    """
    draw = torch.Generator().manual_seed(derived_seed(seed, epoch, "order"))
    shuffled = torch.randperm(len(lengths), generator=draw).tolist()
    run, rows = batch * RUN_OF_BATCHES, []
    for at in range(0, len(shuffled), run):
        rows += sorted(shuffled[at : at + run], key=lengths.__getitem__)
    batches = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return [batches[place] for place in torch.randperm(len(batches), generator=draw).tolist()]


def build(
    shape: Mapping[str, Any], settings: ModelSettings, cell: Cell | None, seed: int | None
) -> SequenceModel:
    """A fresh model for a shape that `SupervisedJob.shape` gave.

    Args:
        shape: ``input`` and ``output``.
        settings: of a family.
        cell: the equations of a recurrent family; None for others.
        seed: of the weights; None leaves them to torch's global generator.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return SequenceModel(shape["input"], shape["output"], settings, cell, generator)


def _shown(value: Any) -> str:
    """An input, target or answer on part of a line."""
    text = " ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


ENCODER_FILE = "encoder.json"
TARGETS_FILE = "targets.json"
NO_TARGET = -100  # what torch's cross-entropy passes over
EVALUATION_ROWS = 256
RUN_OF_BATCHES = 50
SAMPLES = 3
LONGEST_SHOWN = 60
