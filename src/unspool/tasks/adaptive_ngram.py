"""An n-gram model that goes on counting while it predicts.

The equations are those of `unspool.tasks.ngram`; only the counts move: a token of the text is
counted once it has been predicted, and never before. The discounts stay those of the known text.

Known text and new text are numbered together, so that every n-gram of either has a place in the
table of its order from the start; until it has been read its count is 0, which is the same as not
being there. A block of tokens is predicted at once: the counts before the block, plus, for each
token, those of the earlier tokens of the block that stand in the same context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import ConfigError, DataError
from unspool.tasks.ngram import checked, discounts, numbered


class AdaptiveNGram:
    """Predictions of a text, token by token, from all that stands before it.

    Args:
        known: tokens counted beforehand ``[K]``, the text before the first one predicted.
        text: tokens to read ``[N]``, each in 0…V-1.
        vocabulary_size: V, > 0.
        order: tokens of the longest n-gram, the predicted one included, ≥ 1.

    Raises:
        ConfigError: if ``order`` or ``vocabulary_size`` is below 1.
        DataError: if there are fewer known tokens than ``order``, nothing to read, or a token is
            outside the vocabulary.

    Example:
        >>> model = AdaptiveNGram([0, 1, 2, 0], [2, 2, 2, 2], vocabulary_size=3, order=2)
        >>> chances = np.concatenate(list(model.blocks(4)))[:, -1, 2]  # of the token that came
        >>> bool((np.diff(chances) > 0).all())
        True
    """

    def __init__(
        self,
        known: Sequence[int] | np.ndarray,
        text: Sequence[int] | np.ndarray,
        vocabulary_size: int,
        order: int,
    ) -> None:
        before, tokens = checked(known, vocabulary_size), checked(text, vocabulary_size)
        if order < 1:
            raise ConfigError(f"n-gram model: order is {order}; wanted 1 or more.")
        if len(before) < order:
            raise DataError(
                f"n-gram model: {len(before)} tokens to count; "
                f"order {order} wants at least {order}."
            )
        self.tokens = tokens
        self.order = order
        self.vocabulary_size = vocabulary_size
        joint = np.concatenate([before, tokens])
        self._levels = list(_levels(joint, len(before), vocabulary_size, order))
        self._position = 0

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Read the text from where the last call stopped, ``size`` tokens at a time.

        Args:
            size: tokens of a block, ≥ 1; the predictions do not depend on it.

        Yields:
            Probabilities float64 ``[n order V]`` of the next n tokens, at each order: n is
            ``size``, less in the last block. Every row is positive and sums to 1.
        """
        V = self.vocabulary_size
        while self._position < len(self.tokens):
            here = slice(self._position, min(self._position + size, len(self.tokens)))
            found = np.eye(V)[self.tokens[here]]  # [n V]
            chances = np.full((len(found), V), 1.0 / V)
            orders = []
            for level in self._levels:
                chances = level.predict(here, found, chances)
                orders.append(chances)
            for level in self._levels:
                level.count(here)
            self._position = here.stop
            yield np.stack(orders, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """One order: what was counted, and where the tokens of the text stand in it.

    Attributes:
        keys: int64, sorted; ``(number of the context) * V + token``.
        counts: float64, of each key, so far.
        contexts: number of the context of each token of the text.
        numbers: number of the n-gram that ends with each token of the text.
        counted: whether that occurrence counts; below the highest order the first one after each
            different token does.
        discount: what is taken from a count of 0, 1, 2, and more.
    """

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    numbers: np.ndarray
    counted: np.ndarray
    discount: np.ndarray

    def predict(self, here: slice, found: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """Probabilities ``[n V]`` of a block, from those of the next shorter order.

        Args:
            here: the block.
            found: its tokens, one-hot ``[n V]``.
            shorter: ``[n V]``.
        """
        contexts = self.contexts[here]
        followers = self._followers(contexts, found.shape[1])
        same = np.tril(contexts[:, None] == contexts, -1) & self.counted[here]
        if same.any():
            followers += same.astype(float) @ found
        total = followers.sum(1)
        continued = total > 0  # a context that never was hands everything on
        counts, total = followers[continued], total[continued, None]
        discount = self.discount[np.minimum(counts, 3).astype(np.int64)]
        chances = shorter.copy()
        chances[continued] *= discount.sum(1, keepdims=True) / total
        chances[continued] += (counts - discount) / total
        return chances

    def count(self, here: slice) -> None:
        """Count a block that has been predicted."""
        np.add.at(self.counts, self.numbers[here][self.counted[here]], 1.0)

    def _followers(self, contexts: np.ndarray, V: int) -> np.ndarray:
        """Counts ``[n V]`` of every token after each context, before the block."""
        different, rows = np.unique(contexts, return_inverse=True)
        first, last = np.searchsorted(self.keys, [different * V, (different + 1) * V])
        widths = last - first
        places = np.arange(widths.sum()) + np.repeat(first - np.cumsum(widths) + widths, widths)
        table = np.zeros((len(different), V))
        owners = np.repeat(np.arange(len(different)), widths)
        table[owners, self.keys[places] % V] = self.counts[places]
        return table[rows]


def _levels(joint: np.ndarray, border: int, V: int, order: int) -> Iterator[_Level]:
    """The orders 1, 2, … of a text of which the tokens before ``border`` are known."""
    keys, numbers, _ = numbered(joint)
    contexts = np.zeros(len(joint) - border, dtype=np.int64)
    for length in range(1, order + 1):
        ending = numbers[border - length + 1 :]  # with each token of the text
        if length < order:
            longer_keys, longer_numbers, _ = numbered(numbers[:-1] * V + joint[length:])
            # An n-gram counts once for each different token before it: where the two together
            # occur first. The one at the very start has nothing before it.
            counted = np.concatenate([[False], _first(longer_numbers, len(longer_keys))])
        else:
            counted = np.ones(len(numbers), dtype=bool)
        known = slice(0, border - length + 1)
        counts = np.bincount(numbers[known][counted[known]], minlength=len(keys))
        yield _Level(
            keys=keys,
            counts=counts.astype(float),
            contexts=contexts,
            numbers=ending,
            counted=counted[border - length + 1 :],
            discount=np.array([0.0, *discounts(counts)]),
        )
        if length < order:
            contexts = numbers[border - length : -1]
            keys, numbers = longer_keys, longer_numbers


def _first(numbers: np.ndarray, size: int) -> np.ndarray:
    """Where each number stands for the first time."""
    places = np.full(size, len(numbers))
    np.minimum.at(places, numbers, np.arange(len(numbers)))
    first = np.zeros(len(numbers), dtype=bool)
    first[places] = True
    return first
