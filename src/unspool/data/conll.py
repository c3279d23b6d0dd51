"""Sentences with a tag for each word: CoNLL-U, and a word and its tag on each line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from unspool.data.table import Place, Refused, Table
from unspool.errors import DataError

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
# Those that are kept; the others are trees and notes.
KEPT = ("FORM", "LEMMA", "UPOS", "XPOS")
LINE_END = re.compile(r"\r\n|\n|\r")
# Lines looked at to see how a file is written, and the share that must be alike: ten columns that
# begin with a number are like nothing else; two words on every line may be a poem.
SAMPLE = 2000
ALIKE = {"conllu": 0.5, "tabs": 0.8, "spaces": 0.95}
# Share of words that may have a space inside.
MOST_SPACED = 0.05


def read_conllu(text: str, file: str) -> Table:
    r"""Sentences of CoNLL-U: ten columns separated by tabs, an empty line behind each sentence.

    Comments, multiword ranges (``3-4``) and empty nodes (``5.1``) are no words and are left out;
    the words that a range is made of stay.

    Args:
        text: all of the file.
        file: its name, for the places.

    Returns:
        A row for each sentence, with a list for FORM, LEMMA, UPOS and XPOS; the place is that of
        its first line. Sentences with a line that is no word are refused.

    Raises:
        DataError: if there is no sentence.

    Example:
        >>> rest = "\t_" * 4
        >>> line = "1\tGo\tgo\tVERB\tVB\t_" + rest + "\n"
        >>> table = read_conllu("# text = Go\n" + line + "\n", "few.conllu")
        >>> table.column("FORM"), table.column("UPOS")
        ([('Go',)], [('VERB',)])
    """
    table = Table(KEPT, [], [], form="CoNLL-U", unit="sentences", file=file)
    indices = [COLUMNS.index(name) for name in KEPT]
    for start, lines in _blocks(text):
        place = Place(file, start)
        words, problem = [], ""
        for number, line in enumerate(lines, start):
            if line.startswith("#"):
                continue
            cells = line.split("\t")
            problem = problem or _misfit(cells, number)
            if not problem and cells[0].isdigit():
                words.append([cells[i] for i in indices])
        if problem:
            table.refused.append(Refused(place, problem))
        elif words:
            table.rows.append([tuple(column) for column in zip(*words, strict=True)])
            table.places.append(place)
        elif any(not line.startswith("#") for line in lines):
            table.refused.append(Refused(place, "a sentence without words"))
    return _checked(table, file)


def read_token_lines(text: str, file: str, width: int | None = None) -> Table:
    r"""Sentences with a word on each line, its tag at the end, and an empty line between them.

    Columns are separated by tabs, or else by spaces; of more than two the first is the word and
    the last the tag. ``-DOCSTART-`` lines are left out.

    Args:
        text: all of the file.
        file: its name, for the places.
        width: columns on each line; None finds it.

    Returns:
        A row for each sentence, with a list for ``token`` and ``tag`` (between them ``column 2``,
        …). Sentences with a line of other width are refused.

    Raises:
        DataError: if there is no sentence.

    Example:
        >>> read_token_lines("Go\tVERB\n!\tPUNCT\n\nRun VERB\n", "few.txt").rows
        [[('Go', '!'), ('VERB', 'PUNCT')]]
    """
    tabs = _has_tabs(text)
    width = width or max(2, _usual_width(text, tabs))
    middle = tuple(f"column {i + 1}" for i in range(1, width - 1))
    form = f"a word and its tag on each line, separated by {'tabs' if tabs else 'spaces'}"
    columns = ("token", *middle, "tag")
    table = Table(columns, [], [], named=False, form=form, unit="sentences", file=file)
    for start, lines in _blocks(text):
        words, problem = [], ""
        for number, line in enumerate(lines, start):
            cells = line.split("\t") if tabs else line.split()
            if cells[0] == "-DOCSTART-":
                continue
            if len(cells) != width:
                many = f"{len(cells)} column{'s' if len(cells) > 1 else ''}"
                where = f"line {number} has " if number > start else ""
                problem = problem or f"{where}{many}, wanted {width}"
            words.append(cells)
        if problem:
            table.refused.append(Refused(Place(file, start), problem))
        elif words:
            table.rows.append([tuple(column) for column in zip(*words, strict=True)])
            table.places.append(Place(file, start))
    return _checked(table, file)


def looks_like_conllu(text: str) -> bool:
    r"""Whether most of the first lines are ten columns that begin with a number, or comments.

    Example:
        >>> looks_like_conllu("1" + "\t_" * 9), looks_like_conllu("# a heading\n")
        (True, False)
    """
    lines = [line for line in _first(text) if line.strip() and not line.startswith("#")]
    words = sum(WORD.match(line) is not None and line.count("\t") == 9 for line in lines)
    return bool(lines) and words >= ALIKE["conllu"] * len(lines)


def looks_like_token_lines(text: str) -> bool:
    r"""Whether the first lines are words with one of few tags, and empty lines part sentences.

    Example:
        >>> looks_like_token_lines("a\tX\nb\tY\n\nc\tX\nd\tY\n")
        True
        >>> looks_like_token_lines("All:\nWe know't, we know't.\n\nFirst:\nLet us\n")
        False
    """
    lines = _first(text)
    while lines and not lines[-1].strip():
        lines.pop()
    gaps = sum(not line.strip() for line in lines)
    tabs = _has_tabs(text)
    width = _usual_width(text, tabs)
    if not gaps or width < 2:
        return False
    cells = [line.split("\t") if tabs else line.split() for line in lines if line.strip()]
    alike = [row for row in cells if len(row) == width]
    share = ALIKE["tabs" if tabs else "spaces"]
    if len(alike) < share * len(cells) or any(" " in row[-1].strip() for row in alike):
        return False
    spaced = sum(" " in row[0].strip() for row in alike)
    tags = Counter(row[-1] for row in alike)
    return spaced <= MOST_SPACED * len(alike) and 2 * len(tags) <= len(alike)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines between empty lines, and the number of the first of them."""
    start, lines = 1, []
    number = 0
    for number, line in enumerate(LINE_END.split(text), 1):
        if line.strip():
            if not lines:
                start = number
            lines.append(line)
        elif lines:
            yield start, lines
            lines = []
    if lines:
        yield start, lines


def _misfit(cells: Sequence[str], number: int) -> str:
    if len(cells) != len(COLUMNS):
        many = f"{len(cells)} column{'s' if len(cells) > 1 else ''}"
        return f"line {number} has {many}, wanted {len(COLUMNS)} separated by tabs"
    if not ID.fullmatch(cells[0]):
        return f"line {number} begins with no number of a word"
    if cells[0].isdigit() and not cells[1]:
        return f"line {number} has no word"
    return ""


def _checked(table: Table, file: str) -> Table:
    if not table.total:
        raise DataError(f"{file}: holds no sentences; wanted words with tags, one a line.")
    return table


def _first(text: str) -> list[str]:
    lines = []
    position = 0
    for found in LINE_END.finditer(text):
        lines.append(text[position : found.start()])
        position = found.end()
        if len(lines) == SAMPLE:
            return lines
    return [*lines, text[position:]]


def _has_tabs(text: str) -> bool:
    lines = [line for line in _first(text) if line.strip()]
    return 2 * sum("\t" in line for line in lines) > len(lines)


def _usual_width(text: str, tabs: bool) -> int:
    lines = [line for line in _first(text) if line.strip()]
    widths = Counter(len(line.split("\t") if tabs else line.split()) for line in lines)
    return widths.most_common(1)[0][0] if widths else 0


ID = re.compile(r"[0-9]+([-.][0-9]+)?")
WORD = re.compile(r"[0-9]+([-.][0-9]+)?\t")
