"""What a trained model says of the steps behind the end of a series."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.data.calendar_features import DAY, Frequency
from unspool.data.examples import Examples
from unspool.data.in_memory import table_in
from unspool.data.scaled_series import ScaledSeries, dates_ahead
from unspool.data.series import SeriesSet, read_series
from unspool.data.series_windows import SeriesEncoder
from unspool.data.table import Table, listed
from unspool.errors import DataError
from unspool.models.forecaster import Forecaster
from unspool.tasks.example_answers import ENCODER_FILE
from unspool.tasks.forecast_bands import Bands
from unspool.tasks.forecast_windows import forecasts


@dataclass(frozen=True, slots=True)
class ForecastAnswers:
    """From tables of series to the steps that come next.

    Attributes:
        encoder: of the run.
        bands: what corrects the quantiles.
    """

    encoder: SeriesEncoder
    bands: Bands = field(default_factory=Bands)

    @classmethod
    def of_files(cls, files: Mapping[str, str]) -> ForecastAnswers:
        """What `files` gave; before a training has ended there are no corrected bands."""
        encoder = SeriesEncoder.from_dict(json.loads(files[ENCODER_FILE]))
        return cls(encoder, Bands.from_dict(json.loads(files.get(BANDS_FILE, UNCORRECTED))))

    def files(self) -> dict[str, str]:
        """What was learnt of the training part, and of the validation part how wide bands are."""
        found = {ENCODER_FILE: json.dumps(self.encoder.to_dict(), ensure_ascii=False) + "\n"}
        if self.bands.stretches:
            found[BANDS_FILE] = json.dumps(self.bands.to_dict()) + "\n"
        return found

    def predict(
        self, model: Forecaster, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """The forecast of every input, which is a table with the columns of the training.

        Args:
            model: of the task.
            inputs: DataFrames, dicts of columns, or lists of rows.
            names: what each is called in a message; None counts them.

        Returns:
            For each ``answer``: a list with a row for every series and step ahead, as `ahead` has.

        Raises:
            DataError: for a table that cannot be forecast, with its name or number.
        """
        names = names or [f"input {number}" for number in range(1, len(inputs) + 1)]
        answers = []
        for name, each in zip(names, inputs, strict=True):
            try:
                answers.append({"answer": list(self.ahead(model, table_in(each)))})
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        return answers

    def predict_examples(self, model: Forecaster, examples: Examples) -> list[dict[str, Any]]:
        """The same for what was read from a file."""
        return [{"answer": list(self.ahead(model, each))} for each in examples.inputs]

    def ahead(
        self, model: Forecaster, table: Table, tell: Callable[[str], None] = lambda text: None
    ) -> Iterator[dict[str, Any]]:
        """What comes behind the end of every series.

        Args:
            model: of the task.
            table: rows up to now; columns of ``series.known`` also for the steps ahead.
            tell: called with a sentence on series that are left out, and on values that lack.

        Yields:
            For each step of each series ``series`` (its name), ``date``, ``step`` (1 is the first)
            and ``forecast``: of every column ``point``, and each quantile by its number.

        Raises:
            DataError: for another table than those of the training, or if no series can go on.
        """
        encoder = self.encoder
        columns = [encoder.columns[each] for each in encoder.targets]
        for scaled in self.usable(table, tell, self._known_ahead):
            series = scaled.series
            said = forecasts(model, scaled, [len(series)], self.bands)[0]  # [H targets q]
            dates = dates_ahead(encoder, series, encoder.settings.horizon)
            for step, values in enumerate(said):
                yield {
                    "series": series.name,
                    "date": spelled(dates[step], encoder.frequency),
                    "step": step + 1,
                    "forecast": {
                        name: self._named(values[place].tolist())
                        for place, name in enumerate(columns)
                    },
                }

    def usable(
        self,
        table: Table,
        tell: Callable[[str], None] = lambda text: None,
        check: Callable[[ScaledSeries], Any] = lambda series: None,
    ) -> list[ScaledSeries]:
        """The series of a table like the one that was trained on, as the model sees them.

        Args:
            table: rows up to now.
            tell: called with a sentence on series that are left out, and on values that lack.
            check: raises a DataError for a series that is to be left out.

        Raises:
            DataError: if it lacks a column, or holds no series that can be used.
        """
        kept, reasons = [], {}
        for series in self._read(table).series:
            try:
                scaled = ScaledSeries.of(self.encoder, series)
                check(scaled)
            except DataError as error:
                reasons[series.name] = str(error)
            else:
                kept.append(scaled)
        first = next(iter(reasons.values()), "")
        if not kept:
            raise DataError(f"{table.file}: {first}")
        if reasons:
            tell(
                f"{len(reasons)} of {len(reasons) + len(kept)} series are left out "
                f"({listed(list(reasons))}); the first: {first}"
            )
        filled = sum(each.series.filled for each in kept)
        if filled:
            total = sum(map(len, kept))
            tell(f"{filled:,} of {total:,} steps lack a value; the one before stands there.")
        return kept

    def _known_ahead(self, series: ScaledSeries) -> None:
        """Whether enough is seen, and known, to forecast from the end."""
        series.inputs([len(series)])

    def _read(self, table: Table) -> SeriesSet:
        encoder = self.encoder
        wanted = (*encoder.columns, encoder.date, encoder.group)
        lacking = [name for name in wanted if name is not None and name not in table.columns]
        if lacking:
            raise DataError(
                f"{table.file}: has no column '{lacking[0]}', which the model reads; it has "
                f"{', '.join(table.columns)}."
            )
        found = read_series(table, encoder.settings, encoder.columns, encoder.date, encoder.group)
        if found.frequency != encoder.frequency:
            now, before = (each and each.name for each in (found.frequency, encoder.frequency))
            raise DataError(f"{table.file}: dates are {now}; the model was trained on {before}.")
        return found

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        levels = self.encoder.settings.levels
        bands = {
            f"{level:g}": value for level, value in zip(levels, values, strict=True) if level != 0.5
        }
        return {"point": values[levels.index(0.5)], **bands}


def spelled(date: np.datetime64, frequency: Frequency | None) -> str:
    """A date as short as its frequency allows; of rows without dates their number, from 1.

    Example:
        >>> spelled(np.datetime64("1961-01-01", "s"), Frequency("monthly", "months", 1, 12))
        '1961-01'
    """
    if frequency is None:
        return str(int(date.astype(np.int64)) + 1)
    day = date.astype("datetime64[D]")
    if frequency.unit == "seconds" and frequency.step % DAY:
        return str(date).replace("T", " ").removesuffix(":00")
    if frequency.unit == "months" and day == date.astype("datetime64[M]"):
        return str(day.astype("datetime64[M]"))
    return str(day)


BANDS_FILE = "bands.json"
UNCORRECTED = json.dumps(Bands().to_dict())
