"""Where a step stands in its sequence: added to its vector, or turned into queries and keys.

Attention itself does not see an order. Three ways give it one:

| name | what is done | steps beyond training |
|---|---|---|
| sinusoidal | a fixed wave is added to the vector of a step | defined, never seen |
| learned | a vector from a table is added | an error |
| rotary | queries and keys are turned by an angle that grows with the step | only distances count |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.errors import ConfigError, ShapeError, unknown

# The slowest wave goes once round in 2π times as many steps.
LONGEST = 10_000.0


def sinusoidal(positions: Int64[Tensor, "*axes"], width: int) -> Float[Tensor, "*axes D"]:
    """The lecture's p_1 … p_T: waves of falling frequency, a sine and a cosine of each.

        p_t[2i] = sin(t / 10000^(2i/D)),      p_t[2i+1] = cos(t / 10000^(2i/D)),      t = 0, 1, …

    Args:
        positions: steps, ≥ 0.
        width: D, even.

    Returns:
        float64, whatever the model is: far along a sequence a float32 has no angle left.

    Raises:
        ConfigError: if the width is odd.

    Source:
        Vaswani et al. (2017), section 3.5; SYLLABUS I5.

    Example:
        >>> sinusoidal(torch.tensor([0, 1]), 4).round(decimals=2)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8400, 0.5400, 0.0100, 1.0000]], dtype=torch.float64)
    """
    angles = _angles(positions, width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What turns queries and keys, made once for all layers that read the same steps.

    Attributes:
        cosine, sine: ``[B 1 T K]`` or ``[T K]``; the sine of the first half is negative.

    Example:
        >>> turn = rotation(torch.tensor([0, 1]), 4, torch.float64)
        >>> x = torch.ones(1, 1, 2, 4, dtype=torch.float64)
        >>> turn(x)[0, 0].round(decimals=2)
        tensor([[ 1.0000,  1.0000,  1.0000,  1.0000],
                [-0.3000,  0.9900,  1.3800,  1.0100]], dtype=torch.float64)
    """

    cosine: Tensor
    sine: Tensor

    def __call__(self, x: Float[Tensor, "B N T K"]) -> Float[Tensor, "B N T K"]:
        """Every head of every step, turned.

        [a; b]  ->  [a cos − b sin; b cos + a sin],        a, b the halves of a head
        """
        return x * self.cosine + x.roll(x.shape[-1] // 2, -1) * self.sine


def rotation(positions: Int64[Tensor, "*B T"], width: int, dtype: torch.dtype) -> Rotation:
    """The turn of each step: by t / 10000^(2i/K) in the plane of features i and i + K/2.

    The product of a query at step t and a key at step s then depends on t − s only.

    Args:
        positions: of every step, the same for all rows or one row each.
        width: K of a head, even.
        dtype: of the queries; angles are found in float64.

    Raises:
        ConfigError: if the width is odd.

    Source:
        Su et al. (2021), "RoFormer", section 3.2, with halves instead of neighbours for pairs.
    """
    angles = _angles(positions, width)
    angles = torch.cat([angles, angles], -1)
    signs = torch.ones(width, dtype=angles.dtype, device=angles.device)
    signs[: width // 2] = -1.0
    cosine, sine = angles.cos().to(dtype), (angles.sin() * signs).to(dtype)
    if positions.dim() == 2:
        cosine, sine = cosine[:, None], sine[:, None]
    return Rotation(cosine, sine)


class Positions(nn.Module):
    """One of the ways by name.

    Args:
        name: one of `POSITIONS`.
        width: D of a step.
        head: K of a head, for rotary.
        context: steps that learned positions are for; other ways have no end.
        generator: of the first vectors; None is torch's global one.

    Raises:
        ConfigError: for a name that is not in the table, an odd width, or learned positions
            without a context.

    Example:
        >>> positions = Positions("learned", 4, context=8)
        >>> positions(torch.zeros(2, 3, 4), torch.arange(3)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        name: str,
        width: int,
        head: int = 2,
        context: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if name not in POSITIONS:
            raise ConfigError(unknown("model.positions", name, POSITIONS))
        odd = {"sinusoidal": width, "rotary": head}.get(name, 2)
        if odd % 2:
            part = "hidden" if name == "sinusoidal" else "a head"
            raise ConfigError(f"model.positions: '{name}' wants {part} even; got {odd} features.")
        self.name, self.width, self.head = name, width, head
        self.table = None
        if name == "learned":
            if context < 1:
                raise ConfigError(
                    "model.context: got 0; learned positions want the number of steps they are "
                    "for: give it, or use rotary or sinusoidal positions."
                )
            self.table = nn.Parameter(torch.empty(context, width))
            with torch.no_grad():
                self.table.normal_(0.0, START, generator=generator)

    def forward(
        self, x: Float[Tensor, "B T D"], positions: Int64[Tensor, "*B T"]
    ) -> Float[Tensor, "B T D"]:
        """Steps with their positions added, where they are added.

        Args:
            x: a vector a step.
            positions: of each, 0…; the same for all rows or one row each.

        Raises:
            ShapeError: for a step beyond learned positions.
        """
        if self.name == "sinusoidal":
            return x + sinusoidal(positions, self.width).to(x.dtype)
        if self.table is not None:
            last = int(positions.max()) if positions.numel() else 0
            if last >= len(self.table):
                raise ShapeError(beyond(last + 1, len(self.table)))
            return x + nn.functional.embedding(positions, self.table)
        return x

    def rotation(self, positions: Int64[Tensor, "*B T"], dtype: torch.dtype) -> Rotation | None:
        """What turns queries and keys of these steps; None where nothing does."""
        return rotation(positions, self.head, dtype) if self.name == "rotary" else None

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return self.name


def beyond(steps: int, context: int) -> str:
    """What to say of a sequence that is longer than its learned positions.

    Example:
        >>> beyond(65, 64).partition(";")[0]
        'positions: a sequence of 65 steps, and the model has learned positions for 64'
    """
    return (
        f"positions: a sequence of {steps} steps, and the model has learned positions for "
        f"{context}; read or write fewer, or train with model.positions rotary and "
        "model.attention window, which have no end."
    )


def _angles(positions: Tensor, width: int) -> Tensor:
    """Of every step, one for each pair of features, float64 ``[*axes width/2]``."""
    if width % 2:
        raise ConfigError(
            f"positions: a width of {width}; wanted an even one: waves come in pairs."
        )
    pairs = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    return positions.double()[..., None] * LONGEST ** (-pairs / width)


START = 0.02  # of learned vectors: small beside the tokens'
POSITIONS = ("rotary", "sinusoidal", "learned", "none")
