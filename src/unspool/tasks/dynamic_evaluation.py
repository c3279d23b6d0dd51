"""Dynamic evaluation: the network goes on learning from the text it predicts.

    theta  <-  theta - rate * g / (sqrt(m) + damping) + decay * s * (theta_0 - theta)

g is the gradient of a segment that has just been predicted, m the mean square of such gradients
over the training text, theta_0 the weights that training ended with, and s = sqrt(m) over its mean,
at most 1 / decay: weights that move much are also pulled back much.

Source:
    Krause, Kahembwe, Murray and Renals (2018), "Dynamic evaluation of neural sequence models",
    section 4, equations 5 to 8 (without their normalisation of the rates).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unspool.errors import ConfigError, DataError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicSettings:
    """How far and how often the weights move.

    The defaults were chosen on the last tenth of the training part of tiny Shakespeare, with a
    network trained on what stands before it.

    Attributes:
        segment: tokens predicted between two updates.
        learning_rate: of an update; a gradient of the usual size moves a weight so far.
        decay: share of the way back to the trained weights that an average one goes; 0 never.
        damping: keeps weights that hardly ever had a gradient from leaping; in units of one.
        windows: segments of the training text over which m is taken.
    """

    segment: int = 32
    learning_rate: float = 2e-4
    decay: float = 1e-3
    damping: float = 1e-6
    windows: int = 400

    def __post_init__(self) -> None:
        problems = [
            f"{name}: got {getattr(self, name)}; wanted at least 1."
            for name in ("segment", "windows")
            if getattr(self, name) < 1
        ]
        for name, least in (("learning_rate", 0.0), ("decay", 0.0), ("damping", 1e-12)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                problems.append(f"{name}: got {value}; wanted a number ≥ {least:g}.")
        if problems:
            raise ConfigError("dynamic evaluation: " + " ".join(problems))


def predictions(model: LanguageModel, tokens: Tensor, segment: int) -> Iterator[Tensor]:
    """What a model that does not learn says of every token after the first, as one stream.

    Args:
        model: a language model; put into evaluation mode.
        tokens: int64 ``[N]``.
        segment: tokens read at a time.

    Yields:
        Log probabilities ``[n V]``, nats, of the next n tokens.
    """
    model.eval()
    state: State | None = None
    for start in range(0, len(tokens) - 1, segment):
        with torch.no_grad():
            logits, state = model(
                tokens[start : min(start + segment, len(tokens) - 1)][None], state
            )
        yield torch.log_softmax(logits[0], -1)


def dynamic_predictions(
    model: LanguageModel, tokens: Tensor, sizes: list[Tensor], settings: DynamicSettings
) -> Iterator[Tensor]:
    """The same of a copy of the model that learns from each segment once it has been predicted.

    Args:
        model: a language model; put into evaluation mode, its weights stay.
        tokens: int64 ``[N]``.
        sizes: of `gradient_sizes`.
        settings: how far and how often the weights move.

    Yields:
        Log probabilities ``[n V]``, nats, of the next n tokens.
    """
    model.eval()
    learner = copy.deepcopy(model)
    weights = list(learner.parameters())
    trained = [weight.detach().clone() for weight in weights]
    rates = [settings.learning_rate / (size + settings.damping) for size in sizes]
    usual = torch.cat([size.flatten() for size in sizes]).mean() + settings.damping
    decays = [(settings.decay * size / usual).clamp(max=1.0) for size in sizes]
    state: State | None = None
    segments = (part.split(settings.segment) for part in (tokens[:-1], tokens[1:]))
    for inputs, targets in zip(*segments, strict=True):
        logits, following = learner(inputs[None], state)
        log_probs = torch.log_softmax(logits[0], -1)
        yield log_probs.detach()
        loss = nn.functional.nll_loss(log_probs, targets)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for k, weight in enumerate(weights):
                weight += decays[k] * (trained[k] - weight) - rates[k] * gradients[k]
        state = following.detach()


def gradient_sizes(model: LanguageModel, tokens: Tensor, settings: DynamicSettings) -> list[Tensor]:
    """Root mean square of the gradient of a segment's loss, for every weight.

    Args:
        model: a language model; put into evaluation mode.
        tokens: int64 ``[N]``, of the training text.
        settings: how many segments, and how long.

    Returns:
        Tensors like ``model.parameters()``.

    Raises:
        DataError: if the text has no segment.
    """
    length = min(settings.segment, len(tokens) - 1)
    if length < 1:
        raise DataError(f"dynamic evaluation: {len(tokens)} training tokens; wanted at least 2.")
    model.eval()
    weights = list(model.parameters())
    squares = [torch.zeros_like(weight) for weight in weights]
    room = len(tokens) - length
    count = min(settings.windows, room)
    starts = [room * k // count for k in range(count)]
    for start in starts:
        logits, _ = model(tokens[start : start + length][None])
        loss = nn.functional.cross_entropy(logits[0], tokens[start + 1 : start + length + 1])
        for square, gradient in zip(squares, torch.autograd.grad(loss, weights), strict=True):
            square += gradient.square() / len(starts)
    return [square.sqrt() for square in squares]
