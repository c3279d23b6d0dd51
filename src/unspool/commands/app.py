"""What every command shares: the application, kinds of arguments, and how results are shown."""

from __future__ import annotations

import json as json_format
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from unspool.usage import whole_number


def _version() -> str:
    from importlib.metadata import version

    return version("unspool")


app = App(
    name="unspool",
    help="Sequence models you can train fast and see through.",
    version=_version,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
Whole = Annotated[int, Parameter(converter=whole_number)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]


def show(renderable: Any) -> None:
    """Something rich, on standard output."""
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(renderable)


def show_json(value: Mapping[str, Any]) -> None:
    """One object on one line, in ASCII, so that no encoding can refuse it."""
    print(json_format.dumps(plain(value), allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON has it: paths as text; null for a number that is not finite.

    Example:
        >>> plain({"a": (math.inf, Path("x"))})
        {'a': [None, 'x']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
