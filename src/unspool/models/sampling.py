"""From scores to the next token: temperature, top-k, nucleus, and the loop that goes on from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.errors import ConfigError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.streaming import TokenStream, streams


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingSettings:
    """How a token is drawn.

    Attributes:
        temperature: divides the scores; 0 always takes the likeliest.
        top_k: only the k likeliest may be drawn; 0 allows all.
        top_p: only the likeliest that together reach this probability; 1 allows all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ConfigError(f"temperature: got {self.temperature}; wanted a number ≥ 0.")
        if self.top_k < 0:
            raise ConfigError(f"top-k: got {self.top_k}; wanted a whole number ≥ 0.")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top-p: got {self.top_p}; wanted 0 < p ≤ 1.")


@runtime_checkable
class NextToken(Protocol):
    """A model that reads tokens and scores the next.

    Attributes:
        device: where it wants its tokens.
    """

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def __call__(self, tokens: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, State]:
        """Logits ``[B T V]`` and the state after the last token."""
        ...


def probabilities(
    logits: Float[Tensor, "*batch V"], settings: SamplingSettings
) -> Float[Tensor, "*batch V"]:
    """The distribution a token is drawn from.

    Args:
        logits: scores.
        settings: what to leave of them.

    Returns:
        Rows that sum to 1; tokens that may not be drawn have exactly 0.

    Source:
        Nucleus: Holtzman et al. (2020), section 3.1.

    Example:
        >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), SamplingSettings(top_k=1))
        tensor([0., 0., 1.])
    """
    if settings.temperature == 0.0:
        best = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, best, 1.0)
    # The largest score is taken off first: divided by a tiny temperature it would be infinite.
    scores = logits.double() - logits.max(-1, keepdim=True).values.double()
    weights = torch.softmax(scores / settings.temperature, -1)
    if not settings.top_k and settings.top_p == 1.0:
        return weights.to(logits.dtype)
    # By score, not by weight: a huge temperature makes all weights the same.
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    ordered = weights.gather(-1, order)
    rank = torch.arange(weights.shape[-1], device=weights.device)
    allowed = torch.ones_like(ordered, dtype=torch.bool)
    if settings.top_k:
        allowed &= rank < settings.top_k
    if settings.top_p < 1.0:
        allowed &= (ordered.cumsum(-1) - ordered) < settings.top_p
    ordered = ordered.masked_fill(~allowed, 0.0)
    kept = torch.zeros_like(weights).scatter(-1, order, ordered)
    return (kept / kept.sum(-1, keepdim=True)).to(logits.dtype)


def continuation(
    model: NextToken,
    prompt: list[int],
    settings: SamplingSettings,
    generator: torch.Generator,
) -> Iterator[int]:
    """Tokens that follow a prompt, without end, each fed back as the next input.

    Args:
        model: in evaluation mode.
        prompt: at least one token.
        settings: how each is drawn.
        generator: what is drawn, on the CPU; the same seed gives the same tokens.

    Yields:
        Token ids.
    """
    read = _reader(model)
    for token in prompt:
        scores = read(token)
    while True:
        weights = probabilities(scores, settings)
        token = int(torch.multinomial(weights, 1, generator=generator))
        yield token
        scores = read(token)


def _reader(model: NextToken) -> Callable[[int], Float[Tensor, " V"]]:
    """What reads a token and scores the next: a stream where there can be one."""
    if isinstance(model, LanguageModel) and streams(model):
        stream = TokenStream(model)
        return lambda token: torch.from_numpy(stream.read(token))
    state: State | None = None

    @torch.no_grad()
    def read(token: int) -> Tensor:
        nonlocal state
        logits, state = model(torch.tensor([[token]], device=model.device), state)
        return logits[0, -1].cpu()

    return read
