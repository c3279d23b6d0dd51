"""Bands that hold what they promise: quantiles corrected by the errors of held-out windows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, slots=True)
class Bands:
    """How far every quantile is moved away from the point, in units of how far it lies from it.

        f_q  <-  f + (1 + s(h, q)) (f_q - f),    f the point, h the step ahead

    Attributes:
        stretches: s ≥ 0 of every step and level, ``[H q]``; empty leaves bands alone.
        windows: held-out windows that they were measured on.
    """

    stretches: tuple[tuple[float, ...], ...] = ()
    windows: int = 0

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Bands:
        """What `to_dict` gave."""
        rows = tuple(tuple(map(float, row)) for row in stored["stretches"])
        return cls(rows, int(stored["windows"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"stretches": [list(row) for row in self.stretches], "windows": self.windows}

    def of(
        self, said: Float64[np.ndarray, "B H D q"], levels: Sequence[float]
    ) -> Float64[np.ndarray, "B H D q"]:
        """Forecasts with corrected quantiles, which never cross; the point stays where it is.

        Args:
            said: as `unspool.data.scaled_series.ScaledSeries.summed` gives them.
            levels: of the quantiles, 0.5 among them.

        Example:
            >>> bands = Bands(((0.5, 0.0, 1.0),), 10)
            >>> bands.of(np.array([[[[-2.0, 0.0, 1.0]]]]), (0.1, 0.5, 0.9)).ravel().tolist()
            [-3.0, 0.0, 2.0]
        """
        if not self.stretches:
            return said
        place = list(levels).index(0.5)
        point = said[..., place, None]
        factor = 1 + np.array(self.stretches)[:, None]  # [H 1 q]
        # Stretched apart, an inner quantile may come to lie outside an outer one.
        return np.sort(point + factor * (said - point), -1)


def bands_of(
    said: Float64[np.ndarray, "B H D q"],
    truth: Float64[np.ndarray, "B H D"],
    levels: Sequence[float],
) -> Bands:
    """How much further from the point every quantile must lie to hold what it promises.

    Of all errors of a step h and level q (below the point 1 - q), each in units of how far the
    quantile lies from the point,

        e_i = (y_i - f) / (f_q - f) - 1,

    s is their quantile of order (1 + 1 / n) q, or the largest: so a further value that can be
    exchanged for n others lies within with a probability of at least q, and of no more than
    q + 1 / (n + 1) where no two errors are equal. Bands are never made narrower: what is forecast
    lies further from what was learnt than the held-out windows do, and errs more. Forecasts of h
    steps from windows a step apart have h - 1 of these steps in common, and err together: B windows
    count as n = B / h. Columns are corrected together, and count once.

    Args:
        said: forecasts of held-out windows, as `Bands.of` takes them.
        truth: what came, on the same scale.
        levels: of the quantiles, 0.5 among them.

    Returns:
        No correction where the point is alone, or with fewer windows than `fewest_windows`.

    Source:
        Romano, Patterson and Candès (2019), section 4 and theorem 2 (each side for itself); Sesia
        and Candès (2020), section 2 (errors relative to the distance from the point, CQR-m).
        Diebold and Mariano (1995), section 1.1: optimal errors h steps ahead depend on the h - 1
        before them.

    Example:
        >>> said = np.tile([-1.0, 0.0, 1.0], (19, 1, 1, 1))
        >>> truth = np.arange(-9.0, 10.0).reshape(19, 1, 1)
        >>> bands_of(said, truth, (0.1, 0.5, 0.9)).stretches
        ((7.0, 0.0, 7.0),)
    """
    B, H, D, _ = said.shape
    if len(levels) < 2 or fewest_windows(levels) > B:
        return Bands()
    place = list(levels).index(0.5)
    stretches = np.zeros((H, len(levels)))
    for column, level in enumerate(levels):
        if column == place:
            continue
        sign, share = (1, level) if level > 0.5 else (-1, 1 - level)
        away = sign * (truth - said[..., place])
        width = np.maximum(sign * (said[..., column] - said[..., place]), NARROWEST)
        errors = np.sort((away / width - 1).transpose(1, 0, 2).reshape(H, B * D), 1)
        order = np.minimum((1 + np.arange(1, H + 1) / B) * share, 1)
        rank = np.ceil(order * B * D - 1e-9).astype(int)
        stretches[:, column] = np.maximum(errors[np.arange(H), rank - 1], 0)
    return Bands(tuple(tuple(row) for row in stretches.tolist()), B)


def fewest_windows(levels: Sequence[float]) -> int:
    """With how many windows the outermost quantiles lie among the errors themselves.

    Example:
        >>> fewest_windows((0.1, 0.5, 0.9)), fewest_windows((0.01, 0.5))
        (9, 99)
    """
    outermost = min(levels[0], 1 - levels[-1])
    return math.ceil(1 / outermost - 1 - 1e-9)


# A quantile as near to the point as this has no width that an error could be measured by.
NARROWEST = 1e-9
