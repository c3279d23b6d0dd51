"""Finding a cell by what the user wrote: a name of `CELLS`, or ``my_file.py:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from unspool.cells import CELLS
from unspool.engine.language import Cell
from unspool.errors import CellError, ConfigError, choose, nearest


def find_cell(name: str, where: str = "model.name") -> Cell:
    """The cell behind a name.

    Args:
        name: a key of `CELLS`; or a file and a name in it, ``my_file.py:name``; or an importable
            module and a name in it, ``my_package.module:name``. The file or module is executed.
        where: the setting that carried the name, for messages.

    Returns:
        The cell, traced once so that a mistake in it shows here.

    Raises:
        ConfigError: if there is no such cell, with the nearest name.
        CellError: if the file fails or the equations are wrong, with the line.

    Example:
        >>> find_cell("lstm").states
        ('h', 'c')
    """
    if ":" not in name:
        if name.endswith(".py"):
            raise ConfigError(
                f"{where}: got '{name}'; wanted the cell as well, as in '{name}:my_cell'."
            )
        return choose(name, CELLS, where)
    source, _, attribute = name.rpartition(":")
    module = _execute(Path(source), where) if source.endswith(".py") else _import(source, where)
    found = getattr(module, attribute, None)
    if not isinstance(found, Cell):
        cells = [key for key, value in vars(module).items() if isinstance(value, Cell)]
        close = nearest(attribute, cells)
        if found is not None:
            what = f"'{attribute}' is {type(found).__name__}, not a cell; decorate it with @cell"
        else:
            what = f"'{source}' has no cell '{attribute}'; it has {', '.join(cells) or 'none'}"
        raise ConfigError(f"{where}: {what}." + (f" Did you mean '{close}'?" if close else ""))
    _ = found.graph
    return found


def _execute(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{where}: no file '{path}'; wanted FILE.py:NAME of a cell.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except CellError:
        raise
    except Exception as error:
        raise CellError(f"{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name or "?")
    except CellError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (missing == "?" or f"{name}.".startswith(f"{missing}.")):
            raise ConfigError(
                f"{where}: no module '{name}' on {len(sys.path)} import paths; "
                "a file is written FILE.py:NAME."
            ) from error
        raise CellError(f"{where}: module '{name}': {type(error).__name__}: {error}") from error


def _line_of(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
