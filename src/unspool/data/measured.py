"""What to know about a file that a run is measured on: what in it was refused, seen, unheard of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unspool.data.examples import Examples
from unspool.data.opening import Texts
from unspool.data.parting import content_key
from unspool.data.reading import Reading, read
from unspool.data.settings import DataSettings
from unspool.data.table import listed, short
from unspool.data.text import read_text

# Lines that are shorter recur by chance.
SHORTEST_LINE = 24


def read_measured(file: str | Path, settings: DataSettings, task: str) -> Texts | Reading:
    """A file like the one that was trained on, all of it to be measured on.

    Args:
        file: what to read.
        settings: of the run.
        task: of the run.

    Raises:
        DataError: if it cannot be read, or does not fit the task.
    """
    if task == "write":
        return Texts(read_text(file, settings.encoding), None)
    return read([file], settings, task, whole=True)


def doubts_about(
    found: Texts | Reading, learnt: Texts | Reading, settings: DataSettings
) -> Iterator[str]:
    """What a person should know before believing the figures, each one sentence.

    Args:
        found: what is measured on.
        learnt: what the run was trained on, in its parts.
        settings: of the run.

    Example:
        >>> words = "good bad fine ill poor sad kind odd nice raw warm dim".split()
        >>> rows = [(word, "01"[len(word) == 4]) for word in words]
        >>> other = {"text": ["good", "new"], "label": ["1", "2"]}
        >>> learnt, found = read(rows), read(other, whole=True, task="classify")
        >>> told = list(doubts_about(found, learnt, DataSettings()))
        >>> print(told[-1])
        1 of 2 rows has a label that training never saw (2): no answer to it can be right.
    """
    if isinstance(found, Reading) and isinstance(learnt, Reading):
        if found.refused:
            yield found.refusals
        trained = learnt.part("train") if found.examples.kind != "series" else learnt.examples
        known = _keys(trained, learnt.parts["train"])
        keys = list(_keys(found.examples))
        yield from _seen(sum(key in known for key in keys), len(keys), found.unit)
        yield from _unheard(found.examples, trained, found.unit)
    elif isinstance(found, Texts) and isinstance(learnt, Texts):
        whole = learnt.validation is not None
        front = learnt.text if whole else learnt.text[: int(len(learnt.text) * settings.split)]
        lines = [line for line in found.text.splitlines() if len(line) >= SHORTEST_LINE]
        known = dict.fromkeys(front.splitlines())
        yield from _seen(sum(line in known for line in lines), len(lines), "lines")


def _keys(examples: Examples, rows: list[int] | None = None) -> dict[str, None] | list[str]:
    """Of every example, or of every row of a series, a text that its equals share.

    Args:
        examples: any.
        rows: of a series those that count; None for all, each once for each time it is there.
    """
    if examples.kind == "series":
        table = examples.inputs[0]
        every = ["\x1f".join(map(str, row)) for row in table.rows]
        return every if rows is None else dict.fromkeys(every[row] for row in rows)
    every = [content_key(examples, index) for index in range(len(examples))]
    return every if rows is None else dict.fromkeys(every)


def _seen(count: int, total: int, unit: str) -> Iterator[str]:
    if count:
        verb = "was" if count == 1 else "were"
        yield f"{count:,} of {total:,} {unit} {verb} trained on; these figures flatter the model."


def _unheard(found: Examples, trained: Examples, unit: str) -> Iterator[str]:
    """Classes that no answer can be."""
    known = {label for target in trained.targets for label in _classes(target)}
    if 2 * len(known) > len(trained):
        return  # free texts
    new = [[each for each in _classes(target) if each not in known] for target in found.targets]
    count = sum(map(bool, new))
    if count:
        names = listed(sorted({short(label) for labels in new for label in labels}), 5)
        verb, them = ("has", "it") if count == 1 else ("have", "them")
        yield (
            f"{count:,} of {len(found):,} {unit} {verb} a label that training never saw ({names}): "
            f"no answer to {them} can be right."
        )


def _classes(target: object) -> list[str]:
    if isinstance(target, list):
        return [each for each in target if isinstance(each, str)]
    return [target] if isinstance(target, str) else []
