"""Which job a table asks for, told from what its columns hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from unspool.data import roles
from unspool.data.number_rules import of_dates, of_events, of_vectors
from unspool.data.recognised import MAPPINGS, Recognised, View
from unspool.data.roles import Profile
from unspool.data.settings import DataSettings
from unspool.data.table import Table, listed
from unspool.data.text_rules import of_classes, of_files, of_labels, of_pairs, of_stars, of_words
from unspool.errors import ConfigError, DataError, unknown


def recognise(
    table: Table, settings: DataSettings, task: str = "auto", labelled: bool = True
) -> Recognised:
    r"""The job for a table, from its content; the first of `RULES` that fits.

    Args:
        table: one row or more.
        settings: ``text``, ``label``, ``group`` and ``time`` name columns.
        task: "auto", or the job that is wanted.
        labelled: whether there must be something to learn; False to predict.

    Raises:
        DataError: if no rule fits, with the columns and a way out.
        ConfigError: if there is no such job.

    Example:
        >>> from unspool.data.delimited import read_delimited
        >>> table = read_delimited("Fine.\t1\nBad!\t0\nNice.\t1\nPoor.\t0\n", "few.txt")
        >>> recognise(table, DataSettings()).reason
        'column 1 holds texts and column 2 one of 2 labels'
    """
    if task not in ("auto", *MAPPINGS):
        raise ConfigError(unknown("task", task, ["auto", *MAPPINGS]))
    if not table.rows:
        first = f"; {table.refused[0].place}: {table.refused[0].reason}" if table.refused else ""
        raise DataError(f"{table.file}: holds no rows that can be used{first}.")
    for name in ("text", "label", "group", "time"):
        if getattr(settings, name) is not None and (labelled or name != "label"):
            table.index(getattr(settings, name), f"data.{name}")
    settings = _as_spelt(table, settings)
    view = View(table, roles.profiles(table), settings, labelled)
    for rule, tasks in RULES:
        if task in tasks or (task == "auto" and rule not in ASKED_FOR):
            found = rule(view, task)
            if found is not None:
                return found
    wanted = WANTED.get(task, "a table that can be learnt from")
    raise DataError(
        f"{table.file}: the columns {_shown(view.profiles)} are not {wanted}; "
        "name columns with --data.text and --data.label, or the job with --task."
    )


def _as_spelt(table: Table, settings: DataSettings) -> DataSettings:
    """The settings with columns as the table writes them."""
    changes = {}
    for name in ("text", "label", "group", "time"):
        value = getattr(settings, name)
        if value is not None and value not in table.columns:
            alike = [each for each in table.columns if each.lower() == value.lower()]
            changes[name] = alike[0] if len(alike) == 1 else None
    return replace(settings, **changes) if changes else settings


def _shown(found: Sequence[Profile]) -> str:
    return listed([f"{each.name} ({NOUNS[each.kind]})" for each in found])


Rule = Callable[[View, str], Recognised | None]
# In this order; and the jobs that each can give.
RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (of_files, ("listen", "transcribe", "see", "caption")),
    (of_vectors, ("caption",)),
    (of_classes, ("caption",)),
    (of_words, ("tag",)),
    (of_stars, ("rate",)),
    (of_labels, ("classify",)),
    (of_pairs, ("translate",)),
    (of_events, ("classify", "rate", "tag")),
    (of_dates, ("forecast",)),
)
ASKED_FOR = (of_vectors, of_classes)  # never from the content alone
NOUNS = {
    "text": "texts", "class": "few values", "number": "numbers", "date": "dates", "list": "lists",
    "sound": "paths of sounds", "image": "paths of images", "empty": "nothing",
}  # fmt: skip
WANTED = {
    "classify": "a text, or numbers in groups, with a label",
    "rate": "a text, or numbers in groups, with stars",
    "tag": "words with tags, or numbers in groups with a label for each row",
    "translate": "two columns of text",
    "forecast": "dates with numbers",
    "listen": "paths of sounds with a label",
    "transcribe": "paths of sounds with a transcript",
    "see": "paths of images with a label",
    "caption": "paths of images, classes, or two numbers and more, with a caption",
}
