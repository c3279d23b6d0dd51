"""From a place to data in memory: what `unspool.tasks` prepares a job from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unspool.data.samples import sample_text
from unspool.data.settings import DataSettings
from unspool.data.source import Source
from unspool.data.text import read_text


@dataclass(frozen=True, slots=True)
class Texts:
    """Running text.

    Attributes:
        text: all of it; or the training part, where there is a text to validate on.
        validation: that text, or None.
    """

    text: str
    validation: str | None


def open_source(
    sources: Sequence[str | Path], sample: str | None, settings: DataSettings
) -> Source:
    """Where data is, and what it is now.

    Args:
        sources: files or folders.
        sample: or the name of an embedded sample.
        settings: files beside them.

    Raises:
        DataError: if something cannot be read.
        ConfigError: if there is no such sample.
    """
    if sample is not None:
        return Source.of_sample(sample, settings)
    return Source.of_files(sources, settings)


def recognise_source(source: Source, settings: DataSettings) -> str:
    """The task that the content asks for, a key of `unspool.tasks.table.TASKS`."""
    return "write"


def read_source(source: Source, settings: DataSettings, task: str) -> Texts:
    """The data, parsed as the task wants it.

    Raises:
        DataError: if something cannot be read.
    """
    if source.sample is not None:
        text = sample_text(source.sample)
    else:
        text = "\n".join(read_text(path, settings.encoding) for path in source.paths)
    validation = [read_text(path, settings.encoding) for path in source.validation]
    return Texts(text, "\n".join(validation) if validation else None)
