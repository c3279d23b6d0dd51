"""Where the weights of a recurrent layer start, by name.

A scheme says how a parameter starts from what it does (`unspool.engine.graph.Family.role`), so it
serves every cell, the user's own included. Whatever the scheme, the gain of a layer norm starts at
one and the bias of a gate called ``f`` at ``forget_bias``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unspool.engine.graph import Family
from unspool.errors import choose


@torch.no_grad()
def initialise(
    family: Family,
    weight: Tensor,
    units: int,
    scheme: str,
    forget_bias: float,
    generator: torch.Generator | None = None,
) -> None:
    """Fill the stacked parameter of one family, gate by gate.

    Args:
        family: names, shape and role.
        weight: stacked along the first axis; filled in place.
        units: H of the layer.
        scheme: a key of `INITIALISATIONS`.
        forget_bias: for the bias of gate ``f``.
        generator: where random numbers come from; None is torch's global one.

    Raises:
        ConfigError: if there is no such scheme.
    """
    fill = choose(scheme, INITIALISATIONS, "model.initialisation")
    if weight.is_meta:
        return
    for gate, part in zip(family.gates, weight.chunk(len(family.gates)), strict=True):
        if family.role == "gain":
            part.fill_(1.0)
        elif family.role == "bias" and gate == "f":
            part.fill_(forget_bias)
        else:
            fill(part, family.role, units, generator)


def uniform(part: Tensor, role: str, units: int, generator: torch.Generator | None) -> None:
    """Everything uniform in ±1/√H, as `torch.nn` starts its recurrent layers."""
    bound = 1.0 / math.sqrt(units)
    part.uniform_(-bound, bound, generator=generator)


def glorot(part: Tensor, role: str, units: int, generator: torch.Generator | None) -> None:
    """Matrices uniform with variance 2 / (rows + columns), biases zero.

    Source:
        Glorot and Bengio (2010), equation 16.
    """
    if part.dim() == 1:
        _vector(part, role, generator)
        return
    fans = sum(part.shape[1:]) if _is_blocks(part, units) else part.shape[0] + part[0].numel()
    bound = math.sqrt(6.0 / fans)
    part.uniform_(-bound, bound, generator=generator)


def orthogonal(part: Tensor, role: str, units: int, generator: torch.Generator | None) -> None:
    """Recurrent matrices orthogonal, so that no direction grows or shrinks; the rest Glorot.

    Source:
        Saxe, McClelland and Ganguli (2014), section 3.
    """
    if role == "recurrent" and part.dim() == 2:
        nn.init.orthogonal_(part, generator=generator)
    elif role == "recurrent" and _is_blocks(part, units):
        for block in part:
            nn.init.orthogonal_(block, generator=generator)
    else:
        glorot(part, role, units, generator)


def irnn(part: Tensor, role: str, units: int, generator: torch.Generator | None) -> None:
    """Recurrent matrices the identity, inputs small: for rectified units that keep their state.

    Source:
        Le, Jaitly and Hinton (2015), section 3.
    """
    if role == "recurrent" and part.dim() == 2 and part.shape[0] == part.shape[1]:
        nn.init.eye_(part)
    elif role == "input":
        part.normal_(0.0, 0.001, generator=generator)
    else:
        glorot(part, role, units, generator)


def _is_blocks(part: Tensor, units: int) -> bool:
    """Whether a gate's part holds the squares of a block-diagonal matrix, heads first."""
    heads, width = part.shape[0], part.shape[-1]
    return part.dim() == 3 and part.shape[1] == width and heads * width == units


def _vector(part: Tensor, role: str, generator: torch.Generator | None) -> None:
    """Biases start at zero, elementwise factors (how much of a unit returns) within ±1."""
    if role == "diagonal":
        part.uniform_(-1.0, 1.0, generator=generator)
    else:
        part.zero_()


Scheme = Callable[[Tensor, str, int, "torch.Generator | None"], None]
INITIALISATIONS: dict[str, Scheme] = {
    "orthogonal": orthogonal,
    "glorot": glorot,
    "uniform": uniform,
    "irnn": irnn,
}
