"""Heads: from an encoder's steps to what a job wants, one for each mapping.

| mapping | reads | gives |
|---|---|---|
| one | all steps, pooled | logits ``[B C]`` |
| each | every step | logits ``[B T C]`` |
| ordinal | all steps, pooled | logits of passing each threshold ``[B C−1]`` |
| horizon | all steps, pooled, and the known future | ``[B horizon targets quantiles]`` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError, ShapeError, choose
from unspool.layers.dense import dense
from unspool.layers.dropout import Dropout
from unspool.layers.ordinal import CumulativeLink
from unspool.layers.pooling import Pooling

# Units that a head gives each step of the future to weigh what is known of it.
FUTURE_UNITS = 32


class Hidden(nn.Module):
    """Dropout, and a dense layer with a ReLU where one is wanted.

    Args:
        width: features in.
        units: of the dense layer; 0 has none.
        dropout: share of values zeroed before the output.
        generator: of the first weights.

    Attributes:
        width: features out.
    """

    def __init__(
        self, width: int, units: int, dropout: float, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = dense(width, units, generator, rectified=True) if units else None
        self.width = units or width

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B W"]:
        """The same features, or those of the dense layer."""
        x = self.dropout(x)
        return x if self.dense is None else self.dropout(self.dense(x).relu())


class OneHead(nn.Module):
    """One vector of logits for a whole sequence or image.

    Args:
        hidden: what stands before the output.
        output: ``size``, the number of classes, or of numbers to predict.
        pooling: all steps in one vector.
        generator: of the first weights.
    """

    def __init__(
        self,
        hidden: Hidden,
        output: Mapping[str, Any],
        pooling: Pooling,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.pooling, self.hidden = pooling, hidden
        self.linear = dense(hidden.width, output["size"], generator)

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Tensor | None, future: Tensor | None = None
    ) -> Float[Tensor, "B C"]:
        """Pool, then score."""
        return self.linear(self.hidden(self.pooling(x, lengths)))


class EachHead(nn.Module):
    """A vector of logits for every step; in the padding they mean nothing.

    Args:
        hidden: what stands before the output.
        output: ``size``, the number of classes.
        pooling: not looked at.
        generator: of the first weights.
    """

    def __init__(
        self,
        hidden: Hidden,
        output: Mapping[str, Any],
        pooling: Pooling,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.linear = dense(hidden.width, output["size"], generator)

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Tensor | None, future: Tensor | None = None
    ) -> Float[Tensor, "B T C"]:
        """Score every step."""
        return self.linear(self.hidden(x))


class OrdinalHead(nn.Module):
    """Ordered classes for a whole sequence; see `unspool.layers.ordinal`.

    Args:
        hidden: what stands before the output.
        output: ``size``, the number of classes.
        pooling: all steps in one vector.
        generator: of the first weights.
    """

    def __init__(
        self,
        hidden: Hidden,
        output: Mapping[str, Any],
        pooling: Pooling,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.pooling, self.hidden = pooling, hidden
        self.link = CumulativeLink(hidden.width, output["size"], generator)

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Tensor | None, future: Tensor | None = None
    ) -> Float[Tensor, "B K"]:
        """Pool, then say how likely each threshold is passed."""
        return self.link(self.hidden(self.pooling(x, lengths)))


class HorizonHead(nn.Module):
    """The next steps of one or many series, all at once, as a point or as quantiles.

    Quantiles never cross: the middle one is predicted, the others are softplus steps away from it.

    Args:
        hidden: what stands before the output.
        output: ``horizon`` steps of ``size`` series, ``quantiles`` of each (1 if left out), and
            ``future``, the number of values known of every future step (0 if left out).
        pooling: all steps in one vector.
        generator: of the first weights.

    Source:
        Wen et al. (2017), section 3.2: all steps at once, each with what is known of it.
    """

    def __init__(
        self,
        hidden: Hidden,
        output: Mapping[str, Any],
        pooling: Pooling,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.pooling, self.hidden = pooling, hidden
        self.horizon, self.targets = output["horizon"], output["size"]
        self.quantiles, self.known = output.get("quantiles", 1), output.get("future", 0)
        values = self.targets * self.quantiles
        self.linear = dense(hidden.width, self.horizon * values, generator)
        if self.known:
            self.context = dense(hidden.width, FUTURE_UNITS, generator)
            self.future = dense(self.known, FUTURE_UNITS, generator, rectified=True)
            self.joined = dense(FUTURE_UNITS, values, generator)

    @torch.no_grad()
    def start_at_zero(self) -> None:
        """Make the middle of every forecast 0 until something is learnt."""
        for layer in (self.linear, *([self.joined] if self.known else [])):
            layer.weight.zero_()
            layer.bias.zero_()

    def forward(
        self, x: Float[Tensor, "B T D"], lengths: Tensor | None, future: Tensor | None = None
    ) -> Float[Tensor, "B horizon targets quantiles"]:
        """Pool, then predict every step of the horizon.

        Args:
            x: outputs of the encoder.
            lengths: true lengths; None when all rows are full.
            future: ``[B horizon known]``, what is known of the steps to predict.

        Raises:
            ShapeError: if the known future is missing, or of another size.
        """
        context = self.hidden(self.pooling(x, lengths))
        y = self.linear(context).unflatten(1, (self.horizon, -1))
        if self.known:
            wanted = [len(x), self.horizon, self.known]
            if future is None or list(future.shape) != wanted:
                got = "nothing" if future is None else list(future.shape)
                raise ShapeError(f"SequenceModel: 'future' is {got}; wanted {wanted}.")
            y = y + self.joined((self.context(context)[:, None] + self.future(future)).relu())
        return _ordered(y.unflatten(2, (self.targets, self.quantiles)))


def _ordered(y: Float[Tensor, "B horizon targets quantiles"]) -> Tensor:
    """Quantiles in ascending order, the middle one as it is."""
    middle = y.shape[-1] // 2
    centre = y[..., middle : middle + 1]
    below = centre - F.softplus(y[..., :middle]).flip(-1).cumsum(-1).flip(-1)
    above = centre + F.softplus(y[..., middle + 1 :]).cumsum(-1)
    return torch.cat([below, centre, above], -1)


def build_head(
    output: Mapping[str, Any],
    width: int,
    pooling: str,
    directions: int = 1,
    units: int = 0,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """The head of a mapping.

    Args:
        output: ``mapping``, ``size``, and what else the mapping needs.
        width: features of the encoder's steps.
        pooling: a key of `unspool.layers.pooling.POOLINGS`.
        directions: 2 if the second half of the features reads from the end.
        units: of a dense layer before the output; 0 has none.
        dropout: share of values zeroed before the output.
        generator: of the first weights.

    Raises:
        ConfigError: for a mapping or pooling that is not in its table, or a size below one.

    Example:
        >>> head = build_head({"mapping": "horizon", "size": 2, "horizon": 3}, 8, "last")
        >>> head(torch.zeros(4, 7, 8), None).shape
        torch.Size([4, 3, 2, 1])
    """
    head = choose(output["mapping"], HEADS, "output.mapping")
    for name in ("size", "horizon", "quantiles"):
        if output.get(name, 1) < 1:
            raise ConfigError(f"output.{name}: got {output[name]}; wanted at least 1.")
    if head is EachHead:
        pooling = "last"
    hidden = Hidden(width, units, dropout, generator)
    return head(hidden, output, Pooling(pooling, width, directions, generator), generator)


HEADS = {"one": OneHead, "each": EachHead, "ordinal": OrdinalHead, "horizon": HorizonHead}
