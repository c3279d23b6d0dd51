"""Whether a device computes what the CPU computes: asked before a long run, not after it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unspool.errors import BackendError
from unspool.layers.recurrent import Recurrent

# Rounding stays below, also with cuDNN's shortened float32 (TF32, ten bits of mantissa); a kernel
# that computes something else does not.
ALLOWED = {torch.float32: 5e-3, torch.float64: 1e-9}
ROWS, STEPS = 3, 12

Move = Callable[[Recurrent], Recurrent]


def check_device(model: nn.Module, device: torch.device, move: Move | None = None) -> float:
    """Compare a model's recurrent layers on a device with the CPU, outputs and all gradients.

    Copies of the layers read a few random rows of different lengths, on the device as the run will
    have them, on the CPU in float64 by the readable loop.

    Args:
        model: on the CPU; whatever recurrent layers are in it are compared, and none is changed.
        device: where the run will be; for the CPU there is nothing to compare.
        move: how a layer gets to the device; None is ``layer.to(device)``.

    Returns:
        The largest difference found, over the largest magnitude of the tensor it is in.

    Raises:
        BackendError: naming layer and tensor, if they differ by more than rounding.

    Example:
        >>> check_device(Recurrent("lstm", 3, 5), torch.device("cpu"))
        0.0
    """
    if device.type == "cpu" and move is None:
        return 0.0
    largest = 0.0
    for name, layer in model.named_modules():
        if isinstance(layer, Recurrent):
            here = copy.deepcopy(layer).eval()
            there = copy.deepcopy(layer).eval()
            there = there.to(device) if move is None else move(there)
            where = name or type(layer).__name__
            largest = max(largest, _compare(where, here, there, device))
    return largest


def _compare(where: str, layer: Recurrent, moved: Recurrent, device: torch.device) -> float:
    dtype = next(layer.parameters()).dtype
    layer = layer.double()
    layer.named_backend = "reference"
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, STEPS, layer.input_size, generator=rng, dtype=torch.float64).to(dtype)
    largest = 0.0
    # Rows of one length and of several: on a device other kernels may serve them.
    for lengths in (None, torch.tensor([STEPS, STEPS // 2, 1])):
        expected = _everything(layer, x.double(), lengths)
        found = _everything(moved, x.to(next(moved.parameters()).device), lengths)
        for name, value in expected.items():
            error = _difference(found[name].cpu().double(), value)
            if not error <= ALLOWED[dtype]:  # NaN as well
                raise BackendError(
                    f"device {device}: {name} of layer '{where}' ({layer.cell.name}, backend "
                    f"{moved.backend}) differs from the CPU's by {error:.2g} of its largest value; "
                    f"wanted at most {ALLOWED[dtype]:g}; use `--device cpu`."
                )
            largest = max(largest, error)
    return largest


def _everything(layer: Recurrent, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
    """Outputs, final states and gradients by name."""
    x = x.detach().requires_grad_()
    given = None if lengths is None else lengths.to(x.device)
    outputs, state = layer(x, given)
    loss = outputs.square().sum() + sum(value.square().sum() for value in state)
    leaves = {"input": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        "the outputs": outputs.detach(),
        **{f"state '{n}'": s.detach() for n, s in zip(layer.cell.states, state, strict=True)},
        **{
            f"the gradient of '{name}'": torch.zeros_like(leaf) if value is None else value
            for (name, leaf), value in zip(leaves.items(), gradients, strict=True)
        },
    }


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max().item()
    return (found - expected).abs().max().item() / (scale or 1.0)
