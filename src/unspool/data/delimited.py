"""Tables as text: columns separated by tabs, commas, semicolons or pipes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from unspool.data.table import Place, Refused, Table, decimal, listed, short
from unspool.errors import DataError

# Separators that are tried, the first of equally good ones wins, and their names.
DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "pipes", ",": "commas"}
# Rows looked at to find the separator, the number of columns and whether there are names.
SAMPLE = 1000
# Share of those that must have the same number of columns.
CONSISTENT = 0.8
LONGEST_NAME = 60


def read_delimited(
    text: str, file: str, delimiter: str | None = None, header: str = "auto"
) -> Table:
    r"""A table, as spreadsheets and ``csv`` write it, with the line on which each row starts.

    A cell in quotes may hold the separator, line ends and quotes written twice. Where quotes do
    not come in such pairs, as in running text, they are characters like others: of the two ways
    the one that refuses fewer rows is taken. Lines without a character are no rows.

    Between semicolons, a column of numbers such as ``1,5`` is read as 1.5.

    Args:
        text: all of the file.
        file: its name, for the places.
        delimiter: one character; None finds it.
        header: "yes" if the first row names the columns, "no", or "auto".

    Returns:
        The table; rows of another width, or with quotes that do not end, are refused.

    Raises:
        DataError: if there is no row, or two columns have the same name.

    Example:
        >>> table = read_delimited('text,label\n"a, b",1\n\nc\n', "few.csv")
        >>> table.columns, table.rows
        (('text', 'label'), [['a, b', '1']])
        >>> table.refused[0]
        Refused(place=Place(file='few.csv', line=4), reason='1 column, wanted 2')
    """
    delimiter = delimiter or find_delimiter(text) or ","
    parsed = _parsed(text, delimiter)
    if not parsed:
        raise DataError(f"{file}: holds no rows.")
    width = _width(parsed)
    if header == "auto" and isinstance(parsed[0][1], list):
        # A header that is wider or narrower than the rows is still one.
        first = parsed[0][1]
        rest = [fields for _, fields in parsed[1:SAMPLE] if isinstance(fields, list)]
        named = is_header(first, [row for row in rest if len(row) == len(first)])
    else:
        named = header == "yes"
    columns = tuple(f"column {i + 1}" for i in range(width))
    if named:
        columns = _names(parsed[0], width, file)
        width = len(columns)
        parsed = parsed[1:]
    form = f"a table separated by {_name(delimiter)}"
    table = Table(columns, [], [], named=named, form=form, file=file)
    for line, fields in parsed:
        place = Place(file, line)
        if isinstance(fields, str):
            table.refused.append(Refused(place, fields))
        elif len(fields) != width:
            table.refused.append(Refused(place, _ragged(len(fields), width)))
        else:
            table.rows.append(list(fields))
            table.places.append(place)
    if delimiter == ";":
        _read_decimal_commas(table)
    return table


def find_delimiter(text: str) -> str | None:
    r"""What separates the columns of a table; None if it is no table.

    The separator that makes two or more names that columns have of the first row; else the one
    with which the most of the first rows have the same number of columns, two or more. At least
    four in five must.

    Example:
        >>> find_delimiter("a;1,5\nb;2\n"), find_delimiter("To be, or not to be\nthat is\n")
        (';', None)
    """
    best, best_share = None, CONSISTENT
    sample = _first_lines(text)
    for delimiter in DELIMITERS:
        if _known_names(sample, delimiter) > 1:
            return delimiter
    for delimiter in DELIMITERS:
        widths = Counter(
            len(fields) if isinstance(fields, list) else 0
            for _, fields in _parsed(sample, delimiter)
        )
        usual, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        share = count / max(1, sum(widths.values()))
        if usual > 1 and (share > best_share or (share == best_share and best is None)):
            best, best_share = delimiter, share
    return best


def is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    It does if its cells are short and no numbers, none recurs below as labels do, and an empty one
    stands above nothing or above numbers, as of a DataFrame's index;
    and one of them is a name that columns have (such as "text" or "label"), or they differ and one
    stands above numbers or dates, or above few values that recur.

    Args:
        first: the cells of the first row.
        rest: of others, each as wide.

    Example:
        >>> is_header(["phrase", "x"], [["good", "1"], ["bad", "0"]])
        True
        >>> is_header(["Go.", "Va !"], [["Run!", "Cours !"], ["Hi.", "Salut !"]])
        False
    """
    from unspool.data.roles import is_date, is_known_name

    columns = [[row[i] for row in rest] for i in range(len(first))]
    unnamed = [column for name, column in zip(first, columns, strict=True) if not name.strip()]
    if any(cell.strip() and decimal(cell) is None for column in unnamed for cell in column):
        return False
    columns = [column for name, column in zip(first, columns, strict=True) if name.strip()]
    first = [name for name in first if name.strip()]
    plain = all(
        len(name) <= LONGEST_NAME and decimal(name) is None and not is_date(name) for name in first
    )
    if not plain:
        return False
    if any(column.count(name) > 1 for name, column in zip(first, columns, strict=True)):
        return False
    if any(is_known_name(cell) for cell in first):
        return True
    return len(set(first)) == len(first) and any(_stands_above(column) for column in columns)


def _known_names(text: str, delimiter: str) -> int:
    from unspool.data.roles import is_known_name

    row = next(_records(text, delimiter, True), (0, ""))[1]
    return sum(map(is_known_name, row)) if isinstance(row, list) else 0


def _stands_above(cells: Sequence[str]) -> bool:
    """Whether these cells are numbers, dates, or few values that recur."""
    from unspool.data.roles import is_date

    filled = [cell for cell in cells if cell.strip()]
    if not filled:
        return False
    typed = sum(decimal(cell) is not None or is_date(cell) for cell in filled)
    if typed >= 0.9 * len(filled):
        return True
    counts = Counter(filled)
    return len(counts) <= max(2, len(filled) // 5) and min(counts.values()) > 1


def _read_decimal_commas(table: Table) -> None:
    """Turn decimal commas into points, in the columns that are numbers then."""
    for column in range(len(table.columns)):
        cells = [str(row[column]).strip() for row in table.rows]
        commas = sum(DECIMAL_COMMA.fullmatch(cell) is not None for cell in cells)
        numbers = sum(decimal(cell) is not None for cell in cells) + commas
        if commas and numbers >= 0.9 * sum(map(bool, cells)):
            table.form = "a table separated by semicolons, with decimal commas"
            for row, cell in zip(table.rows, cells, strict=True):
                if DECIMAL_COMMA.fullmatch(cell):
                    row[column] = cell.replace(",", ".")


def _names(first: tuple[int, list[str] | str], width: int, file: str) -> tuple[str, ...]:
    """The names in a header row, without the spaces around them."""
    line, fields = first
    if isinstance(fields, str):
        raise DataError(f"{file}, line {line}: {fields}; wanted the names of the columns.")
    names = [name.strip() for name in fields]
    while len(names) > width and not names[-1]:
        names.pop()
    names = [name or f"column {i + 1}" for i, name in enumerate(names)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{file}, line {line}: two columns are called {short(twice[0])}; wanted different "
            f"names, got {listed(names)}. If the line is no header: --data.header no."
        )
    return tuple(names)


def _parsed(text: str, delimiter: str) -> list[tuple[int, list[str] | str]]:
    """Rows with quotes read as such, or as characters, whichever refuses fewer."""
    plain = '"' not in text
    quoted = list(_records(text, delimiter, not plain))
    if plain:
        return quoted
    mended = list(_records(text, delimiter, False))
    return mended if _refusals(mended) < _refusals(quoted) else quoted


def _refusals(rows: Sequence[tuple[int, list[str] | str]]) -> int:
    """Rows that would be refused."""
    width = _width(rows)
    return sum(isinstance(row, str) or len(row) != width for _, row in rows)


def _width(rows: Sequence[tuple[int, list[str] | str]]) -> int:
    """The number of columns most of the first rows have; of equally frequent ones the larger."""
    widths = Counter(len(row) for _, row in rows[:SAMPLE] if isinstance(row, list))
    return max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))[0]


def _records(text: str, delimiter: str, quotes: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Lines and fields, or lines and what is wrong; every character is looked at a few times."""
    position, line, end = 0, 1, len(text)
    while position < end:
        stop, following = _line_end(text, position)
        if stop == position:
            position, line = following, line + 1
            continue
        if not quotes or text.find('"', position, stop) < 0:
            yield line, text[position:stop].split(delimiter)
            position, line = following, line + 1
            continue
        fields, after = _quoted_record(text, position, delimiter)
        if after is None:
            # What opened does not end as it should: that line is refused, reading goes on below.
            yield line, fields[0]
            position, line = following, line + 1
            continue
        yield line, fields
        line += _line_ends(text, position, after)
        position = after


def _quoted_record(text: str, position: int, delimiter: str) -> tuple[list[str], int | None]:
    """Fields from ``position`` on and where the next record starts; or what is wrong and None."""
    fields: list[str] = []
    end = len(text)
    while True:
        if position < end and text[position] == '"':
            content, position = _quoted(text, position + 1)
            if position < 0:
                return [UNENDED], None
            if position < end and text[position] not in (delimiter, "\r", "\n"):
                return [f"a quote in column {len(fields) + 1} ends before the cell does"], None
            fields.append(content)
        else:
            stop, _ = _line_end(text, position)
            cut = text.find(delimiter, position, stop)
            cut = stop if cut < 0 else cut
            fields.append(text[position:cut])
            position = cut
        if position >= end:
            return fields, end
        if text[position] != delimiter:
            return fields, _line_end(text, position)[1]
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    """What stands between quotes and the position after them; -1 if they do not end."""
    pieces = []
    while True:
        close = text.find('"', position)
        if close < 0:
            return "", -1
        pieces.append(text[position:close])
        if not text.startswith('"', close + 1):
            return '"'.join(pieces), close + 1
        position = close + 2


def _line_end(text: str, position: int) -> tuple[int, int]:
    """Where a line ends and where the next starts; CR, LF and CRLF end lines, nothing else does."""
    found = LINE_END.search(text, position)
    return found.span() if found else (len(text), len(text))


def _line_ends(text: str, start: int, stop: int) -> int:
    return sum(1 for _ in LINE_END.finditer(text, start, stop))


def _first_lines(text: str) -> str:
    """Some of the text's front that ends with a line."""
    for count, found in enumerate(LINE_END.finditer(text), 1):
        if count >= SAMPLE or found.end() > LARGEST_SAMPLE:
            return text[: found.end()]
    return text


def _ragged(got: int, wanted: int) -> str:
    return f"{got} column{'s' if got != 1 else ''}, wanted {wanted}"


def _name(delimiter: str) -> str:
    return DELIMITERS.get(delimiter, repr(delimiter))


DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
LINE_END = re.compile(r"\r\n|\r|\n")
LARGEST_SAMPLE = 1 << 20
UNENDED = "a quote opens and never closes"
