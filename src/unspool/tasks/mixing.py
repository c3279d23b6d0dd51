"""Mixing predictions: a weighted product whose weights are learnt from what has been read.

    ln p(w) = sum_k a_k ln p_k(w) - ln sum_v exp(sum_k a_k ln p_k(v))
    a_k    <-  a_k + rate_n * (ln p_k(x) - sum_v p(v) ln p_k(v))

x is the token that came. The second line is one step up the gradient of ln p(x).

Source:
    Mahoney (2005), "Adaptive weighing of context models for lossless data compression", section
    3, with any number of tokens in place of two; Hinton (2002), equation 1 (product of experts).
"""

from __future__ import annotations

import numpy as np

from unspool.errors import ConfigError

RATE = 0.02
HALVING = 100.0  # the rate falls as 1 / sqrt(1 + n / HALVING)


class Mixture:
    """A product of several predictions with weights that learn token by token.

    Args:
        num_models: K, ≥ 1; each starts with weight 1 / K.

    Attributes:
        weights: float64 ``[K]``.
        num_read: tokens read.

    Example:
        >>> sure, guess = np.log([0.9, 0.1]), np.log([0.5, 0.5])
        >>> mixture = Mixture(2)
        >>> mixed = mixture.read(np.tile([sure, guess], (500, 1, 1)), np.zeros(500, dtype=int))
        >>> bool(mixture.weights[0] > 1), bool(mixed[-1, 0] > sure[0])
        (True, True)
    """

    def __init__(self, num_models: int) -> None:
        if num_models < 1:
            raise ConfigError(f"Mixture: got {num_models} models; wanted at least 1.")
        self.weights = np.full(num_models, 1.0 / num_models)
        self.num_read = 0

    def read(self, log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Predict tokens one after the other, and learn from each.

        Args:
            log_probs: of every model, ``[N K V]``, nats, finite.
            tokens: those that came, ``[N]``.

        Returns:
            Mixed log probabilities float64 ``[N V]``, each from the tokens before alone.
        """
        mixed = np.empty((len(tokens), log_probs.shape[2]))
        for i, (each, token) in enumerate(zip(log_probs.astype(np.float64), tokens, strict=True)):
            scores = self.weights @ each  # [V]
            scores -= scores.max()
            chances = np.exp(scores)
            total = chances.sum()
            mixed[i] = scores - np.log(total)
            rate = RATE / (1.0 + self.num_read / HALVING) ** 0.5
            self.weights += rate * (each[:, token] - each @ (chances / total))
            self.num_read += 1
        return mixed
