"""What a compiled program may be given; a wrong size must not get as far as its address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from unspool.engine.graph import Family
from unspool.engine.lookup import Lookup
from unspool.errors import ShapeError


def check_arguments(
    families: Mapping[str, Family],
    parameters: Mapping[str, Tensor],
    x: Tensor | Lookup,
    state: Sequence[Tensor],
    states: Sequence[str],
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> None:
    """Refuse tensors whose sizes, dtype or device differ from what the others say.

    Args:
        families: of the cell.
        parameters: stacked, by family.
        x: inputs ``[T B D]``, or where to look them up.
        state: before the first step; its first tensor says H, dtype and device.
        states: their names.
        lengths: of the rows, 1…T.
        mask: dropout factors.

    Raises:
        ShapeError: naming the first that does not fit.
    """
    steps, batch, features = x.shape
    units, like = state[0].shape[-1], state[0]
    if len(state) != len(states):
        raise ShapeError(f"scan: {len(state)} states; wanted {', '.join(states)}.")
    wanted: list[tuple[str, Tensor, tuple[int, ...]]] = [
        *((f"state '{n}'", value, (batch, units)) for n, value in zip(states, state, strict=True)),
        *_parameters(families, parameters, features, units),
    ]
    if mask is not None:
        wanted.append(("mask", mask, (batch, units)))
    wanted.append(
        ("input", x, (steps, batch, features))
        if isinstance(x, Tensor)
        else ("table", x.table, (len(x.table), features))
    )
    for name, value, size in wanted:
        if value.shape != size:
            raise ShapeError(f"scan: {name} is {list(value.shape)}; wanted {list(size)}.")
        if value.dtype != like.dtype or value.device != like.device:
            raise ShapeError(
                f"scan: {name} is {value.dtype} on {value.device}; "
                f"wanted {like.dtype} on {like.device}, as the state is."
            )
    if steps < 1:
        raise ShapeError("scan: the inputs have no step; wanted at least one.")
    if lengths is not None:
        _check_lengths(lengths, steps, batch)


def _parameters(
    families: Mapping[str, Family], parameters: Mapping[str, Tensor], features: int, units: int
) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
    for name, family in families.items():
        if name not in parameters:
            raise ShapeError(f"scan: there is no parameter '{name}'; wanted {', '.join(families)}.")
        yield f"parameter '{name}'", parameters[name], family.sizes(features, units)


def _check_lengths(lengths: Tensor, steps: int, batch: int) -> None:
    if lengths.dtype != torch.int64 or lengths.shape != (batch,):
        raise ShapeError(
            f"scan: lengths are {lengths.dtype} of shape {list(lengths.shape)}; "
            f"wanted torch.int64 of shape [{batch}]."
        )
    if batch and not (int(lengths.min()) >= 1 and int(lengths.max()) <= steps):
        raise ShapeError(f"scan: lengths are {lengths.tolist()}; wanted each in 1…{steps}.")
