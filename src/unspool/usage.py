"""How the program is called, and one line for a call that it cannot follow."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

from cyclopts import Token
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from unspool.errors import nearest, unknown


def program() -> str:
    """What to type to call this program from here: ``unspool``, or the path to it.

    Example:
        >>> program()
        'unspool'
    """
    script = Path(sys.argv[0] or "unspool")
    if script.parts[-2:] == ("unspool", "__main__.py"):
        return f"{shlex.quote(_from_here(Path(sys.executable)))} -m unspool"
    if script.stem != "unspool":
        return "unspool"
    on_path = shutil.which("unspool")
    if on_path is not None and Path(on_path).resolve() == script.resolve():
        return "unspool"
    return shlex.quote(_from_here(script))


def whole_number(wanted: type, tokens: Sequence[Token]) -> int:
    """An int from a token; the command-line library would round 1.5 to 2 without a word."""
    return int(tokens[0].value)


def one_line(text: str) -> str:
    r"""A message on one line, with hints as this program is called and nothing that moves a cursor.

    Example:
        >>> one_line("x.txt:\n  not UTF-8\x1b")
        'x.txt: not UTF-8\\x1b'
    """
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
    return safe.replace("`unspool ", f"`{program()} ")


def complaint(error: CycloptsError) -> str:
    """One sentence for what could not be read from the command line: where, got, wanted."""
    where = " ".join(["unspool", *(error.command_chain or ())])
    for kind, tell in COMPLAINTS.items():
        if isinstance(error, kind):
            return tell(error, where)
    return f"{where}: {error}"


def _unknown_command(error: UnknownCommandError, where: str) -> str:
    assert error.unused_tokens and error.app is not None
    token = error.unused_tokens[0]
    if token.startswith("-"):
        return f"{where}: unknown option '{token}'; `{where} --help` lists them."
    commands = [name for name in error.app if not name.startswith("-")]
    return unknown(where, token, commands).replace("unknown name", "unknown command")


def _unknown_option(error: UnknownOptionError, where: str) -> str:
    option = (error.token.keyword or error.token.value).partition("=")[0]
    known = [name for argument in error.argument_collection for name in argument.names]
    close = nearest(option, [name for name in known if name.startswith("--")])
    hint = f" Did you mean '{close}'?" if close else ""
    return f"{where}: unknown option '{option}'; `{where} --help` lists them.{hint}"


def _missing(error: MissingArgumentError, where: str) -> str:
    assert error.argument is not None
    keyword = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), None)
    if keyword:
        return f"{where}: {keyword}: got nothing; wanted {_kind(error.argument.hint)}."
    return f"{where}: {error.argument.name} is missing; `{where} --help` shows what it takes."


def _wrong_type(error: CoercionError, where: str) -> str:
    value = error.token.value if error.token else ""
    name = (error.token and error.token.keyword) or (error.argument.name if error.argument else "")
    choices = error.argument.get_choices(force=True) if error.argument else None
    if choices:
        return f"{where}: {unknown(name, value, choices)}"
    return f"{where}: {name}: got '{value}'; wanted {_kind(error.target_type)}."


def _too_many(error: UnusedCliTokensError, where: str) -> str:
    first = (error.unused_tokens or [""])[0]
    return f"{where}: '{first}' is one argument too many; text with spaces goes in quotes."


def _repeated(error: RepeatArgumentError, where: str) -> str:
    return f"{where}: {error.token.keyword} is given twice; give it once."


def _kind(wanted: object) -> str:
    """A type in words; of ``int | None`` the first."""
    if typing.get_origin(wanted) is typing.Annotated:
        wanted = typing.get_args(wanted)[0]
    members = [each for each in typing.get_args(wanted) if each is not type(None)]
    if members and typing.get_origin(wanted) is not dict:
        return _kind(members[0])
    return KINDS.get(wanted, "a value")


def _from_here(path: Path) -> str:
    """A path as it is typed from the working directory: relative where it lies below."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would leave a .venv
    try:
        relative = absolute.relative_to(Path.cwd())
    except (ValueError, OSError):
        return str(absolute)
    return str(relative) if len(relative.parts) > 1 else f".{os.sep}{relative}"


KINDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "no value",
    str: "text",
    Path: "a path",
}
COMPLAINTS: dict[type[CycloptsError], typing.Callable[..., str]] = {
    UnknownCommandError: _unknown_command,
    UnknownOptionError: _unknown_option,
    MissingArgumentError: _missing,
    CoercionError: _wrong_type,
    UnusedCliTokensError: _too_many,
    RepeatArgumentError: _repeated,
}
