"""From scores to the next token: temperature, top-k, nucleus, and the loop that goes on from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.errors import ConfigError, DataError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.streaming import TokenStream, streams
from unspool.models.transformer_streaming import TransformerStream, streams_attention


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
    """The distribution a token is drawn from; the compiled draw is tested against it.

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
    return _chances(logits, settings).to(logits.dtype)


def _chances(logits: Tensor, settings: SamplingSettings) -> Float[Tensor, "*batch V"]:
    """The same in float64."""
    if settings.temperature == 0.0:
        best = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits, dtype=torch.float64).scatter(-1, best, 1.0)
    # The largest score is taken off first: divided by a tiny temperature it would be infinite.
    scores = logits.double() - logits.max(-1, keepdim=True).values.double()
    weights = torch.exp(scores / settings.temperature)
    total = weights.sum(-1, keepdim=True)
    if not settings.top_k and settings.top_p == 1.0:
        return weights / total
    # By score, not by weight: a huge temperature makes all weights the same.
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    ordered = weights.gather(-1, order)
    rank = torch.arange(weights.shape[-1], device=weights.device)
    allowed = torch.ones_like(ordered, dtype=torch.bool)
    if settings.top_k:
        allowed &= rank < settings.top_k
    if settings.top_p < 1.0:
        before = torch.nn.functional.pad(ordered.cumsum(-1), (1, -1))
        allowed &= before / total < settings.top_p
    ordered = ordered.masked_fill(~allowed, 0.0)
    kept = torch.zeros_like(weights).scatter(-1, order, ordered)
    return kept / kept.sum(-1, keepdim=True)


def draw(chances: Float[Tensor, " V"], uniform: float) -> int:
    """The token whose share of [0, 1) a number falls into, the shares laid out token after token.

    Args:
        chances: ≥ 0, of any sum > 0.
        uniform: in [0, 1).

    Raises:
        DataError: if the chances are not finite.

    Source:
        Devroye (1986), Non-uniform random variate generation, section III.2.1: inversion.

    Example:
        >>> chances = torch.tensor([0.5, 0.0, 0.25, 0.25])
        >>> [draw(chances, uniform) for uniform in (0.0, 0.49, 0.5, 0.75, 0.99)]
        [0, 0, 2, 3, 3]
    """
    sums = chances.double().cumsum(0)
    if not sums[-1].isfinite():
        raise DataError(NOTHING_TO_DRAW)
    found = int(torch.searchsorted(sums, uniform * sums[-1], right=True))
    # Sums are rounded: where none is larger, the last token that may be drawn is it.
    return min(found, int(chances.nonzero()[-1]))


def uniforms(generator: torch.Generator, block: int = 256) -> Iterator[float]:
    """Numbers in [0, 1), float64, without end.

    Args:
        generator: on the CPU. It is asked for a block at a time and so stands ahead of what has
            been taken.
        block: how many; the numbers do not depend on it.
    """
    while True:
        yield from torch.rand(block, generator=generator, dtype=torch.float64).tolist()


def continuation(
    model: NextToken,
    prompt: list[int],
    settings: SamplingSettings,
    generator: torch.Generator,
) -> Iterator[int]:
    """Tokens that follow a prompt, without end, each fed back as the next input.

    One uniform number a token decides, by `draw`: whatever computes the scores, the same seed gives
    the same tokens, unless a number falls within rounding of the border between two of them.

    Args:
        model: in evaluation mode.
        prompt: at least one token.
        settings: how each is drawn.
        generator: what is drawn, on the CPU; the same seed gives the same tokens. It is asked
            ahead, a block at a time (`uniforms`).

    Yields:
        Token ids.

    Raises:
        DataError: if the model's scores are not finite.
    """
    step = _fast(model, settings, prompt) if isinstance(model, LanguageModel) else None
    following = step or _readable(model, settings, prompt)
    token = prompt[-1]
    for uniform in uniforms(generator):
        token = following(token, uniform)
        if token < 0:
            raise DataError(NOTHING_TO_DRAW)
        yield token


# Reads a token and, with a uniform number, draws the next; what came before has been read.
Following = Callable[[int, float], int]


def _fast(model: LanguageModel, settings: SamplingSettings, prompt: list[int]) -> Following | None:
    """What reads token by token without what only training wants, where there is one."""
    if streams(model):
        return _compiled(model, settings, prompt)
    if streams_attention(model):
        return _cached(model, settings, prompt)
    return None


def _compiled(model: LanguageModel, settings: SamplingSettings, prompt: list[int]) -> Following:
    """One native call a token."""
    step = TokenStream(model).step
    step.set_sampling(settings.temperature, settings.top_k, settings.top_p)
    for earlier in prompt[:-1]:
        step.read(earlier)
    following: Following = step.draw
    return following


def _cached(model: LanguageModel, settings: SamplingSettings, prompt: list[int]) -> Following:
    """A transformer whose keys and values stay where they are."""
    stream = TransformerStream(model)
    stream.read_all(prompt[:-1])
    return lambda token, uniform: _drawn(stream.score(token), settings, uniform)


def _readable(model: NextToken, settings: SamplingSettings, prompt: list[int]) -> Following:
    """The same by the definitions above, for any model on any device."""
    state: State | None = None

    @torch.no_grad()
    def scores(token: int) -> Tensor:
        nonlocal state
        logits, state = model(torch.tensor([[token]], device=model.device), state)
        return logits[0, -1]

    for earlier in prompt[:-1]:
        scores(earlier)
    return lambda token, uniform: _drawn(scores(token), settings, uniform)


def _drawn(scores: Tensor, settings: SamplingSettings, uniform: float) -> int:
    """A token by its scores.

    Raises:
        DataError: if one of them is not a number.
    """
    scores = scores.cpu()
    if scores.isnan().any():
        raise DataError(NOTHING_TO_DRAW)
    return draw(_chances(scores, settings), uniform)


NOTHING_TO_DRAW = (
    "model: its scores of the next token are not finite, so none can be drawn; its weights are "
    "damaged or its training has diverged."
)
