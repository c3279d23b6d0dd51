"""How well a language model predicts a text: losses in nats, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.data.streams import NO_TARGET, Window, evaluation_windows
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel


def summed_loss(
    model: nn.Module, window: Window, state: tuple[Tensor, ...] | None
) -> tuple[Tensor, State]:
    """Cross-entropy in nats, summed over the targets of a window, and the state after it.

    Source:
        SYLLABUS E6 and E7: next-token prediction as classification.
    """
    logits, state = model(window.inputs, state)
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), window.targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    return loss, state


def stream_loss(model: nn.Module, tokens: Tensor, rows: int = 1) -> float:
    """Nats per token over every token after the first.

    A model that is made for so many steps from one start (`LanguageModel.context`) reads the text
    in blocks of as many, each from a start of its own.

    Args:
        model: a language model.
        tokens: int64 ``[N]``.
        rows: streams read side by side; with 1 each token is predicted from all before it.
    """
    return total_loss(window_losses(model, tokens, rows))


def total_loss(windows: Iterable[tuple[float, int]]) -> float:
    """Nats per token, from summed losses and how many tokens each is of."""
    total, count = 0.0, 0
    for loss, targets in windows:
        total, count = total + loss, count + targets
    return total / count


@torch.no_grad()
def window_losses(model: nn.Module, tokens: Tensor, rows: int = 1) -> Iterator[tuple[float, int]]:
    """The loss of one stretch of a text after the other, as `stream_loss` reads it.

    Yields:
        Summed nats, and how many tokens they are of.
    """
    model.eval()
    context = getattr(model, "context", 0)
    if context:
        yield from _block_losses(model, tokens, context)
        return
    state: State | None = None
    for window in evaluation_windows(tokens, EVALUATION_LENGTH, rows):
        loss, state = summed_loss(model, window, state)
        yield loss.item(), window.num_targets


def _block_losses(model: nn.Module, tokens: Tensor, context: int) -> Iterator[tuple[float, int]]:
    """The same where every block of ``context`` tokens is a row with a start of its own."""
    context = min(context, len(tokens) - 1)
    at_once = max(1, EVALUATION_ROWS * EVALUATION_LENGTH // context) * context
    for start in range(0, len(tokens) - 1, at_once):
        part = tokens[start : start + at_once + 1]
        missing = -(len(part) - 1) % context
        inputs = nn.functional.pad(part[:-1], (0, missing)).view(-1, context)
        targets = nn.functional.pad(part[1:], (0, missing), value=NO_TARGET)
        logits, _ = model(inputs, None)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets, reduction="none", ignore_index=NO_TARGET
        )
        for stretch in losses[: len(part) - 1].split(EVALUATION_LENGTH):
            yield stretch.sum().item(), len(stretch)


def measured(model: LanguageModel, tokens: Tensor, characters: int, unit: str) -> dict[str, Any]:
    """How well a model predicts a text, read as one stream.

    Args:
        model: a language model.
        tokens: int64 ``[N]``, at least two.
        characters: of the text they stand for.
        unit: what one token is called.

    Returns:
        ``loss`` in nats per token, ``unit``, ``tokens`` predicted, ``bits_per_character`` and
        ``perplexity`` (per token).
    """
    return figures(stream_loss(model, tokens.to(model.device)), len(tokens), characters, unit)


def figures(loss: float, tokens: int, characters: int, unit: str) -> dict[str, Any]:
    """What follows from a loss in nats per token.

    Args:
        loss: over every token after the first.
        tokens: of the text.
        characters: of the same.
        unit: what one token is called.

    Example:
        >>> figures(0.0, tokens=5, characters=10, unit="word")["perplexity"]
        1.0
    """
    return {
        "loss": loss,
        "unit": unit,
        "tokens": tokens - 1,
        "bits_per_character": bits_per_character(loss, tokens, characters),
        "perplexity": math.exp(loss) if loss < LARGEST_EXPONENT else math.inf,
    }


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """A loss per token in nats as bits per character.

    Example:
        >>> round(bits_per_character(math.log(2), tokens=100, characters=400), 3)
        0.25
    """
    return loss / math.log(2) * tokens / characters


def stretches(losses: np.ndarray) -> np.ndarray:
    """Means of stretches of a text, so long that each stands for itself.

    Args:
        losses: of every token in order, float ``[N]``.

    Example:
        >>> len(stretches(np.zeros(1000)))
        2
    """
    starts = range(0, len(losses), EVALUATION_LENGTH)
    return np.array([losses[start : start + EVALUATION_LENGTH].mean() for start in starts])


LARGEST_EXPONENT = 700.0  # the exponential of a little more is no float
EVALUATION_LENGTH = 512
EVALUATION_ROWS = 32
