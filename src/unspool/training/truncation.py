"""How far gradients flow back through time: full, truncated, or randomised without bias.

A window of T steps is cut into segments. Values always flow from one segment to the next; the
gradient that flows back over a border is multiplied by the segment's ``gradient``: 1 in the middle
of nowhere, 0 where it is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unspool.errors import choose
from unspool.layers.state import State
from unspool.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps ``start`` to ``stop`` of a window.

    Attributes:
        gradient: factor on the gradient that leaves the segment backwards, through its start.
    """

    start: int
    stop: int
    gradient: float


@dataclass(frozen=True, slots=True)
class Full:
    """Back-propagation through the whole window.

    Example:
        >>> Full().segments(5, torch.Generator())
        [Segment(start=0, stop=5, gradient=0.0)]
    """

    def segments(self, steps: int, generator: torch.Generator) -> list[Segment]:
        """The window as one piece; nothing is drawn from ``generator``."""
        return [Segment(0, steps, 0.0)]


@dataclass(frozen=True, slots=True)
class Truncated:
    """Back-propagation through at most τ steps.

    Attributes:
        length: τ, steps of a segment.

    Source:
        Jaeger (2002), section 3; SYLLABUS F6: simple and stable, biased toward the short term.

    Example:
        >>> [(s.start, s.stop) for s in Truncated(3).segments(7, torch.Generator())]
        [(0, 3), (3, 6), (6, 7)]
    """

    length: int

    def segments(self, steps: int, generator: torch.Generator) -> list[Segment]:
        """Pieces of τ steps, the last maybe shorter, every border cut."""
        return [Segment(start, stop, 0.0) for start, stop in _tiles(steps, self.length)]


@dataclass(frozen=True, slots=True)
class Randomised:
    """Truncation at random borders, compensated so that the expected gradient is the full one.

    Each border between segments is cut with probability p = length / mean; where it is not, the
    gradient that flows back over it is scaled by 1 / (1 − p).

    Attributes:
        length: steps of a segment.
        mean: mean distance between cuts, > ``length``, in steps.

    Source:
        Tallec and Ollivier (2017), "Unbiasing truncated backpropagation through time", section 3.
    """

    length: int
    mean: int

    def segments(self, steps: int, generator: torch.Generator) -> list[Segment]:
        """Pieces of ``length`` steps, with the borders' factors drawn from ``generator``."""
        p = self.length / self.mean
        pieces = _tiles(steps, self.length)
        cut = torch.rand(len(pieces), generator=generator, dtype=torch.float64) < p
        factors = [0.0 if c else 1.0 / (1.0 - p) for c in cut.tolist()]
        return [
            Segment(start, stop, factor if start else 0.0)
            for (start, stop), factor in zip(pieces, factors, strict=True)
        ]


Truncation = Full | Truncated | Randomised


def truncation_of(settings: TrainSettings) -> Truncation:
    """The truncation the settings name.

    Example:
        >>> truncation_of(TrainSettings(truncation="truncated", truncation_steps=8))
        Truncated(length=8)
    """
    return choose(settings.truncation, TRUNCATIONS, "train.truncation")(settings)


def carry(state: State | None, gradient: float) -> State | None:
    """The state on its way over a border: the same numbers, the gradient back scaled.

    Args:
        state: at the end of the segment before; None at the start of a text.
        gradient: 0 cuts, 1 leaves the gradient alone.
    """
    if state is None or gradient == 1.0:
        return state
    if gradient == 0.0:
        return state.detach()
    return State(_ScaleGradient.apply(value, gradient) for value in state)


class _ScaleGradient(torch.autograd.Function):
    """The identity, with another gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return value.view_as(value)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None  # type: ignore[attr-defined]


def _tiles(steps: int, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + length, steps)) for start in range(0, steps, length)]


TRUNCATIONS: dict[str, Callable[[TrainSettings], Truncation]] = {
    "full": lambda settings: Full(),
    "truncated": lambda settings: Truncated(settings.truncation_steps),
    "randomised": lambda settings: Randomised(settings.truncation_steps, settings.truncation_mean),
}
