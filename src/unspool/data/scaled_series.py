"""Windows of a scaled series by index arithmetic; only those of a batch are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspool.data.calendar_features import calendar_features
from unspool.data.series import Series
from unspool.data.series_windows import SeriesEncoder
from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class ScaledSeries:
    """A series whose windows can be taken from any step.

    Attributes:
        encoder: what scaled it.
        series: as it was read.
        values: scaled, float32 ``[T D]``.
        future: what is known of every step and of those behind the end, float32 ``[T+K M]``:
            columns of ``series.known``, then the calendar.
    """

    encoder: SeriesEncoder
    series: Series
    values: Tensor
    future: Tensor

    @classmethod
    def of(cls, encoder: SeriesEncoder, series: Series) -> ScaledSeries:
        """A series as an encoder scales it, with all that is known behind its end.

        Raises:
            DataError: if it cannot be scaled.
        """
        scaled = encoder.standard(series)
        known, count = list(encoder.known), encoder.settings.horizon
        parts = []
        if known:
            parts.append(np.concatenate([scaled[:, known], encoder.standard_ahead(series)]))
            count = len(series.ahead)
        if encoder.settings.calendar and encoder.frequency is not None:
            dates = np.concatenate([series.dates, dates_ahead(encoder, series, count)])
            parts.append(calendar_features(dates, encoder.frequency))
        future = np.concatenate(parts, 1) if parts else np.zeros((len(series) + count, 0))
        return cls(encoder, series, _tensor(scaled), _tensor(future))

    def __len__(self) -> int:
        return len(self.series)

    def inputs(self, starts: Sequence[int]) -> dict[str, Tensor]:
        """What is seen before each of these steps, and what is known from there on.

        Args:
            starts: steps at which forecasts begin, each from the lookback up to T.

        Returns:
            ``numbers`` ``[B L D]``, the columns and the calendar; ``future`` ``[B H K]`` where
            anything is known.

        Raises:
            DataError: if too little stands before a step, or what is to be known is missing.
        """
        settings, T = self.encoder.settings, len(self)
        L, H = settings.lookback, settings.horizon
        if not len(starts) or min(starts) < L or max(starts) > T:
            label = f"series {self.series.name!r}" if self.series.name else "series"
            raise DataError(
                f"{label}: {T} steps; a forecast sees series.lookback, {L} steps, before it begins."
            )
        begin = torch.as_tensor(list(starts))
        M = len(self.encoder.known)
        past = begin[:, None] - L + torch.arange(L)
        found = {"numbers": torch.cat([self.values[past], self.future[past][..., M:]], 2)}
        if self.encoder.future_names:
            beyond = int(begin.max()) + H - len(self.future)
            if beyond > 0:
                names = ", ".join(self.encoder.settings.known)
                raise DataError(
                    f"series: {beyond} of {H} steps ahead lack {names}, which series.known names; "
                    "give rows for them."
                )
            found["future"] = self.future[begin[:, None] + torch.arange(H)]
        return found

    def targets(self, starts: Sequence[int]) -> Tensor:
        """The scaled truth after each of these steps, ``[B H targets]``.

        Raises:
            DataError: if some of it lies behind the end of the series.
        """
        H = self.encoder.settings.horizon
        if not len(starts) or max(starts) + H > len(self):
            raise DataError(f"series: the truth ends at step {len(self)}.")
        steps = torch.as_tensor(list(starts))[:, None] + torch.arange(H)
        return self.values[steps][..., list(self.encoder.targets)]

    def truth(self, starts: Sequence[int]) -> np.ndarray:
        """The same in the units of the file, float64."""
        steps = np.asarray(starts)[:, None] + np.arange(self.encoder.settings.horizon)
        return self.series.values[steps][..., list(self.encoder.targets)]

    def summed_truth(self, starts: Sequence[int]) -> np.ndarray:
        """The same as `summed` gives forecasts, float64: logarithms where those are learnt."""
        found, encoder = self.truth(starts), self.encoder
        for place, column in enumerate(encoder.targets):
            if column in encoder.logged:
                found[:, :, place] = np.log(found[:, :, place])
        return found

    def summed(self, forecast: Tensor, starts: Sequence[int]) -> np.ndarray:
        """Forecasts as `SeriesEncoder.summed` has them: changes added up, still logarithms."""
        values = forecast.detach().double().cpu().numpy()
        return self.encoder.summed(self.series, values, np.asarray(starts))

    def restore(self, forecast: Tensor, starts: Sequence[int]) -> np.ndarray:
        """Forecasts in the units of the file; see `SeriesEncoder.restore`.

        Args:
            forecast: ``[B H targets q]``, as the model gives them.
            starts: steps at which they begin.
        """
        return self.encoder.raised(self.summed(forecast, starts))


def dates_ahead(encoder: SeriesEncoder, series: Series, count: int) -> np.ndarray:
    """The dates of the steps behind the end of a series, datetime64[s]; without dates, numbers."""
    if encoder.frequency is not None:
        return encoder.frequency.following(series.dates[-1], count)
    return series.dates[-1] + np.arange(1, count + 1).astype("timedelta64[s]")


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
