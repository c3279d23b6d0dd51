"""A file's characters, exactly; or one line that says why there are none."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

from unspool.errors import ConfigError, DataError, nearest

# Share of control characters above which a file is not taken for text.
MOST_CONTROL = 0.3


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    r"""All characters of a text file, line ends as they stand in it.

    A byte order mark is taken off. With "utf-8", a file that starts with the mark of UTF-16 or
    UTF-32 is read as that.

    Args:
        path: the file.
        encoding: a name Python knows; "utf-8" unless the file is older than that.

    Returns:
        At least one character; no NUL, no lone surrogate.

    Raises:
        DataError: if the file is missing, empty, a folder, unreadable, binary, or not in
            ``encoding``; the last with byte offset and line.
        ConfigError: if ``encoding`` is not the name of a text encoding.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp(), "two.txt")
        >>> _ = file.write_bytes(b"one\r\ntwo")
        >>> read_text(file)
        'one\r\ntwo'
    """
    path = Path(path)
    name = printable(path)
    data = _read_bytes(path, name)
    mark, encoding = _byte_order_mark(data, encoding)
    body = data[len(mark) :]
    _refuse_known_formats(data, name)
    if not _has_wide_units(encoding):
        _refuse_nul(body, len(mark), name)
    text = _decode(body, encoding, len(mark), name)
    if not text:
        raise DataError(f"{name}: is empty; wanted text.")
    _refuse_binary(text, name)
    return text


def refuse_blank(text: str, name: str) -> None:
    """Make sure that there is something to learn from.

    Raises:
        DataError: if all of a text is blank.

    Example:
        >>> refuse_blank(" a", "few.txt")
    """
    if not text.strip():
        raise DataError(f"{name}: holds nothing but blanks; wanted text.")


def split_text(text: str, share: float, where: str = "text") -> tuple[str, str]:
    """The first ``share`` of a text, to train on, and the rest, to validate on.

    Args:
        text: at least two characters.
        share: between 0 and 1, exclusive; the border is ``int(share * len(text))``.
        where: what the text is called in the message.

    Raises:
        DataError: if one of the parts would be empty.

    Example:
        >>> split_text("to be or not", 0.75)
        ('to be or ', 'not')
    """
    border = int(share * len(text))
    if not 0 < border < len(text):
        raise DataError(
            f"{where}: {len(text)} characters cut at {border} leave nothing to "
            f"{'train' if border == 0 else 'validate'} on; give more text or another data.split."
        )
    return text[:border], text[border:]


def printable(path: str | Path) -> str:
    r"""A path as it can stand in a one-line message.

    Example:
        >>> printable("notes.txt"), printable("two\nlines")
        ('notes.txt', "'two\\nlines'")
    """
    return str(path) if str(path).isprintable() else ascii(str(path))


def check_surrogates(text: str, where: str) -> None:
    """Refuse half a character, which no file can hold.

    Raises:
        DataError: naming the first lone surrogate and where it stands.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        position = error.start
        raise DataError(
            f"{where}: character {position} (line {line_of(text, position)}) is the lone surrogate "
            f"U+{ord(text[position]):04X}, half a character; wanted text that UTF-8 can write."
        ) from error


def line_of(text: str, position: int) -> int:
    """The line, counted from 1, on which a character stands."""
    return text.count("\n", 0, position) + 1


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{name}: is a folder; wanted a text file, such as one inside it.")
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            raise DataError(f"{name}: is a device; wanted a text file.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.{_neighbour(path)}") from error
    except NotADirectoryError as error:
        raise DataError(f"{name}: no such file; part of its path is a file itself.") from error
    except PermissionError as error:
        raise DataError(
            f"{name}: may not be read; wanted a file you have the right to read."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: cannot be read: {reason}.") from error


def _neighbour(path: Path) -> str:
    """A file of nearly that name, if its folder has one."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f" The folder {printable(path.parent)} is not there either."
    name = nearest(path.name, names)
    return f" Did you mean {printable(path.parent / name)!r}?" if name else ""


def _byte_order_mark(data: bytes, encoding: str) -> tuple[bytes, str]:
    """The mark a file starts with, and the encoding to read the rest in."""
    try:
        plain = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(f"data.encoding: Python knows no encoding '{encoding}'.") from error
    if plain not in ("utf-8", "utf-8-sig"):
        return b"", encoding
    for mark, marked in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return mark, marked
    return b"", "utf-8"


def _has_wide_units(encoding: str) -> bool:
    """Whether bytes of value zero are ordinary in an encoding."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _refuse_known_formats(data: bytes, name: str) -> None:
    for start, kind in FORMATS:
        if data.startswith(start):
            raise DataError(
                f"{name}: is {kind}, not text; unpack or export it as plain text first."
            )


def _refuse_nul(body: bytes, offset: int, name: str) -> None:
    position = body.find(b"\0")
    if position >= 0:
        line = body.count(b"\n", 0, position) + 1
        raise DataError(
            f"{name}: byte {position + offset} (line {line}) is zero, so the file is binary; "
            "wanted text (for UTF-16 without a mark: --data.encoding "
            f"utf-16-{'le' if position % 2 else 'be'})."
        )


def _decode(body: bytes, encoding: str, offset: int, name: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        line_end = "\n".encode(encoding)
        line = body.count(line_end, 0, error.start) + 1
        shown = " ".join(f"{byte:02x}" for byte in body[error.start : error.start + 4])
        raise DataError(
            f"{name}: byte {error.start + offset} (line {line}) is not "
            f"{encoding}: {shown}; save the file as UTF-8 or name its encoding, such as "
            "--data.encoding latin-1."
        ) from error
    except UnicodeError as error:
        raise DataError(f"{name}: is not {encoding}; name its encoding.") from error
    except LookupError as error:
        raise ConfigError(f"data.encoding: '{encoding}' does not give text.") from error


def _refuse_binary(text: str, name: str) -> None:
    position = text.find("\0")
    if position >= 0:
        raise DataError(
            f"{name}: character {position} (line {line_of(text, position)}) is NUL, so the file is "
            "binary or in another encoding; wanted text."
        )
    control = len(text) - len(text.translate(CONTROL))
    if control > MOST_CONTROL * len(text):
        raise DataError(
            f"{name}: {control} of {len(text)} characters are control characters, so the file is "
            "binary; wanted text."
        )
    check_surrogates(text, name)


# UTF-32 first: its little-endian mark starts with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
FORMATS = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive (or an office document)"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
# Everything below the space, and delete, but tab, the line ends and escape (coloured output).
CONTROL = dict.fromkeys([*range(9), *range(14, 27), *range(28, 32), 127])
