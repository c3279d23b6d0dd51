"""The symbol legend, and the two ways of saying how long a sequence is.

| axis | | axis | |
|---|---|---|---|
| B | sequences in the batch | T, S | target steps; source steps |
| D | model or feature width | H | units of a recurrent layer |
| V, C | vocabulary size; classes | N, K | attention heads; width of one head |
| G, L | gates of a cell; layers | F | frequency bins |

Layers are told of padding by ``lengths``, int64 ``[B]``; a ``mask`` is bool and True means
"may be used".
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from unspool.errors import ShapeError


def check_lengths(lengths: Tensor, batch: int, steps: int, where: str) -> None:
    """Refuse lengths that do not describe ``batch`` rows of at most ``steps`` steps.

    Args:
        lengths: int64 ``[B]``, each in 1…``steps``.
        batch: rows of the inputs.
        steps: steps of the inputs, padding included.
        where: the layer that is asking, for the message.

    Raises:
        ShapeError: naming the first entry that does not fit.
    """
    if lengths.dtype != torch.int64 or lengths.dim() != 1:
        raise ShapeError(
            f"{where}: lengths are {lengths.dtype} of shape {list(lengths.shape)}; "
            f"wanted torch.int64 of shape [{batch}]."
        )
    if len(lengths) != batch:
        raise ShapeError(f"{where}: {len(lengths)} lengths for {batch} sequences.")
    for row, length in enumerate(lengths.tolist()):
        if length > steps:
            raise ShapeError(f"{where}: lengths[{row}] is {length}, but inputs have {steps} steps.")
        if length < 1:
            raise ShapeError(f"{where}: lengths[{row}] is {length}; every sequence needs a step.")


def mask_of(lengths: Int64[Tensor, " B"], steps: int) -> Bool[Tensor, "B T"]:
    """True where a step belongs to its sequence, False in the padding.

    Example:
        >>> mask_of(torch.tensor([2, 1]), 3).int()
        tensor([[1, 1, 0],
                [1, 0, 0]], dtype=torch.int32)
    """
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
