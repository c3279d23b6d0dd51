"""What translates, or captions, without a network: copies, lookups, and a dictionary of words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from unspool.tasks.baselines.baseline import Baseline, checked


def copied(inputs: Sequence[str]) -> Baseline:
    """Every input as its own answer.

    Example:
        >>> copied(["to be"]).answers
        ['to be']
    """
    return Baseline("copy the source", list(inputs), 0.0, "answer = source")


def commonest(targets: Sequence[str], rows: int) -> Baseline:
    """The target that stands in most rows of the training part, the first by name among equals.

    Args:
        targets: of the training part.
        rows: test inputs to answer.

    Example:
        >>> commonest(["yes", "no", "yes"], 2).answers
        ['yes', 'yes']
    """
    start = time.perf_counter()
    counts = Counter(targets)
    answer = min(counts, key=lambda text: (-counts[text], text))
    return Baseline(
        "commonest target",
        [answer] * rows,
        time.perf_counter() - start,
        "Counter(targets).most_common(1)[0][0]",
    )


def nearest_source(
    sources: Sequence[str], targets: Sequence[str], inputs: Sequence[str]
) -> Baseline:
    """The target of the training source that shares most characters in a row, by TF-IDF.

    Runs of two to four characters are compared, so that no script needs spaces.

    Args:
        sources: of the training part.
        targets: of the training part.
        inputs: to answer.

    Example:
        >>> nearest_source(["the cat", "a dog"], ["le chat", "un chien"], ["the cats"]).answers
        ['le chat']
    """
    checked("nearest_source", sources, targets)
    start = time.perf_counter()
    from sklearn.feature_extraction.text import TfidfVectorizer

    def prepared(texts: Sequence[str]) -> list[str]:
        return [f" {text.lower()} " for text in texts]  # else a single sign has no run

    vectors = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), dtype=np.float32)
    known = vectors.fit_transform(prepared(sources)).T.tocsr()
    asked = vectors.transform(prepared(inputs))
    places: list[int] = []
    block = max(1, MOST_CELLS // len(sources))
    for at in range(0, len(inputs), block):
        near = (asked[at : at + block] @ known).tocsr()
        places += np.asarray(near.argmax(axis=1)).ravel().tolist()
    return Baseline(
        "nearest source (TF-IDF)",
        [targets[place] for place in places],
        time.perf_counter() - start,
        "TfidfVectorizer(analyzer='char', ngram_range=(2, 4)); target of the most similar source",
    )


def nearest_vector(
    known: np.ndarray, targets: Sequence[str], asked: np.ndarray, name: str = "nearest image"
) -> Baseline:
    """The target of the training input whose numbers are nearest.

    Args:
        known: of the training part, one row each ``[N D]``.
        targets: of the training part.
        asked: to answer ``[M D]``.
        name: of the method.

    Example:
        >>> nearest_vector(np.array([[0.0], [5.0]]), ["low", "high"], np.array([[4.0]])).answers
        ['high']
    """
    checked("nearest_vector", known, targets)
    start = time.perf_counter()
    squares = (known**2).sum(1)
    places = [int(np.argmin(squares - 2 * (known @ each))) for each in asked]
    return Baseline(
        name,
        [targets[place] for place in places],
        time.perf_counter() - start,
        "NearestNeighbors(n_neighbors=1).fit(X).kneighbors(X_test)",
    )


def word_dictionary(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    sizes: tuple[int, int],
    rounds: int = 5,
) -> np.ndarray:
    """For every source token the target token that it most probably stands for: IBM model 1.

        t(f | e)  <-  Σ over pairs (e, f of one row)  t(f | e) / Σ_e' t(f | e'),        normalised

    The order of tokens plays no part. A token e = none stands before every source, for targets
    that no source token explains.

    Args:
        sources: token ids of each source.
        targets: token ids of each target.
        sizes: of both vocabularies.
        rounds: of expectation and maximisation, from t uniform.

    Returns:
        ``[V_source]`` int64; -1 for tokens without a row, and those better explained by nothing.

    Source:
        Brown, Della Pietra, Della Pietra and Mercer (1993), section 4.1.

    Example:
        >>> rows = [[0, 1], [0, 2], [1], [2]], [[5, 6], [5, 7], [6], [7]]
        >>> given = [[np.array(ids) for ids in side] for side in rows]
        >>> word_dictionary(*given, (3, 8)).tolist()
        [5, 6, 7]
    """
    none = sizes[0]
    left, right, cells = [], [], []
    cell = 0
    for source, target in zip(sources, targets, strict=True):
        own = np.concatenate([source, [none]])
        left.append(np.tile(own, len(target)))
        right.append(np.repeat(target, len(own)))
        cells.append(np.repeat(np.arange(cell, cell + len(target)), len(own)))
        cell += len(target)
    e, f, at = (np.concatenate(parts).astype(np.int64) for parts in (left, right, cells))
    kinds, kind = np.unique(e * sizes[1] + f, return_inverse=True)
    of_kind = kinds // sizes[1]
    chance = np.ones(len(kinds))
    for _ in range(rounds):
        share = chance[kind]
        share /= np.bincount(at, weights=share, minlength=cell)[at]
        counts = np.bincount(kind, weights=share, minlength=len(kinds))
        chance = counts / np.bincount(of_kind, weights=counts, minlength=none + 1)[of_kind]
    order = np.lexsort((kinds, -chance))
    best = np.full(none + 1, -1, dtype=np.int64)
    best[of_kind[order[::-1]]] = kinds[order[::-1]] % sizes[1]
    return best[:none]


def word_by_word(
    training: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    asked: Sequence[np.ndarray],
    sizes: tuple[int, int],
    seed: int,
) -> tuple[list[list[int]], float]:
    """Every token of an input replaced by what the dictionary has for it.

    Args:
        training: ids of sources and of targets; of more than `MOST_ROWS` so many are drawn.
        asked: ids of the inputs to answer.
        sizes: of both vocabularies.
        seed: of the draw.

    Returns:
        Target ids of every answer, and the seconds it took.

    Example:
        >>> ids = [[np.array([0]), np.array([1])], [np.array([4]), np.array([3])]]
        >>> word_by_word((ids[0], ids[1]), [np.array([1, 0])], (2, 5), seed=0)[0]
        [[3, 4]]
    """
    start = time.perf_counter()
    sources, targets = training
    if len(sources) > MOST_ROWS:
        places = np.random.default_rng(seed).choice(len(sources), MOST_ROWS, replace=False)
        sources, targets = [sources[i] for i in places], [targets[i] for i in places]
    best = word_dictionary(sources, targets, sizes)
    answers = [[int(token) for token in best[ids] if token >= 0] for ids in asked]
    return answers, time.perf_counter() - start


MOST_CELLS = 8_000_000  # similarities that are held at once
MOST_ROWS = 30_000
