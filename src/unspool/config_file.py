"""TOML as it is read and written, with what is wrong in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from unspool.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: if it cannot be read or is no TOML.
    """
    return parse_toml(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{path}: not UTF-8 at byte {error.start}"
        raise ConfigError(f"{where}; wanted a TOML file.") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: a directory; wanted a TOML file.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ConfigError(f"{path}: {reason}; wanted a TOML file.") from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The values of TOML.

    Args:
        text: what it says.
        where: what to call it in messages.

    Raises:
        ConfigError: with the line, if it is no TOML.

    Example:
        >>> parse_toml("seed = 3", "x.toml")
        {'seed': 3}
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise ConfigError(f"{where}: invalid TOML: {error}.") from error


def write_toml(settings: Any, tables: Collection[str]) -> str:
    """A dataclass as TOML; a None is left out.

    Args:
        settings: whose fields are values, tables of values, and dataclasses.
        tables: names of the inner dataclasses that are written.
    """
    return "\n".join(_table("", settings, tables)) + "\n"


def _table(prefix: str, settings: Any, wanted: Collection[str] | None = None) -> Iterator[str]:
    """The lines of one table, then those of the tables inside it that are wanted."""
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    tables = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            tables[name] = value
        elif value is not None:
            yield f"{name} = {_literal(value)}"
    for name, value in tables.items():
        if wanted is not None and name not in wanted:
            continue
        yield f"\n[{prefix}{name}]"
        if isinstance(value, Mapping):
            yield from (f"{_literal(key)} = {_literal(option)}" for key, option in value.items())
        else:
            yield from _table(f"{prefix}{name}.", value)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_literal, value))}]"
    # JSON escapes text as TOML does, except for the one control character it leaves alone.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
