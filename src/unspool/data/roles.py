"""What the columns of a table hold, and which is the text, the label, the date, the group."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unspool.data.settings import DataSettings
from unspool.data.table import Cell, Table, decimal

# Rows from which a column is judged, spread evenly over the table.
SAMPLE = 5000
# Share of cells that must be of a kind for the column to be.
MOST = 0.9
# Words of a class name at most, classes at most, and stars at most.
CLASS_WORDS = 4
MOST_CLASSES = 1000
MOST_STARS = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """What a column holds.

    Attributes:
        name: of the column.
        kind: "text", "class" (few texts that recur), "number", "date", "list", "sound", "image"
            (paths) or "empty".
        filled: cells looked at that are not empty.
        distinct: different cells among them.
        words: mean number of words in a cell.
        levels: the different numbers, ascending, if there are at most 20; else none.
    """

    name: str
    kind: str
    filled: int
    distinct: int
    words: float
    levels: tuple[float, ...] = ()

    @property
    def recurs(self) -> bool:
        """Whether its values come often enough to be classes: twice in the mean, few words."""
        return (
            0 < 2 * self.distinct <= self.filled
            and self.distinct <= MOST_CLASSES
            and self.words <= CLASS_WORDS
        )

    @property
    def is_stars(self) -> bool:
        """Whether its values can be stars: three or more levels, whole or half, from 0 to 100."""
        return len(self.levels) > 2 and all(
            0 <= level <= 100 and (2 * level).is_integer() for level in self.levels
        )

    def called(self, names: Sequence[str]) -> bool:
        """Whether it has one of these names, in any case, with or without separators."""
        return plain_name(self.name) in names


def profiles(table: Table) -> list[Profile]:
    r"""What every column holds.

    Example:
        >>> from unspool.data.delimited import read_delimited
        >>> table = read_delimited("text,stars\nfine,4\nso so,3\nbad,1\n", "few.csv")
        >>> [each.kind for each in profiles(table)]
        ['text', 'number']
    """
    step = max(1, len(table.rows) // SAMPLE)
    rows = table.rows[::step]
    return [profile(name, [row[i] for row in rows]) for i, name in enumerate(table.columns)]


def profile(name: str, cells: Sequence[Cell]) -> Profile:
    """What a column holds, from some of its cells."""
    lists = [cell for cell in cells if isinstance(cell, tuple)]
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if lists and len(lists) >= MOST * (len(lists) + len(texts)):
        return Profile(name, "list", len(lists), len(set(lists)), _mean(len(c) for c in lists))
    if not texts:
        return Profile(name, "empty", 0, 0, 0.0)
    distinct = set(texts)
    # A cell of a megabyte has many words; its first thousand characters tell as much.
    words = _mean(len(cell[:1000].split()) for cell in texts)
    kind, levels = "text", ()
    for each, test in KINDS.items():
        if sum(map(test, texts)) >= MOST * len(texts):
            kind = each
            break
    found = Profile(name, kind, len(texts), len(distinct), words)
    if kind == "number":
        numbers = {decimal(cell) for cell in distinct if len(distinct) <= 4 * MOST_STARS}
        values = sorted(value for value in numbers if value is not None and value == value)
        levels = tuple(values) if len(values) <= MOST_STARS else ()
        return Profile(name, kind, len(texts), len(distinct), words, levels)
    if kind == "text" and found.recurs:
        return Profile(name, "class", len(texts), len(distinct), words)
    return found


def is_date(text: str) -> bool:
    """Whether a cell is a date or a moment, as 1949-01, 2020-01-22 10:00, 22.01.2020, 2020W07.

    Example:
        >>> is_date("1949-01"), is_date("2020-01-22T10:00:00Z"), is_date("1949"), is_date("Va !")
        (True, True, False, False)
    """
    return len(text) <= LONGEST_DATE and DATE.fullmatch(text.strip()) is not None


def plain_name(name: str) -> str:
    """A column's name as the tables below have it.

    Example:
        >>> plain_name("Star Rating"), plain_name("user_id")
        ('starrating', 'userid')
    """
    return re.sub(r"[\W_]+", "", name).lower()


def is_known_name(name: str) -> bool:
    """Whether columns are often called so.

    Example:
        >>> is_known_name("Label"), is_known_name("Go.")
        (True, False)
    """
    return plain_name(name) in KNOWN and re.fullmatch(r"[\w \-.#%]+", name.strip()) is not None


def find_text(found: Sequence[Profile], settings: DataSettings, without: str = "") -> str | None:
    """The column that is read: by name, or else the one with the longest texts."""
    if settings.text is not None:
        return settings.text
    kinds = ("text", "class", "empty")
    usable = [each for each in found if each.kind in kinds and each.name != without]
    for name in TEXTS:
        for each in usable:
            if each.called((name,)):
                return each.name
    free = [each for each in usable if each.kind == "text" and not each.called(NOT_READ)]
    if not free and len(found) == 2:
        # A few sentences that recur, beside the one other column.
        free = [each for each in usable if each.kind == "class" and each.words > 1]
    return max(free, key=lambda each: each.words).name if free else None


def find_label(
    found: Sequence[Profile], settings: DataSettings, text: str | None
) -> tuple[str | None, str]:
    """The column that holds a class, and how it was found: "named", "alone", "last of several"."""
    if settings.label is not None:
        return settings.label, "named"
    others = [each for each in found if each.name != text]
    named = [each for name in LABELS for each in others if each.called((name,))]
    named = [each for each in named if each.kind in ("class", "number", "text")]
    if named:
        # Of several, such as y and activity in a table of movements, one whose values recur.
        return next((each for each in named if each.recurs), named[0]).name, "named"
    classes = [
        each
        for each in others
        if each.recurs
        and (each.kind == "class" or (each.kind == "number" and _whole(each)))
        and not each.called((*GROUPS, *SPLITS, *DATES, *STARS, *NOT_READ, "id"))
    ]
    if not classes:
        return None, ""
    return classes[-1].name, "alone" if len(classes) == 1 else "last of several"


def find_stars(found: Sequence[Profile], settings: DataSettings, named: bool) -> str | None:
    """The column of stars: called so and of few levels; without names, whole ones from 1 to 5."""
    for each in found:
        wanted = each.name == settings.label if settings.label is not None else True
        if not (wanted and each.is_stars):
            continue
        if each.called(STARS) or (not named and {1, 5} <= set(each.levels) <= {1, 2, 3, 4, 5}):
            return each.name
    return None


def find_group(found: Sequence[Profile], settings: DataSettings, ids: bool = False) -> str | None:
    """The column whose equal values belong together: by name, and only if they recur."""
    if settings.group is not None:
        return settings.group
    names = (*GROUPS, "id") if ids else GROUPS
    for name in names:
        for each in found:
            if each.called((name,)) and each.distinct > 2 and each.distinct < each.filled:
                return each.name
    return None


def find_named(
    found: Sequence[Profile], names: Sequence[str], kinds: Sequence[str] = ()
) -> str | None:
    """The first column with one of these names, and of one of these kinds if there are any."""
    for name in names:
        for each in found:
            if each.called((name,)) and (not kinds or each.kind in kinds):
                return each.name
    return None


def _whole(each: Profile) -> bool:
    return bool(each.levels) and all(level.is_integer() for level in each.levels)


def _mean(numbers) -> float:  # type: ignore[no-untyped-def]
    numbers = list(numbers)
    return sum(numbers) / len(numbers) if numbers else 0.0


def _ends_with(*endings: str) -> Callable[[str], bool]:
    return lambda cell: len(cell) < 1000 and cell.strip().lower().endswith(endings)


LONGEST_DATE = 40
_CLOCK = r"([T ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?)?"
DATE = re.compile(
    rf"(\d{{4}}[-/.]\d{{1,2}}([-/.]\d{{1,2}})?|\d{{1,2}}[-/.]\d{{1,2}}[-/.](\d{{4}}|\d{{2}})"
    rf"|\d{{4}}-?[WQ]\d{{1,2}}|[A-Za-z]{{3,9}}[ -]\d{{4}}){_CLOCK}"
)
SOUNDS = (".wav", ".flac")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# In this order; the first that fits most cells.
KINDS: dict[str, Callable[[str], bool]] = {
    "sound": _ends_with(*SOUNDS),
    "image": _ends_with(*IMAGES),
    "number": lambda cell: decimal(cell) is not None,
    "date": is_date,
}

TEXTS = (
    "text", "sentence", "review", "reviewtext", "content", "comment", "message", "tweet", "body",
    "document", "utterance", "question", "phrase", "headline", "abstract", "query", "description",
)  # fmt: skip
LABELS = (
    "label", "class", "category", "target", "sentiment", "polarity", "topic", "intent", "emotion",
    "y", "gold", "activity", "diagnosis", "outcome", "spam", "state", "event",
)  # fmt: skip
STARS = (
    "stars", "star", "rating", "starrating", "reviewrating", "overall", "score", "grade",
    "reviewscore",
)  # fmt: skip
TOKENS = ("tokens", "words", "form", "forms", "token", "word")
TAGS = ("tags", "postags", "nertags", "upos", "labels", "pos", "ner", "tag")
DATES = (
    "date", "datetime", "timestamp", "time", "ds", "day", "week", "month", "year", "t", "step",
    "frame",
)  # fmt: skip
GROUPS = (
    "group", "groupid", "user", "userid", "speaker", "speakerid", "subject", "subjectid",
    "patient", "patientid", "participant", "session", "sessionid", "author", "sequence",
    "sequenceid", "series", "seriesid", "trial", "device", "deviceid",
)  # fmt: skip
SPLITS = ("split", "partition", "subset", "set")
SOURCES = ("source", "src", "en", "english", "eng", "input", "from")
TARGETS = (
    "target", "tgt", "translation", "fr", "french", "fra", "de", "german", "deu", "es", "spanish",
    "spa", "output", "to",
)  # fmt: skip
CAPTIONS = ("caption", "captions", "description", "text")
TRANSCRIPTS = ("transcript", "transcription", "sentence", "text")
PATHS = ("path", "file", "filename", "filepath", "image", "audio", "wav", "img", "sound")
NOT_READ = ("id", "uid", "index", "url", "name", "title", "attribution", "licence", "license")
KNOWN = frozenset(
    {
        *TEXTS, *LABELS, *STARS, *TOKENS, *TAGS, *DATES, *GROUPS, *SPLITS, *SOURCES, *TARGETS,
        *CAPTIONS, *TRANSCRIPTS, *PATHS, *NOT_READ, "domain",
    }
)  # fmt: skip
