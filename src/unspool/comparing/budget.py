"""Equal budgets: as many parameters, or as many seconds, for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from unspool.config import Settings
from unspool.engine.language import Cell
from unspool.errors import ConfigError, UnspoolError
from unspool.one_training import num_parameters
from unspool.tasks.table import TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What every model of a comparison gets alike.

    Attributes:
        parameters: of each model, to be met by its width; 0 takes those of the model that would be
            trained alone.
        seconds: instead of that, of training each model and seed, each at its usual width; 0 goes
            by parameters.

    Raises:
        ConfigError: for both, or for amounts that are none.

    Example:
        >>> Budget().kind, Budget(seconds=20.0).kind
        ('parameters', 'seconds')
    """

    parameters: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.parameters and self.seconds:
            raise ConfigError(
                f"compare: got {self.parameters} parameters and {self.seconds:g} seconds; wanted "
                "one budget of the two."
            )
        if self.parameters < 0 or not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ConfigError(
                f"compare: got a budget of {self.parameters} parameters, {self.seconds:g} seconds; "
                "wanted a number > 0."
            )

    @property
    def kind(self) -> str:
        """Which of the two it is."""
        return "seconds" if self.seconds else "parameters"


def count_parameters(shape: Mapping[str, Any], settings: Settings, cell: Cell | None) -> int:
    """Parameters of the model that settings ask for; nothing is filled with numbers.

    Raises:
        UnspoolError: if there is no such model.
    """
    with torch.device("meta"), _Unfilled():
        model = TASKS[settings.task].load().build(shape, settings.model, cell)
    return num_parameters(model)


class _Unfilled(TorchFunctionMode):
    """Leaves fresh weights as they are: torch fills even those that have no memory, slowly."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in FILLS:
            return args[0]
        return func(*args, **(kwargs or {}))


def with_parameters(
    wanted: int, shape: Mapping[str, Any], settings: Settings, cell: Cell | None
) -> Settings:
    """The same model at the width whose parameters come closest to a number.

    Args:
        wanted: parameters.
        shape: of the job.
        settings: of the model; ``model.hidden`` is what changes, and where heads leave too few
            widths ``model.feed_forward``.
        cell: the equations.

    Raises:
        ConfigError: if no width comes within `TOLERANCE`, or the model has no width.
    """

    def counted(**widths: int) -> int:
        changed = replace(settings, model=replace(settings.model, **widths))
        return count_parameters(shape, changed, cell)

    if not hasattr(settings.model, "hidden"):
        count = count_parameters(shape, settings, cell)
        if abs(count - wanted) > TOLERANCE * wanted:
            raise ConfigError(
                f"has {count:,} parameters and no single width to change; wanted {wanted:,}: "
                "leave it out, or compare by --budget seconds."
            )
        return settings
    count, hidden = _nearest_multiple(wanted, lambda each: counted(hidden=each))
    widths = {"hidden": hidden}
    far = abs(count - wanted) > TOLERANCE * wanted
    if far and getattr(settings.model, "feed_forward", None) == 0:
        # Heads leave few widths to a small transformer; its other width has all.
        count, units = _nearest(wanted, 1, lambda each: counted(hidden=hidden, feed_forward=each))
        widths["feed_forward"] = units
    if abs(count - wanted) > TOLERANCE * wanted:
        raise ConfigError(
            f"model.hidden {hidden} gives {count:,} parameters, which is as near as it comes to "
            f"{wanted:,}; wanted within {TOLERANCE:.0%}: take another --parameters."
        )
    return replace(settings, model=replace(settings.model, **widths))


def _nearest_multiple(wanted: int, count: Callable[[int], int]) -> tuple[int, int]:
    """Parameters and width nearest to a number, among widths that the model can have."""
    refusal = None
    for multiple in MULTIPLES:
        try:
            return _nearest(wanted, multiple, count)
        except UnspoolError as error:
            refusal = error
    raise ConfigError(str(refusal)) from refusal


def _nearest(wanted: int, multiple: int, count: Callable[[int], int]) -> tuple[int, int]:
    """Parameters and width nearest to a number, among widths that are multiples of one."""
    low, high = 1, 2
    while count(high * multiple) < wanted and high * multiple < WIDEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle * multiple) < wanted else (low, middle)
    both = ((count(each * multiple), each * multiple) for each in (low, high))
    return min(both, key=lambda found: abs(found[0] - wanted))


# How far the parameters of two models of one comparison may lie from the number that was wanted.
TOLERANCE = 0.05
# Some cells want a width that so many heads divide.
MULTIPLES = (1, 2, 4, 8, 16)
WIDEST = 16384
FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_)
