"""One step of a stack of layers without gradients: by which path, and in compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.engine.scan import choose_backend
from unspool.layers.state import State

if TYPE_CHECKING:
    from unspool.layers.recurrent import Recurrent

# More sequences than this the readable loop takes in less time: it multiplies them all at once.
FEW_ROWS = 4


def compiled_step(
    layer: Recurrent, x: Float[Tensor, "B D"], state: tuple[Tensor, ...] | None
) -> tuple[Float[Tensor, "B H"], State] | None:
    """Outputs and new state in fresh memory; None where another path has to serve.

    Args:
        layer: of one direction.
        x: the inputs of one time step.
        state: before it, each ``[B L H]``; None starts afresh.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    weights = [dict(each.items()) for each in layer.weights.values()]
    like = next(iter(weights[0].values()))
    if not _serves(layer, like, x, state):
        return None
    from unspool.engine.plan import plan_of  # these need llvmlite, which `_serves` has found
    from unspool.engine.single import single_step

    plan = plan_of(layer.cell, False, like.dtype)
    if plan.unpacked is None:
        return None
    B, L, H = len(x), layer.num_layers, layer.hidden_size
    before = layer.start(B) if state is None else state
    before = [value if value.stride(2) == 1 else value.contiguous() for value in before]
    after = [torch.empty(B, L, H, dtype=like.dtype) for _ in before]
    y = x if x.stride(1) == 1 else x.contiguous()
    for k, each in enumerate(weights):
        step = single_step(plan, H, y.shape[1], B, torch.get_num_threads())
        parameters = {name: value.contiguous() for name, value in each.items()}
        into = [value[:, k] for value in after]
        out = step(parameters, y, [value[:, k] for value in before], into)
        y = out + y if layer.residual and k else out
    return y.clone(), State(after)


def reads_weights_in_place(layer: Recurrent, x: Tensor, state: tuple[Tensor, ...] | None) -> bool:
    """Whether the readable loop is to take a step without gradients, as packing costs more.

    Only where the choice is free, and fused code would be chosen and would refuse none of these.
    """
    if layer.named_backend != "auto" or torch.is_grad_enabled():
        return False
    like = next(layer.parameters())
    return layer.backend == "llvm" and all(
        value.dtype == like.dtype and value.device == like.device for value in (x, *(state or ()))
    )


def _serves(layer: Recurrent, like: Tensor, x: Tensor, state: tuple[Tensor, ...] | None) -> bool:
    """Whether compiled code may take the step, and nothing has to be refused."""
    masked = layer.dropout.active or layer.recurrent_dropout.active
    if layer.named_backend not in ("auto", "llvm") or masked or x.dim() != 2:
        return False
    given = (x, *(state or ()))
    if any(type(value) is not Tensor or value.dtype != like.dtype for value in given):
        return False
    wanted = [(len(x), layer.num_layers, layer.hidden_size)] * len(layer.cell.states)
    return (
        0 < len(x) <= FEW_ROWS
        and x.shape[1] == layer.input_size
        and (state is None or [value.shape for value in state] == wanted)
        and all(value.device == like.device for value in given)
        and choose_backend(layer.cell, like, layer.named_backend) == "llvm"
    )
