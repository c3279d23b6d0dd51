"""What was said, character by character, while the sound comes in (many to many, unaligned)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.data.table import listed
from unspool.errors import ConfigError, DataError
from unspool.models.ctc import Labels, greedy_decode, prefix_beam_decode
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import set_apart
from unspool.tasks import supervised
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.baselines.segments import segments_and_vectors
from unspool.tasks.edit_distance import align, exact_match, word_error_rate
from unspool.tasks.example_answers import TARGETS_FILE, restore_answers
from unspool.tasks.example_batches import NO_TARGET, ExampleBatch, Part
from unspool.tasks.intervals import bootstrap_mean
from unspool.tasks.mistakes import most_edits
from unspool.tasks.supervised import SupervisedJob
from unspool.tasks.transcript_answers import TranscriptAnswers

build = supervised.build
measuring = supervised.measuring


@dataclass(frozen=True, slots=True)
class TranscriptRules:
    """Characters, and a blank before all of them, for the steps at which there is none.

    Attributes:
        alphabet: characters of the training part, sorted; the blank is class 0.
        lower: whether capitals count as small letters.
        beam: beginnings that are followed at once; 1 follows the likeliest path (greedy).

    Example:
        >>> rules = TranscriptRules().fit(["two one", "one"])
        >>> "".join(rules.alphabet), rules.encode("one").tolist()
        (' enotw', [4, 3, 2])
    """

    alphabet: tuple[str, ...] = ()
    lower: bool = False
    beam: int = 1
    task: str = "transcribe"
    unit: str = "character"
    measure: str = "character error rate"
    higher_is_better: bool = False

    def fit(self, targets: Sequence[str]) -> TranscriptRules:
        """The same with the characters of a training part."""
        return replace(
            self, alphabet=tuple(sorted({c for text in targets for c in self.spelt(text)}))
        )

    def from_dict(self, stored: Mapping[str, Any]) -> TranscriptRules:
        """What `to_dict` gave."""
        return replace(
            self,
            alphabet=tuple(stored["alphabet"]),
            lower=bool(stored["lower"]),
            beam=int(stored["beam"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything that makes characters of steps."""
        return {"alphabet": list(self.alphabet), "lower": self.lower, "beam": self.beam}

    def spelt(self, text: str) -> str:
        """A transcript as it is learnt and measured: white space becomes single spaces.

        Example:
            >>> TranscriptRules(lower=True).spelt(" Two  ONE ")
            'two one'
        """
        text = " ".join(text.split())
        return text.lower() if self.lower else text

    def text(self, labels: Labels) -> str:
        """The text that labels spell.

        Example:
            >>> TranscriptRules(("a", "b")).text((2, 1))
            'ba'
        """
        return "".join(self.alphabet[label - 1] for label in labels)

    def output(self) -> dict[str, Any]:
        """Logits at every step, of which there need not be one for every frame."""
        return {"mapping": "each", "size": len(self.alphabet) + 1, "aligned": False}

    def encode(self, target: str) -> Tensor:
        """The classes of a transcript; characters that training never saw are left out."""
        known = {character: place + 1 for place, character in enumerate(self.alphabet)}
        return torch.tensor([known[c] for c in self.spelt(target) if c in known], dtype=torch.int64)

    def loss(self, model: SequenceModel, logits: Tensor, batch: ExampleBatch) -> Tensor:
        """Of each transcript the negative log probability of all its paths, summed, in nats."""
        steps = model.output_lengths(batch.lengths)
        counts = (batch.targets != NO_TARGET).sum(1)
        log_probs = torch.log_softmax(logits, -1).transpose(0, 1)  # [T B C]
        return F.ctc_loss(log_probs, batch.targets.clamp(min=0), steps, counts, reduction="sum")

    def answers(
        self, model: SequenceModel, logits: Tensor, lengths: Tensor | None
    ) -> list[dict[str, Any]]:
        """The text of each row, and its probability over all paths that spell it."""
        assert lengths is not None
        steps = model.output_lengths(lengths)
        if self.beam == 1:
            best = greedy_decode(logits, steps)
            chances = _chances(logits, steps, best)
        else:
            found = [rows[0] for rows in prefix_beam_decode(logits, steps, self.beam)]
            best, chances = [row[0] for row in found], [float(np.exp(row[1])) for row in found]
        return [
            {"answer": self.text(labels), "probability": chance}
            for labels, chance in zip(best, chances, strict=True)
        ]

    def rows(self, truth: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """For every character of a transcript its share of the edits; their mean is the rate."""
        rows = []
        for text, answer in zip(map(self.spelt, truth), answers, strict=True):
            rows += [align(text, answer).distance / len(text)] * len(text)
        return np.array(rows)

    def groups(self, truth: Sequence[str]) -> list[int]:
        """The characters of a transcript belong together."""
        return [number for number, text in enumerate(truth) for _ in self.spelt(text)]

    def measures(
        self, truth: Sequence[str], answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Character error rate with its interval, word error rate, whole transcripts."""
        spelt = [self.spelt(text) for text in truth]
        given = [answer["answer"] for answer in answers]
        interval = bootstrap_mean(self.rows(truth, given), self.groups(truth))
        return {
            "score": interval.value,
            "interval": [interval.low, interval.high],
            "word_error_rate": word_error_rate(spelt, given),
            "exact_match": exact_match(spelt, given),
        }

    def errors(self, part: Part, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The transcripts with the most edits for their length."""
        spelt = [self.spelt(text) for text in part.targets]
        return most_edits(replace(part, targets=spelt), answers)


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> SupervisedJob:
    """The job on sounds with transcripts.

    A sound with fewer steps than its transcript needs cannot be aligned; it is left out of what is
    learnt, with a warning, and stays in what is measured.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None fits frames and alphabet on the training part.

    Raises:
        ConfigError: for a model that needs the end of a sound, unless ``sound.stream`` is off.
        DataError: if a part is empty, or nothing can be aligned.
    """
    check_model(settings)
    rules = TranscriptRules(lower=settings.data.lower, beam=settings.decoding.beam)
    job = supervised.prepare(reading, settings, rules, simple_methods, files)
    warnings = list(job.warnings)
    parts = {}
    for name in ("train", "validation"):
        parts[name], told = aligned(getattr(job, name), settings.sound.stack, f"{name} part")
        warnings += told
    warnings += _unseen(job.rules, job.test.targets)
    return replace(job, warnings=tuple(warnings), **parts)


def check_model(settings: Any) -> None:
    """Refuse what cannot transcribe, or not while sound comes in.

    Args:
        settings: as `unspool.config.Settings`.

    Raises:
        ConfigError: one line with everything that does not fit.
    """
    model, sound, problems = settings.model, settings.sound, []
    if sound.stream:
        way_out = "leave it out, or give up on that with --no-sound.stream."
        if getattr(model, "bidirectional", False):
            problems.append(
                "model.bidirectional: reads a sound from its end as well, and so cannot say "
                f"anything before the end, while transcribing answers as sound comes in; {way_out}"
            )
        if model.name in WHOLE:
            problems.append(
                f"model.name: '{model.name}' keeps no state from one piece of sound to the next, "
                f"while transcribing answers as sound comes in; use a cell, or give that up with "
                "--no-sound.stream."
            )
        if sound.normalise == "utterance":
            problems.append(
                "sound.normalise: 'utterance' takes the mean of a whole sound, while transcribing "
                f"answers as sound comes in; {way_out}"
            )
    if getattr(model, "pool", 1) > 1:
        problems.append("model.pool: makes steps coarser behind the frames; use sound.stack.")
    unused = set_apart(settings.decoding, ("length_penalty", "nbest", "max_length", "no_repeat"))
    problems += [
        f"decoding.{name}: changes nothing for 'transcribe'; leave it out." for name in unused
    ]
    if problems:
        raise ConfigError(" ".join(problems))


def aligned(part: Part, stack: int, name: str) -> tuple[Part, list[str]]:
    """The examples of a part that CTC can align, and a sentence on those that it cannot.

    A path needs a step for every character, and a blank between two equal ones.

    Args:
        part: whose examples.
        stack: frames of a step.
        name: of the part, for messages.

    Raises:
        DataError: if none can be aligned.

    Source:
        Graves et al. (2006), section 3.1.
    """
    kept, short = [], []
    for row, (frames, classes) in enumerate(zip(part.encoded, part.numbers, strict=True)):
        needed, steps = steps_needed(classes.tolist()), -(-len(frames) // stack)
        if steps >= needed:
            kept.append(row)
        else:
            where = str(part.places[row]) if part.places else f"example {row + 1}"
            short.append(f"{where} ({steps} steps, {needed} needed)")
    if not short:
        return part, []
    sentence = (
        f"{name}: {len(short)} of {len(part)} sounds are too short for their transcripts and are "
        f"refused: {listed(short, 3)}; a smaller sound.hop or sound.stack makes more steps."
    )
    if not kept:
        raise DataError(sentence)
    return Part(*([list(column)[row] for row in kept] if len(column) else [] for column in (
        part.inputs, part.targets, part.encoded, part.numbers, part.places,
    ))), [sentence]  # fmt: skip


def steps_needed(classes: Sequence[int]) -> int:
    """The shortest path that spells some labels.

    Example:
        >>> steps_needed([3, 3, 5])
        4
    """
    return len(classes) + sum(a == b for a, b in pairwise(classes))


def restore(files: Mapping[str, str], where: str) -> TranscriptAnswers:
    """What turns a model's logits into texts."""
    rules = TranscriptRules().from_dict(json.loads(files[TARGETS_FILE]))
    return TranscriptAnswers(restore_answers(rules, files, where))


def simple_methods(job: SupervisedJob) -> Iterator[Baseline]:
    """The commonest transcript; and pieces between silences, each told by its spectrum."""
    rules = job.rules
    known = [rules.spelt(text) for text in job.train.targets]
    commonest = Counter(known).most_common(1)[0][0]
    yield Baseline(
        name="commonest transcript",
        answers=[commonest] * len(job.test),
        seconds=0.0,
        reproduce="Counter(transcripts).most_common(1)",
    )
    train, test = (
        [job.encoder.waveform(each).numpy() for each in part.inputs]
        for part in (job.train, job.test)
    )
    found = segments_and_vectors(train, known, test, job.encoder.settings.rate, job.seed)
    if found is not None:
        yield found


def _unseen(rules: Any, targets: Sequence[str]) -> list[str]:
    counts = Counter(c for text in targets for c in rules.spelt(text) if c not in rules.alphabet)
    if not counts:
        return []
    return [
        f"test part: {sum(counts.values())} characters occur in no transcript that was trained on "
        f"and can only be wrong: {listed([repr(c) for c in sorted(counts)], 5)}."
    ]


def _chances(logits: Tensor, steps: Tensor, found: Sequence[Labels]) -> list[float]:
    """The probability of each row's labels, over all paths."""
    longest = max(1, *map(len, found))
    targets = torch.zeros(len(found), longest, dtype=torch.int64)
    for row, labels in enumerate(found):
        targets[row, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
    counts = torch.tensor([len(labels) for labels in found])
    log_probs = torch.log_softmax(logits.double().cpu(), -1).transpose(0, 1)
    return (-F.ctc_loss(log_probs, targets, steps, counts, reduction="none")).exp().tolist()


# Families that cannot go on where they stopped.
WHOLE = ("cnn", "mlp", "lenet")
