"""What is learnt of the training part of series: which columns, on which scale, what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unspool.data.calendar_features import Frequency, calendar_names
from unspool.data.series import Series, SeriesSet, cumulative, grows_with_level
from unspool.data.series_parts import time_parts
from unspool.data.series_settings import SeriesSettings
from unspool.data.table import listed
from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class SeriesEncoder:
    """Series as scaled windows: what was learnt of the training part.

    A value becomes its logarithm, then its change, then it is standardised; each where it is due.

    Attributes:
        settings: windows, scaling and what is known; nothing in it is left open.
        columns: names of all D values, in the order of the table.
        targets: positions of the columns that are forecast.
        known: positions of the columns whose future is known.
        logged: columns, by position, of which logarithms are learnt.
        differenced: columns, by position, of which changes are learnt.
        mean: for every series name, of every column.
        deviation: for every series name, of every column; 1 where it is constant.
        frequency: of the dates; None for rows without.
        date: the column of dates.
        group: the column that tells series apart.
        kind: of the model's inputs.
        reads: of examples.
    """

    settings: SeriesSettings
    columns: tuple[str, ...]
    targets: tuple[int, ...]
    known: tuple[int, ...]
    logged: tuple[int, ...]
    differenced: tuple[int, ...]
    mean: Mapping[str, tuple[float, ...]]
    deviation: Mapping[str, tuple[float, ...]]
    frequency: Frequency | None = None
    date: str | None = None
    group: str | None = None
    kind: str = "numbers"
    reads: str = "series"

    @classmethod
    def fit(
        cls,
        found: SeriesSet,
        settings: SeriesSettings,
        ends: Sequence[int] | None = None,
        date: str | None = None,
        group: str | None = None,
    ) -> SeriesEncoder:
        """Measure the training part of every series.

        Args:
            found: the series.
            settings: columns, scaling and differences; a lookback and a horizon.
            ends: of each series, the step before which the training part ends; None takes the
                shares of `unspool.data.series_parts.time_parts`.
            date: the column of dates.
            group: the column that tells series apart.

        Raises:
            DataError: if a column is unknown, or a training part holds no window.

        Example:
            >>> from unspool.data.series import read_series
            >>> table = {"n": [str(n % 7) for n in range(100)]}
            >>> settings = SeriesSettings(lookback=14, horizon=7)
            >>> encoder = SeriesEncoder.fit(read_series(table, settings, ["n"]), settings)
            >>> encoder.shape["size"], encoder.output["horizon"]
            (1, 7)
        """
        known = _positions(found.columns, settings.known, "series.known")
        targets = _positions(found.columns, settings.target, "series.target") or tuple(
            each for each in range(len(found.columns)) if each not in known
        )
        _check_recursive(found.columns, targets, known, settings)
        ends = (
            [time_parts(len(each))["train"].stop for each in found.series] if ends is None else ends
        )
        parts = [s.values[:end] for s, end in zip(found.series, ends, strict=True)]
        needed = settings.lookback + settings.horizon
        for each, part in zip(found.series, parts, strict=True):
            if len(part) < needed:
                label = f"series {each.name!r}" if each.name else "series"
                raise DataError(
                    f"{label}: {len(part)} steps to learn from; series.lookback "
                    f"{settings.lookback} and series.horizon {settings.horizon} need {needed}."
                )
        differenced = _differenced(parts, settings)
        season = 1 if found.frequency is None else found.frequency.season
        logged = _logged(found.columns, parts, settings, differenced, season)
        mean, deviation = {}, {}
        for each, part in zip(found.series, parts, strict=True):
            changed = _changes(_logarithms(part, logged), differenced)
            middle, spread = changed.mean(0), changed.std(0)
            spread[spread <= 1e-12 * np.maximum(np.abs(middle), 1e-12)] = 1.0
            if settings.scaling == "none":
                middle, spread = np.zeros_like(middle), np.ones_like(spread)
            mean[each.name], deviation[each.name] = tuple(middle.tolist()), tuple(spread.tolist())
        return cls(
            settings, found.columns, targets, known, logged, differenced, mean, deviation,
            found.frequency, date, group,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SeriesEncoder:
        """What `to_dict` gave."""
        settings = dict(stored["settings"])
        for name in ("target", "known", "quantiles"):
            settings[name] = tuple(settings[name])
        frequency = stored["frequency"]
        return cls(
            SeriesSettings(**settings),
            *(tuple(stored[name]) for name in TUPLES),
            *({k: tuple(v) for k, v in stored[name].items()} for name in ("mean", "deviation")),
            None if frequency is None else Frequency(**frequency),
            stored["date"],
            stored["group"],
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        stored = {
            "reads": self.reads,
            "settings": {
                k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.settings).items()
            },
            "frequency": None if self.frequency is None else asdict(self.frequency),
            "date": self.date,
            "group": self.group,
        }
        for name in TUPLES:
            stored[name] = list(getattr(self, name))
        for name in ("mean", "deviation"):
            stored[name] = {key: list(each) for key, each in getattr(self, name).items()}
        return stored

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided from the data, in sentences."""
        said = []
        if self.differenced and self.settings.difference == "auto":
            names = listed([self.columns[each] for each in self.differenced])
            said.append(
                f"changes are learnt of what counts up: {names}; set series.difference to 'none' "
                "to learn the counts."
            )
        if self.logged and self.settings.logarithm == "auto":
            names = listed([self.columns[each] for each in self.logged])
            said.append(
                f"logarithms are learnt of what swings wider the higher it stands: {names}; set "
                "series.logarithm to 'no' to learn the values."
            )
        return tuple(said)

    @property
    def future_names(self) -> tuple[str, ...]:
        """What is known of every step ahead, by name."""
        names = tuple(self.columns[each] for each in self.known)
        if self.settings.calendar and self.frequency is not None:
            names += calendar_names(self.frequency)
        return names

    @property
    def shape(self) -> dict[str, Any]:
        """What `unspool.models.forecaster.Forecaster` is to read."""
        size = len(self.columns) + len(self.future_names) - len(self.known)
        return {
            "kind": self.kind,
            "size": size,
            "steps": self.settings.lookback,
            "targets": list(self.targets),
            "instance": self.settings.instance,
            "apart": self.settings.columns == "apart",
            "linear": self.settings.linear,
        }

    @property
    def output(self) -> dict[str, Any]:
        """What a model is to give for a window; of a recursive forecast one step at a time."""
        return {
            "mapping": "horizon",
            "size": len(self.targets),
            "horizon": 1 if self.settings.strategy == "recursive" else self.settings.horizon,
            "quantiles": len(self.settings.levels),
            "future": len(self.future_names),
        }

    def standard(self, series: Series) -> np.ndarray:
        """A series as the model sees it, float64 ``[T D]``; step t depends on steps up to t alone.

        The first step has no change; where changes are learnt, it counts as 0.

        Raises:
            DataError: if training knew no series of that name, or a logarithm there is none of.
        """
        mean, deviation = self._scale(series)
        self._check_positive(series)
        changed = _changes(_logarithms(series.values, self.logged), self.differenced, keep=True)
        return (changed - mean) / deviation

    def standard_ahead(self, series: Series) -> np.ndarray:
        """The same for what is known behind the end of a series, float64 ``[K M]``.

        Raises:
            DataError: for a value that is not there, by the column's name.
        """
        mean, deviation = self._scale(series)
        both = np.concatenate([series.values[-1:], series.ahead])
        for place in self.known:
            if np.isnan(both[:, place]).any():
                step = int(np.isnan(both[:, place]).argmax())
                raise DataError(
                    f"series {series.name!r}: {self.columns[place]} is not known {step} steps "
                    "ahead; series.known says that it is."
                )
        with np.errstate(invalid="ignore"):
            changed = _changes(_logarithms(both, self.logged), self.differenced, keep=True)[1:]
        return ((changed - mean) / deviation)[:, list(self.known)]

    def restore(self, series: Series, forecast: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Forecasts in the units of the file: `summed`, then `raised`."""
        return self.raised(self.summed(series, forecast, starts))

    def summed(self, series: Series, forecast: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Forecasts in the units of the file, but as logarithms where those are learnt.

        Changes are added up from the last value seen. That is exact for points; of quantiles the
        sum of changes is not the quantile of the sum, but bounds it where all steps err together.

        Args:
            series: that was forecast.
            forecast: on the model's scale, ``[B H targets q]``.
            starts: steps at which they begin, ``[B]``.

        Returns:
            float64 of the same shape.
        """
        columns = list(self.targets)
        mean, deviation = (each[columns, None] for each in self._scale(series))
        values = forecast.astype(np.float64) * deviation + mean
        for place, column in enumerate(columns):
            if column in self.differenced:
                last = _logarithms(series.values, self.logged)[starts - 1, column]
                values[:, :, place] = last[:, None, None] + values[:, :, place].cumsum(1)
        return values

    def raised(self, values: np.ndarray) -> np.ndarray:
        """What `summed` gave, logarithms no longer."""
        found = values.copy()
        for place, column in enumerate(self.targets):
            if column in self.logged:
                found[:, :, place] = np.exp(values[:, :, place].clip(-LARGEST_LOG, LARGEST_LOG))
        return found

    def _scale(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        if series.name not in self.mean:
            raise DataError(
                f"series {series.name!r}: was not in the training part, so its scale is unknown."
            )
        return np.array(self.mean[series.name]), np.array(self.deviation[series.name])

    def _check_positive(self, series: Series) -> None:
        for place in self.logged:
            least = series.values[:, place].min()
            if least <= 0:
                label = f"series {series.name!r}: " if series.name else ""
                raise DataError(
                    f"{label}{self.columns[place]} is {least:g}, which has no logarithm; train "
                    "with series.logarithm 'no'."
                )


def _positions(columns: tuple[str, ...], names: Sequence[str], setting: str) -> tuple[int, ...]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(f"{setting}: {missing[0]!r} is no column of numbers; use {list(columns)}.")
    return tuple(columns.index(name) for name in names)


def _check_recursive(
    columns: tuple[str, ...], targets: Sequence[int], known: Sequence[int], settings: SeriesSettings
) -> None:
    """Fed back is what was forecast; of another column there is nothing to feed."""
    others = [name for place, name in enumerate(columns) if place not in (*targets, *known)]
    if settings.strategy == "recursive" and others:
        raise DataError(
            f"series.strategy: a recursive forecast needs every column a step ahead, and "
            f"{listed(others)} is neither forecast (series.target) nor known (series.known); use "
            "'direct'."
        )


def _differenced(parts: Sequence[np.ndarray], settings: SeriesSettings) -> tuple[int, ...]:
    """Columns of which changes are learnt: all, none, or those that count up in most series."""
    width = parts[0].shape[1]
    if settings.difference == "first":
        return tuple(range(width))
    if settings.difference == "none":
        return ()
    return tuple(
        column for column in range(width) if _in_most([p[:, column] for p in parts], cumulative)
    )


def _logged(
    columns: tuple[str, ...],
    parts: Sequence[np.ndarray],
    settings: SeriesSettings,
    differenced: tuple[int, ...],
    season: int,
) -> tuple[int, ...]:
    """Columns of which logarithms are learnt."""
    width = parts[0].shape[1]
    positive = [column for column in range(width) if all((p[:, column] > 0).all() for p in parts)]
    if settings.logarithm == "yes":
        if len(positive) < width:
            name = next(columns[each] for each in range(width) if each not in positive)
            raise DataError(
                f"series.logarithm: {name} is not positive everywhere in the training part; use "
                "'no' or 'auto'."
            )
        return tuple(positive)
    if settings.logarithm == "no":
        return ()
    return tuple(
        column
        for column in positive
        if column not in differenced
        and _in_most([p[:, column] for p in parts], lambda each: grows_with_level(each, season))
    )


def _in_most(columns: Sequence[np.ndarray], rule: Any) -> bool:
    """Whether a rule holds in most of the series in which anything happens."""
    moving = [each for each in columns if (each != each[0]).any()]
    return 2 * sum(map(rule, moving)) > len(moving)


def _logarithms(values: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Some columns as their natural logarithms."""
    if not columns:
        return values
    found = values.copy()
    found[:, list(columns)] = np.log(found[:, list(columns)])
    return found


def _changes(values: np.ndarray, columns: Sequence[int], keep: bool = False) -> np.ndarray:
    """Some columns as the change from the step before; the first step, which has none, goes.

    With ``keep`` that step stays and its change is 0, so that steps keep their numbers.
    """
    if not columns:
        return values
    changed = values.copy()
    picked = list(columns)
    changed[1:, picked] = np.diff(values[:, picked], axis=0)
    changed[0, picked] = 0
    return changed if keep else changed[1:]


TUPLES = ("columns", "targets", "known", "logged", "differenced")
LARGEST_LOG = 700.0  # of what float64 can hold
