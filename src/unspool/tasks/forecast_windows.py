"""Windows of many series side by side, and what a model forecasts from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspool.data.scaled_series import ScaledSeries
from unspool.data.series_windows import SeriesEncoder
from unspool.models.forecaster import Forecaster
from unspool.tasks.forecast_bands import Bands, bands_of


@dataclass(frozen=True, slots=True)
class ForecastBatch:
    """Some windows side by side, as the training loop wants them.

    Attributes:
        inputs: tensors by name, batch first.
        targets: the scaled truth, ``[B H targets]``.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor

    @property
    def num_rows(self) -> int:
        """Windows."""
        return len(self.targets)

    @property
    def num_steps(self) -> int:
        """A whole window is one step of the loop: gradients flow through all of it."""
        return 1

    @property
    def num_targets(self) -> int:
        """Values forecast."""
        return self.targets.numel()

    @property
    def first(self) -> bool:
        """Nothing is carried from one batch to the next."""
        return True

    def rows(self, start: int, stop: int) -> ForecastBatch:
        """Some of the windows."""
        inputs = {name: value[start:stop] for name, value in self.inputs.items()}
        return ForecastBatch(inputs, self.targets[start:stop])

    def steps(self, start: int, stop: int) -> ForecastBatch:
        """All of it; see `num_steps`."""
        return self

    def to(self, device: torch.device) -> ForecastBatch:
        """The same elsewhere."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return ForecastBatch(inputs, self.targets.to(device))


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was trained on of one series.

    Attributes:
        series: all of it.
        end: the step before which the training part ends.
    """

    series: ScaledSeries
    end: int

    @property
    def targets(self) -> np.ndarray:
        """The steps of the columns that are forecast, in the units of the file, ``[T targets]``."""
        return self.series.series.values[: self.end, list(self.series.encoder.targets)]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of several series, one series after the other.

    Attributes:
        series: all of them.
        starts: of each, the steps at which forecasts begin; none for some.
    """

    series: Sequence[ScaledSeries]
    starts: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return sum(map(len, self.starts))

    def own(self) -> Iterator[tuple[ScaledSeries, Sequence[int]]]:
        """Each series that has windows, with them."""
        return (
            (each, starts) for each, starts in zip(self.series, self.starts, strict=True)
            if len(starts)
        )  # fmt: skip

    def batch(self, rows: Sequence[int]) -> ForecastBatch:
        """The windows with these numbers, sorted by series."""
        edges = np.cumsum([0, *map(len, self.starts)])
        rows = np.sort(np.asarray(rows))
        owners = np.searchsorted(edges, rows, side="right") - 1
        pieces, truths = [], []
        for owner in np.unique(owners):
            starts = [self.starts[owner][row - edges[owner]] for row in rows[owners == owner]]
            pieces.append(self.series[owner].inputs(starts))
            truths.append(self.series[owner].targets(starts))
        inputs = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        return ForecastBatch(inputs, torch.cat(truths))


def forecasts(
    model: Forecaster, series: ScaledSeries, starts: Sequence[int], bands: Bands
) -> np.ndarray:
    """What a model says from each of these steps on, in the units of the file.

    Args:
        model: put into evaluation mode.
        series: as the model sees it.
        starts: steps at which forecasts begin.
        bands: what corrects the quantiles.

    Returns:
        float64 ``[B H targets q]``.
    """
    encoder = series.encoder
    said = bands.of(summed_forecasts(model, series, starts), encoder.settings.levels)
    return encoder.raised(said)


@torch.no_grad()
def summed_forecasts(model: Forecaster, series: ScaledSeries, starts: Sequence[int]) -> np.ndarray:
    """The same as the model has learnt it, changes added up and logarithms where those are learnt.

    On this scale bands are corrected: a correction of single changes would say nothing of their
    sum, and one of values could bring what has a logarithm below zero.
    """
    model.eval()
    found = []
    for at in range(0, len(starts), AT_ONCE):
        some = starts[at : at + AT_ONCE]
        inputs = {name: value.to(model.device) for name, value in series.inputs(some).items()}
        found.append(series.summed(ahead(model, series.encoder, inputs), some))
    return np.concatenate(found)


def calibrated_bands(model: Forecaster, held_out: Windows) -> Bands:
    """What corrects a model's quantiles, measured on windows that it did not learn from.

    Args:
        model: put into evaluation mode.
        held_out: windows of the validation part; the test part is never read.
    """
    levels = held_out.series[0].encoder.settings.levels
    if len(levels) < 2:
        return Bands()
    said = [summed_forecasts(model, *each) for each in held_out.own()]
    truth = [each.summed_truth(starts) for each, starts in held_out.own()]
    return bands_of(np.concatenate(said), np.concatenate(truth), levels)


def ahead(model: Forecaster, encoder: SeriesEncoder, inputs: Mapping[str, Tensor]) -> Tensor:
    """All steps of the horizon, at once or each from the one before, on the model's scale.

        recursive:  y_(t+1) = model(x_(t-L+1) … x_t),  y_(t+2) = model(x_(t-L+2) … x_t, y_(t+1)), …

    Args:
        model: of one step, or of the whole horizon.
        encoder: says which of the two, and where a forecast stands in the next window.
        inputs: of windows, as `ScaledSeries.inputs` gives them.

    Returns:
        ``[B H targets q]``.

    Source:
        Taieb et al. (2012), sections 2.1 and 2.2.
    """
    if encoder.settings.strategy == "direct":
        return model(inputs)
    numbers, future = inputs["numbers"], inputs.get("future")
    targets, known = list(encoder.targets), list(encoder.known)
    said = []
    for step in range(encoder.settings.horizon):
        given = {"numbers": numbers}
        if future is not None:
            given["future"] = future[:, step : step + 1]
        said.append(model(given))  # [B 1 targets 1]
        row = torch.zeros_like(numbers[:, :1])
        row[..., targets] = said[-1][..., 0]
        if future is not None:
            row[..., known] = future[:, step : step + 1, : len(known)]
            row[..., len(encoder.columns) :] = future[:, step : step + 1, len(known) :]
        numbers = torch.cat([numbers[:, 1:], row], 1)
    return torch.cat(said, 1)


def forecast_loss(
    forecast: Tensor, targets: Tensor, levels: Sequence[float], squared: bool
) -> Tensor:
    """The errors of the point and of the quantiles around it, summed over all targets.

        (y - f)^2  or  |y - f|,   and for each other quantile   max(q (y - f_q), (q - 1) (y - f_q))

    Args:
        forecast: ``[B H targets q]``.
        targets: ``[B H targets]``.
        levels: the quantiles; 0.5 is the point.
        squared: what the point is learnt by: its square finds the mean, else the median.

    Source:
        Koenker and Bassett (1978), equation 1.2.

    Example:
        >>> forecast = torch.tensor([[[[0.0, 1.0, 2.0]]]])
        >>> loss = forecast_loss(forecast, torch.tensor([[[3.0]]]), (0.1, 0.5, 0.9), True)
        >>> round(loss.item(), 3)
        5.2
    """
    errors = targets[..., None] - forecast
    point = list(levels).index(0.5)
    middle = errors[..., point].square() if squared else errors[..., point].abs()
    loss = middle.sum()
    for place, level in enumerate(levels):
        if place != point:
            each = errors[..., place]
            loss = loss + torch.maximum(level * each, (level - 1) * each).sum()
    return loss


AT_ONCE = 512
