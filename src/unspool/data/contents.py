"""What a file or folder holds: a table, arrays, or running text; told from its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unspool.data.arrays import is_array_file, read_arrays
from unspool.data.conll import (
    looks_like_conllu,
    looks_like_token_lines,
    read_conllu,
    read_token_lines,
)
from unspool.data.delimited import LINE_END, find_delimiter, read_delimited
from unspool.data.folders import folder_table, name_table, other_files, path_table
from unspool.data.json_lines import looks_like_json_lines, read_json_lines
from unspool.data.roles import IMAGES, SOUNDS, profiles
from unspool.data.settings import DataSettings
from unspool.data.table import Table, decimal
from unspool.data.text import printable, read_text, refuse_blank
from unspool.errors import DataError

# Kinds of column that prose, cut at its commas, does not have.
TYPED = ("number", "date", "class", "sound", "image")
# What a file of such a name is, where its content says nothing.
NAMED: dict[str, Callable[[str, str], Table]] = {
    ".conllu": read_conllu,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
SAMPLE = 1000
MOST = 0.9


@dataclass(frozen=True, slots=True)
class Running:
    """A text that is no table, and the file it stands in."""

    text: str
    file: str


@dataclass(frozen=True, slots=True)
class Arrays:
    """The arrays of a file, by name."""

    arrays: dict[str, np.ndarray]
    file: str


Content = Table | Running | Arrays


def contents(
    paths: Sequence[Path], settings: DataSettings, labelled: bool = True
) -> tuple[list[Content], list[str]]:
    """What several files and folders hold.

    Sounds and images named one by one are read like a folder of them. Of a folder, every visible
    file is read; where one holds a table, those that hold none are left out, and told.

    Args:
        paths: one or more.
        settings: how tables are written, if that is given.
        labelled: whether sounds and images must have labels.

    Returns:
        What each file holds, and sentences on what was left out.

    Raises:
        DataError: if a file cannot be read, or a folder holds nothing that can.
    """
    found: list[Content] = []
    warnings: list[str] = []
    media = [path for path in paths if path.suffix.lower() in SOUNDS + IMAGES and path.is_file()]
    if media:
        found.append(_media(media, labelled))
    for path in paths:
        if path in media:
            continue
        if path.is_dir():
            inside, left_out = _folder(path, settings, labelled)
            found += inside
            warnings += left_out
        else:
            found.append(content(path, settings))
    return found, warnings


def content(path: Path, settings: DataSettings) -> Content:
    """What one file holds.

    Raises:
        DataError: if it cannot be read, naming the file and mostly the line.
    """
    if path.is_file() and is_array_file(path):
        return Arrays(read_arrays(path), printable(path))
    text = read_text(path, settings.encoding)
    return text_content(text, printable(path), settings)


def text_content(text: str, file: str, settings: DataSettings) -> Table | Running:
    r"""What a text is: JSON lines, CoNLL-U, a word and tag a line, a table, or running text.

    Running text is what looks like nothing else, unless its name says what it should be (`NAMED`).
    A table without names whose columns are all free text is one only if tabs separate them: prose
    has commas too.

    Raises:
        DataError: if it is blank, or not what it looks like.

    Example:
        >>> text_content("a\t1\nb\t0\n", "few.txt", DataSettings()).columns
        ('column 1', 'column 2')
        >>> text_content("Hello, you!\nHello, me!\n", "few.txt", DataSettings()).file
        'few.txt'
    """
    refuse_blank(text, file)
    asked = settings.delimiter is not None or settings.header == "yes"
    if looks_like_json_lines(text):
        return read_json_lines(text, file)
    if not asked:
        if looks_like_conllu(text):
            return read_conllu(text, file)
        if looks_like_token_lines(text):
            return read_token_lines(text, file)
    delimiter = settings.delimiter or find_delimiter(text)
    running = NAMED.get(Path(file).suffix.lower(), Running)
    if delimiter is None and not asked and not _is_column_of_numbers(text):
        return running(text, file)
    table = read_delimited(text, file, delimiter, settings.header)
    if asked or table.named or delimiter == "\t":
        return table
    typed = any(each.kind in TYPED and each.distinct > 1 for each in profiles(table))
    return table if typed else running(text, file)


def _is_column_of_numbers(text: str) -> bool:
    """Whether nearly every one of the first lines is a number, three or more."""
    lines, position = [], 0
    for found in LINE_END.finditer(text):
        lines.append(text[position : found.start()])
        position = found.end()
        if len(lines) == SAMPLE:
            break
    else:
        lines.append(text[position:])
    lines = [line for line in lines if line.strip()]
    return len(lines) > 2 and sum(decimal(line) is not None for line in lines) >= MOST * len(lines)


def _media(files: Sequence[Path], labelled: bool) -> Table:
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    if sounds and len(sounds) < len(files):
        raise DataError(
            f"{printable(files[0])}: {len(sounds)} sounds beside {len(files) - len(sounds)} "
            "images; wanted one kind."
        )
    what = "sounds" if sounds else "images"
    if not labelled:
        return path_table(sorted(files), what)
    return name_table(sorted(files), what, printable(files[0].parent))


def _folder(
    folder: Path, settings: DataSettings, labelled: bool
) -> tuple[list[Content], list[str]]:
    table = _naming_table(folder, settings) or folder_table(folder, labelled)
    if isinstance(table, Table):
        told = other_files(folder, table.file)
        return [table], [told] if told else []
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    found: list[Content] = []
    problems: list[str] = []
    for path in files:
        try:
            found.append(content(path, settings))
        except DataError as error:
            problems.append(str(error))
    if not found:
        first = f" The first: {problems[0]}" if problems else ""
        raise DataError(
            f"{printable(folder)}: holds no file that can be read, of {len(files)}.{first}"
        )
    left_out = [f"left out: {problem}" for problem in problems]
    if any(not isinstance(each, Running) for each in found):
        prose = [each for each in found if isinstance(each, Running)]
        left_out += [f"left out: {each.file} holds running text." for each in prose]
        found = [each for each in found if not isinstance(each, Running)]
    return found, left_out


def _naming_table(folder: Path, settings: DataSettings) -> Table | None:
    """A table in a folder of sounds or images that names them, such as metadata.csv."""
    names = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".csv", ".tsv", ".jsonl") and not path.name.startswith(".")
    ]
    for path in names:
        table = content(path, settings)
        if isinstance(table, Table) and any(
            each.kind in ("sound", "image") for each in profiles(table)
        ):
            return table
    return None
