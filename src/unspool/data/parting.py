"""The parts of what was read: from files, from a column, by time, or by the hash of the content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unspool.data import parts as splitting
from unspool.data.calendar_features import read_dates
from unspool.data.examples import Examples
from unspool.data.parts import PARTS
from unspool.data.settings import DataSettings
from unspool.data.table import Table
from unspool.errors import DataError


@dataclass(slots=True)
class Parting:
    """Parts, how they were chosen, and what to know about them."""

    parts: dict[str, list[int]]
    how: str
    warnings: list[str] = field(default_factory=list)
    folds: list[dict[str, list[int]]] = field(default_factory=list)


def part_examples(
    examples: Examples,
    fixed: Sequence[str | None],
    settings: DataSettings,
    seed: int,
    whole: bool = False,
) -> Parting:
    """Which examples are in which part.

    Args:
        examples: all of them, in the order of the files.
        fixed: of each the part that its file or a column says; None where the split decides.
        settings: ``split`` and ``folds``.
        seed: of the split.
        whole: put all in "test".

    Raises:
        DataError: if there are too few different examples.
    """
    if whole:
        rows = range(_rows(examples))
        return Parting({"train": [], "validation": [], "test": list(rows)}, "all of it is measured")
    if examples.kind == "series":
        return _by_time(examples, fixed, settings)
    if all(part == "train" for part in fixed):
        rows = list(range(len(fixed)))
        return Parting({"train": rows, "validation": [], "test": []}, "the text's end validates")
    seed = seed if settings.split_seed < 0 else settings.split_seed
    keys = [content_key(examples, index) for index in range(len(examples))]
    labels, groups = examples.targets, examples.groups
    free = [index for index, part in enumerate(fixed) if part is None]
    if settings.folds and len(free) == len(fixed):
        folds = splitting.folds(keys, groups, settings.folds, seed)
        number = max(settings.fold, 1)
        told = splitting.doubts(folds[number - 1], keys, labels, groups)
        how = f"fold {number} of {settings.folds}, by the hash of the {_what(groups)}, seed {seed}"
        return Parting(folds[number - 1], how, told, folds)
    given = {part for part in fixed if part is not None}
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    shares = _shares(settings.split, given)
    if free:
        own = [keys[i] for i in free]
        own_groups = None if groups is None else [groups[i] for i in free]
        drawn = splitting.split(own, [labels[i] for i in free], own_groups, shares, seed)
        for part, rows in drawn.items():
            parts[part] += [free[i] for i in rows]
    for index, part in enumerate(fixed):
        if part is not None:
            parts[part].append(index)
    parts = {part: sorted(rows) for part, rows in parts.items()}
    how = f"by the hash of the {_what(groups)}, seed {seed}"
    if given and len(shares) > 1:
        how = f"{' and '.join(sorted(given))} as given, the rest {how}"
    elif given:
        how = "as given"
    told = splitting.doubts(parts, keys, labels, groups)
    if settings.folds:
        told.append("data.folds has no effect where the parts are given.")
    return Parting(parts, how, told)


def content_key(examples: Examples, index: int) -> str:
    """A text that is equal for equal inputs, and in practice for no others.

    Example:
        >>> from unspool.data.table import Place
        >>> both = Examples("text", ["same", "same"], [None, None], [Place("f", 1), Place("f", 2)])
        >>> content_key(both, 0) == content_key(both, 1)
        True
    """
    value = examples.inputs[index]
    if examples.kind == "text":
        return str(value)
    if examples.kind == "words":
        return "\x1f".join(value)
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(value, str):
        digest.update(Path(value).read_bytes())
    else:
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    categories = examples.options.get("category_values")
    if categories:
        digest.update(repr(categories[index]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _shares(split: float, given: set[str]) -> dict[str, float]:
    """Share of each part in the rows that no file or column puts into one."""
    others = [part for part in PARTS[1:] if part not in given]
    if not others:
        return {"train": 1.0}
    return {"train": split} | {part: (1 - split) / len(others) for part in others}


def _what(groups: Sequence[str] | None) -> str:
    return "input" if groups is None else "group"


def _rows(examples: Examples) -> int:
    if examples.kind == "series":
        return sum(len(each.rows) for each in examples.inputs)
    return len(examples)


def _by_time(examples: Examples, fixed: Sequence[str | None], settings: DataSettings) -> Parting:
    """Of every series the first rows are trained on and the last are tested on."""
    table: Table = examples.inputs[0]
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    series: dict[str, list[int]] = {}
    group = examples.options.get("group")
    names = table.column(group) if group else [""] * len(table.rows)
    for index, name in enumerate(names):
        if fixed[index] is None:
            series.setdefault(str(name), []).append(index)
        else:
            parts[str(fixed[index])].append(index)
    given = {part for part in fixed if part is not None}
    shares = _shares(settings.split, given)
    if not given:
        shares |= {"validation": (1 - settings.split) / 3, "test": 2 * (1 - settings.split) / 3}
    date = examples.options.get("date")
    if date:
        moments = read_dates([str(cell) for cell in table.column(date)])[0]
        for rows in series.values():
            rows.sort(key=lambda index: moments[index])
    most = max(map(len, series.values()), default=0)
    for rows in series.values():
        try:
            chosen = splitting.split_by_time(len(rows), shares)
        except DataError:
            if len(rows) == most:
                raise
            chosen = {"train": range(len(rows))}  # too short to be judged; the longest is not
        for part, places in chosen.items():
            parts[part] += [rows[i] for i in places]
    how = "by time: the last rows of each series are tested on"
    told = ["data.folds has no effect on series."] if settings.folds else []
    return Parting({part: sorted(rows) for part, rows in parts.items()}, how, told)
