"""What a decoder gives, what it may give, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unspool.errors import ConfigError
from unspool.layers.state import State


@runtime_checkable
class Remembered(Protocol):
    """What was read, a row for each input."""

    start: State

    def __len__(self) -> int: ...

    def select_rows(self, rows: Tensor) -> Any:
        """The chosen rows."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """What writes: the token before every text, the one behind it, and a step."""

    begin: int
    end: int

    def step(
        self, tokens: Tensor, state: State, memory: Any, weights: bool = False
    ) -> tuple[Tensor, State, Tensor | None]:
        """Logits of what follows, the new state, and where each row looked or None."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """An answer.

    Attributes:
        tokens: without the beginning and the end.
        log_probability: of all tokens together, the end too, in nats.
        score: what answers are ordered by: log_probability / length ** penalty, the end counted.
        finished: False where it was cut at the greatest length.
        weights: for every token, the end too, where the model looked, ``[U S]``; or None.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    finished: bool
    weights: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What an answer may be.

    Attributes:
        most: tokens of the longest answer to each input, without the end.
        least: tokens of the shortest.
        no_repeat: so many tokens in a row never come twice; 0 allows it.
    """

    most: tuple[int, ...]
    least: int = 0
    no_repeat: int = 0

    @classmethod
    def of(cls, rows: int, most: int | Sequence[int], least: int, no_repeat: int) -> Bounds:
        """The same bounds for all inputs, or each its own longest.

        Raises:
            ConfigError: if there is no such answer.
        """
        each = (most,) * rows if isinstance(most, int) else tuple(most)
        if len(each) != rows or min(each, default=1) < max(1, least) or least < 0:
            raise ConfigError(
                f"decode: answers of {least} to {sorted(set(each))} tokens for {rows} inputs; "
                "wanted one greatest length, or one for each, of at least 1 and the least."
            )
        return cls(most=each, least=least, no_repeat=no_repeat)


@dataclass(frozen=True, slots=True)
class Chances:
    """What may come next, and how likely the model finds it.

    Attributes:
        scores: log probabilities; −inf for what may not come: the beginning, an end too early, what
            would repeat, and all but the end where an answer is as long as it may be.
        natural: False where only its greatest length ends an answer.
    """

    scores: Float[Tensor, "A w V"]
    natural: Bool[Tensor, "A w"] | None


def chances(
    logits: Float[Tensor, "A w V"],
    written: Sequence[Sequence[Sequence[int]]],
    most: Sequence[int],
    bounds: Bounds,
    ends: tuple[int, int],
) -> Chances:
    """What of a model's scores an answer may follow.

    Args:
        logits: for w beginnings of an answer to each of A inputs. Where one is not a number, all
            that comes of it is none.
        written: their tokens so far, as many in each.
        most: tokens of the longest answer to each input.
        bounds: the rest of what an answer may be.
        ends: the tokens before and behind every text.
    """
    begin, end = ends
    step, natural = len(written[0][0]), None
    scores = logits.log_softmax(-1)
    scores[..., begin] = -torch.inf
    full = [length == step for length in most]
    if step >= bounds.least and not bounds.no_repeat and not any(full):
        return Chances(scores, None)
    ending = scores[..., end].clone()
    if step < bounds.least:
        scores[..., end] = -torch.inf
    if 0 < bounds.no_repeat <= step:
        before = torch.tensor(written, device=scores.device)
        _forbid_repeats(scores, before, bounds.no_repeat)
    if any(full):
        last = torch.tensor(full, device=scores.device)
        natural = ~last[:, None] | (ending >= scores.amax(-1))
        scores.masked_fill_(last[:, None, None], -torch.inf)
        scores[..., end] = torch.where(last[:, None], ending, scores[..., end])
    # Where nothing may come the end may, even too early.
    stuck = scores.amax(-1) == -torch.inf
    scores[..., end] = torch.where(stuck, ending, scores[..., end])
    return Chances(scores, natural)


def _forbid_repeats(found: Tensor, written: Tensor, size: int) -> None:
    """No token that would make a run of ``size`` tokens stand in an answer twice."""
    runs = written.unfold(-1, size, 1)  # [A w places size]
    last = written[..., written.shape[-1] - size + 1 :]
    again = (runs[..., :-1] == last[..., None, :]).all(-1)
    forbidden = torch.where(again, -torch.inf, 0.0).to(found)
    found.scatter_add_(-1, runs[..., -1], forbidden)


NOT_FINITE = (
    "model: its scores of the next token are not finite, so nothing can be written; its weights "
    "are damaged or its training has diverged."
)
