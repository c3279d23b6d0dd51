"""From somebody's files, or data in memory, to examples in parts: what would be trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspool.data.checks import check_targets
from unspool.data.examples import Examples
from unspool.data.gathering import Gathered, gather
from unspool.data.in_memory import NAME, is_in_memory
from unspool.data.parting import part_examples
from unspool.data.recognised import MAPPINGS
from unspool.data.settings import DataSettings
from unspool.data.summary import classes, first_shown, lengths
from unspool.data.table import Place, Refused
from unspool.data.text import printable
from unspool.errors import ConfigError, DataError, unknown

__all__ = ["Examples", "Place", "Reading", "Refused", "read"]

SHOWN_REFUSED = 20
SHOWN_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was read and how it was understood.

    Attributes:
        job: what it can be learnt for, a key of `unspool.data.recognised.MAPPINGS`.
        mapping: in the lectures' words.
        reason: what in the content speaks for that, one sentence without its full stop.
        columns: names of the columns; none where there is no table.
        roles: what columns are for: text, label, stars, tokens, tags, date, group, …
        examples: the usable ones, of all parts.
        refused: rows that are not used.
        used: rows that are in an example.
        total: rows there are; used ones and refused ones together.
        unit: what a row is: "rows", "sentences", "files", "images", "sequences", "texts".
        form: how the files are written.
        warnings: what a person should know before training.
        parts: positions of the examples in "train", "validation" and "test"; of a series,
            positions of its rows.
        parted: how those were chosen, in words.
        folds: with ``folds`` in the settings, the parts of each fold; ``parts`` is the first.
    """

    job: str
    mapping: str
    reason: str
    columns: tuple[str, ...]
    roles: dict[str, str]
    examples: Examples
    refused: tuple[Refused, ...]
    used: int
    total: int
    unit: str
    form: str
    warnings: tuple[str, ...]
    parts: dict[str, list[int]]
    parted: str
    folds: tuple[dict[str, list[int]], ...] = ()

    def __post_init__(self) -> None:
        assert self.used + len(self.refused) == self.total, "a row was dropped silently"

    @property
    def refusals(self) -> str:
        """How many rows are used and refused, and why the first of those; empty if all are used.

        Example:
            >>> read([("good", "1"), ("bad", "0"), ("", "1"), ("x", "1"), ("y", "0")]).refusals
            '5 rows: 4 used, 1 refused; the first: data, line 3: the text is empty'
        """
        if not self.refused:
            return ""
        first = self.refused[0]
        return (
            f"{self.total:,} {self.unit}: {self.used:,} used, {len(self.refused):,} refused; the "
            f"first: {first.place}: {first.reason}"
        )

    def part(self, name: str) -> Examples:
        """The examples of one part.

        Example:
            >>> reading = read([("good", "1"), ("bad", "0"), ("fine", "1"), ("poor", "0")])
            >>> sum(len(reading.part(name)) for name in reading.parts)
            4
        """
        return self.examples.take(self.parts[name])

    def report(self) -> dict[str, Any]:
        """All of it as plain JSON values, the long lists cut.

        Returns:
            ``task``, ``mapping``, ``reason``, ``form``, ``columns``, ``roles``, ``rows`` (total,
            used, refused, unit), ``refused`` (the first 20, each file, line, reason), ``classes``
            (label to count, most frequent first), ``lengths`` (unit, min, median, mean, max,
            histogram), ``split`` (examples in each part, how), ``examples`` (five), ``warnings``.

        Example:
            >>> report = read([("good", "1"), ("bad", "0"), ("fine", "1"), ("poor", "0")]).report()
            >>> report["task"], report["classes"]
            ('classify', {'1': 2, '0': 2})
        """
        return {
            "task": self.job,
            "mapping": self.mapping,
            "reason": self.reason,
            "form": self.form,
            "columns": list(self.columns),
            "roles": dict(self.roles),
            "rows": {
                "total": self.total,
                "used": self.used,
                "refused": len(self.refused),
                "unit": self.unit,
            },
            "refused": [
                {"file": each.place.file, "line": each.place.line, "reason": each.reason}
                for each in self.refused[:SHOWN_REFUSED]
            ],
            "classes": classes(self.examples),
            "lengths": lengths(self.examples),
            "split": {name: len(rows) for name, rows in self.parts.items()}
            | {"how": self.parted, "folds": len(self.folds)},
            "examples": first_shown(self.examples, SHOWN_EXAMPLES),
            # A forecast finds its own, with its settings; until then these are known.
            "warnings": [*self.warnings, *self.examples.options.get("notes", ())],
        }


def read(
    sources: Any,
    settings: DataSettings | None = None,
    task: str = "auto",
    seed: int = 0,
    *,
    labelled: bool = True,
    whole: bool = False,
) -> Reading:
    r"""Files, folders, or data in memory, as examples for the job their content asks for.

    Args:
        sources: a path or several; or a DataFrame, a dict of columns, (text, label) pairs, an
            array, or a pair (inputs, labels) of arrays; or `Examples`, with the task.
        settings: how to read; None takes the defaults.
        task: "auto", or the job that is wanted.
        seed: of the split.
        labelled: False to read inputs only, such as for a prediction; nothing is split then.
        whole: True to measure on all of it; all examples are then in "test".

    Raises:
        DataError: if something cannot be read, or be learnt from.
        ConfigError: if there is no such job.

    Example:
        >>> reading = read({"text": ["good", "bad", "fine", "poor"], "label": list("1010")})
        >>> reading.job, reading.mapping, reading.reason
        ('classify', 'many to one', 'text holds texts and label one of 2 labels')
    """
    settings = settings or DataSettings()
    if task not in ("auto", *MAPPINGS):
        raise ConfigError(unknown("task", task, ["auto", *MAPPINGS]))
    name = _name(sources)
    whole = whole or not labelled
    gathered = gather(_data_or_paths(sources), settings, task, labelled, whole)
    examples = gathered.examples
    if not examples.inputs:
        raise DataError(_nothing(gathered, name))
    warnings = list(gathered.warnings)
    if labelled and not whole:
        warnings += check_targets(gathered.recognised, examples, name)
    try:
        parting = part_examples(examples, gathered.fixed, settings, seed, whole)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return Reading(
        job=gathered.recognised.task,
        mapping=MAPPINGS[gathered.recognised.task],
        reason=gathered.recognised.reason,
        columns=gathered.columns,
        roles=gathered.recognised.roles,
        examples=examples,
        refused=tuple(gathered.refused),
        used=gathered.used,
        total=gathered.total,
        unit=gathered.unit,
        form=gathered.form,
        warnings=(*warnings, *parting.warnings),
        parts=parting.parts,
        parted=parting.how,
        folds=tuple(parting.folds),
    )


def _data_or_paths(sources: Any) -> Any:
    if is_in_memory(sources):
        return sources
    single = isinstance(sources, str | os.PathLike)
    return [Path(sources)] if single else [Path(each) for each in sources]


def _name(sources: Any) -> str:
    """What the data is called in a message."""
    if is_in_memory(sources):
        return NAME
    first: Sequence[Any] = [sources] if isinstance(sources, str | os.PathLike) else sources
    more = f" and {len(first) - 1} more" if len(first) > 1 else ""
    return f"{printable(first[0])}{more}"


def _nothing(gathered: Gathered, name: str) -> str:
    text = f"{name}: none of {gathered.total} {gathered.unit} can be used."
    if gathered.refused:
        first = gathered.refused[0]
        text += f" The first: {first.place}: {first.reason}."
    return text
