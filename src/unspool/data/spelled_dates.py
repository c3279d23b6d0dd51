"""Dates spelled out in six languages, and the embedded samples of translation."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta

from unspool.data.spelled import (
    LANGUAGES,
    LARGEST,
    english,
    french,
    german,
    japanese,
    spanish,
    spell,
    thai,
)
from unspool.errors import choose


def spell_date(day: date, language: str) -> str:
    """A date in words.

    Args:
        day: from 1100 to 2099, so that English can say the year in two halves.
        language: a key of `DATES`.

    Raises:
        ConfigError: for another language.

    Example:
        >>> spell_date(date(1999, 5, 3), "english")
        'the third of May nineteen ninety-nine'
        >>> spell_date(date(1999, 5, 3), "japanese")
        '千九百九十九年五月三日'
    """
    return choose(language, DATES, "language")(day)


def english_date(day: date) -> str:
    """The day with its ending, and the year in two halves.

    Example:
        >>> english_date(date(1905, 1, 21)), english_date(date(2000, 12, 30))
        ('the twenty-first of January nineteen oh five', 'the thirtieth of December two thousand')
    """
    return f"the {_ordinal(day.day)} of {MONTHS['english'][day.month - 1]} {_year(day.year)}"


def _ordinal(number: int) -> str:
    head, dash, last = english(number).rpartition("-")
    if last in ORDINALS:
        return head + dash + ORDINALS[last]
    return head + dash + (f"{last[:-1]}ie" if last.endswith("y") else last) + "th"


def _year(year: int) -> str:
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return english(year)
    if not rest:
        return f"{english(century)} hundred"
    return f"{english(century)} {'oh ' if rest < 10 else ''}{english(rest)}"


def german_date(day: date) -> str:
    """The day with its ending; the year in hundreds, but for the years after 2000.

    Example:
        >>> german_date(date(1987, 3, 7)), german_date(date(2021, 8, 20))
        ('der siebte März neunzehnhundertsiebenundachtzig', 'der zwanzigste August \
zweitausendeinundzwanzig')
    """
    number = GERMAN_ORDINALS.get(day.day, german(day.day) + ("te" if day.day < 20 else "ste"))
    century, rest = divmod(day.year, 100)
    year = f"{german(century)}hundert{german(rest) if rest else ''}"
    year = year if century < 20 else german(day.year)
    return f"der {number} {MONTHS['german'][day.month - 1]} {year}"


def french_date(day: date) -> str:
    """Only the first of a month has an ending.

    Example:
        >>> french_date(date(1789, 7, 1))
        'le premier juillet mille sept cent quatre-vingt-neuf'
    """
    number = "premier" if day.day == 1 else french(day.day)
    return f"le {number} {MONTHS['french'][day.month - 1]} {french(day.year)}"


def spanish_date(day: date) -> str:
    """Day, month and year joined by "de".

    Example:
        >>> spanish_date(date(1936, 7, 18))
        'el dieciocho de julio de mil novecientos treinta y seis'
    """
    month = MONTHS["spanish"][day.month - 1]
    return f"el {spanish(day.day)} de {month} de {spanish(day.year)}"


def japanese_date(day: date) -> str:
    """Year, month, day: the other way round.

    Example:
        >>> japanese_date(date(2024, 2, 29))
        '二千二十四年二月二十九日'
    """
    return f"{japanese(day.year)}年{japanese(day.month)}月{japanese(day.day)}日"


def thai_date(day: date) -> str:
    """Day, month and year of the Christian era, without spaces.

    Example:
        >>> thai_date(date(2001, 1, 2))
        'วันที่สองมกราคมคริสต์ศักราชสองพันเอ็ด'
    """
    return f"วันที่{thai(day.day)}{MONTHS['thai'][day.month - 1]}คริสต์ศักราช{thai(day.year)}"


def dates(rows: int = 18_000, seed: int = 8) -> str:
    """Dates and numbers spelled out in six languages, and both in digits: a text to translate.

    Half of the rows are dates from 1800 to 2099, written as day.month.year; half are numbers, of
    each count of digits from one to six equally many. No row comes twice.

    Args:
        rows: of the table.
        seed: of what is drawn; the text is the same on every machine.

    Returns:
        A table with header, columns ``source`` and ``target``, separated by tabs.

    Example:
        >>> lines = dates(rows=4).splitlines()
        >>> len(lines), lines[0].split(chr(9))
        (5, ['source', 'target'])
    """
    draw = random.Random(seed)
    found: dict[str, str] = {}
    names = list(LANGUAGES)
    while len(found) < rows:
        language = names[int(draw.random() * len(names))]
        if draw.random() < 0.5:
            day = FIRST_DAY + timedelta(int(draw.random() * NUM_DAYS))
            found[spell_date(day, language)] = f"{day.day}.{day.month}.{day.year}"
        else:
            number = int(draw.random() * 10 ** (1 + int(draw.random() * len(str(LARGEST)))))
            found[spell(number, language)] = str(number)
    return _table(found)


def reverse(rows: int = 16000, seed: int = 9) -> str:
    """Letters, and the same from the end: attention has to run backwards.

    Example:
        >>> source, target = reverse(rows=1).splitlines()[1].split(chr(9))
        >>> source[::-1] == target
        True
    """
    return _table({source: source[::-1] for source in _letters(rows, seed)})


def copied(rows: int = 16000, seed: int = 10) -> str:
    """Letters, and the same again: attention has to run along.

    Example:
        >>> source, target = copied(rows=1).splitlines()[1].split(chr(9))
        >>> source == target
        True
    """
    return _table({source: source for source in _letters(rows, seed)})


def _letters(rows: int, seed: int) -> list[str]:
    """Different rows of 4 to 12 letters."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < rows:
        length = 4 + int(draw.random() * 9)
        found["".join(LETTERS[int(draw.random() * len(LETTERS))] for _ in range(length))] = None
    return list(found)


def _table(pairs: dict[str, str]) -> str:
    rows = [f"{source}\t{target}" for source, target in pairs.items()]
    return "\n".join(["source\ttarget", *rows]) + "\n"


# `random` without its integers: those are drawn differently from version to version.
FIRST_DAY = date(1800, 1, 1)
NUM_DAYS = (date(2100, 1, 1) - FIRST_DAY).days
LETTERS = "abcdefghijklmnopqrst"
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
GERMAN_ORDINALS = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
MONTHS = {
    "english": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    "german": [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    "french": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    "spanish": [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    "thai": [
        "มกราคม",
        "กุมภาพันธ์",
        "มีนาคม",
        "เมษายน",
        "พฤษภาคม",
        "มิถุนายน",
        "กรกฎาคม",
        "สิงหาคม",
        "กันยายน",
        "ตุลาคม",
        "พฤศจิกายน",
        "ธันวาคม",
    ],
}
DATES: dict[str, Callable[[date], str]] = {
    "english": english_date,
    "german": german_date,
    "french": french_date,
    "spanish": spanish_date,
    "japanese": japanese_date,
    "thai": thai_date,
}
