"""From a place to data in memory: what `unspool.tasks` prepares a job from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspool.data.contents import Running, text_content
from unspool.data.examples import Examples
from unspool.data.reading import Reading, read
from unspool.data.samples import SAMPLES, sample, sample_text
from unspool.data.settings import DataSettings
from unspool.data.source import Source
from unspool.data.text import read_text, refuse_blank
from unspool.errors import DataError


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
    sources: Sequence[str | Path], sample: str | None, settings: DataSettings, data: Any = None
) -> Source:
    """Where data is, and what it is now.

    Args:
        sources: files or folders.
        sample: or the name of an embedded sample.
        settings: files beside them.
        data: or data in memory.

    Raises:
        DataError: if something cannot be read.
        ConfigError: if there is no such sample.
    """
    if sample is not None:
        return Source.of_sample(sample, settings)
    if data is not None:
        return Source.of_data(data, settings)
    return Source.of_files(sources, settings)


def recognise_source(source: Source, settings: DataSettings, data: Any = None) -> str:
    """The task that the content asks for, a key of `unspool.tasks.table.TASKS`.

    Args:
        source: where it is.
        settings: how to read it.
        data: what was in memory, if it was.

    Raises:
        DataError: if something cannot be read, or holds nothing that can be learnt.
    """
    content = _content(source, settings, data)
    if isinstance(content, Examples):
        return SAMPLES[str(source.sample)][0]
    return "write" if isinstance(content, Running) else read(content, settings).job


def read_source(
    source: Source, settings: DataSettings, task: str, seed: int, data: Any = None
) -> Texts | Reading:
    """The data, parsed as the task wants it.

    Args:
        source: where it is.
        settings: how to read it.
        task: a key of `unspool.tasks.table.TASKS`.
        seed: of the split.
        data: what was in memory, if it was.

    Raises:
        DataError: if something cannot be read, or does not fit the task.
    """
    if task != "write":
        return read(_content(source, settings, data), settings, task, seed)
    if data is not None:
        raise DataError(f"{source.name}: is in memory; wanted text files to learn to write from.")
    if source.sample is not None:
        text = sample_text(source.sample)
    else:
        text = "\n".join(read_text(path, settings.encoding) for path in source.paths)
    refuse_blank(text, source.name)
    validation = [read_text(path, settings.encoding) for path in source.validation]
    return Texts(text, "\n".join(validation) if validation else None)


def report_source(
    source: Source, settings: DataSettings, task: str = "auto", seed: int = 0
) -> dict[str, Any]:
    """What would be trained on, as `unspool.data.reading.Reading.report` says it.

    Raises:
        DataError: if something cannot be read, or does not fit the task.
    """
    content = _content(source, settings)
    if isinstance(content, Running):
        raise DataError(f"{source.name}: is running text, all of it; `unspool samples` shows it.")
    if isinstance(content, Examples) and task == "auto":
        task = SAMPLES[str(source.sample)][0]
    return read(content, settings, task, seed).report()


def read_facts(data: Texts | Reading) -> dict[str, Any] | None:
    """What was read, in short, as plain JSON values; None for running text.

    Example:
        >>> from unspool.data.reading import read
        >>> read_facts(read([("good", "1"), ("bad", "0"), ("fine", "1"), ("poor", "0")]))["rows"]
        {'total': 4, 'used': 4, 'refused': 0, 'unit': 'rows'}
    """
    if isinstance(data, Texts):
        return None
    report = data.report()
    most = list(report["classes"].items())[:MOST_CLASSES]
    return {name: report[name] for name in SHORT} | {"classes": dict(most)}


def _content(source: Source, settings: DataSettings, data: Any = None) -> Any:
    """What `read` takes: the paths, data, or an embedded sample as if it stood in a file."""
    if data is not None:
        return data
    if source.sample is None:
        return list(source.paths)
    found = sample(source.sample)
    return text_content(found, source.name, settings) if isinstance(found, str) else found


SHORT = ("task", "mapping", "reason", "form", "roles", "rows", "refused", "split", "lengths")
MOST_CLASSES = 30
