"""The baseline of writing: an interpolated n-gram model with modified Kneser-Ney smoothing.

    p_m(w | u) = max(c(u w) - D(c), 0) / c(u .)  +  gamma(u) * p_{m-1}(w | u')
    gamma(u)   = (D1 * N1(u .) + D2 * N2(u .) + D3 * N3+(u .)) / c(u .),        p_0 = 1 / V

u is the last m-1 tokens, u' the same without its first; N1, N2 and N3+ say how many tokens
follow u once, twice, and more often. At the highest order c counts occurrences; below it, how
many different tokens stand before ``u w``. A context that was never continued hands everything
to the next shorter one.

Every n-gram has a number: its place in the sorted table of its order. The number of an m-gram is
looked up by ``(number of its first m-1 tokens) * V + last token``, which fits 64 bits for any
order and vocabulary, and lets numpy treat a whole text at once.

Source:
    Chen and Goodman (1998), "An empirical study of smoothing techniques for language modeling",
    section 3 (modified Kneser-Ney, equations of D1, D2, D3+).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import ConfigError, DataError

LARGEST_ORDER = 10
HELD_OUT = 0.1
# Orders tried past the best: one more token may tell nothing where two do.
PATIENCE = 2
# What stands in for D1, D2, D3+ where the counts of counts cannot tell: half of each count.
PLAIN_DISCOUNTS = (0.5, 1.0, 1.5)


class NGram:
    """Next-token probabilities from counts of the last ``order - 1`` tokens.

    Attributes:
        order: how many tokens an n-gram has, the predicted one included.
        vocabulary_size: V; token ids are 0…V-1.

    Example:
        >>> model = NGram.fit([0, 1, 0, 1, 0, 2, 0, 1], vocabulary_size=3, order=2)
        >>> model.distribution([0]).argmax(), round(float(model.distribution([0]).sum()), 12)
        (np.int64(1), 1.0)
    """

    def __init__(self, vocabulary_size: int, levels: Sequence[_Level]) -> None:
        self.vocabulary_size = vocabulary_size
        self.order = len(levels)
        self._levels = list(levels)

    @classmethod
    def fit(
        cls,
        ids: Sequence[int] | np.ndarray,
        vocabulary_size: int,
        order: int | None = None,
    ) -> NGram:
        """Count ``ids``: well under a second for a million characters at order 7.

        Args:
            ids: the training tokens ``[N]``, each in 0…V-1.
            vocabulary_size: V, > 0.
            order: 1…; None chooses it on the last tenth of ``ids`` (see `choose_order`).

        Raises:
            ConfigError: if ``order`` or ``vocabulary_size`` is below 1.
            DataError: if there are fewer than ``order`` tokens, or one is outside the vocabulary.
        """
        tokens = checked(ids, vocabulary_size)
        if order is None:
            order = choose_order(tokens, vocabulary_size)
        if order < 1:
            raise ConfigError(f"n-gram model: order is {order}; wanted 1 or more.")
        if len(tokens) < order:
            raise DataError(
                f"n-gram model: {len(tokens)} tokens to count; "
                f"order {order} wants at least {order}."
            )
        counted = list(_count(tokens, vocabulary_size, order))
        levels = [_smoothed(counts, counts.before, vocabulary_size) for counts in counted[:-1]]
        return cls(
            vocabulary_size, [*levels, _smoothed(counted[-1], counted[-1].seen, vocabulary_size)]
        )

    def log_probs(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Log probability of every token of a text given those before it in the same text.

        Args:
            ids: tokens ``[N]``; nothing stands before the first.

        Returns:
            float64 ``[N]``, nats, all finite.

        Raises:
            DataError: as `fit`.
        """
        tokens = checked(ids, self.vocabulary_size)
        chances = np.full(len(tokens), 1.0 / self.vocabulary_size)
        contexts = np.zeros(len(tokens), dtype=np.int64)
        for order, level in enumerate(self._levels, start=1):
            contexts, chances[order - 1 :] = level.predict(
                contexts, tokens[order - 1 :], chances[order - 1 :], self.vocabulary_size
            )
        return np.log(chances)

    def loss(self, ids: Sequence[int] | np.ndarray) -> float:
        """Nats per token over every token after the first: those a network predicts, too.

        Raises:
            DataError: if ``ids`` has fewer than two tokens, or one outside the vocabulary.
        """
        if len(ids) < 2:
            raise DataError(f"n-gram model: {len(ids)} tokens to judge; wanted at least 2.")
        return float(-self.log_probs(ids)[1:].mean())

    def distribution(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """The probability of every token after ``context``.

        Args:
            context: tokens ``[S]``; only the last ``order - 1`` matter, and there may be none.

        Returns:
            float64 ``[V]``, positive, summing to 1.

        Raises:
            DataError: if a token is outside the vocabulary.
        """
        V = self.vocabulary_size
        tokens = checked(context, V, least=0)
        chances = np.full(V, 1.0 / V)
        for order, level in enumerate(self._levels, start=1):
            if order - 1 > len(tokens):
                break
            number = self._number_of(tokens[len(tokens) - order + 1 :])
            if number < 0:
                break
            first, last = np.searchsorted(level.keys, [number * V, (number + 1) * V])
            chances *= level.backoff[number]
            chances[level.keys[first:last] - number * V] += level.own[first:last]
        return chances

    def _number_of(self, tokens: np.ndarray) -> int:
        """The place of an n-gram in the table of its order, -1 when it was never seen."""
        number = np.zeros(1, dtype=np.int64)
        for level, token in zip(self._levels, tokens[:, None], strict=False):
            number = level.find(number, token, self.vocabulary_size)
        return int(number[0])


def choose_order(
    ids: Sequence[int] | np.ndarray, vocabulary_size: int, most: int = LARGEST_ORDER
) -> int:
    """The order that predicts the last tenth of ``ids`` best when fitted to the rest.

    Orders are tried from 1 upwards until two in a row are no better, never past ``most``.

    Args:
        ids: training tokens only ``[N]``; the validation part must not have a say.
        vocabulary_size: V, > 0.
        most: largest order tried, >= 1.

    Returns:
        The order; 1 when there are too few tokens to hold any out.

    Example:
        >>> choose_order([0, 0, 1, 1] * 50, vocabulary_size=2, most=4)
        3
    """
    tokens = checked(ids, vocabulary_size)
    border = len(tokens) - int(HELD_OUT * len(tokens))
    train, held_out = tokens[:border], tokens[border:]
    if len(held_out) < 2:
        return 1
    best, best_loss = 1, np.inf
    chances = np.full(len(held_out), 1.0 / vocabulary_size)
    contexts = np.zeros(len(held_out), dtype=np.int64)
    for order, counts in enumerate(_count(train, vocabulary_size, most), start=1):
        # The highest order counts occurrences; a step towards the next, what stands before.
        inside = slice(order - 1, None)
        final = chances.copy()
        _, final[inside] = _smoothed(counts, counts.seen, vocabulary_size).predict(
            contexts, held_out[inside], chances[inside], vocabulary_size
        )
        loss = -np.log(final).mean()
        if loss < best_loss:
            best, best_loss = order, loss
        elif order >= best + PATIENCE:
            break
        if counts.before is not None:
            contexts, chances[inside] = _smoothed(counts, counts.before, vocabulary_size).predict(
                contexts, held_out[inside], chances[inside], vocabulary_size
            )
    return best


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """The n-grams of one order.

    Attributes:
        keys: int64, sorted, one for each different n-gram.
        num_contexts: how many n-grams the order below has.
        seen: occurrences of each.
        before: different tokens before each; None at the last order, above which nothing counts.
    """

    keys: np.ndarray
    num_contexts: int
    seen: np.ndarray
    before: np.ndarray | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """One order of the model, ready to predict.

    Attributes:
        keys: int64, sorted; ``(number of the context) * V + token``.
        own: float64, max(c - D, 0) / c(u .) of each key.
        backoff: float64, gamma of each context (1 where it was never continued).
    """

    keys: np.ndarray
    own: np.ndarray
    backoff: np.ndarray

    def find(self, contexts: np.ndarray, tokens: np.ndarray, V: int) -> np.ndarray:
        """Numbers of the n-grams ``contexts`` + ``tokens``, -1 where there is none."""
        wanted = contexts * V + tokens  # below 0, and so never found, when there is no context
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[places] == wanted, places, -1)

    def predict(
        self, contexts: np.ndarray, tokens: np.ndarray, shorter: np.ndarray, V: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the n-grams, less the last (the next order's contexts), and p of each."""
        numbers = self.find(contexts, tokens, V)
        own = np.where(numbers < 0, 0.0, self.own[numbers])
        backoff = np.where(contexts < 0, 1.0, self.backoff[contexts])
        return numbers[:-1], own + backoff * shorter


def _count(tokens: np.ndarray, V: int, order: int) -> Iterator[_Counts]:
    """The n-grams of orders 1, 2, … up to ``order``, or as long as the text has any."""
    keys, numbers, _ = numbered(tokens)
    num_contexts = 1
    seen = np.bincount(numbers, minlength=len(keys))
    for length in range(2, order + 1):
        if len(tokens) < length:
            break
        higher_keys, higher_numbers, places = numbered(numbers[:-1] * V + tokens[length - 1 :])
        # Each different n-gram one longer is one more different token before its ending.
        before = np.bincount(numbers[places + 1], minlength=len(keys))
        yield _Counts(keys=keys, num_contexts=num_contexts, seen=seen, before=before)
        num_contexts = len(keys)
        keys, numbers = higher_keys, higher_numbers
        seen = np.bincount(numbers, minlength=len(keys))
    yield _Counts(keys=keys, num_contexts=num_contexts, seen=seen, before=None)


def numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted different keys; the number of every entry; a place where each key stands."""
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    numbers = np.empty(len(keys), dtype=np.int64)
    numbers[order] = np.cumsum(starts) - 1
    return ordered[starts], numbers, order[starts]


def _smoothed(counts: _Counts, chosen: np.ndarray, V: int) -> _Level:
    """Turn one order's counts into shares and back-off weights."""
    contexts = counts.keys // V
    size = counts.num_contexts
    discount = np.concatenate([[0.0], discounts(chosen)])[np.minimum(chosen, 3)]
    total = np.bincount(contexts, weights=chosen, minlength=size)
    freed = np.bincount(contexts, weights=discount, minlength=size)
    continued = total > 0
    backoff = np.ones(size)  # a context that was never continued hands everything on
    backoff[continued] = freed[continued] / total[continued]
    share = (chosen - discount) / np.where(continued, total, 1.0)[contexts]
    return _Level(keys=counts.keys, own=share, backoff=backoff)


def discounts(chosen: np.ndarray) -> tuple[float, float, float]:
    """D1, D2, D3+ from how many n-grams were counted once, twice, three and four times."""
    n1, n2, n3, n4 = (int((chosen == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return PLAIN_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    estimated = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    # A discount of nothing would leave unseen tokens without a chance.
    return estimated if min(estimated) > 0 else PLAIN_DISCOUNTS


def checked(ids: Sequence[int] | np.ndarray, vocabulary_size: int, least: int = 1) -> np.ndarray:
    """``ids`` as an int64 array, or an error naming what does not fit."""
    if vocabulary_size < 1:
        raise ConfigError(f"n-gram model: vocabulary size is {vocabulary_size}; wanted 1 or more.")
    tokens = np.asarray(ids, dtype=np.int64)
    if tokens.ndim != 1 or len(tokens) < least:
        raise DataError(
            f"n-gram model: tokens of shape {list(tokens.shape)}; wanted a row of at least {least}."
        )
    outside = np.flatnonzero((tokens < 0) | (tokens >= vocabulary_size))
    if len(outside):
        raise DataError(
            f"n-gram model: token {outside[0]} is {tokens[outside[0]]}; "
            f"the vocabulary has 0 to {vocabulary_size - 1}."
        )
    return tokens
