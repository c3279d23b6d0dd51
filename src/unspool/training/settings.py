"""How a model is trained; importable without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unspool.errors import ConfigError, unknown

TRUNCATIONS = ("full", "truncated", "randomised")
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Steps, batches, gradients and how often to look.

    Attributes:
        steps: updates of the weights.
        epochs: instead of ``steps``, how often to read every example; 0 goes by ``steps``.
        batch: sequences read side by side, B.
        length: steps of a window, T; the state is carried from one window to the next.
        truncation: how far gradients flow back: ``full`` (the whole window), ``truncated`` (at most
            ``truncation_steps``) or ``randomised`` (``truncation_mean`` on average, unbiased).
        truncation_steps: length of a segment; gradients may be cut where segments meet.
        truncation_mean: mean distance between cuts under ``randomised``, in steps.
        optimiser: ``adamw`` or ``sgd`` (with momentum).
        learning_rate: the highest, reached after the warm-up.
        weight_decay: pulls matrices toward zero, decoupled from the gradient.
        momentum: of ``sgd``; the first beta of ``adamw``.
        warmup: steps in which the learning rate rises from zero.
        schedule: ``cosine`` falls to a hundredth of the learning rate at the last step;
            ``constant`` stays.
        clip_norm: scale all gradients so that their joint norm is at most this; 0 leaves them.
        clip_value: limit every single gradient to ± this; 0 leaves them.
        accumulate: parts a batch is cut into to save memory; the gradient is the same.
        evaluate_every: steps between looks at the validation part; 0 takes a tenth of ``steps``.
        checkpoint_every: steps between checkpoints; 0 takes ``evaluate_every``.
        keep: newest checkpoints to keep, at least 2; the best one is always kept.
        patience: evaluations without improvement before stopping; 0 never stops early.
        teacher_forcing: of a model that writes an answer, the share of steps at which it reads the
            true token before, not its own, at the first update; 0 always feeds back its own.
        teacher_forcing_last: the same at the last update; it changes in a straight line.
        mixup: of sounds, images and series with one label each: examples are mixed with others, how
            much is drawn from Beta(mixup, mixup) (Zhang et al. 2018); 0 leaves them.
    """

    steps: int = 6000
    epochs: int = 0
    batch: int = 16
    length: int = 64
    truncation: str = "full"
    truncation_steps: int = 32
    truncation_mean: int = 64
    optimiser: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    warmup: int = 50
    schedule: str = "cosine"
    clip_norm: float = 1.0
    clip_value: float = 0.0
    accumulate: int = 1
    evaluate_every: int = 0
    checkpoint_every: int = 0
    keep: int = 2
    patience: int = 0
    teacher_forcing: float = 1.0
    teacher_forcing_last: float = 1.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        for name, table in (
            ("truncation", TRUNCATIONS),
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
        ):
            if getattr(self, name) not in table:
                problems.append(unknown(f"train.{name}", getattr(self, name), table))
        may_be_zero = ("warmup", "evaluate_every", "checkpoint_every", "epochs", "patience")
        least = {"keep": 2, **dict.fromkeys(may_be_zero, 0)}
        for name in (
            "steps",
            "batch",
            "length",
            "truncation_steps",
            "truncation_mean",
            "accumulate",
        ):
            least[name] = 1
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                problems.append(
                    f"train.{name}: got {getattr(self, name)}; wanted at least {lowest}."
                )
        if self.truncation == "randomised" and self.truncation_mean <= self.truncation_steps:
            problems.append(
                f"train.truncation_mean: got {self.truncation_mean}; wanted more than "
                f"train.truncation_steps ({self.truncation_steps}), or every border is cut."
            )
        if self.accumulate > self.batch:
            problems.append(
                f"train.accumulate: {self.accumulate} parts of a batch of {self.batch} sequences; "
                "wanted at most as many parts as sequences."
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            problems.append(f"train.learning_rate: got {self.learning_rate}; wanted a number > 0.")
        for name in ("weight_decay", "clip_norm", "clip_value", "mixup"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                problems.append(f"train.{name}: got {getattr(self, name)}; wanted a number ≥ 0.")
        if not 0.0 <= self.momentum < 1.0:
            problems.append(f"train.momentum: got {self.momentum}; wanted 0 ≤ momentum < 1.")
        for name in ("teacher_forcing", "teacher_forcing_last"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                problems.append(f"train.{name}: got {getattr(self, name)}; wanted a share, 0 to 1.")
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def evaluation_interval(self) -> int:
        """Steps between evaluations."""
        return self.evaluate_every or max(1, self.steps // 10)

    @property
    def checkpoint_interval(self) -> int:
        """Steps between checkpoints."""
        return self.checkpoint_every or self.evaluation_interval
