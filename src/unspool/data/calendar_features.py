"""Dates: read from text, counted in steps of their frequency, and what they say of the season."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.data.table import short
from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class Frequency:
    """How far apart dates are.

    Attributes:
        name: "hourly", "daily", "business days", "weekly", "monthly", "quarterly", "yearly", or
            such as "every 900 seconds".
        unit: "seconds", "weekdays" or "months".
        step: units from one date to the next.
        season: steps of the season people expect, such as 12 of months; 1 if none.
    """

    name: str
    unit: str
    step: int
    season: int

    def positions(self, dates: np.ndarray) -> np.ndarray:
        """Steps from the first date, int64 ``[T]``; -1 for one that lies between two steps.

        Args:
            dates: datetime64[s] ``[T]``, ascending.

        Example:
            >>> monthly = Frequency("monthly", "months", 1, 12)
            >>> monthly.positions(np.array(["2020-11", "2021-02"], "datetime64[s]")).tolist()
            [0, 3]
        """
        units = _units(dates, self.unit)
        away = units - units[0]
        return np.where(away % self.step == 0, away // self.step, -1)

    def following(self, date: np.datetime64, count: int) -> np.ndarray:
        """The dates of the ``count`` steps after a date, datetime64[s].

        Example:
            >>> weekly = Frequency("weekly", "seconds", 604800, 52)
            >>> weekly.following(np.datetime64("2020-02-25"), 2).astype("datetime64[D]").astype(str)
            array(['2020-03-03', '2020-03-10'], dtype='<U28')
        """
        date = date.astype("datetime64[s]")
        ahead = np.arange(1, count + 1) * self.step
        if self.unit == "seconds":
            return date + ahead.astype("timedelta64[s]")
        if self.unit == "weekdays":
            day = date.astype("datetime64[D]")
            return np.busday_offset(day, ahead, roll="backward").astype("datetime64[s]")
        month = date.astype("datetime64[M]")
        months = month + ahead.astype("timedelta64[M]")
        # The last day of a month stays the last; the 31st becomes the 30th where there is none.
        day = (date.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int)
        clock = date - date.astype("datetime64[D]")
        ends = (months + 1).astype("datetime64[D]") - 1
        days = np.minimum(months.astype("datetime64[D]") + day, ends)
        last = day >= 27 and date.astype("datetime64[D]") + 1 == (month + 1).astype("datetime64[D]")
        return (ends if last else days).astype("datetime64[s]") + clock


def read_dates(cells: Sequence[str], where: str = "date") -> tuple[np.ndarray, list[int]]:
    """The dates of a column.

    2020-01-22, 2020/1/22, 2020-01, 2020, 2020W07, 2020Q1, March 2020 and 22.01.2020 mean one thing;
    each with or without a clock. Of 3/4/2020 and 3-4-2020 the whole column decides: a number above
    12 shows which is the day; else the order that makes the dates equally far apart; else the
    column is refused. Years of two digits are 1970 … 2069. A clock's distance from UTC is taken
    off.

    Args:
        cells: as in the file.
        where: the column's name, for the message.

    Returns:
        datetime64[s] ``[T]``, NaT where a cell is no date; and the positions of those.

    Raises:
        DataError: if days and months cannot be told apart.

    Example:
        >>> dates, bad = read_dates(["13/2/2021", "1/3/2021", "soon"])
        >>> dates.astype("datetime64[D]").astype(str).tolist(), bad
        (['2021-02-13', '2021-03-01', 'NaT'], [2])
    """
    two = [found for found in map(_day_and_month, cells) if found]
    day_first = True
    if two:
        first, second = any(a > 12 for a, _ in two), any(b > 12 for _, b in two)
        if first and second:
            raise DataError(
                f"{where}: some dates begin with the day and some with the month; wanted one "
                "order, best year-month-day."
            )
        day_first = first if first or second else _evenly(cells, where)
    read = [_date(cell, day_first) for cell in cells]
    dates = np.array([np.datetime64("NaT") if d is None else d for d in read], "datetime64[s]")
    return dates, [index for index, each in enumerate(read) if each is None]


def find_frequency(dates: np.ndarray, where: str = "date") -> Frequency:
    """The frequency of dates, from the distance most of them have.

    Args:
        dates: datetime64[s] ``[T]``, ascending, all different.
        where: the column's name, for the message.

    Raises:
        DataError: if there are fewer than three, or fewer than `MOST` of them lie on equal steps.

    Example:
        >>> find_frequency(np.array(["2020-01", "2020-02", "2020-03"], "datetime64[s]")).name
        'monthly'
    """
    if len(dates) < 3:
        raise DataError(f"{where}: {len(dates)} different dates; wanted three or more.")
    candidates = []
    months = _units(dates, "months")
    days = (dates - dates.astype("datetime64[M]")).astype(np.int64) // DAY
    month_ends = _units(dates + DAY, "months") > months
    if month_ends.mean() >= MOST or (days == days[0]).mean() >= MOST:
        step = _commonest(np.diff(months))
        if step > 0:
            name, season = MONTHS.get(step, (f"every {step} months", 1))
            candidates.append(Frequency(name, "months", step, season))
    if (dates.astype("datetime64[D]") == dates).all():
        weekdays = np.is_busday(dates.astype("datetime64[D]")).all()
        if weekdays and _commonest(np.diff(_units(dates, "weekdays"))) == 1:
            # Days of work; or all days, of which no week is complete.
            candidates.append(Frequency("business days", "weekdays", 1, 5))
    step = _commonest(np.diff(dates).astype(np.int64))
    name, season = SECONDS.get(step, (f"every {step} seconds", 1))
    candidates.append(Frequency(name, "seconds", step, season))
    # The first that leaves least out; then fewest gaps.
    return max(candidates, key=lambda each: _fit(each, dates, where))


def calendar_names(frequency: Frequency) -> tuple[str, ...]:
    """What `calendar_features` gives for a frequency, by name.

    Example:
        >>> calendar_names(Frequency("daily", "seconds", 86400, 7))
        ('weekday sine', 'weekday cosine', 'year sine', 'year cosine')
    """
    return tuple(f"{cycle} {wave}" for cycle in _cycles(frequency) for wave in ("sine", "cosine"))


def calendar_features(dates: np.ndarray, frequency: Frequency) -> np.ndarray:
    """Where dates stand in the day, the week and the year, each as a point on a circle.

    Only the cycles longer than two steps are given, so yearly dates have none.

    Args:
        dates: datetime64[s] ``[T]``, past or future.
        frequency: of the series.

    Returns:
        float32 ``[T K]``, in the order of `calendar_names`.
    """
    seconds = dates.astype("datetime64[s]").astype(np.int64)
    years = dates.astype("datetime64[Y]")
    begin = years.astype("datetime64[s]").astype(np.int64)
    length = (years + 1).astype("datetime64[s]").astype(np.int64) - begin
    turns = {
        "day": (seconds % DAY) / DAY,
        # 1970-01-01 was a Thursday.
        "weekday": ((seconds // DAY + 3) % 7) / 7,
        "year": (seconds - begin) / length,
    }
    made = [
        wave(2 * np.pi * turns[cycle]) for cycle in _cycles(frequency) for wave in (np.sin, np.cos)
    ]
    return np.stack(made, 1).astype(np.float32) if made else np.zeros((len(dates), 0), np.float32)


def _cycles(frequency: Frequency) -> list[str]:
    if frequency.unit == "months":
        return ["year"] if frequency.step < 6 else []
    step = DAY if frequency.unit == "weekdays" else frequency.step
    return [cycle for cycle, seconds in CYCLES.items() if 2 * step < seconds]


def _units(dates: np.ndarray, unit: str) -> np.ndarray:
    """Dates as whole numbers of a unit."""
    if unit == "months":
        return dates.astype("datetime64[M]").astype(np.int64)
    if unit == "weekdays":
        days = dates.astype("datetime64[D]")
        return np.busday_count(np.datetime64("1970-01-01"), days).astype(np.int64)
    return dates.astype(np.int64)


def _commonest(distances: np.ndarray) -> int:
    """The distance that comes most often; of several the smallest."""
    counts = Counter(distances[distances > 0].tolist())
    return min(counts, key=lambda each: (-counts[each], each)) if counts else 0


def _fit(frequency: Frequency, dates: np.ndarray, where: str) -> tuple[float, float]:
    """Share of dates on the steps, and share of the steps that have dates."""
    places = frequency.positions(dates)
    on = places[places >= 0]
    share = len(np.unique(on)) / len(dates)
    if frequency.unit == "seconds" and share < MOST:
        share = 0.0
        if not _monthly(dates):
            raise DataError(
                f"{where}: dates are not equally far apart (most by {frequency.name}, but only "
                f"{len(on)} of {len(dates)} fit that); wanted one distance."
            )
    return share, len(on) / (on.max() + 1)


def _monthly(dates: np.ndarray) -> bool:
    step = _commonest(np.diff(_units(dates, "months")))
    return bool(step) and len(np.unique(_units(dates, "months"))) >= MOST * len(dates)


def _day_and_month(cell: str) -> tuple[int, int] | None:
    found = TWO_WAYS.match(cell.strip())
    return (int(found[1]), int(found[2])) if found else None


def _evenly(cells: Sequence[str], where: str) -> bool:
    """Whether the day comes first, where both orders can be read."""
    fits = []
    for day_first in (True, False):
        read = [_date(cell, day_first) for cell in cells]
        dates = np.unique(np.array([each for each in read if each is not None], "datetime64[s]"))
        try:
            places = find_frequency(dates).positions(dates)
            fits.append(len(dates) == int(places.max()) + 1)
        except DataError:
            fits.append(False)
    if fits[0] == fits[1]:
        raise DataError(
            f"{where}: {short(cells[0])} may begin with the day or with the month, and nothing "
            "tells which; wanted year-month-day."
        )
    return fits[0]


def _date(cell: str, day_first: bool) -> np.datetime64 | None:
    text = cell.strip()
    if len(text) > LONGEST:
        return None
    for pattern, order in FORMS:
        found = pattern.fullmatch(text)
        if not found:
            continue
        parts = found.groupdict()
        if order == "either":
            parts["day"], parts["month"] = (
                (parts["first"], parts["second"])
                if day_first
                else (parts["second"], parts["first"])
            )
        try:
            return _day(parts) + _clock(parts)
        except ValueError:
            return None
    return None


def _day(parts: dict[str, str | None]) -> np.datetime64:
    year = int(parts["year"] or 0)
    if len(parts["year"] or "") == 2:
        year += 2000 if year < 70 else 1900
    if not 1 <= year <= 9999:
        raise ValueError
    if parts.get("week"):
        week = int(parts["week"] or 0)
        start = np.datetime64(f"{year:04}-01-04", "D")  # always in the first week
        monday = start - (start.astype(int) + 3) % 7
        if not 1 <= week <= 53:
            raise ValueError
        return (monday + 7 * (week - 1)).astype("datetime64[s]")
    if parts.get("quarter"):
        month = 3 * int(parts["quarter"] or 0) - 2
    elif parts.get("name"):
        month = NAMES.index((parts["name"] or "")[:3].lower()) + 1
    else:
        month = int(parts.get("month") or 1)
    day = int(parts.get("day") or 1)
    return np.datetime64(f"{year:04}-{month:02}-{day:02}", "s")


def _clock(parts: dict[str, str | None]) -> np.timedelta64:
    hour, minute = int(parts.get("hour") or 0), int(parts.get("minute") or 0)
    second, half = int(parts.get("seconds") or 0), (parts.get("half") or "").lower()
    if half and not 1 <= hour <= 12:
        raise ValueError
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError
    zone = (parts.get("zone") or "").replace(":", "")
    away = 0
    if zone[:1] in ("+", "-"):
        away = (int(zone[1:3]) * 60 + int(zone[3:5])) * (1 if zone[0] == "+" else -1)
    return np.timedelta64((hour * 60 + minute - away) * 60 + second, "s")


NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONGEST = 40
# Share of dates that must lie on the steps of a frequency.
MOST = 0.9
DAY = 86_400
CYCLES = {"day": DAY, "weekday": 7 * DAY, "year": 365 * DAY}
MONTHS = {1: ("monthly", 12), 3: ("quarterly", 4), 12: ("yearly", 1)}
SECONDS = {3600: ("hourly", 24), DAY: ("daily", 7), 7 * DAY: ("weekly", 52)}
_CLOCK = (
    r"([T ]\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<seconds>\d{2})([.,]\d+)?)?"
    r"( ?(?P<half>[AaPp][Mm]))?( ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2}))?)?"
)
_YEAR = r"(?P<year>\d{4})"
_ANY_YEAR = r"(?P<year>\d{4}|\d{2})"
FORMS = [
    (re.compile(pattern + _CLOCK), order)
    for pattern, order in (
        (_YEAR, ""),
        (_YEAR + r"[-/.](?P<month>\d{1,2})([-/.](?P<day>\d{1,2}))?", ""),
        (_YEAR + r"-?[Ww](?P<week>\d{1,2})", ""),
        (_YEAR + r"-?[Qq](?P<quarter>[1-4])", ""),
        (r"(?P<name>[A-Za-z]{3,9})[ -]" + _YEAR, ""),
        (r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\." + _ANY_YEAR, ""),
        (r"(?P<first>\d{1,2})[-/](?P<second>\d{1,2})[-/]" + _ANY_YEAR, "either"),
    )
]
TWO_WAYS = re.compile(r"(\d{1,2})[-/](\d{1,2})[-/]\d")
