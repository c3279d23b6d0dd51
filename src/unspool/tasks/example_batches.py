"""Examples side by side, in an order that is a pure function of seed and epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.layers.dropout import derived_seed


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
        places: where every example was read; may be empty.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    encoded: Sequence[Any]
    numbers: Sequence[Tensor]
    places: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.inputs)


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


NO_TARGET = -100  # what torch's cross-entropy passes over
RUN_OF_BATCHES = 50
