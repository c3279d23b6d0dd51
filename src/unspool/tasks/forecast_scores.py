"""How far the forecasts of many windows are from what came, on scales that compare series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.tasks.forecast_metrics import coverage, naive_errors
from unspool.tasks.forecast_windows import Learnt, Windows
from unspool.tasks.intervals import bootstrap_mean


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What came after every window of a part, and what an error in it is measured by.

    Attributes:
        truth: in the units of the file, ``[N H D]``.
        deviation: of each window's columns in the training part, ``[N 1 D]``; NaN where constant.
        naive: what the seasonal naive forecast errs there, ``[N 1 D]``, or where it is never off,
            that of the last value; NaN where constant.
        groups: windows that forecast about the same days belong together, int64 ``[N]``.
        columns: names of the D columns.
        measure: a key of `MEASURES`.
    """

    truth: np.ndarray
    deviation: np.ndarray
    naive: np.ndarray
    groups: np.ndarray
    columns: tuple[str, ...]
    measure: str

    @classmethod
    def of(cls, windows: Windows, learnt: Sequence[Learnt], period: int, measure: str) -> Yardstick:
        """For a part.

        Args:
            windows: of the part.
            learnt: of every series what was trained on.
            period: steps of a season, for MASE.
            measure: a key of `MEASURES`.
        """
        encoder = windows.series[0].encoder
        truth, deviations, naive, dates = [], [], [], []
        for each, starts, own in zip(windows.series, windows.starts, learnt, strict=True):
            if not len(starts):
                continue
            deviation, error = own.targets.std(0), naive_errors(own.targets, period)
            error = np.where(error > 0, error, naive_errors(own.targets, 1))
            truth.append(each.truth(starts))
            deviations += [np.where(deviation > 0, deviation, np.nan)] * len(starts)
            naive += [np.where(error > 0, error, np.nan)] * len(starts)
            dates.append(each.series.dates[np.asarray(starts)])
        _, place = np.unique(np.concatenate(dates), return_inverse=True)
        return cls(
            np.concatenate(truth),
            np.stack(deviations)[:, None],
            np.stack(naive)[:, None],
            place // encoder.settings.horizon,
            tuple(encoder.columns[each] for each in encoder.targets),
            measure,
        )

    def rows(self, point: np.ndarray, measure: str | None = None) -> np.ndarray:
        """The measure of every window, ``[N]``; its mean is the score.

        Args:
            point: forecasts ``[N H D]``, in the units of the file.
            measure: another than the one that counts.
        """
        return np.nanmean(self._errors(point, measure or self.measure), axis=(1, 2))

    def measures(self, answers: np.ndarray, levels: Sequence[float]) -> dict[str, Any]:
        """All figures of some forecasts.

        Args:
            answers: ``[N H D q]``, in the units of the file.
            levels: the quantiles, 0.5 among them.

        Returns:
            ``score`` and its 95% ``interval``; the ``median`` of the windows' scores, which a few
            series that ran away do not move; ``mse`` and ``mae`` on the standardised scale and
            ``mase``; of every column ``mae`` and ``rmse`` in its own unit; the score of every step
            ahead; where there are bands also ``coverage`` of the outermost.
        """
        point = answers[..., list(levels).index(0.5)]
        rows = self.rows(point)
        interval = bootstrap_mean(rows, self.groups)
        errors = self.truth - point
        found: dict[str, Any] = {
            "score": float(rows.mean()),
            "interval": [interval.low, interval.high],
            "median": float(np.median(rows)),
            **{name: float(self.rows(point, name).mean()) for name in MEASURES},
            "columns": {
                name: {
                    "mae": float(np.abs(errors[..., place]).mean()),
                    "rmse": float(np.sqrt((errors[..., place] ** 2).mean())),
                }
                for place, name in enumerate(self.columns)
            },
            "by_step": np.nanmean(self._errors(point, self.measure), axis=(0, 2)).tolist(),
        }
        if len(levels) > 1:
            found["band"] = [levels[0], levels[-1]]
            found["coverage"] = coverage(self.truth, answers[..., 0], answers[..., -1])
        return found

    def _errors(self, point: np.ndarray, measure: str) -> np.ndarray:
        if measure == "mase":
            return np.abs(self.truth - point) / self.naive
        errors = (self.truth - point) / self.deviation
        return errors**2 if measure == "mse" else np.abs(errors)


# What each is called where people read it.
MEASURES = {
    "mse": "MSE (standardised)",
    "mae": "MAE (standardised)",
    "mase": "MASE",
}
