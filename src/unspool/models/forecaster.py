"""Forecasting: a network on windows that are taken relative to their own end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.models.fronts import Inputs
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import ModelSettings

# Least deviation of a window, in deviations of the training part: a quiet window stays quiet.
LEAST_DEVIATION = 1e-3


class Forecaster(nn.Module):
    """All steps of a horizon at once, from a window of numbers.

        x = (window - level) / spread          level its last value, spread 1 or its deviation
        y = level + spread (network(x) + linear(x))

    So a window that stands higher, or swings wider, gets the same forecast higher or wider. The
    linear part reads each target's window alone, with the same weights for all of them. Beside it
    the network starts at zero: what it learns is what a line misses. With ``apart`` it reads each
    target alone too, beside what is not forecast.

    Args:
        shape: ``size`` numbers a step, ``steps`` of a window; ``targets``, the positions of those
            that are forecast; ``instance``, ``apart`` and ``linear`` as
            `unspool.data.series_settings.SeriesSettings` says.
        output: of mapping ``horizon``, as `unspool.models.heads` says.
        settings: of a family in `unspool.models.settings`.
        cell: the equations of a recurrent family; None for others.
        generator: of the first weights; None is torch's global one.

    Attributes:
        network: a `SequenceModel`.
        linear: from a window to a horizon, or None.

    Source:
        Zeng et al. (2023), section 4.2 (NLinear); Kim et al. (2022, RevIN), section 3.1; Lai et al.
        (2018, LSTNet), section 3.5, for the linear part beside the network.

    Example:
        >>> from unspool.models.settings import PerceptronSettings
        >>> shape = {"kind": "numbers", "size": 3, "steps": 8, "targets": [0, 1],
        ...          "instance": "last", "apart": True, "linear": True}
        >>> output = {"mapping": "horizon", "size": 2, "horizon": 4, "quantiles": 3}
        >>> model = Forecaster(shape, output, PerceptronSettings(hidden=5))
        >>> model({"numbers": torch.zeros(6, 8, 3)}).shape
        torch.Size([6, 4, 2, 3])
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        output: Mapping[str, Any],
        settings: ModelSettings,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.targets, self.instance, self.apart = (
            shape["targets"],
            shape["instance"],
            shape["apart"],
        )
        self.others = [place for place in range(shape["size"]) if place not in self.targets]
        size = 1 + len(self.others) if self.apart else shape["size"]
        inner = {"kind": "numbers", "size": size, "steps": shape["steps"]}
        given = {**output, "size": 1} if self.apart else output
        self.network = SequenceModel(inner, given, settings, cell, generator)
        self.linear = None
        if shape["linear"]:
            self.linear = nn.utils.skip_init(nn.Linear, shape["steps"], output["horizon"])
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
            self.network.head.start_at_zero()

    @property
    def embedding(self) -> nn.Module:
        """Of the network."""
        return self.network.embedding

    @property
    def encoder(self) -> nn.Module:
        """Of the network."""
        return self.network.encoder

    @property
    def head(self) -> nn.Module:
        """Of the network."""
        return self.network.head

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the inputs should be."""
        return self.network.device

    def forward(
        self, inputs: Inputs, lengths: Tensor | None = None
    ) -> Float[Tensor, "B horizon targets quantiles"]:
        """The forecasts of a batch, in the scale of the inputs.

        Args:
            inputs: ``numbers`` ``[B L D]``; ``future`` ``[B horizon K]`` where anything is known.
            lengths: not looked at; all windows are full.
        """
        others = inputs["numbers"][..., self.others]
        x, level, spread = self.relative(inputs)
        if self.apart:
            y = self._each(x, others, inputs.get("future"))
        else:
            y = self.network({**inputs, "numbers": torch.cat([x, others], -1)})
        if self.linear is not None:
            y = y + self.linear(x.transpose(1, 2)).transpose(1, 2)[..., None]
        return y * spread[..., None] + level[..., None]

    def relative(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of the targets relative to their own end, and what makes them so.

        Returns:
            ``x`` ``[B L targets]``, ``level`` and ``spread`` ``[B 1 targets]``.
        """
        seen = inputs["numbers"][..., self.targets]
        level, spread = self._level(seen)
        return (seen - level) / spread, level, spread

    def _level(self, seen: Float[Tensor, "B L targets"]) -> tuple[Tensor, Tensor]:
        """What each window is taken relative to, ``[B 1 targets]`` each."""
        one = torch.ones_like(seen[:, -1:])
        if self.instance == "none":
            return torch.zeros_like(one), one
        if self.instance == "last":
            return seen[:, -1:], one
        variance = seen.var(1, keepdim=True, correction=0)
        return seen[:, -1:], (variance + LEAST_DEVIATION**2).sqrt()

    def _each(
        self, x: Float[Tensor, "B L targets"], others: Tensor, future: Tensor | None
    ) -> Float[Tensor, "B horizon targets quantiles"]:
        """The network on each target by itself, all in one batch."""
        B, _, D = x.shape
        rows = x.transpose(1, 2).reshape(B * D, -1, 1)  # [B·targets L 1]
        rows = torch.cat([rows, others.repeat_interleave(D, 0)], -1)
        inputs = {"numbers": rows}
        if future is not None:
            inputs["future"] = future.repeat_interleave(D, 0)
        y = self.network(inputs)  # [B·targets horizon 1 quantiles]
        return y[:, :, 0].unflatten(0, (B, D)).transpose(1, 2)
