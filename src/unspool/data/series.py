"""Time series from the rows of a table: equally spaced, one or many; every row is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.data.calendar_features import Frequency, find_frequency, read_dates
from unspool.data.series_settings import SeriesSettings
from unspool.data.table import Place, Refused, Table, decimal, listed, short
from unspool.errors import DataError


@dataclass(slots=True)
class Series:
    """One series on equal steps.

    Attributes:
        name: what the id column says; "" where there is one series.
        dates: datetime64[s] ``[T]``; of rows without dates their numbers, as seconds.
        values: float64 ``[T D]``, finite.
        filled: steps that no row spoke of, or not of every column.
        rows: position of each step's row in the table, int64 ``[T]``; -1 where there is none.
        ahead: what rows behind the last step say of columns whose future is known, float64
            ``[K D]``, NaN for all others.
    """

    name: str
    dates: np.ndarray
    values: np.ndarray
    filled: int
    rows: np.ndarray
    ahead: np.ndarray

    def __len__(self) -> int:
        return len(self.dates)


@dataclass(slots=True)
class SeriesSet:
    """Series of the same columns and frequency.

    Attributes:
        series: in the order of their first rows.
        columns: names of the D values.
        frequency: of the dates; None for rows without dates.
        used: rows that became steps.
        refused: the other rows, each with its reason.
        warnings: what was filled, and which columns are constant.
    """

    series: list[Series]
    columns: tuple[str, ...]
    frequency: Frequency | None
    used: int
    refused: list[Refused] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_series(
    table: Table | Mapping[str, Sequence[str]],
    settings: SeriesSettings,
    values: Sequence[str],
    date: str | None = None,
    group: str | None = None,
) -> SeriesSet:
    """The series of a wide table (a column each) or a long one (an id in each row).

    Rows are sorted by date. Of rows with equal date and series the first is used. A row whose date
    cannot be read, or that holds what is no number, is refused and leaves a gap. Gaps, and cells
    that are empty, get the last value before them, which no forecast can profit from; steps before
    the first value of a column are left out of the series. Rows at the end that hold nothing but
    columns of ``settings.known`` are what is known of the future.

    Args:
        table: the rows; or columns of texts.
        settings: ``gaps`` "refuse" makes a gap an error; ``known`` names columns.
        values: columns of numbers.
        date: the column of dates; None takes rows as equally spaced.
        group: the column that tells series apart; None for a single one.

    Raises:
        DataError: if nothing is left, dates are unclear or not equally spaced, there are gaps
            where they are refused, or more than `MOST_FILLED` of the steps are filled.

    Example:
        >>> table = {"day": ["2020-01-01", "2020-01-02", "2020-01-04"], "n": ["1", "2", "4"]}
        >>> found = read_series(table, SeriesSettings(), ["n"], "day")
        >>> found.series[0].values[:, 0].tolist(), found.frequency.name
        ([1.0, 2.0, 2.0, 4.0], 'daily')
    """
    table = table if isinstance(table, Table) else _table(table)
    where = table.places[0].file if table.places else "data"
    if not values:
        raise DataError(f"{where}: no column of numbers; wanted one or more to forecast.")
    if not table.rows:
        raise DataError(f"{where}: holds no rows.")
    moments, refused = _moments(table, date)
    columns = [table.index(name, "column") for name in values]
    read = _rows(table, columns, moments, refused)
    names = [""] * len(table.rows)
    if group is not None:
        names = [str(cell).strip() for cell in table.column(group)]
    gathered: dict[str, dict[int, int]] = {}
    for index in read:
        rows = gathered.setdefault(names[index], {})
        moment = int(moments[index].astype(np.int64))
        if moment in rows:
            line = table.places[rows[moment]].line
            refused.append(Refused(table.places[index], f"has the date of line {line} again"))
        else:
            rows[moment] = index
    if not gathered:
        first = f" ({refused[0].reason})" if refused else ""
        raise DataError(f"{where}: none of {len(table.rows)} rows can be used{first}.")
    frequency = _frequency(gathered, date, where)
    found = SeriesSet([], tuple(values), frequency, 0, refused)
    for name, rows in gathered.items():
        _add(found, name, rows, read, table, settings, where)
    if not found.series:
        raise DataError(f"{where}: every series is shorter than two steps.")
    _tell(found, len(table.rows))
    return found


def cumulative(train: np.ndarray) -> bool:
    """Whether a column counts up: whole numbers that hardly ever fall and often rise.

    Args:
        train: ``[T]``, the training part alone.

    Example:
        >>> cumulative(np.array([0.0, 1, 4, 4, 9, 12])), cumulative(np.array([3.0, 1, 2, 5, 4, 6]))
        (True, False)
    """
    steps = np.diff(train)
    if len(steps) < 4 or (train != np.round(train)).any() or (train < 0).any():
        return False
    seldom = (steps < 0).sum() <= SELDOM * len(steps)
    return bool(seldom and (steps > 0).sum() >= OFTEN * len(steps) and len(set(steps.tolist())) > 2)


def grows_with_level(train: np.ndarray, season: int = 1) -> bool:
    """Whether a positive series swings wider the higher it stands, as what grows by shares does.

    The deviation of each stretch of a season is set against its mean, both as logarithms; a slope
    nearer to 1 than to 0 says that logarithms swing alike everywhere.

    Args:
        train: ``[T]``, the training part alone, positive.
        season: steps of a stretch; where fewer than four fit, a sixth of the training part.

    Source:
        Guerrero (1993), section 2: the coefficient of variation of stretches.

    Example:
        >>> t = np.arange(96)
        >>> wave = 1 + 0.3 * np.sin(2 * np.pi * t / 12)
        >>> grows_with_level(1.02**t * wave, 12), grows_with_level(10 + wave + 0.01 * t, 12)
        (True, False)
    """
    length = season if season > 3 and len(train) >= 4 * season else len(train) // 6
    if length < 4:
        return False
    stretches = train[len(train) % length :].reshape(-1, length)
    deviation, mean = stretches.std(1), stretches.mean(1)
    moving = deviation > 0
    if moving.sum() < 4 or np.log(mean[moving]).std() < LEVELS_APART:
        return False
    x, y = np.log(mean[moving]), np.log(deviation[moving])
    slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var()
    return bool(slope > 0.5)


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    if len({len(cells) for cells in columns.values()}) > 1:
        raise DataError(f"data: the columns {listed(list(columns))} differ in length.")
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(tuple(columns), rows, [Place("data", i + 1) for i in range(len(rows))])


def _moments(table: Table, date: str | None) -> tuple[np.ndarray, list[Refused]]:
    """When each row is; NaT where that cannot be read, with the reason."""
    if date is None:
        return np.arange(len(table.rows)).astype("datetime64[s]"), []
    cells = [str(cell) for cell in table.column(date)]
    moments, bad = read_dates(cells, f"{table.places[0].file}: {short(date)}")
    return moments, [
        Refused(table.places[i], f"{short(date)} is {short(cells[i])}, wanted a date") for i in bad
    ]


def _rows(
    table: Table, columns: Sequence[int], moments: np.ndarray, refused: list[Refused]
) -> dict[int, list[float]]:
    """The numbers of every usable row by its position, NaN for empty cells."""
    read = {}
    for index, row in enumerate(table.rows):
        if np.isnat(moments[index]):
            continue
        numbers: list[float] = []
        for column in columns:
            cell = str(row[column]).strip()
            number = math.nan if cell.lower() in EMPTY else decimal(cell)
            if number is None or math.isinf(number) or abs(number) > LARGEST:
                name = short(table.columns[column])
                reason = f"{name} is {short(cell)}, wanted a finite number"
                refused.append(Refused(table.places[index], reason))
                break
            numbers.append(number)
        else:
            read[index] = numbers
    return read


def _frequency(
    gathered: Mapping[str, Mapping[int, int]], date: str | None, where: str
) -> Frequency | None:
    if date is None:
        return None
    longest = max(gathered.values(), key=len)
    dates = np.array(sorted(longest), np.int64).astype("datetime64[s]")
    return find_frequency(dates, f"{where}: {short(date)}")


def _add(
    found: SeriesSet,
    name: str,
    rows: Mapping[int, int],
    read: Mapping[int, list[float]],
    table: Table,
    settings: SeriesSettings,
    where: str,
) -> None:
    """One series, its steps equally spaced and its gaps filled."""
    moments = np.array(sorted(rows), np.int64)
    dates = moments.astype("datetime64[s]")
    places = np.arange(len(dates)) if found.frequency is None else found.frequency.positions(dates)
    kept: dict[int, int] = {}
    for moment, place in zip(moments.tolist(), places.tolist(), strict=True):
        if place < 0 or place in kept:
            what = "lies between two steps" if place < 0 else "is in the step of another row"
            found.refused.append(Refused(table.places[rows[moment]], f"its date {what}"))
        else:
            kept[place] = rows[moment]
    span = max(kept) + 1
    label = f"series {short(name)}: " if name else ""
    if span - len(kept) > MOST_FILLED * span:
        raise DataError(
            f"{where}: {label}{span - len(kept)} of {span} steps have no row; wanted at most "
            f"{MOST_FILLED:.0%}. Is the frequency {found.frequency and found.frequency.name}?"
        )
    values, sources = np.full((span, len(found.columns)), np.nan), np.full(span, -1)
    for place, index in kept.items():
        values[place], sources[place] = read[index], index
    end = _last_told(values, found.columns, settings.known)
    values, ahead = values[:end], values[end:]
    start = _first_complete(values)
    steps = dates if found.frequency is None else _dates(found.frequency, dates[0], span)
    if end - start < 2:
        reason = "its series has fewer than two steps with all values"
        found.refused += [Refused(table.places[index], reason) for index in kept.values()]
        return
    early = [index for place, index in kept.items() if place < start]
    reason = "stands before the first value of another column"
    found.refused += [Refused(table.places[index], reason) for index in early]
    values, steps, sources = values[start:], steps[start:end], sources[start:end]
    gone = np.isnan(values).any(1)
    if gone.any() and settings.gaps == "refuse":
        raise DataError(
            f"{where}: {label}{int(gone.sum())} of {len(values)} steps lack a value, the first "
            f"{_shown(steps[gone.argmax()])}; fill them, or set series.gaps to 'last'."
        )
    filled = int(gone.sum())
    found.series.append(Series(name, steps, _carried(values), filled, sources, ahead))
    found.used += len(kept) - len(early)


def _last_told(values: np.ndarray, columns: Sequence[str], known: Sequence[str]) -> int:
    """Steps until the last one that says more than what is known of the future."""
    if not known:
        return len(values)
    others = [place for place, name in enumerate(columns) if name not in known]
    told = np.flatnonzero(~np.isnan(values[:, others]).all(1))
    return int(told[-1]) + 1 if len(told) else 0


def _first_complete(values: np.ndarray) -> int:
    """The step from which on every column has had a value; past the end if one never has."""
    there = ~np.isnan(values)
    return int(there.argmax(0).max()) if there.any(0).all() else len(values)


def _carried(values: np.ndarray) -> np.ndarray:
    """Each missing value is the last one before it."""
    steps = np.arange(len(values))[:, None]
    source = np.maximum.accumulate(np.where(np.isnan(values), 0, steps), axis=0)
    return np.take_along_axis(values, source, axis=0)


def _dates(frequency: Frequency, first: np.datetime64, count: int) -> np.ndarray:
    return np.concatenate([[first], frequency.following(first, count - 1)])


def _shown(date: Any) -> str:
    text = str(date)
    return text.removesuffix("T00:00:00")


def _tell(found: SeriesSet, total: int) -> None:
    """What a person should know of the series."""
    assert found.used + len(found.refused) == total, (found.used, len(found.refused), total)
    filled = sum(each.filled for each in found.series)
    if filled:
        steps = sum(map(len, found.series))
        found.warnings.append(
            f"{filled} of {steps} steps lack a value and got the last one before them."
        )
    again = sum("again" in each.reason for each in found.refused)
    if again:
        found.warnings.append(f"{again} rows repeat a date; the first row of each was used.")
    flat = [
        (each, column)
        for each in found.series
        for column in np.flatnonzero((each.values == each.values[0]).all(0))
    ]
    for each, column in flat[:MOST_TOLD]:
        label = f" of {short(each.name)}" if each.name else ""
        name, value = short(found.columns[column]), each.values[0, column]
        found.warnings.append(f"{name}{label} is constant, {value:g} at every step.")
    if len(flat) > MOST_TOLD:
        found.warnings.append(f"{len(flat) - MOST_TOLD} more columns of series are constant.")


# Cells that say that there is no number.
EMPTY = ("", "na", "n/a", "nan", "null", "none", "-", ".", "?")
LARGEST = 1e30
MOST_FILLED = 0.5
MOST_TOLD = 5
# A count is corrected downward at so many steps at most, and rises at so many at least.
SELDOM, OFTEN = 0.02, 0.3
# Deviation of the logarithms of levels below which nothing can be said of how swings go with them.
LEVELS_APART = 0.1
