"""Windows of series by index arithmetic: parts in time, scaling, what is known of the future."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.data.calendar_features import Frequency, calendar_features, calendar_names
from unspool.data.series import Series, SeriesSet, cumulative
from unspool.data.series_settings import SeriesSettings
from unspool.data.table import listed
from unspool.errors import DataError

Window = tuple[int, int]


def time_parts(steps: int, train: float = 0.7, test: float = 0.2) -> dict[str, range]:
    """The steps of each part, in the order of time; validation lies between the other two.

    Args:
        steps: of the series.
        train: share of the front, rounded down.
        test: share of the end, rounded down.

    Example:
        >>> time_parts(966)
        {'train': range(0, 676), 'validation': range(676, 773), 'test': range(773, 966)}
    """
    # Products such as 0.7 · 10 may lie a rounding below the whole number they are.
    first, last = int(steps * train + 1e-9), steps - int(steps * test + 1e-9)
    return {
        "train": range(first), "validation": range(first, last), "test": range(last, steps),
    }  # fmt: skip


def origins(part: range, lookback: int, horizon: int, stride: int = 1) -> range:
    """The steps at which the windows of a part begin to forecast.

    Every step that is forecast lies in the part; what is seen before may lie in earlier parts, but
    not before the series begins.

    Args:
        part: steps of the part.
        lookback: steps seen.
        horizon: steps forecast.
        stride: steps from one window to the next.

    Example:
        >>> len(origins(range(773, 966), 104, 24)), origins(range(0, 10), 4, 3)
        (170, range(4, 8))
    """
    return range(max(part.start, lookback), part.stop - horizon + 1, stride)


def rolling_origins(steps: int, horizon: int, folds: int, least: int) -> Iterator[Window]:
    """Folds that each learn from all that came before: (steps learnt from, steps known after).

    The last fold ends with the series, each one before it a horizon earlier.

    Args:
        steps: of the series.
        horizon: steps forecast in each fold.
        folds: how many.
        least: steps that the first fold learns from at least.

    Raises:
        DataError: if the series is too short for them.

    Source:
        Tashman (2000), "rolling origin".

    Example:
        >>> list(rolling_origins(144, 12, 3, least=60))
        [(108, 120), (120, 132), (132, 144)]
    """
    first = steps - folds * horizon
    if folds < 1 or first < least:
        raise DataError(
            f"series: {steps} steps hold no {folds} folds of {horizon} steps after {least} "
            "to learn from; wanted fewer folds or a shorter horizon."
        )
    for fold in range(folds):
        end = first + fold * horizon
        yield end, end + horizon


@dataclass(frozen=True, slots=True)
class SeriesEncoder:
    """Series as scaled windows: what was learnt of the training part.

    Attributes:
        settings: windows, scaling and what is known.
        columns: names of all D values, in the order of the table.
        targets: positions of the columns that are forecast.
        known: positions of the columns whose future is known.
        differenced: columns, by position, of which changes are learnt.
        mean: for every series name, of every column.
        deviation: for every series name, of every column; 1 where it is constant.
        frequency: of the dates; None for rows without.
        kind: of the model's inputs.
        reads: of examples.
    """

    settings: SeriesSettings
    columns: tuple[str, ...]
    targets: tuple[int, ...]
    known: tuple[int, ...]
    differenced: tuple[int, ...]
    mean: Mapping[str, tuple[float, ...]]
    deviation: Mapping[str, tuple[float, ...]]
    frequency: Frequency | None = None
    kind: str = "numbers"
    reads: str = "series"

    @classmethod
    def fit(
        cls, found: SeriesSet, settings: SeriesSettings, ends: Sequence[int] | None = None
    ) -> SeriesEncoder:
        """Measure the training part of every series.

        Args:
            found: the series.
            settings: columns, scaling and differences.
            ends: of each series, the step before which the training part ends; None takes the
                shares of `time_parts`.

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
        mean, deviation = {}, {}
        for each, part in zip(found.series, parts, strict=True):
            changed = _changes(part, differenced)
            middle, spread = changed.mean(0), changed.std(0)
            spread[spread <= 1e-12 * np.maximum(np.abs(middle), 1e-12)] = 1.0
            if settings.scaling == "none":
                middle, spread = np.zeros_like(middle), np.ones_like(spread)
            mean[each.name], deviation[each.name] = tuple(middle.tolist()), tuple(spread.tolist())
        frequency = found.frequency
        return cls(settings, found.columns, targets, known, differenced, mean, deviation, frequency)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SeriesEncoder:
        """What `to_dict` gave."""
        settings = dict(stored["settings"])
        for name in ("target", "known", "quantiles"):
            settings[name] = tuple(settings[name])
        frequency = stored["frequency"]
        return cls(
            SeriesSettings(**settings),
            *(tuple(stored[name]) for name in ("columns", "targets", "known", "differenced")),
            *({k: tuple(v) for k, v in stored[name].items()} for name in ("mean", "deviation")),
            None if frequency is None else Frequency(**frequency),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        stored = {
            "reads": self.reads,
            "settings": {
                k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.settings).items()
            },
            "frequency": None if self.frequency is None else asdict(self.frequency),
        }
        for name in ("columns", "targets", "known", "differenced"):
            stored[name] = list(getattr(self, name))
        for name in ("mean", "deviation"):
            stored[name] = {key: list(each) for key, each in getattr(self, name).items()}
        return stored

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided from the data, in sentences."""
        if not self.differenced or self.settings.difference != "auto":
            return ()
        names = listed([self.columns[each] for each in self.differenced])
        return (
            f"changes are learnt of what counts up: {names}; set series.difference to 'none' to "
            "learn the counts.",
        )

    @property
    def future_names(self) -> tuple[str, ...]:
        """What is known of every step ahead, by name."""
        names = tuple(self.columns[each] for each in self.known)
        if self.settings.calendar and self.frequency is not None:
            names += calendar_names(self.frequency)
        return names

    @property
    def shape(self) -> dict[str, Any]:
        """Numbers of a step that is seen: all columns, and the calendar."""
        size = len(self.columns) + len(self.future_names) - len(self.known)
        return {"kind": self.kind, "size": size, "steps": self.settings.lookback}

    @property
    def output(self) -> dict[str, Any]:
        """What a model is to give for a window."""
        return {
            "mapping": "horizon",
            "size": len(self.targets),
            "horizon": self.settings.horizon,
            "quantiles": len(self.settings.quantiles),
            "future": len(self.future_names),
        }

    def scale(self, series: Series) -> ScaledSeries:
        """A series as the model sees it; step t depends on steps up to t alone.

        The first step has no change; where changes are learnt, it counts as 0.

        Raises:
            DataError: if training knew no series of that name.
        """
        if series.name not in self.mean:
            raise DataError(
                f"series {series.name!r}: was not in the training part, so its scale is unknown."
            )
        mean, deviation = self.mean[series.name], self.deviation[series.name]
        changed = _changes(series.values, self.differenced, keep=True)
        scaled = ((changed - mean) / np.array(deviation)).astype(np.float32)
        calendar = np.zeros((len(series), 0), np.float32)
        if self.settings.calendar and self.frequency is not None:
            calendar = calendar_features(series.dates, self.frequency)
        return ScaledSeries(self, series, torch.from_numpy(scaled), torch.from_numpy(calendar))


@dataclass(frozen=True, slots=True)
class ScaledSeries:
    """A series whose windows can be taken from any step.

    Attributes:
        encoder: what scaled it.
        series: as it was read.
        values: scaled, float32 ``[T D]``.
        calendar: of every step, float32 ``[T K]``.
    """

    encoder: SeriesEncoder
    series: Series
    values: Tensor
    calendar: Tensor

    def inputs(self, starts: Sequence[int], known: Tensor | None = None) -> dict[str, Tensor]:
        """What is seen before each of these steps, and what is known from there on.

        Args:
            starts: steps at which forecasts begin, each from the lookback up to T.
            known: scaled values of the known columns ``[B H M]``; needed, like the calendar, where
                the steps ahead lie behind the end of the series.

        Returns:
            ``numbers`` ``[B L D]``; ``future`` ``[B H K]`` where anything is known.

        Raises:
            DataError: if too little stands before a step, or what is to be known is missing.
        """
        settings, T = self.encoder.settings, len(self.series)
        L, H = settings.lookback, settings.horizon
        if not len(starts) or min(starts) < L or max(starts) > T:
            raise DataError(f"series: forecasts begin at steps {L} to {T}; got {list(starts)[:5]}.")
        begin = torch.as_tensor(list(starts))
        # Windows are views; only those of a batch are copied.
        seen = self._whole(self.values, L)[begin - L]  # [B L D]
        if settings.scaling == "instance":
            seen = self._less_last(seen)
        past = self._whole(self.calendar, L)[begin - L]
        inputs = {"numbers": torch.cat([seen, past], 2)}
        if self.encoder.future_names:
            inputs["future"] = self._future(begin, H, known)
        return inputs

    def targets(self, starts: Sequence[int]) -> Tensor:
        """The scaled truth after each of these steps, ``[B H targets]``.

        Raises:
            DataError: if some of it lies behind the end of the series.
        """
        settings = self.encoder.settings
        if not len(starts) or max(starts) + settings.horizon > len(self.series):
            raise DataError(f"series: the truth ends at step {len(self.series)}.")
        begin = torch.as_tensor(list(starts))
        columns = list(self.encoder.targets)
        truth = self._whole(self.values, settings.horizon)[begin][:, :, columns]
        if settings.scaling == "instance":
            truth = truth - self.values[begin - 1][:, None, columns]
        return truth

    def restore(self, forecast: Tensor, starts: Sequence[int]) -> np.ndarray:
        """Forecasts in the units of the file.

        Changes are added up from the last value seen. That is exact for points; of quantiles the
        sum of changes is not the quantile of the sum, but bounds it where all steps err together.

        Args:
            forecast: ``[B H targets q]`` or ``[B H targets]``, as the model gives them.
            starts: steps at which they begin.

        Returns:
            float64 of the same shape.
        """
        flat = forecast.dim() == 3
        values = (forecast[..., None] if flat else forecast).detach().double().cpu().numpy()
        begin, columns = np.asarray(list(starts)), list(self.encoder.targets)
        if self.encoder.settings.scaling == "instance":
            values = values + self.values.double().numpy()[begin - 1][:, None, columns, None]
        name = self.series.name
        mean = np.array(self.encoder.mean[name])[columns, None]
        values = values * np.array(self.encoder.deviation[name])[columns, None] + mean
        for place, column in enumerate(columns):
            if column in self.encoder.differenced:
                last = self.series.values[begin - 1, column]
                values[:, :, place] = last[:, None, None] + values[:, :, place].cumsum(1)
        return values[..., 0] if flat else values

    def _whole(self, values: Tensor, length: int) -> Tensor:
        """All windows of a length, ``[T - length + 1, length, D]``, sharing the memory of one."""
        return values.unfold(0, length, 1).transpose(1, 2)

    def _less_last(self, seen: Tensor) -> Tensor:
        """Targets less their last value in the window; other columns as they are."""
        last = seen[:, -1:].clone()
        others = [i for i in range(seen.shape[2]) if i not in self.encoder.targets]
        last[:, :, others] = 0
        return seen - last

    def _future(self, begin: Tensor, H: int, known: Tensor | None) -> Tensor:
        """What is known of the steps ahead; dates can be continued, known columns must be given."""
        T, M = len(self.series), len(self.encoder.known)
        beyond = int(begin.max()) + H - T
        calendar, columns = self.calendar, self.values[:, list(self.encoder.known)]
        if beyond > 0 and self.calendar.shape[1]:
            assert self.encoder.frequency is not None
            dates = self.encoder.frequency.following(self.series.dates[-1], beyond)
            more = torch.from_numpy(calendar_features(dates, self.encoder.frequency))
            calendar = torch.cat([calendar, more])
        if beyond > 0 and M and known is None:
            names = ", ".join(self.encoder.settings.known)
            raise DataError(f"series: {beyond} steps ahead lack {names}, which series.known names.")
        if known is not None and known.shape != (len(begin), H, M):
            raise DataError(
                f"series: known values have the shape {list(known.shape)}; wanted "
                f"{[len(begin), H, M]}."
            )
        steps = begin[:, None] + torch.arange(H)
        parts = [known if known is not None else columns[steps]] if M else []
        if calendar.shape[1]:
            parts.append(calendar[steps])
        return torch.cat(parts, 2)


def _positions(columns: tuple[str, ...], names: Sequence[str], setting: str) -> tuple[int, ...]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(f"{setting}: {missing[0]!r} is no column of numbers; use {list(columns)}.")
    return tuple(columns.index(name) for name in names)


def _differenced(parts: Sequence[np.ndarray], settings: SeriesSettings) -> tuple[int, ...]:
    """Columns of which changes are learnt: all, none, or those that count up in most series."""
    width = parts[0].shape[1]
    if settings.difference == "first":
        return tuple(range(width))
    if settings.difference == "none":
        return ()
    return tuple(column for column in range(width) if _counts_up([p[:, column] for p in parts]))


def _counts_up(columns: Sequence[np.ndarray]) -> bool:
    """Whether a column does in most of the series in which anything happens."""
    moving = [each for each in columns if (each != each[0]).any()]
    return 2 * sum(map(cumulative, moving)) > len(moving)


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
