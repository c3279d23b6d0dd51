"""From gradients to weights: clipping, the optimisers, the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from unspool.errors import ConfigError, choose
from unspool.training.settings import TrainSettings


def clip(parameters: Iterable[Tensor], limit: float) -> tuple[float, float]:
    """Scale all gradients together so that their joint norm is at most ``limit``.

        g  <-  g * min(1, limit / ||g||),        ||g|| over every parameter at once

    Args:
        parameters: tensors whose ``.grad`` may be None, which counts as zero.
        limit: largest allowed norm, > 0; in units of loss per unit of parameter.

    Returns:
        The norm before and after.

    Raises:
        ConfigError: if ``limit`` is not a positive number (infinity only measures).

    Source:
        Pascanu, Mikolov and Bengio (2013), Algorithm 1.

    Example:
        >>> w = torch.zeros(2, requires_grad=True); w.grad = torch.tensor([3.0, 4.0])
        >>> clip([w], limit=1.0)
        (5.0, 1.0)
    """
    if not limit > 0.0:
        raise ConfigError(f"train.clip_norm: got {limit}; wanted a number > 0.")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0, 0.0
    norm = float(torch.nn.utils.get_total_norm(gradients))
    if norm <= limit or not math.isfinite(norm):
        return norm, norm
    torch._foreach_mul_(gradients, limit / norm)
    return norm, limit


def clip_values(parameters: Iterable[Tensor], limit: float) -> None:
    """Limit every single gradient to ±``limit``.

    Args:
        parameters: tensors whose ``.grad`` may be None.
        limit: largest allowed magnitude, > 0.

    Example:
        >>> w = torch.zeros(2, requires_grad=True); w.grad = torch.tensor([3.0, -0.5])
        >>> clip_values([w], limit=1.0); w.grad
        tensor([ 1.0000, -0.5000])
    """
    nn.utils.clip_grad_value_(list(parameters), limit)


def limit_gradients(parameters: Iterable[Tensor], settings: TrainSettings) -> tuple[float, float]:
    """Clip as the settings say: each value, then the joint norm.

    A norm that is not finite is returned without clipping anything, since a clipped infinity would
    look like an ordinary gradient.

    Args:
        parameters: tensors whose ``.grad`` may be None.
        settings: where ``clip_value`` or ``clip_norm`` is 0, that kind is left out.

    Returns:
        The norm before any clipping, and after all of it.
    """
    parameters = list(parameters)
    before, after = clip(parameters, math.inf)
    if not math.isfinite(before):
        return before, after
    if settings.clip_value:
        clip_values(parameters, settings.clip_value)
    _, after = clip(parameters, settings.clip_norm or math.inf)
    return before, after


def build_optimiser(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser the settings name; weight decay only where there is a matrix.

    Biases, gains and other vectors are left out of the decay: pulling them to zero does not make a
    function smoother.
    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    free = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    build = choose(settings.optimiser, OPTIMISERS, "train.optimiser")
    return build([group for group in groups if group["params"]], settings)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The learning rate of one update, a pure function of its number.

        rate * (step + 1) / warmup                                        while step < warmup
        rate * (floor + (1 - floor) * (1 + cos(π * progress)) / 2)        after it, for "cosine"

    Args:
        settings: rate, warm-up, schedule and number of steps.
        step: 0…steps − 1.

    Source:
        Loshchilov and Hutter (2017), equation 5, one period; floor is `COSINE_FLOOR`.

    Example:
        >>> settings = TrainSettings(steps=100, warmup=10, learning_rate=1.0)
        >>> learning_rate(settings, 0), learning_rate(settings, 10)
        (0.1, 1.0)
    """
    warmup = min(settings.warmup, settings.steps // 2)
    if step < warmup:
        return settings.learning_rate * ((step + 1) / warmup)
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = (step - warmup) / max(1, settings.steps - warmup)
    fall = (1.0 + math.cos(math.pi * min(1.0, progress))) / 2.0
    return settings.learning_rate * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * fall)


def _adamw(groups: list[dict[str, object]], settings: TrainSettings) -> torch.optim.Optimizer:
    betas = (settings.momentum, SECOND_MOMENT)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True)


def _sgd(groups: list[dict[str, object]], settings: TrainSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


COSINE_FLOOR = 0.01
SECOND_MOMENT = 0.99
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": _adamw, "sgd": _sgd}
