"""Examples side by side, in an order that is a pure function of seed and epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
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
        others: of mixed examples (`mixed`) the targets of what was mixed in.
        share: how much of each is the first.
    """

    inputs: Mapping[str, Tensor]
    lengths: Tensor
    targets: Tensor
    others: Tensor | None = field(default=None, kw_only=True)
    share: float = field(default=1.0, kw_only=True)

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
        part = slice(start, stop)
        return replace(
            self,
            inputs={name: value[part] for name, value in self.inputs.items()},
            lengths=self.lengths[part],
            targets=self.targets[part],
            others=None if self.others is None else self.others[part],
        )

    def steps(self, start: int, stop: int) -> ExampleBatch:
        """All of it; see `num_steps`."""
        return self

    def to(self, device: torch.device) -> ExampleBatch:
        """The same elsewhere."""
        return replace(
            self,
            inputs={name: value.to(device) for name, value in self.inputs.items()},
            targets=self.targets.to(device),
            others=None if self.others is None else self.others.to(device),
        )


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


def mixed(batch: ExampleBatch, strength: float, generator: torch.Generator) -> ExampleBatch:
    """Every example mixed with another of the batch: λ of its own numbers and 1 - λ of the other's.

    The loss is mixed alike. What has another voice, or stands before another ground, is then no
    longer told by that. A shorter example counts as filled up with zeros.

    Args:
        batch: of floating-point inputs with one target each.
        strength: λ is drawn from Beta(strength, strength), once for the batch; > 0.
        generator: of λ and of who is mixed with whom.

    Source:
        Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization, section 2.

    Example:
        >>> batch = ExampleBatch({"x": torch.eye(2)}, torch.ones(2), torch.tensor([0, 1]))
        >>> found = mixed(batch, 1.0, torch.Generator().manual_seed(0))
        >>> found.inputs["x"].sum(1), found.others.tolist()
        (tensor([1., 1.]), [1, 0])
    """
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(strength, strength))
    partner = torch.randperm(batch.num_rows, generator=generator)
    inputs = {
        name: share * value + (1 - share) * value[partner] for name, value in batch.inputs.items()
    }
    lengths = torch.maximum(batch.lengths, batch.lengths[partner])
    others = batch.targets[partner]
    return replace(batch, inputs=inputs, lengths=lengths, others=others, share=share)


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
