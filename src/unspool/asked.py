"""What a training is asked for, until data and settings are settled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unspool.config import Settings, Wish
from unspool.data.in_memory import NAME, is_in_memory
from unspool.data.opening import recognise_source
from unspool.data.samples import SAMPLES
from unspool.data.source import Source
from unspool.errors import ConfigError
from unspool.record import Record


def wish_of(settings: Settings | Wish | None, changes: Mapping[str, Any]) -> Wish:
    """What was asked for, however it was said.

    Raises:
        ConfigError: if it was said in two ways.
    """
    if settings is None:
        return Wish.read(None, {name.replace("__", "."): each for name, each in changes.items()})
    if changes:
        raise ConfigError("train: pass `settings` or single settings by name, not both.")
    return settings if isinstance(settings, Wish) else Wish.of(settings)


def check_minutes(minutes: float | None, wish: Wish) -> None:
    """Refuse minutes that are none, or that stand beside a number of steps.

    Raises:
        ConfigError: for these.
    """
    if minutes is None:
        return
    if not (math.isfinite(minutes) and minutes > 0):
        raise ConfigError(f"--minutes: got {minutes}; wanted a number > 0.")
    for key in ("train.steps", "train.epochs"):
        if key in wish.changes:
            raise ConfigError(
                f"--minutes: got {minutes}, but {key} is {wish.changes[key]}; the minutes decide "
                "how many steps there are, so give one of the two."
            )


def data_among(sources: Sequence[Any]) -> Any:
    """The data in memory that was given instead of files; None for files.

    Raises:
        ConfigError: if there is more than it.

    Example:
        >>> data_among(["a.csv", "b.csv"]) is None, data_among([{"text": ["fine"]}])
        (True, {'text': ['fine']})
    """
    if not any(is_in_memory(each) for each in sources):
        return None
    if len(sources) > 1:
        raise ConfigError(
            f"train: got data in memory and {len(sources) - 1} more; wanted one thing: a "
            "DataFrame, a dict of columns, pairs, or (inputs, labels) as a pair of arrays."
        )
    [data] = sources
    return list(data) if isinstance(data, Iterator) else data  # is read more than once


def stem_of(sources: Sequence[Any], sample: str | None) -> str:
    """What a run is called after."""
    if not sources:
        return f"sample-{sample}"
    return NAME if is_in_memory(sources[0]) else Path(sources[0]).stem


def recognised(origin: Source, wish: Wish, data: Any = None) -> Settings:
    """The settings, once it is known which task the data is.

    Args:
        origin: of the data.
        wish: what was asked for.
        data: what was in memory, if it was.
    """
    asked = wish.settings()
    if asked.task != "auto":
        return asked
    if origin.sample:
        return wish.settings(SAMPLES[origin.sample][0])
    task = recognise_source(origin, asked.data, data)
    return wish.settings(task)


def check_source(run: str | Path, record: Record, data: Any) -> None:
    """Look whether the data of a run is what it was; data in memory must be passed again.

    Args:
        run: the run.
        record: of it.
        data: what was passed; None for a run whose data lies in files.

    Raises:
        ConfigError: if data is missing, or was passed where none is wanted.
        DataError: if it cannot be read, or has changed.
    """
    if record.source.in_memory and data is None:
        raise ConfigError(
            f"{run}: was trained on data in memory, which a run does not keep; pass the same data "
            f"again, as in `unspool.resume({str(run)!r}, data=...)`."
        )
    if data is not None and not record.source.in_memory:
        raise ConfigError(f"{run}: reads {record.source.name} again; wanted no data beside it.")
    record.source.check(data)
