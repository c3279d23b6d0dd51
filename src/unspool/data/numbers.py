"""From sequences of numbers and categories to tensors, scaled by the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.data.settings import DataSettings
from unspool.data.text_encoders import fitting
from unspool.errors import DataError

Collated = tuple[dict[str, Tensor], Tensor]
Step = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumberEncoder:
    """Numbers less their mean over their deviation, and categories as whole numbers.

    A missing number (NaN) of a column that training saw missing becomes 0, its mean, and a column
    beside the others says so with a 1. Categories that training did not see share the id 0.

    Attributes:
        mean: of every column, over all steps of the training part that have it.
        deviation: of every column; 1 where it is constant.
        missing: columns, by position, that training saw missing.
        categories: the values of each category, in the order of their ids from 1.
        max_length: steps of the longest example; 0 sets no limit.
        truncates: whether longer ones lose their end, or are refused.
        kind: of the model's inputs.
        reads: of examples.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    missing: tuple[int, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    max_length: int = 0
    truncates: bool = False
    kind: str = "numbers"
    reads: str = "numbers"

    @classmethod
    def fit(
        cls,
        sequences: Sequence[np.ndarray],
        settings: DataSettings,
        category_values: Sequence[Sequence[Step]] | None = None,
    ) -> NumberEncoder:
        """Measure the sequences of a training part.

        Args:
            sequences: arrays ``[T D]``, float; D may be 0 where there are categories.
            settings: ``max_length`` and ``too_long``.
            category_values: of each sequence T tuples of M texts, or None.

        Raises:
            DataError: if there are none, or they differ in their columns.

        Example:
            >>> encoder = NumberEncoder.fit([np.array([[1.0], [3.0]])], DataSettings())
            >>> encoder.encode(np.array([[5.0]]))["numbers"].tolist()
            [[3.0]]
        """
        if not len(sequences):
            raise DataError("numbers: got none to learn from; wanted one or more sequences.")
        width = np.shape(sequences[0])[-1]
        for place, each in enumerate(sequences):
            if np.ndim(each) != 2 or np.shape(each)[1] != width:
                raise DataError(
                    f"numbers: sequence {place + 1} has the shape {list(np.shape(each))}; wanted "
                    f"[T {width}] like the first."
                )
        steps = np.concatenate([np.asarray(each, np.float64) for each in sequences])
        there = ~np.isnan(steps)
        count = np.maximum(there.sum(0), 1)
        mean = np.where(there, steps, 0).sum(0) / count
        deviation = np.sqrt((np.where(there, steps - mean, 0) ** 2).sum(0) / count)
        deviation[deviation <= SMALLEST * np.maximum(np.abs(mean), SMALLEST)] = 1.0
        return cls(
            tuple(mean.tolist()),
            tuple(deviation.tolist()),
            tuple(np.flatnonzero(~there.all(0)).tolist()),
            _values(category_values),
            settings.max_length,
            settings.too_long == "truncate",
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> NumberEncoder:
        """What `to_dict` gave."""
        return cls(
            tuple(stored["mean"]),
            tuple(stored["deviation"]),
            tuple(stored["missing"]),
            tuple(tuple(values) for values in stored["categories"]),
            int(stored["max_length"]),
            bool(stored["truncates"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reads": self.reads,
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "missing": list(self.missing),
            "categories": [list(values) for values in self.categories],
            "max_length": self.max_length,
            "truncates": self.truncates,
        }

    @property
    def shape(self) -> dict[str, Any]:
        """Numbers of a step, those that say what is missing among them; values of categories."""
        shape: dict[str, Any] = {"kind": self.kind, "size": len(self.mean) + len(self.missing)}
        if self.categories:
            shape["categories"] = [len(values) + 1 for values in self.categories]
        return shape

    def encode(
        self, numbers: np.ndarray, category_values: Sequence[Step] | None = None
    ) -> dict[str, Tensor]:
        """``numbers`` float32 ``[T D]`` of a sequence, and its ``categories`` int64 ``[T M]``.

        Raises:
            DataError: if it has other columns, none or too many steps, an infinite number, or
                lacks what training never saw missing.
        """
        numbers = np.asarray(numbers, np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != len(self.mean) or not len(numbers):
            raise DataError(
                f"numbers: got the shape {list(numbers.shape)}; wanted [T {len(self.mean)}] with a "
                "step or more."
            )
        gone = np.isnan(numbers)
        unforeseen = gone.copy()
        unforeseen[:, list(self.missing)] = False
        bad = np.argwhere(np.isinf(numbers) | unforeseen)
        if len(bad):
            step, column = bad[0] + 1
            what = "missing, which training never saw" if unforeseen.any() else "infinite"
            raise DataError(f"numbers: step {step}, column {column} is {what}.")
        scaled = np.where(gone, 0, (numbers - self.mean) / np.array(self.deviation))
        scaled = np.concatenate([scaled, gone[:, list(self.missing)]], axis=1)
        limit = float(np.finfo(np.float32).max)
        values = torch.from_numpy(np.clip(scaled, -limit, limit).astype(np.float32))
        encoded = {"numbers": fitting(values, self.max_length, self.truncates)}
        if self.categories:
            ids = self._ids(category_values, len(numbers))
            encoded["categories"] = fitting(ids, self.max_length, self.truncates)
        return encoded

    def collate(self, encoded: Sequence[Mapping[str, Tensor]]) -> Collated:
        """Sequences side by side: ``numbers`` ``[B T D]`` and ``categories`` ``[B T M]``."""
        lengths = torch.tensor([len(each["numbers"]) for each in encoded])
        return {
            name: nn.utils.rnn.pad_sequence([each[name] for each in encoded], batch_first=True)
            for name in encoded[0]
        }, lengths

    def _ids(self, category_values: Sequence[Step] | None, steps: int) -> Tensor:
        given = category_values or ()
        M = len(self.categories)
        if len(given) != steps or any(len(step) != M for step in given):
            raise DataError(f"numbers: wanted {M} categories for each of {steps} steps.")
        tables = [{value: i for i, value in enumerate(c, 1)} for c in self.categories]
        return torch.tensor(
            [[table.get(v, 0) for table, v in zip(tables, step, strict=True)] for step in given]
        )


def _values(category_values: Sequence[Sequence[Step]] | None) -> tuple[tuple[str, ...], ...]:
    """The different values of each category, sorted."""
    steps = [step for sequence in category_values or () for step in sequence]
    return tuple(tuple(sorted(set(column))) for column in zip(*steps, strict=True))


# Deviations so much smaller than their mean are rounding.
SMALLEST = 1e-12
