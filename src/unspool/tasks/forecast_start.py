"""Where a forecaster starts: at the best line through its windows, solved in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from unspool.models.forecaster import Forecaster
from unspool.tasks.forecast_windows import Windows

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


@torch.no_grad()
def start_at_line(model: Forecaster, windows: Windows) -> float | None:
    """Give the linear part of a model the ridge regression of the training windows.

        W, b = argmin  sum_i s_i^2 |Y_i - W X_i - b|^2 + penalty |W|^2

    over the windows relative to their own end, as the model sees them, each weighted by its spread
    s so that errors count on the scale of the series. The penalty is chosen on the last fifth of
    the windows by an earlier fit on those of which no target reaches into it. Descent alone comes
    to this point too, but late: lags are nearly collinear.

    Args:
        model: changed in place, where it has a linear part.
        windows: of the training part.

    Returns:
        The penalty; None for a model without a linear part.

    Source:
        Hoerl and Kennard (1970), equation 2.1; Zeng et al. (2023), section 4.2 (NLinear).
    """
    if model.linear is None:
        return None
    design, wanted, places = _rows(model, windows)
    early, held = places == EARLY, places == HELD
    penalty = PENALTIES[len(PENALTIES) // 2]
    if early.any() and held.any():
        errors = [
            (design[held] @ _ridge(design[early], wanted[early], each) - wanted[held])
            .square().mean().item()
            for each in PENALTIES
        ]  # fmt: skip
        penalty = PENALTIES[errors.index(min(errors))]
    weight = _ridge(design, wanted, penalty)  # [L+1 H]
    model.linear.weight.copy_(weight[:-1].T)
    model.linear.bias.copy_(weight[-1])
    return penalty


def _ridge(design: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """The last column of the design is the constant, whose weight is free."""
    pull = torch.full((design.shape[1],), penalty, dtype=design.dtype)
    pull[-1] = 1e-9
    return torch.linalg.solve(design.T @ design + pull.diag(), design.T @ wanted)


def _rows(model: Forecaster, windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
    """``s [x 1]`` and ``s y`` of some windows, a row for each target, and when each of them is."""
    stride = -(-len(windows) * len(model.targets) // MOST_ROWS)
    designs, wanted, places = [], [], []
    for each, starts in windows.own():
        starts = starts[::stride]
        cut = starts[len(starts) - max(1, len(starts) // 5)]
        inputs = {name: value.double() for name, value in each.inputs(starts).items()}
        x, level, spread = model.relative(inputs)
        y = each.targets(starts)[:, : model.linear.out_features].double() - level  # [B H targets]
        ones = torch.ones_like(x[:, :1])
        designs.append((spread * torch.cat([x, ones], 1)).transpose(1, 2).flatten(0, 1))
        wanted.append(y.transpose(1, 2).flatten(0, 1))
        horizon = each.encoder.settings.horizon
        when = [HELD if s >= cut else EARLY if s + horizon <= cut else 0 for s in starts]
        places.append(torch.tensor(when).repeat_interleave(x.shape[2]))
    return torch.cat(designs), torch.cat(wanted), torch.cat(places)


EARLY, HELD = 1, 2
MOST_ROWS = 50_000
