"""The training loop: read a batch, follow the gradients back, step, look, save.

Everything random is a pure function of (seed, step), so a checkpoint holds weights, optimiser,
carried state and a few counts, and going on from it is going on exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unspool.errors import CheckpointError, TrainingError
from unspool.layers.dropout import derived_seed, reseed
from unspool.layers.state import State
from unspool.training.checkpoint import Checkpoint, save_checkpoint
from unspool.training.interruption import Interrupted, Request
from unspool.training.optimisation import build_optimiser, learning_rate, limit_gradients
from unspool.training.run import Run
from unspool.training.settings import TrainSettings
from unspool.training.truncation import carry, truncation_of

Observer = Callable[[dict[str, Any]], None]


@runtime_checkable
class Batch(Protocol):
    """What the loop needs to know of a batch; a task's own type holds the rest.

    Attributes:
        num_rows: sequences, B.
        num_steps: time steps, T.
        num_targets: values predicted, over which the loss is averaged.
        first: whether the carried state starts anew here.
    """

    @property
    def num_rows(self) -> int: ...  # noqa: D102
    @property
    def num_steps(self) -> int: ...  # noqa: D102
    @property
    def num_targets(self) -> int: ...  # noqa: D102
    @property
    def first(self) -> bool: ...  # noqa: D102

    def rows(self, start: int, stop: int) -> Batch:
        """Some of the sequences."""
        ...

    def steps(self, start: int, stop: int) -> Batch:
        """Some of the time steps."""
        ...


@runtime_checkable
class Work(Protocol):
    """What a task hands the loop.

    Attributes:
        model: whose parameters are trained.
    """

    model: nn.Module

    def batch(self, step: int) -> Any:
        """The `Batch` of one update, a pure function of its number."""
        ...

    def loss(self, batch: Any, state: State | None) -> tuple[Tensor, State | None]:
        """The summed loss of a batch, in nats, and the state after it."""
        ...

    def evaluate(self) -> float:
        """Loss per target on the validation part; lower is better."""
        ...

    def sample(self) -> str | None:
        """Something for a person to look at, or None."""
        ...


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where training stands, besides weights and optimiser.

    Attributes:
        step: updates made.
        best: lowest validation loss so far, nats per target.
        best_step: the step it belongs to, -1 before the first evaluation.
        stale: evaluations since.
        state: carried from window to window.
    """

    step: int = 0
    best: float = math.inf
    best_step: int = -1
    stale: int = 0
    state: State | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Progress:
        """As a checkpoint stored it.

        Raises:
            CheckpointError: if counts are missing.
        """
        stored = checkpoint.progress
        try:
            best = math.inf if stored["best"] is None else float(stored["best"])
            counts = {name: int(stored[name]) for name in ("best_step", "stale")}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint.folder}: progress.json lacks the count {error}."
            ) from error
        state = State(checkpoint.state[str(i)] for i in range(len(checkpoint.state))) or None
        return cls(step=checkpoint.step, best=best, state=state, **counts)


class Loop:
    """Training of one piece of work, step by step.

    Args:
        work: the model and its batches.
        settings: how to train.
        seed: of dropout and truncation.
        run: the record; None keeps none, for a trial of the speed.
        observers: called with every event.

    Attributes:
        optimiser: with its state.
        progress: where training stands.
        saved: the step of the newest checkpoint, or None.
    """

    def __init__(
        self,
        work: Work,
        settings: TrainSettings,
        seed: int,
        run: Run | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.work, self.settings, self.seed, self.run = work, settings, seed, run
        self.observers = observers
        self.optimiser = build_optimiser(work.model, settings)
        self.truncation = truncation_of(settings)
        self.progress = Progress()
        self.saved: int | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was written.

        Raises:
            CheckpointError: if its tensors are not those of this model.
        """
        load_weights(self.work.model, checkpoint.model, str(checkpoint.folder))
        try:
            self.optimiser.load_state_dict(checkpoint.optimiser)
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"{checkpoint.folder}: the optimiser's state is of another model ({error})."
            ) from error
        self.progress = Progress.of(checkpoint)
        self.saved = checkpoint.step

    def train(self, request: Request) -> None:
        """Run to the last step, or until patience ends.

        Raises:
            Interrupted: after saving, when ``request`` holds a signal.
            TrainingError: for a loss or gradient that is not finite, or a disk that fails.
        """
        settings, progress = self.settings, self.progress
        while progress.step < settings.steps and not self.out_of_patience:
            if request.signal is not None:
                if self.saved != progress.step:
                    self.save()
                assert self.run is not None
                raise Interrupted(request.signal, progress.step, self.run.folder)
            self.step()
            done = progress.step == settings.steps
            if done or progress.step % settings.evaluation_interval == 0:
                self.evaluate()
            best = progress.best_step == progress.step
            if done or best or progress.step % settings.checkpoint_interval == 0:
                self.save()

    @property
    def out_of_patience(self) -> bool:
        """Whether too many evaluations brought nothing better."""
        return 0 < self.settings.patience <= self.progress.stale

    def step(self) -> None:
        """One update of the weights."""
        start = time.perf_counter()
        settings, progress, model = self.settings, self.progress, self.work.model
        number = progress.step
        batch = self.work.batch(number)
        rate = learning_rate(settings, number)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        model.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss, state = self.gradients(batch, None if batch.first else progress.state)
        before, after = limit_gradients(model.parameters(), settings)
        if not math.isfinite(before):
            raise TrainingError(f"step {number + 1}: {self._first_bad_gradient()}{WAY_OUT}")
        self.optimiser.step()
        progress.step, progress.state = number + 1, state
        self.tell(
            "step", step=progress.step, loss=loss, gradient_norm=before, clipped_norm=after,
            learning_rate=rate, targets=batch.num_targets, seconds=time.perf_counter() - start,
        )  # fmt: skip

    def gradients(self, batch: Any, state: State | None) -> tuple[float, State | None]:
        """Add the gradient of one batch to the parameters' ``.grad``.

        The loss is the sum over targets divided by their number in the whole batch, however many
        parts the batch is cut into.

        Args:
            batch: all rows, all steps.
            state: carried in; no gradient flows into it.

        Returns:
            The loss per target, and the state after the batch.

        Raises:
            TrainingError: if a loss is not finite, naming the weight or the rows.
        """
        number, settings = self.progress.step, self.settings
        generator = torch.Generator().manual_seed(derived_seed(self.seed, number, "truncation"))
        segments = self.truncation.segments(batch.num_steps, generator)
        total = 0.0
        states: list[State | None] = []
        for part, (first, last) in enumerate(_parts(batch.num_rows, settings.accumulate)):
            reseed(self.work.model, self.seed, number, part)
            rows = batch.rows(first, last)
            carried = None if state is None else State(value[first:last] for value in state)
            pending: list[Tensor] = []
            for segment in segments:
                if segment.gradient == 0.0 and pending:
                    total += self._backward(pending, batch.num_targets)
                carried = carry(carried, segment.gradient)
                piece = rows.steps(segment.start, segment.stop)
                summed, following = self.work.loss(piece, carried)
                if not math.isfinite(summed.item()):
                    cause = self._first_bad_weight() or self._bad_rows(piece, carried, first)
                    raise TrainingError(
                        f"step {number + 1}: the loss is {summed.item()}; {cause}{WAY_OUT}"
                    )
                carried = following
                pending.append(summed)
            total += self._backward(pending, batch.num_targets)
            states.append(None if carried is None else carried.detach())
        return total, _joined(states)

    def _backward(self, pending: list[Tensor], num_targets: int) -> float:
        loss = torch.stack(pending).sum() / num_targets
        loss.backward()
        pending.clear()
        return loss.item()

    def evaluate(self) -> None:
        """Look at the validation part, and at a sample.

        Raises:
            TrainingError: if the loss is not finite.
        """
        start = time.perf_counter()
        progress = self.progress
        loss = self.work.evaluate()
        if not math.isfinite(loss):
            cause = self._first_bad_weight() or "every weight is finite"
            raise TrainingError(
                f"step {progress.step}: the validation loss is {loss}; {cause}{WAY_OUT}"
            )
        if loss < progress.best:
            progress.best, progress.best_step, progress.stale = loss, progress.step, 0
        else:
            progress.stale += 1
        best = progress.best_step == progress.step
        seconds = time.perf_counter() - start
        self.tell("evaluation", step=progress.step, loss=loss, best=best, seconds=seconds)
        self.show_sample()

    def show_sample(self) -> None:
        """Tell what the model produces now."""
        text = self.work.sample()
        if text is not None:
            self.tell("sample", step=self.progress.step, text=text)

    def save(self) -> None:
        """Write a checkpoint."""
        progress = self.progress
        assert self.run is not None
        self.tell("checkpoint", step=progress.step)
        save_checkpoint(
            self.run.folder,
            progress.step,
            model=self.work.model.state_dict(),
            optimiser=self.optimiser.state_dict(),
            state={str(i): value for i, value in enumerate(progress.state or ())},
            progress={
                "best": None if math.isinf(progress.best) else progress.best,
                "best_step": progress.best_step,
                "stale": progress.stale,
                "events_length": self.run.sync_events(),
            },
            keep=self.settings.keep,
        )
        self.saved = progress.step

    def tell(self, event: str, **values: Any) -> None:
        """Write an event to the record and hand it to the observers."""
        if self.run is not None:
            self.run.log(event, **values)
        for observer in self.observers:
            observer({"event": event, **values})

    def _first_bad_gradient(self) -> str:
        for name, parameter in self.work.model.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of '{name}' is not finite"
        return "the gradient's norm is too large for a number"

    def _first_bad_weight(self) -> str | None:
        for name, parameter in self.work.model.named_parameters():
            if not parameter.isfinite().all():
                return f"the weight '{name}' is not finite"
        return None

    def _bad_rows(self, piece: Any, state: State | None, first: int) -> str:
        """Which rows of the batch the loss fails in, each tried alone."""
        bad = []
        with torch.no_grad():
            for row in range(piece.num_rows):
                own = None if state is None else State(value[row : row + 1] for value in state)
                alone, _ = self.work.loss(piece.rows(row, row + 1), own)
                if not math.isfinite(alone.item()):
                    bad.append(str(first + row))
        if not bad:
            return "no row of the batch alone gives that"
        return f"it comes from row {', '.join(bad)} of the batch"


def load_weights(
    model: nn.Module, tensors: dict[str, Tensor], where: str, assign: bool = False
) -> None:
    """Fill a model, or say which tensor does not fit.

    Args:
        model: what to fill.
        tensors: by name.
        where: the file, for the message.
        assign: take the tensors themselves, for a model that has no memory of its own.

    Raises:
        CheckpointError: for a name or shape that is not the model's.
    """
    own = model.state_dict()
    for name in (*own, *tensors):
        if name not in tensors or name not in own:
            lacking = "the file" if name not in tensors else "the model"
            raise CheckpointError(f"{where}: {lacking} has no '{name}'; it is of another model.")
        if own[name].shape != tensors[name].shape or own[name].dtype != tensors[name].dtype:
            raise CheckpointError(
                f"{where}: '{name}' is {_kind(tensors[name])} in the file and "
                f"{_kind(own[name])} in the model."
            )
    model.load_state_dict(tensors, assign=assign)


def _kind(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def _parts(rows: int, parts: int) -> list[tuple[int, int]]:
    """``rows`` cut into at most ``parts`` runs of nearly equal length."""
    edges = [rows * part // parts for part in range(parts + 1)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _joined(states: list[State | None]) -> State | None:
    present = [state for state in states if state is not None]
    if not present:
        return None
    return State(torch.cat(values) for values in zip(*present, strict=True))


WAY_OUT = "; try a lower train.learning_rate or train.clip_norm. Earlier checkpoints stand."
