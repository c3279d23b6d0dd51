"""The steps of a series that come next (sequence to horizon): one or many series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.data.reading import Reading
from unspool.data.scaled_series import ScaledSeries
from unspool.data.series_parts import origins
from unspool.data.series_windows import SeriesEncoder
from unspool.engine.language import Cell
from unspool.errors import CheckpointError, ConfigError, DataError
from unspool.layers.state import State
from unspool.models.forecaster import Forecaster
from unspool.models.settings import ModelSettings
from unspool.tasks.baselines.series import find_period
from unspool.tasks.example_answers import ENCODER_FILE
from unspool.tasks.example_batches import order
from unspool.tasks.forecast_answers import ForecastAnswers
from unspool.tasks.forecast_bands import Bands
from unspool.tasks.forecast_methods import simple_methods
from unspool.tasks.forecast_metrics import coverage
from unspool.tasks.forecast_parts import Divided, read_divided
from unspool.tasks.forecast_scores import MEASURES, Yardstick
from unspool.tasks.forecast_shown import drawn, plain_forecasts
from unspool.tasks.forecast_start import start_at_line
from unspool.tasks.forecast_windows import (
    AT_ONCE,
    ForecastBatch,
    Learnt,
    Windows,
    ahead,
    calibrated_bands,
    forecast_loss,
    forecasts,
)
from unspool.tasks.verdicts import FEWEST, Scored, compare


@dataclass(frozen=True, kw_only=True)
class ForecastJob:
    """A forecast of somebody's series, as the `unspool.tasks.job.Job` it is.

    Attributes:
        encoder: fitted on the training part.
        learnt: of each series of the test part what was trained on.
        train: windows that are learnt.
        validation: windows that choose the step.
        test: windows that are measured once, at the end: a forecast from every step of the test
            part from which the whole horizon is known (a rolling origin).
        batch: windows side by side.
        seed: of the order.
        warnings: what a person should know.
        measured_on: the part that `judge` reads, in words.
        bands: what corrects the quantiles; nothing before `calibrated`.
    """

    encoder: SeriesEncoder
    learnt: Sequence[Learnt]
    train: Windows
    validation: Windows
    test: Windows
    batch: int
    seed: int
    warnings: tuple[str, ...] = ()
    measured_on: str = "test part"
    unit: str = "value"
    bands: Bands = field(default_factory=Bands)
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def files(self) -> dict[str, str]:
        """What was learnt of the training part, and at the end how wide bands are."""
        return ForecastAnswers(self.encoder, self.bands).files()

    def shape(self) -> dict[str, Any]:
        """What goes in, and what comes out."""
        return {"input": dict(self.encoder.shape), "output": self.encoder.output}

    def facts(self) -> dict[str, Any]:
        """Values that are forecast in each part."""
        settings = self.encoder.settings
        each = settings.horizon * len(self.encoder.targets)
        return {
            "train_tokens": each * len(self.train),
            "validation_tokens": each * len(self.validation),
            "test_tokens": each * len(self.test),
            "measure": MEASURES[settings.measure],
            "scale": "on the standardised scale",
            "lookback": settings.lookback,
            "horizon": settings.horizon,
        }

    @property
    def squared(self) -> bool:
        """Whether the point is learnt by its squared error: as it is measured."""
        return self.encoder.settings.measure == "mse"

    def epoch_steps(self) -> int:
        """Batches that read every window once; of very many windows, as many as are enough."""
        return min(math.ceil(len(self.train) / self.batch), MOST_BATCHES)

    def work(self, model: Forecaster) -> Examination:
        """What the training loop wants; the model starts at the best line through the windows."""
        start_at_line(model, self.train)
        return Examination(model, self)

    def judge(self, model: Forecaster) -> dict[str, Any]:
        """All figures on the test part, and some forecasts beside what came, for a plot."""
        levels = self.encoder.settings.levels
        answers = self._forecasts(model, self.bands)
        yardstick = self.yardstick()
        self._rows[MODEL] = yardstick.rows(answers[..., list(levels).index(0.5)])
        return {
            **self._heading(),
            "rows": len(self.test),
            **yardstick.measures(answers, levels),
            **self._corrected(model, yardstick),
            "forecasts": plain_forecasts(model, self.test, self.bands),
        }

    def calibrated(self, model: Forecaster) -> ForecastJob:
        """The same job with bands that hold as much of the validation part as they promise."""
        return replace(self, bands=calibrated_bands(model, self.validation))

    def baselines(self) -> Iterator[dict[str, Any]]:
        """The simple methods, on the same windows and measured like the model."""
        yardstick = self.yardstick()
        for method in simple_methods(self.test, self.learnt, self.period, self.seed):
            self._rows[method.name] = yardstick.rows(method.answers)
            measured = yardstick.measures(method.answers[..., None], (0.5,))
            yield {
                "name": method.name,
                **self._heading(),
                **{name: measured[name] for name in ("score", "interval", "median", *MEASURES)},
                "seconds": method.seconds,
                "reproduce": method.reproduce,
            }

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Whether the model was worth training, in a plain sentence."""
        if not all(each["name"] in self._rows for each in baselines):
            list(self.baselines())  # of a run that goes on: only the figures were written down
        methods = [
            Scored(each["name"], each["score"], rows=self._rows[each["name"]]) for each in baselines
        ]
        model = Scored(name, judged["score"], rows=self._rows[MODEL])
        measure, groups = MEASURES[self.encoder.settings.measure], self.yardstick().groups
        sentence = compare(model, methods, measure, False, groups=groups).sentence
        count = len(set(groups.tolist()))
        if count >= FEWEST:
            return sentence
        return (
            f"{sentence} The {self.measured_on} is {count} horizons long; with fewer than {FEWEST} "
            "that do not overlap no difference is called one."
        )

    def yardstick(self) -> Yardstick:
        """What errors on the test part are measured by: the training part alone."""
        return Yardstick.of(self.test, self.learnt, self.period, self.encoder.settings.measure)

    @property
    def period(self) -> int:
        """Steps of a season: where the longest training part repeats itself, or as dates say."""
        longest = max(self.learnt, key=lambda each: each.end)
        shortest = min(each.end for each in self.learnt)
        found, frequency = find_period(longest.targets), self.encoder.frequency
        if found == 1 and frequency is not None:
            found = frequency.season
        return found if found < shortest else 1

    def _forecasts(self, model: Forecaster, bands: Bands) -> np.ndarray:
        """Of every window of the test part, in the units of the file."""
        return np.concatenate(
            [forecasts(model, each, starts, bands) for each, starts in self.test.own()]
        )

    def _corrected(self, model: Forecaster, yardstick: Yardstick) -> dict[str, Any]:
        """What the bands held as they were learnt, if they were corrected."""
        if not self.bands.stretches:
            return {}
        learnt = self._forecasts(model, Bands())
        before = coverage(yardstick.truth, learnt[..., 0], learnt[..., -1])
        return {"coverage_before": before, "calibration_windows": self.bands.windows}

    def _heading(self) -> dict[str, Any]:
        return {
            "measure": MEASURES[self.encoder.settings.measure],
            "higher_is_better": False,
            "unit": self.unit,
        }


class Examination:
    """The work of a forecasting model, as the training loop wants it.

    Args:
        model: what is trained.
        job: whose windows.
    """

    def __init__(self, model: Forecaster, job: ForecastJob) -> None:
        self.model, self.job = model, job
        self._epoch: tuple[int, list[list[int]]] = (-1, [])  # of the epoch being read

    def batch(self, step: int) -> ForecastBatch:
        """The windows of one update: every epoch all of them, in an order of its own."""
        job = self.job
        epoch, index = divmod(step, job.epoch_steps())
        if self._epoch[0] != epoch:
            lengths = [job.encoder.settings.lookback] * len(job.train)
            self._epoch = epoch, order(lengths, job.batch, job.seed, epoch)
        batch = job.train.batch(self._epoch[1][index])
        steps = job.encoder.output["horizon"]  # 1 of a recursive forecast
        inputs = dict(batch.inputs)
        if "future" in inputs:
            inputs["future"] = inputs["future"][:, :steps]
        return ForecastBatch(inputs, batch.targets[:, :steps]).to(self.model.device)

    def loss(self, batch: ForecastBatch, state: State | None) -> tuple[Tensor, None]:
        """Summed over the values of a batch, on the model's scale; nothing is carried on."""
        return self._loss(self.model(batch.inputs), batch), None

    @torch.no_grad()
    def evaluate(self) -> float:
        """The loss per value on the validation part, over the whole horizon."""
        self.model.eval()
        job, total, count = self.job, 0.0, 0
        for start in range(0, len(job.validation), AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(job.validation)))
            batch = job.validation.batch(rows).to(self.model.device)
            forecast = ahead(self.model, job.encoder, batch.inputs)
            total += self._loss(forecast, batch).item()
            count += batch.num_targets
        return total / count

    def sample(self) -> str | None:
        """The last window of the validation part beside what came."""
        return drawn(plain_forecasts(self.model, self.job.validation, self.job.bands, most=1))

    def _loss(self, forecast: Tensor, batch: ForecastBatch) -> Tensor:
        levels = self.job.encoder.settings.levels
        return forecast_loss(forecast, batch.targets, levels, self.job.squared)


def prepare(reading: Reading, settings: Any, files: Mapping[str, str] | None = None) -> ForecastJob:
    """The job on series.

    Args:
        reading: a table, and which of its rows are in which part.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None measures the training part.

    Raises:
        DataError: if no series is long enough, or all are constant.
        ConfigError: for a model that reads from both ends.
    """
    _check_model(settings.model)
    stored = None if files is None else ForecastAnswers.of_files(files)
    encoder = None if stored is None else stored.encoder
    parts, settings_made = read_divided(reading, settings, encoder)
    if encoder is None:
        date, group = (reading.roles.get(role) for role in ("date", "group"))
        encoder = SeriesEncoder.fit(parts.found, settings_made, parts.learnt, date, group)
    series = [ScaledSeries.of(encoder, each) for each in parts.found.series]
    return ForecastJob(
        encoder=encoder,
        learnt=[Learnt(each, end) for each, end in zip(series, parts.learnt, strict=True)],
        **_windows(series, parts, encoder),
        batch=settings.train.batch,
        seed=settings.seed,
        bands=Bands() if stored is None else stored.bands,
        warnings=(*reading.warnings, *parts.found.warnings, *parts.warnings, *encoder.notes),
    )


def measuring(job: ForecastJob, found: Reading, name: str) -> ForecastJob:
    """The same job, judged on another file: from every step that has a lookback before it.

    Raises:
        DataError: if it holds other columns or series, or too few steps.
    """
    answers = ForecastAnswers(job.encoder)
    named = {each.series.series.name: each for each in job.learnt}
    series = answers.usable(found.examples.inputs[0])
    L, H = job.encoder.settings.lookback, job.encoder.settings.horizon
    starts = [origins(range(len(each)), L, H) for each in series]
    if not any(map(len, starts)):
        raise DataError(
            f"{name}: {max(map(len, series))} steps; a forecast of {H} steps from {L} wants "
            f"{L + H}."
        )
    return replace(
        job,
        learnt=[named[each.series.name] for each in series],
        test=Windows(series, starts),
        measured_on=name,
        _rows={},
    )


def restore(files: Mapping[str, str], where: str) -> ForecastAnswers:
    """What turns a model's numbers into forecasts.

    Raises:
        CheckpointError: if a file describes no encoder.
    """
    try:
        return ForecastAnswers.of_files(files)
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{where}: {ENCODER_FILE} describes no encoder ({error}).") from error


def build(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> Forecaster:
    """A fresh model, as `unspool.tasks.job.Builds` says; `ForecastJob.shape` gives its shape."""
    return Forecaster(shape["input"], shape["output"], settings, cell, generator)


def _check_model(settings: ModelSettings) -> None:
    if getattr(settings, "bidirectional", False):
        raise ConfigError(
            "model.bidirectional: reading from the end needs an end, and a series goes on: what "
            "the second direction learns of earlier steps it learns from later ones, which are not "
            "there when they are forecast. Leave it out."
        )


def _windows(
    series: Sequence[ScaledSeries], parts: Divided, encoder: SeriesEncoder
) -> dict[str, Windows]:
    """The windows of each part; what is seen before a forecast may lie in an earlier part."""
    settings = encoder.settings
    found = {}
    for part, ranges in parts.ranges.items():
        stride = settings.stride if part == "train" else 1
        starts = [origins(each, settings.lookback, settings.horizon, stride) for each in ranges]
        found[part] = Windows(series, starts)
        if not len(found[part]):
            longest = max(map(len, ranges))
            raise DataError(
                f"{part} part: the longest series has {longest} steps in it; wanted at least "
                f"series.horizon, {settings.horizon}. Set a shorter horizon, or another data.split."
            )
    return found


# Of an epoch. Windows that overlap tell little that is new: a hundred series have enough of them.
MOST_BATCHES = 150
MODEL = ""  # the model's own rows, among those of the simple methods
