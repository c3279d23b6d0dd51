"""What a model learns from: inputs, what to say of them, and where each came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unspool.data.table import Place

KINDS = ("text", "words", "numbers", "sound", "image", "series")


@dataclass(slots=True)
class Examples:
    """Parsed examples, in the order of the files.

    Attributes:
        kind: what the inputs are.

            - "text": str, exactly as in the file.
            - "words": list of str.
            - "numbers": float32 array [T D], every number finite.
            - "sound": the path of a file, or a waveform, float32 array [T].
            - "image": the path of a file, or uint8 array [H W] or [H W 3].
            - "series": a `unspool.data.table.Table`, one for all rows.
        inputs: one for each example.
        targets: of each a label (str), stars (float), tags (list of str, one a step), another
            text (to translate into, a caption, a transcript), or None where there is none.
        places: of each, where it stands; of several rows the first.
        groups: of each the value of the group column, or None without one.
        rows: of each the columns as they stand in the file, to write predictions beside them; of
            several rows the first. None where there is no table.
        options: what else a kind needs. "numbers" from a table: ``columns`` (names of the D
            numbers), ``categories`` (names of columns of text), ``category_values`` (for each
            example a list of T tuples of their texts). "sound": ``rate`` for waveforms. "series":
            ``date``, ``values``, ``group`` (names of columns).
    """

    kind: str
    inputs: list[Any]
    targets: list[Any]
    places: list[Place]
    groups: list[str] | None = None
    rows: list[dict[str, str]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Sequence[int]) -> Examples:
        """The examples at these positions, such as one of the parts.

        Example:
            >>> both = Examples("text", ["a", "b"], ["x", "y"], [Place("f", 1), Place("f", 2)])
            >>> both.take([1]).inputs
            ['b']
        """
        options = dict(self.options)
        if "category_values" in options:
            options["category_values"] = [options["category_values"][i] for i in indices]
        return Examples(
            self.kind,
            [self.inputs[i] for i in indices],
            [self.targets[i] for i in indices],
            [self.places[i] for i in indices],
            None if self.groups is None else [self.groups[i] for i in indices],
            None if self.rows is None else [self.rows[i] for i in indices],
            options,
        )
