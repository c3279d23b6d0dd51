"""The ways things go wrong, and how a wrong name becomes a helpful sentence.

Every error a user can cause derives from `UnspoolError`; its text is one line: where, what was
got, what was wanted, and a way out. The command line prints that line and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UnspoolError(Exception):
    """Anything a user can cause and mend."""


class ConfigError(UnspoolError):
    """A setting, option or name that cannot be honoured."""


class ShapeError(UnspoolError):
    """Tensors or lengths that do not fit together."""


class CellError(UnspoolError):
    """A cell whose equations cannot be read; the message shows the offending line."""


class DataError(UnspoolError):
    """A file or text that cannot be used; the message names file and line."""


class RunError(UnspoolError):
    """A run folder that is missing, taken, or not ours."""


class CheckpointError(UnspoolError):
    """A checkpoint or model that is damaged, foreign, or from a newer version."""


class TrainingError(UnspoolError):
    """Training that had to stop: a loss or gradient that is not finite, a full disk."""


class BackendError(UnspoolError):
    """A backend asked for by name that cannot serve this call."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The entry of ``known`` most like ``name``, or None when nothing is close.

    Example:
        >>> nearest("gruu", ["rnn", "lstm", "gru"])
        'gru'
    """
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(where: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not in its table.

    Example:
        >>> unknown("model.name", "gruu", ["rnn", "gru"])
        "model.name: unknown name 'gruu'; use one of rnn, gru. Did you mean 'gru'?"
    """
    known = list(known)
    suggestion = nearest(name, known)
    hint = f" Did you mean '{suggestion}'?" if suggestion else ""
    return f"{where}: unknown name '{name}'; use one of {', '.join(known)}.{hint}"


def choose(name: str, table: Mapping[str, T], where: str) -> T:
    """Look ``name`` up in ``table``; an unknown name is an error that suggests the nearest.

    Args:
        name: the key asked for.
        table: what exists.
        where: the setting that carried the name, such as ``model.name``.

    Returns:
        The entry.

    Raises:
        ConfigError: if ``name`` is not a key of ``table``.
    """
    if name not in table:
        raise ConfigError(unknown(where, name, table))
    return table[name]
