"""Whether there is something to learn: targets that differ, recur, and are not all of one kind."""

from __future__ import annotations

from collections import Counter

from unspool.data.examples import Examples
from unspool.data.recognised import Recognised
from unspool.data.table import listed, short
from unspool.errors import DataError

# A class with fewer examples can hardly be learnt.
FEW = 3
# Share of the largest class above which it is told that the rest is rare.
UNEVEN = 0.9


def check_targets(found: Recognised, examples: Examples, name: str) -> list[str]:
    """Refuse targets that cannot be learnt; tell what is odd about others.

    Args:
        found: the job and its roles.
        examples: all of them.
        name: of the data, for the message.

    Raises:
        DataError: if there is only one class, or no class recurs, or all columns of a series are
            constant.

    Example:
        >>> from unspool.data.table import Place
        >>> examples = Examples("text", ["a", "b"], ["x", "x"], [Place("f", 1)] * 2)
        >>> check_targets(Recognised("classify", "text", "", {"label": "y"}), examples, "f.csv")
        Traceback (most recent call last):
        unspool.errors.DataError: f.csv: y is x in all 2 examples; wanted two labels or more.
    """
    if found.kind == "series":
        return _check_series(found, examples, name)
    column = next(
        (found.roles[role] for role in ("label", "stars", "tags") if role in found.roles), ""
    )
    if not column:
        return []
    counts: Counter[object] = Counter()
    for target in examples.targets:
        counts.update(target if isinstance(target, list) else [target])
    total = sum(counts.values())
    if len(counts) == 1:
        what = "steps" if found.task == "tag" else "examples"
        only = short(str(next(iter(counts))))
        raise DataError(
            f"{name}: {column} is {only} in all {total} {what}; wanted two labels or more."
        )
    if found.task == "rate":
        return []
    if len(counts) == total and total > 2:
        raise DataError(
            f"{name}: {column} differs in all {total} examples, so no label can be learnt from "
            "another example; name the column of labels with --data.label."
        )
    return _uneven(column, counts, total, found.task)


def _uneven(column: str, counts: Counter[object], total: int, task: str) -> list[str]:
    told = []
    if task != "tag":
        rare = [str(label) for label, count in counts.items() if count < FEW]
        if rare:
            told.append(
                f"{len(rare)} of the {len(counts)} values of {column} occur less than {FEW} times: "
                f"{listed(sorted(rare), 5)}."
            )
    label, most = counts.most_common(1)[0]
    if most > UNEVEN * total:
        told.append(f"{most} of {total} are {short(str(label))}; accuracy says little here.")
    return told


def _check_series(found: Recognised, examples: Examples, name: str) -> list[str]:
    """A series of one value cannot be judged; some constant columns are only told."""
    constant = []
    for column in found.features:
        cells = examples.inputs[0].column(column)
        values = {str(cell).strip() for cell in cells} - {""}
        if len(values) == 1:
            constant.append((column, next(iter(values))))
    if len(constant) == len(found.features):
        column, value = constant[0]
        raise DataError(
            f"{name}: {short(column)} is {short(value)} in every row; wanted a series that changes."
        )
    return [f"{short(column)} is {short(value)} in every row." for column, value in constant]
