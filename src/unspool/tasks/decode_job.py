"""Learning to write a text for an input: what translating and captioning share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.data.encoders import encode_all, length_of
from unspool.data.examples import Examples
from unspool.data.parting import content_key
from unspool.data.reading import Reading
from unspool.errors import DataError
from unspool.layers.dropout import derived_seed
from unspool.layers.state import State
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.decode_answers import DecodeAnswers
from unspool.tasks.decode_batches import PairBatch, own_tokens, pair_batch, truths
from unspool.tasks.example_answers import ENCODER_FILE, EVALUATION_ROWS, TARGETS_FILE
from unspool.tasks.example_batches import NO_TARGET, Part, order
from unspool.tasks.text_scores import chrf_difference, has_sacrebleu, text_scores
from unspool.tasks.verdicts import Scored, compare


@dataclass(frozen=True, slots=True)
class Asked:
    """Different inputs, each with every text that would be right.

    Attributes:
        inputs: as they were read.
        truths: of each one text or more.
        encoded: numbers of every input.
    """

    inputs: Sequence[Any]
    truths: Sequence[Sequence[str]]
    encoded: Sequence[Any]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class DecodeJob:
    """A task whose output is a text, as the `unspool.tasks.job.Job` it is.

    Attributes:
        answers: what turns inputs and texts into numbers and back, and how answers are searched.
        train: what is learnt.
        validation: what chooses the step.
        test: what is measured once, at the end; inputs that stand in several rows once.
        batch: pairs side by side.
        steps: updates in all, 0 for as many as `epochs` make; for the share of true tokens.
        teacher_forcing: shares of true tokens fed at the first update and at the last.
        seed: of the order and of what is fed.
        simple: the simple methods, given the job.
        warnings: what a person should know.
        measured_on: the part that `judge` reads, in words.
    """

    answers: DecodeAnswers
    train: Part
    validation: Part
    test: Asked
    batch: int
    steps: int
    teacher_forcing: tuple[float, float]
    seed: int
    simple: Callable[[DecodeJob], Iterator[Baseline]]
    warnings: tuple[str, ...] = ()
    measured_on: str = "test part"
    _counts: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def unit(self) -> str:
        """What one token of a text is called."""
        return self.answers.unit

    def files(self) -> dict[str, str]:
        """What was learnt of inputs and of texts."""
        encoder = self.answers.encoder.to_dict()
        return {
            ENCODER_FILE: json.dumps(encoder, ensure_ascii=False) + "\n",
            TARGETS_FILE: json.dumps(self.answers.to_dict(), ensure_ascii=False) + "\n",
        }

    def shape(self) -> dict[str, Any]:
        """What is read, what is written, and whether both have one vocabulary."""
        return self.answers.shape

    def facts(self) -> dict[str, Any]:
        """Tokens of all parts, the ends included."""
        return {
            "train_tokens": sum(map(len, self.train.numbers)),
            "validation_tokens": sum(map(len, self.validation.numbers)),
            "test_rows": len(self.test),
            "vocabulary": self.answers.writer.shape["size"],
        }

    def epoch_steps(self) -> int:
        """Batches that read every pair once."""
        return math.ceil(len(self.train) / self.batch)

    def work(self, model: nn.Module) -> Decoding:
        """What the training loop wants."""
        return Decoding(model, self)

    def batch_of(self, part: Part, rows: Sequence[int]) -> PairBatch:
        """Some pairs of a part side by side."""
        inputs = [part.encoded[row] for row in rows]
        targets = [part.numbers[row] for row in rows]
        return pair_batch(self.answers.encoder, self.answers.writer.begin, inputs, targets)

    def judge(self, model: nn.Module) -> dict[str, Any]:
        """All figures on the test part."""
        answers = self.answers.decode(model, self.test.encoded)
        return {**self._heading(), "rows": len(self.test), **self._measured(MODEL, answers)}

    def baselines(self) -> Iterator[dict[str, Any]]:
        """The simple methods, each fitted on the training part and measured like the model."""
        for method in self.simple(self):
            measured = self._measured(method.name, list(method.answers))
            yield {
                "name": method.name,
                **self._heading(),
                **measured,
                "seconds": method.seconds,
                "reproduce": method.reproduce,
            }

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Whether the model was worth training, in a plain sentence."""
        if not all(each["name"] in self._counts for each in baselines):
            list(self.baselines())  # of a run that goes on: only the figures were written down
        model = Scored(name, judged["score"])
        methods = [Scored(each["name"], each["score"]) for each in baselines]
        if not methods:
            return compare(model, methods, MEASURE).sentence
        best = max(methods, key=lambda method: method.score)
        difference = chrf_difference(self._counts[MODEL], self._counts[best.name])
        return compare(model, methods, MEASURE, difference=difference).sentence

    def _heading(self) -> dict[str, Any]:
        return {"measure": MEASURE, "higher_is_better": True, "unit": self.unit}

    def _measured(self, name: str, answers: Sequence[str]) -> dict[str, Any]:
        lower = self.answers.writer.tokenizer.lower
        scores = text_scores(self.test.truths, answers, lower)
        self._counts[name] = scores.counts
        return scores.figures


class Decoding:
    """The work of a model that writes, as the training loop wants it.

    Args:
        model: what is trained.
        job: whose pairs.
    """

    def __init__(self, model: nn.Module, job: DecodeJob) -> None:
        self.model, self.job = model, job
        self._lengths = [
            length_of(each) + len(target)
            for each, target in zip(job.train.encoded, job.train.numbers, strict=True)
        ]
        self._epoch: tuple[int, list[list[int]]] = (-1, [])  # of the epoch being read

    def batch(self, step: int) -> PairBatch:
        """The pairs of one update: every epoch all of them, in an order of its own.

        Pairs of about the same length stand side by side, which wastes no work on padding.
        """
        job = self.job
        epoch, index = divmod(step, job.epoch_steps())
        if self._epoch[0] != epoch:
            self._epoch = epoch, order(self._lengths, job.batch, job.seed, epoch)
        batch = job.batch_of(job.train, self._epoch[1][index])
        encoder = job.answers.encoder
        draw = torch.Generator().manual_seed(derived_seed(job.seed, step, "fed"))
        if hasattr(encoder, "vary"):
            batch = replace(batch, inputs=encoder.vary(batch.inputs, batch.lengths, draw))
        true = truths(tuple(batch.fed.shape), self._share(step), draw)
        return replace(batch, true=true).to(self.model.device)

    def _share(self, step: int) -> float:
        """Share of true tokens that is fed: in a straight line from the first to the last."""
        first, last = self.job.teacher_forcing
        return first + (last - first) * min(1.0, step / max(1, self.job.steps - 1))

    def loss(self, batch: PairBatch, state: State | None) -> tuple[Tensor, None]:
        """Summed over the tokens of a batch, in nats; nothing is carried on."""
        fed = batch.fed if batch.true is None else own_tokens(self.model, batch)
        logits = self.model(batch.inputs, batch.lengths, fed)
        loss = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
        )
        return loss, None

    @torch.no_grad()
    def evaluate(self) -> float:
        """Nats per token on the validation part, every token after the true ones."""
        self.model.eval()
        job, total, count = self.job, 0.0, 0
        lengths = [len(target) for target in job.validation.numbers]
        rows = sorted(range(len(lengths)), key=lengths.__getitem__)
        for start in range(0, len(rows), EVALUATION_ROWS):
            some = rows[start : start + EVALUATION_ROWS]
            batch = job.batch_of(job.validation, some).to(self.model.device)
            total += self.loss(batch, None)[0].item()
            count += batch.num_targets
        return total / count

    def sample(self) -> str:
        """What the model writes for a few inputs of the validation part."""
        part = self.job.validation
        few = range(min(SAMPLES, len(part)))
        greedy = replace(self.job.answers.decoding, beam=1, nbest=1)
        answers = self.job.answers.decode(self.model, [part.encoded[row] for row in few], greedy)
        return "\n".join(
            f"{_shown(part.inputs[row])} → {_shown(answer)} (true: {_shown(part.targets[row])})"
            for row, answer in zip(few, answers, strict=True)
        )


def prepare_pairs(
    reading: Reading,
    settings: Any,
    answers: Callable[[Examples, Any], DecodeAnswers],
    simple: Callable[[DecodeJob], Iterator[Baseline]],
    stored: DecodeAnswers | None,
) -> DecodeJob:
    """A job on what was read.

    Args:
        reading: pairs and their parts.
        settings: as `unspool.config.Settings`.
        answers: fits encoders on the training part.
        simple: the simple methods.
        stored: of a run that goes on; None fits.

    Raises:
        DataError: if a part is empty, or the training part cannot be learnt from.
    """
    parts = {name: reading.examples.take(reading.parts[name]) for name in PARTS}
    for name, part in parts.items():
        if not len(part):
            raise DataError(
                f"{name} part: has no pairs out of {len(reading.examples)}; give more rows, or "
                "another data.split."
            )
    fitted = stored or answers(parts["train"], settings)
    warnings = list(reading.warnings) + _cut(parts, fitted)
    if not has_sacrebleu():
        warnings.append(
            "BLEU is left out: it is measured by sacrebleu, which is missing; "
            "pip install 'unspool[metrics]'."
        )
    train = settings.train
    pairs = encoded_pairs(parts["train"], fitted)
    steps = train.epochs * math.ceil(len(pairs) / train.batch) if train.epochs else train.steps
    return DecodeJob(
        answers=fitted,
        train=pairs,
        validation=encoded_pairs(parts["validation"], fitted),
        test=asked_of(parts["test"], fitted),
        batch=train.batch,
        steps=steps,
        teacher_forcing=(train.teacher_forcing, train.teacher_forcing_last),
        seed=settings.seed,
        simple=simple,
        warnings=tuple(warnings),
    )


def measuring_pairs(job: DecodeJob, found: Reading, name: str) -> DecodeJob:
    """The same job, judged on all pairs of another file.

    Raises:
        DataError: if it has other inputs.
    """
    test = asked_of(found.examples, job.answers)
    return replace(job, test=test, measured_on=name, _counts={})


def encoded_pairs(examples: Examples, answers: DecodeAnswers) -> Part:
    """Pairs as numbers.

    Raises:
        DataError: for one that cannot be encoded, with its place.
    """
    encoded = encode_all(answers.encoder, examples)
    numbers = []
    for place, target in zip(examples.places, examples.targets, strict=True):
        try:
            numbers.append(answers.writer.encode(target))
        except DataError as error:
            raise DataError(f"{place}: the target {error}") from error
    return Part(examples.inputs, examples.targets, encoded, numbers)


def asked_of(examples: Examples, answers: DecodeAnswers) -> Asked:
    """The different inputs of some pairs, each with all that stands beside it."""
    found: dict[str, tuple[int, dict[str, None]]] = {}
    for row, target in enumerate(examples.targets):
        found.setdefault(content_key(examples, row), (row, {}))[1][target] = None
    rows = [row for row, _ in found.values()]
    once = examples.take(rows)
    texts = [list(each) for _, each in found.values()]
    return Asked(once.inputs, texts, encode_all(answers.encoder, once))


def _cut(parts: Mapping[str, Examples], answers: DecodeAnswers) -> list[str]:
    """How many texts lose their end, where that was asked for."""
    if not answers.writer.truncates or not answers.writer.max_length:
        return []
    most, reader = answers.writer.max_length, getattr(answers.encoder, "tokenizer", None)
    every = [
        each for part in parts.values() for each in zip(part.inputs, part.targets, strict=True)
    ]
    sources = sum(len(reader.encode(str(one))) > most for one, _ in every) if reader else 0
    targets = sum(len(answers.writer.ids(two)) > most for _, two in every)
    return [
        f"{count} of {len(every)} {what} were cut to data.max_length, {most} tokens."
        for count, what in ((sources, "inputs"), (targets, "targets"))
        if count
    ]


def _shown(value: Any) -> str:
    """An input, target or answer on part of a line."""
    text = str(value) if isinstance(value, str | Path) else "(image)"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


PARTS = ("train", "validation", "test")
MEASURE = "chrF"
MODEL = ""  # the model's own counts, among those of the simple methods
SAMPLES = 3
LONGEST_SHOWN = 60
