"""Whole numbers spelled out in six languages, from 0 to 999,999.

Four separate words by spaces or hyphens, one of them (German) joins them, and two are written
without spaces.
"""

from __future__ import annotations

from collections.abc import Callable

from unspool.errors import ConfigError, choose


def spell(number: int, language: str) -> str:
    """A number in words.

    Args:
        number: 0 to 999,999.
        language: a key of `LANGUAGES`.

    Raises:
        ConfigError: for another number or language.

    Example:
        >>> spell(421, "english"), spell(421, "german")
        ('four hundred and twenty-one', 'vierhunderteinundzwanzig')
        >>> spell(91, "french"), spell(31, "spanish")
        ('quatre-vingt-onze', 'treinta y uno')
        >>> spell(421, "japanese"), spell(421, "thai")
        ('四百二十一', 'สี่ร้อยยี่สิบเอ็ด')
    """
    if not 0 <= number <= LARGEST:
        raise ConfigError(f"spell: got {number}; wanted 0 to {LARGEST:,}.")
    return choose(language, LANGUAGES, "language")(number)


def english(number: int) -> str:
    """As the British say it, with "and" before the last two digits.

    Example:
        >>> english(1005), english(100_017)
        ('one thousand and five', 'one hundred thousand and seventeen')
    """
    if number < 20:
        return ENGLISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return ENGLISH_TENS[tens] + (f"-{ENGLISH[ones]}" if ones else "")
    size, word = (1000, "thousand") if number >= 1000 else (100, "hundred")
    many, rest = divmod(number, size)
    head = f"{english(many)} {word}"
    if not rest:
        return head
    return f"{head} {'and ' if rest < 100 else ''}{english(rest)}"


def german(number: int) -> str:
    """One word, ones before tens; a one is "eins" at the end only.

    Example:
        >>> german(101), german(21_001)
        ('einhunderteins', 'einundzwanzigtausendeins')
    """
    if number < 13:
        return GERMAN[number]
    if number < 20:
        return GERMAN_TEENS.get(number, GERMAN[number - 10]) + "zehn"
    if number < 100:
        tens, ones = divmod(number, 10)
        return (f"{_inside(GERMAN[ones])}und" if ones else "") + GERMAN_TENS[tens]
    size, word = (1000, "tausend") if number >= 1000 else (100, "hundert")
    many, rest = divmod(number, size)
    return _inside(german(many)) + word + (german(rest) if rest else "")


def _inside(word: str) -> str:
    """A German number before another part: "eins" loses its last letter."""
    return word[:-1] if word.endswith("eins") else word


def french(number: int) -> str:
    """As in France: sixty and ten, four twenties; hyphens inside two digits, but not about "et".

    Example:
        >>> french(71), french(80), french(80_000), french(200)
        ('soixante et onze', 'quatre-vingts', 'quatre-vingt mille', 'deux cents')
    """
    if number < 17:
        return FRENCH[number]
    if number < 100:
        return _french_tens(number)
    if number < 1000:
        many, rest = divmod(number, 100)
        head = "cent" if many == 1 else f"{FRENCH[many]} cent"
        if not rest:
            return head if many == 1 else f"{head}s"
        return f"{head} {french(rest)}"
    many, rest = divmod(number, 1000)
    head = "mille" if many == 1 else f"{_before_mille(french(many))} mille"
    return f"{head} {french(rest)}" if rest else head


def _french_tens(number: int) -> str:
    tens, ones = divmod(number, 10)
    if tens in (7, 9):  # sixty-ten, four-twenty-ten
        tens, ones = tens - 1, ones + 10
    word = FRENCH_TENS[tens]
    if not ones:
        return f"{word}s" if tens == 8 else word
    if ones in (1, 11) and tens != 8:
        return f"{word} et {FRENCH[ones]}"
    return f"{word}-{FRENCH[ones] if ones < 17 else f'dix-{FRENCH[ones - 10]}'}"


def _before_mille(word: str) -> str:
    """The words "cents" and "vingts" lose their s before "mille"."""
    return word[:-1] if word.endswith(("cents", "vingts")) else word


def spanish(number: int) -> str:
    """With "y" between tens and ones, and a short "un" before "mil".

    Example:
        >>> spanish(100), spanish(101), spanish(21_000), spanish(516)
        ('cien', 'ciento uno', 'veintiún mil', 'quinientos dieciséis')
    """
    if number < 30:
        return SPANISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return SPANISH_TENS[tens] + (f" y {SPANISH[ones]}" if ones else "")
    if number == 100:
        return "cien"
    if number < 1000:
        many, rest = divmod(number, 100)
        return SPANISH_HUNDREDS[many] + (f" {spanish(rest)}" if rest else "")
    many, rest = divmod(number, 1000)
    head = "mil" if many == 1 else f"{_before_mil(spanish(many))} mil"
    return f"{head} {spanish(rest)}" if rest else head


def _before_mil(word: str) -> str:
    if word.endswith("veintiuno"):
        return f"{word.removesuffix('veintiuno')}veintiún"
    return word.removesuffix("o") if word.endswith("uno") else word


def japanese(number: int) -> str:
    """In the signs of numbers; a one before ten, hundred and thousand is left out.

    Example:
        >>> japanese(1999), japanese(210_011)
        ('千九百九十九', '二十一万十一')
    """
    if number == 0:
        return JAPANESE[0]
    many, rest = divmod(number, 10_000)
    text = f"{japanese(many)}万" if many else ""
    for size, sign in ((1000, "千"), (100, "百"), (10, "十")):
        digit, rest = divmod(rest, size)
        if digit:
            text += ("" if digit == 1 else JAPANESE[digit]) + sign
    return text + (JAPANESE[rest] if rest else "")


def thai(number: int) -> str:
    """Without spaces, each power of ten to a hundred thousand with a word of its own.

    Twenty has a word of its own, and so has a one at the end of a longer number.

    Example:
        >>> thai(0), thai(11), thai(20), thai(500_001)
        ('ศูนย์', 'สิบเอ็ด', 'ยี่สิบ', 'ห้าแสนเอ็ด')
    """
    if number < 10:
        return THAI[number]
    text, rest = "", number
    for size, word in THAI_POWERS:
        digit, rest = divmod(rest, size)
        if digit:
            text += (THAI_TENS.get(digit, THAI[digit]) if size == 10 else THAI[digit]) + word
    return text + (THAI_ONE_AT_THE_END if rest == 1 else THAI[rest] if rest else "")


LARGEST = 999_999
ENGLISH = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
ENGLISH_TENS = [
    "-",
    "-",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
GERMAN = [
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
]
GERMAN_TEENS = {16: "sech", 17: "sieb"}
GERMAN_TENS = [
    "-",
    "-",
    "zwanzig",
    "dreißig",
    "vierzig",
    "fünfzig",
    "sechzig",
    "siebzig",
    "achtzig",
    "neunzig",
]
FRENCH = [
    "zéro",
    "un",
    "deux",
    "trois",
    "quatre",
    "cinq",
    "six",
    "sept",
    "huit",
    "neuf",
    "dix",
    "onze",
    "douze",
    "treize",
    "quatorze",
    "quinze",
    "seize",
]
FRENCH_TENS = [
    "-",
    "dix",
    "vingt",
    "trente",
    "quarante",
    "cinquante",
    "soixante",
    "-",
    "quatre-vingt",
]
SPANISH = [
    "cero",
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
    "quince",
    "dieciséis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiuno",
    "veintidós",
    "veintitrés",
    "veinticuatro",
    "veinticinco",
    "veintiséis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
]
SPANISH_TENS = [
    "-",
    "-",
    "-",
    "treinta",
    "cuarenta",
    "cincuenta",
    "sesenta",
    "setenta",
    "ochenta",
    "noventa",
]
SPANISH_HUNDREDS = [
    "-",
    "ciento",
    "doscientos",
    "trescientos",
    "cuatrocientos",
    "quinientos",
    "seiscientos",
    "setecientos",
    "ochocientos",
    "novecientos",
]
JAPANESE = "零一二三四五六七八九"
THAI = ["ศูนย์", "หนึ่ง", "สอง", "สาม", "สี่", "ห้า", "หก", "เจ็ด", "แปด", "เก้า"]
THAI_POWERS = (
    (100_000, "แสน"), (10_000, "หมื่น"), (1000, "พัน"), (100, "ร้อย"), (10, "สิบ"),
)  # fmt: skip
THAI_TENS = {1: "", 2: "ยี่"}
THAI_ONE_AT_THE_END = "เอ็ด"
LANGUAGES: dict[str, Callable[[int], str]] = {
    "english": english,
    "german": german,
    "french": french,
    "spanish": spanish,
    "japanese": japanese,
    "thai": thai,
}
