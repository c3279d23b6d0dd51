"""What every task hands to training, judging and prediction: one job on one set of data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from unspool.data.examples import Examples
from unspool.engine.language import Cell
from unspool.models.settings import ModelSettings


@runtime_checkable
class Job(Protocol):
    """A task on somebody's data: what was fitted on the training part, and both other parts.

    Each file of `unspool.tasks` that `unspool.tasks.table.TASKS` names has a function
    ``prepare(reading, settings, files=None)`` that makes one, ``files`` being those of a run that
    goes on, and a function ``restore(files, config)`` that gives an `Answers` for a model that has
    been trained.

    Attributes:
        unit: what one target is called: char, word, example, step.
        measured_on: the part that `judge` reads, in words.
        warnings: what a person should know about the data, in words.
    """

    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def measured_on(self) -> str: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102

    def files(self) -> dict[str, str]:
        """What was fitted on the training part, as JSON files by name."""
        ...

    def shape(self) -> dict[str, Any]:
        """What of the data the model depends on, as plain JSON values."""
        ...

    def facts(self) -> dict[str, Any]:
        """How much there is of what: for the first line that a person sees."""
        ...

    def epoch_steps(self) -> int:
        """Updates that read the training part once."""
        ...

    def work(self, model: nn.Module) -> Any:
        """A `unspool.training.loop.Work`."""
        ...

    def baselines(self) -> Iterator[dict[str, Any]]:
        """The simple methods, each with ``name``, ``loss`` or ``score``, and ``seconds``."""
        ...

    def judge(self, model: nn.Module) -> dict[str, Any]:
        """How well a model does; reads the test part, where there is one."""
        ...

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Which is best, in a plain sentence."""
        ...


@runtime_checkable
class RowWise(Protocol):
    """A `Job` whose measure is a mean over rows, so that methods can be compared row by row.

    Attributes:
        rows: of every method measured so far, by its name, one number a row; those of the model
            that was judged last under "". What another job measured on the same parts may be put
            in, and is not measured again then.
        row_groups: which rows belong together, such as the steps of a sentence; None where each
            stands for itself.
    """

    @property
    def rows(self) -> dict[str, np.ndarray]: ...  # noqa: D102
    @property
    def row_groups(self) -> Sequence[int] | None: ...  # noqa: D102


@runtime_checkable
class Answers(Protocol):
    """What turns a trained model's numbers back into what a person asked for."""

    def predict(
        self, model: nn.Module, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """One answer for every input, as plain values; messages call them by ``names``."""
        ...

    def predict_examples(self, model: nn.Module, examples: Examples) -> list[dict[str, Any]]:
        """The same for what was read from a file."""
        ...


@runtime_checkable
class Builds(Protocol):
    """What makes the model of a task from its shape."""

    def __call__(
        self,
        shape: Mapping[str, Any],
        settings: ModelSettings,
        cell: Cell | None,
        generator: torch.Generator | None = None,
    ) -> nn.Module:
        """A fresh model.

        Args:
            shape: as `Job.shape` gave it.
            settings: of a family.
            cell: the equations of a recurrent family; None for others.
            generator: of the weights; None leaves them to torch's global one.

        Raises:
            ConfigError: for a family of models that cannot do the job.
        """
        ...
