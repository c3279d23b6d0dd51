"""Predicting a text while learning from it: network, dynamic evaluation and counting, mixed.

Every part predicts a token from the training text and the tokens before it, and learns from it
afterwards; the weights of the mixture likewise. Nothing is chosen on the text that is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import ConfigError, DataError
from unspool.models.language_model import LanguageModel
from unspool.tasks.adaptive_ngram import AdaptiveNGram
from unspool.tasks.dynamic_evaluation import (
    DynamicSettings,
    dynamic_predictions,
    gradient_sizes,
    predictions,
)
from unspool.tasks.mixing import Mixture

Told = Callable[[str], None]
# Of the n-gram model. Shorter ones beside it (3, 5, 7) brought nothing.
ORDERS = (10,)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveSettings:
    """What is mixed.

    Attributes:
        orders: of the n-gram model, each a part of the mixture.
        dynamic: how the network goes on learning.
    """

    orders: tuple[int, ...] = ORDERS
    dynamic: DynamicSettings = field(default_factory=DynamicSettings)

    def __post_init__(self) -> None:
        if not self.orders or min(self.orders) < 1:
            raise ConfigError(f"adaptive: orders are {self.orders}; wanted some, each at least 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """How well a text was predicted by what learnt from it.

    Attributes:
        loss: nats per token of the mixture, over every token after the first.
        parts: the same of each part alone, by name.
        weights: of the mixture at the end, by name.
        log_probs: float64 ``[N-1]``, of each token, nats.
        seconds: all of it took.
    """

    loss: float
    parts: dict[str, float]
    weights: dict[str, float]
    log_probs: np.ndarray
    seconds: float

    def report(self) -> dict[str, Any]:
        """All but the single tokens, as plain values."""
        kept = ("loss", "parts", "weights", "seconds")
        return {name: getattr(self, name) for name in kept}


def adaptive_evaluation(
    model: LanguageModel,
    train: Tensor,
    tokens: Tensor,
    settings: AdaptiveSettings | None = None,
    tell: Told = lambda text: None,
) -> Adapted:
    """Read a text as one stream, learning from each token after predicting it.

    Args:
        model: a language model; put into evaluation mode, its weights stay.
        train: what it was trained on, int64 ``[K]``; counted, and asked how large gradients are.
        tokens: int64 ``[N]``, the text to read.
        settings: what is mixed; None takes the defaults.
        tell: called now and then with a line of how far it is.

    Returns:
        The losses of the mixture and of its parts.

    Raises:
        ConfigError: if the model is a transformer.
        DataError: if either text is too short.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.models.settings import RecurrentSettings
        >>> model = LanguageModel(3, RecurrentSettings(hidden=4), CELLS["gru"])
        >>> text = torch.tensor([0, 1, 2] * 60)
        >>> adapted = adaptive_evaluation(model, text[:90], text[90:])
        >>> adapted.loss < adapted.parts["network"]
        True
    """
    settings = settings or AdaptiveSettings()
    if not model.carries:
        raise ConfigError(
            "--adaptive: reads on from the state that a window ends in, and a transformer starts "
            "every window afresh; wanted a recurrent model."
        )
    if len(tokens) < 2:
        raise DataError(f"text: {len(tokens)} tokens to judge; wanted at least 2.")
    start = time.perf_counter()
    ids = tokens.cpu().numpy()
    dynamic, V = settings.dynamic, model.head.bias.shape[0]
    # The first token is not predicted, so it is known.
    known = np.concatenate([train.cpu().numpy(), ids[:1]])
    counting = AdaptiveNGram(known, ids[1:], V, max(settings.orders))
    chosen = [order - 1 for order in settings.orders]
    own, other = tokens.to(model.device), train.to(model.device)
    sizes = gradient_sizes(model, other, dynamic)
    names = [
        "network",
        "network, learning on",
        *(f"{n}-gram, counting on" for n in settings.orders),
    ]
    mixture, done = Mixture(len(names)), 0
    sums, mixed = np.zeros(len(names)), []
    for fixed, learning, counts in zip(
        predictions(model, own, dynamic.segment),
        dynamic_predictions(model, own, sizes, dynamic),
        counting.blocks(dynamic.segment),
        strict=True,
    ):
        networks = torch.stack([fixed, learning], 1).double().cpu().numpy()
        parts = np.concatenate([networks, np.log(counts[:, chosen])], 1)  # [n K V]
        came = ids[done + 1 : done + 1 + len(parts)]
        places = np.arange(len(came))
        mixed.append(mixture.read(parts, came)[places, came])
        sums -= parts[places, :, came].sum(0)
        if (done + len(came)) // REPORTED > done // REPORTED:
            tell(f"{done + len(came):,} of {len(ids) - 1:,} tokens")
        done += len(came)
    log_probs = np.concatenate(mixed)
    return Adapted(
        loss=float(-log_probs.mean()),
        parts=dict(zip(names, (sums / done).tolist(), strict=True)),
        weights=dict(zip(names, mixture.weights.tolist(), strict=True)),
        log_probs=log_probs,
        seconds=time.perf_counter() - start,
    )


REPORTED = 10_000  # tokens between two lines
