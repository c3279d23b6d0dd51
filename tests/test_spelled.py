"""Numbers and dates in words: values that are known, and laws over all of them."""

from __future__ import annotations

import re
from datetime import date

import pytest

from unspool.data.recognise import recognise
from unspool.data.settings import DataSettings
from unspool.data.spelled import LANGUAGES, LARGEST, spell
from unspool.data.spelled_dates import (
    DATES,
    FIRST_DAY,
    NUM_DAYS,
    copied,
    dates,
    reverse,
    spell_date,
)
from unspool.errors import ConfigError

# From grammars and dictionaries, where each language does something of its own.
KNOWN = {
    "english": {
        0: "zero", 12: "twelve", 19: "nineteen", 40: "forty", 85: "eighty-five",
        100: "one hundred", 342: "three hundred and forty-two", 1001: "one thousand and one",
        1100: "one thousand one hundred", 20_019: "twenty thousand and nineteen",
        999_999: "nine hundred and ninety-nine thousand nine hundred and ninety-nine",
    },
    "german": {
        0: "null", 1: "eins", 16: "sechzehn", 17: "siebzehn", 21: "einundzwanzig", 30: "dreißig",
        76: "sechsundsiebzig", 100: "einhundert", 101: "einhunderteins", 1000: "eintausend",
        21_000: "einundzwanzigtausend", 101_000: "einhunderteintausend",
        1984: "eintausendneunhundertvierundachtzig",
    },
    "french": {
        17: "dix-sept", 21: "vingt et un", 70: "soixante-dix", 71: "soixante et onze",
        77: "soixante-dix-sept", 80: "quatre-vingts", 81: "quatre-vingt-un",
        91: "quatre-vingt-onze", 100: "cent", 200: "deux cents", 201: "deux cent un",
        280: "deux cent quatre-vingts", 1000: "mille", 2000: "deux mille",
        80_000: "quatre-vingt mille", 200_000: "deux cent mille",
    },
    "spanish": {
        16: "dieciséis", 22: "veintidós", 31: "treinta y uno", 100: "cien", 101: "ciento uno",
        500: "quinientos", 700: "setecientos", 900: "novecientos", 1000: "mil",
        21_000: "veintiún mil", 31_001: "treinta y un mil uno", 100_000: "cien mil",
        555_555: "quinientos cincuenta y cinco mil quinientos cincuenta y cinco",
    },
    "japanese": {
        0: "零", 10: "十", 11: "十一", 20: "二十", 100: "百", 365: "三百六十五", 1000: "千",
        10_000: "一万", 120_345: "十二万三百四十五",
    },
    "thai": {
        0: "ศูนย์", 10: "สิบ", 11: "สิบเอ็ด", 12: "สิบสอง", 20: "ยี่สิบ", 21: "ยี่สิบเอ็ด",
        31: "สามสิบเอ็ด", 100: "หนึ่งร้อย", 1000: "หนึ่งพัน", 10_000: "หนึ่งหมื่น",
        100_000: "หนึ่งแสน", 2345: "สองพันสามร้อยสี่สิบห้า",
    },
}  # fmt: skip
KNOWN_DATES = [
    ("english", date(1805, 12, 31), "the thirty-first of December eighteen oh five"),
    ("english", date(1900, 2, 2), "the second of February nineteen hundred"),
    ("english", date(2009, 6, 12), "the twelfth of June two thousand and nine"),
    ("english", date(2024, 8, 20), "the twentieth of August twenty twenty-four"),
    ("german", date(1999, 3, 1), "der erste März neunzehnhundertneunundneunzig"),
    ("german", date(2000, 10, 31), "der einunddreißigste Oktober zweitausend"),
    ("french", date(1871, 8, 11), "le onze août mille huit cent soixante et onze"),
    ("spanish", date(2001, 9, 21), "el veintiuno de septiembre de dos mil uno"),
    ("japanese", date(1868, 11, 10), "千八百六十八年十一月十日"),
    ("thai", date(2000, 4, 13), "วันที่สิบสามเมษายนคริสต์ศักราชสองพัน"),
]


@pytest.mark.parametrize("language", KNOWN)
def test_number_is_spelled_as_the_grammar_has_it(language):
    assert {number: spell(number, language) for number in KNOWN[language]} == KNOWN[language]


@pytest.mark.parametrize(("language", "day", "text"), KNOWN_DATES)
def test_date_is_spelled_as_the_grammar_has_it(language, day, text):
    assert spell_date(day, language) == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_numbers_of_a_language_are_spelled_alike(language):
    numbers = [*range(3000), *range(3000, LARGEST + 1, 97)]
    assert len({spell(number, language) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("language", DATES)
def test_no_two_dates_of_a_language_are_spelled_alike(language):
    days = [date.fromordinal(FIRST_DAY.toordinal() + n) for n in range(0, NUM_DAYS, 11)]
    assert len({spell_date(day, language) for day in days}) == len(days)


@pytest.mark.parametrize("language", LANGUAGES)
def test_number_is_spelled_in_plain_pieces(language):
    for number in range(0, LARGEST, 9973):
        text = spell(number, language)
        assert text == text.strip() and "  " not in text and not re.search(r"\d|- ", text)


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_spelling_refuses_a_number_beyond_its_words(number):
    with pytest.raises(ConfigError, match=r"wanted 0 to 999,999"):
        spell(number, "english")


def test_spelling_names_the_nearest_language_when_it_is_misspelt():
    with pytest.raises(ConfigError, match="Did you mean 'german'"):
        spell(1, "germn")


def pairs(text):
    header, *rows = text.splitlines()
    assert header == "source\ttarget"
    return [tuple(row.split("\t")) for row in rows]


def test_sample_of_dates_holds_each_source_once_and_what_it_says():
    found = pairs(dates(rows=3000))
    assert len({source for source, _ in found}) == len(found) == 3000
    said = {}
    for source, target in found:
        if "." in target:
            day, month, year = map(int, target.split("."))
            forms = [spell_date(date(year, month, day), language) for language in DATES]
        else:
            forms = [spell(int(target), language) for language in LANGUAGES]
        assert source in forms
        for language, form in zip(LANGUAGES, forms, strict=True):
            said[language, "." in target] = said.get((language, "." in target), 0) + (
                form == source
            )
    assert min(said.values()) > 100, "a language, or a kind of row, is missing"


def test_sample_of_dates_grows_at_its_end_only():
    assert dates(rows=300).startswith(dates(rows=200))


def test_letters_come_back_turned_round_or_as_they_are():
    assert all(source[::-1] == target for source, target in pairs(reverse(rows=200)))
    assert all(source == target for source, target in pairs(copied(rows=200)))


@pytest.mark.parametrize("make", [dates, reverse, copied])
def test_sample_is_recognised_as_a_translation_from_its_content(make):
    from unspool.data.delimited import read_delimited

    table = read_delimited(make(rows=120), "sample")
    found = recognise(table, DataSettings())
    assert found.task == "translate"
    assert found.roles == {"source": "source", "target": "target"}
