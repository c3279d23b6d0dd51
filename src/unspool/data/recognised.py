"""A job and what in a table led to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unspool.data import roles
from unspool.data.roles import Profile
from unspool.data.settings import DataSettings
from unspool.data.table import Table

MAPPINGS = {
    "write": "many to many, synced",
    "classify": "many to one",
    "rate": "many to one, ordered",
    "tag": "many to many, synced",
    "translate": "many to many",
    "forecast": "many to many",
    "caption": "one to many",
    "listen": "many to one",
    "transcribe": "many to many, unaligned",
    "see": "one to one",
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """A job and what led to it.

    Attributes:
        task: a key of `MAPPINGS`.
        kind: of the inputs, as `unspool.data.examples.Examples` has them.
        reason: one sentence.
        roles: role (text, label, stars, tokens, tags, group, date, …) to column.
        features: columns that are read as numbers or categories, where there are such.
        warnings: what a person should know.
    """

    task: str
    kind: str
    reason: str
    roles: dict[str, str]
    features: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What the rules look at.

    Attributes:
        table: the rows.
        profiles: what its columns hold.
        settings: ``text``, ``label``, ``group`` and ``time`` as the table spells them, or None.
        labelled: whether there must be something to learn.
    """

    table: Table
    profiles: list[Profile]
    settings: DataSettings
    labelled: bool

    def of(self, *kinds: str, without: Sequence[str | None] = ()) -> list[Profile]:
        """The columns of these kinds."""
        return [each for each in self.profiles if each.kind in kinds and each.name not in without]

    def named(self, name: str | None) -> Profile | None:
        """What the column of this name holds."""
        return next((each for each in self.profiles if each.name == name), None)

    def split(self) -> dict[str, str]:
        """The column that says in which part a row is, if there is one."""
        for each in self.profiles:
            if each.called(roles.SPLITS) and each.kind == "class":
                values = {str(cell).strip().lower() for cell in self.table.column(each.name)[:5000]}
                if values <= set(PARTS) and len(values) > 1:
                    return {"split": each.name}
        return {}

    def shared(self, ids: bool = False) -> dict[str, str]:
        """The roles that any job may have: the group and the part."""
        group = roles.find_group(self.profiles, self.settings, ids)
        return ({"group": group} if group else {}) | self.split()


def labels(view: View, label: str | None) -> str:
    """A column of labels, in words."""
    each = view.named(label)
    count = each.distinct if each is not None else 0
    return f"one of {count} labels" if count > 1 else "the label"


def doubt(how: str, label: str) -> tuple[str, ...]:
    """A warning, if the label was chosen among several columns."""
    if how != "last of several":
        return ()
    return (
        f"several columns hold few values; {label}, the last of them, is taken for the label. "
        "--data.label names another.",
    )


PARTS = {
    "train": "train", "training": "train", "trn": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test", "eval": "test",
}  # fmt: skip
