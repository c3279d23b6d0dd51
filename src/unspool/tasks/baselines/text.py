"""Simple methods for texts: counted words and characters, and a linear model on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unspool.tasks.baselines.baseline import Baseline, Values, best_of, checked, folds

STRENGTHS = (10.0, 1.0, 3.0, 30.0)
PENALTIES = (1.0, 0.3, 3.0, 10.0)
SMOOTHING = (1.0, 0.1, 0.3)


def logistic_regression(
    texts: Sequence[str], labels: Values, test: Sequence[str], seed: int = 0
) -> Baseline:
    """TF-IDF of words, word pairs and characters, then logistic regression.

    The strength of the penalty is chosen by three folds of the training part.

    Args:
        texts: of the training part.
        labels: of the training part, two classes or more.
        test: texts to answer.
        seed: of the folds.

    Source:
        Wang and Manning (2012) for bigrams and a linear model as the bar for short texts.

    Example:
        >>> texts = ["good film", "bad film", "good meal", "bad meal"] * 3
        >>> logistic_regression(texts, [1, 0, 1, 0] * 3, ["a good day"]).answers
        [1]
    """
    from sklearn.linear_model import LogisticRegression

    start = time.perf_counter()
    checked("logistic_regression", texts, labels)

    solver = "liblinear" if len(set(labels)) == 2 else "lbfgs"

    def make(strength: float) -> Any:
        return LogisticRegression(C=strength, solver=solver, max_iter=2000, random_state=seed)

    strength = _choose(STRENGTHS, make, tf_idf, texts, labels, seed)
    features = tf_idf()
    model = make(strength).fit(features.fit_transform(texts), labels)
    scores = model.predict_proba(features.transform(test))
    return Baseline(
        name="TF-IDF + logistic regression",
        answers=[_plain(model.classes_[place]) for place in scores.argmax(1)],
        seconds=time.perf_counter() - start,
        reproduce=f"make_pipeline(tf_idf(), LogisticRegression(C={strength:g}, "
        f"solver={solver!r}, max_iter=2000)).fit(texts, labels).predict(test)",
        scores=scores,
        labels=tuple(_plain(label) for label in model.classes_),
        chosen={"C": strength},
    )


def naive_bayes(
    texts: Sequence[str], labels: Values, test: Sequence[str], seed: int = 0
) -> Baseline:
    """Counted words and word pairs, then multinomial naive Bayes.

    Source:
        Manning, Raghavan and Schütze (2008), section 13.2.

    Example:
        >>> texts = ["good film", "bad film", "good meal", "bad meal"] * 3
        >>> naive_bayes(texts, [1, 0, 1, 0] * 3, ["a good day"]).answers
        [1]
    """
    from sklearn.naive_bayes import MultinomialNB

    start = time.perf_counter()
    checked("naive_bayes", texts, labels)

    def make(smoothing: float) -> Any:
        return MultinomialNB(alpha=smoothing)

    smoothing = _choose(SMOOTHING, make, counted, texts, labels, seed)
    features = counted()
    model = make(smoothing).fit(features.fit_transform(texts), labels)
    scores = model.predict_proba(features.transform(test))
    return Baseline(
        name="naive Bayes",
        answers=[_plain(model.classes_[place]) for place in scores.argmax(1)],
        seconds=time.perf_counter() - start,
        reproduce=f"make_pipeline(counted(), MultinomialNB(alpha={smoothing:g}))"
        ".fit(texts, labels).predict(test)",
        scores=scores,
        labels=tuple(_plain(label) for label in model.classes_),
        chosen={"alpha": smoothing},
    )


def ridge_regression(
    texts: Sequence[str], ratings: Values, test: Sequence[str], seed: int = 0
) -> Baseline:
    """TF-IDF of words, word pairs and characters, then ridge regression.

    Answers are clipped to the range of the training part; the penalty is chosen by the mean
    absolute error over three folds.

    Example:
        >>> texts = ["good film", "bad film", "good meal", "bad meal"] * 3
        >>> answers = ridge_regression(texts, [5, 1, 5, 1] * 3, ["good", "bad"]).answers
        >>> bool(answers[0] > answers[1])
        True
    """
    from sklearn.linear_model import Ridge

    start = time.perf_counter()
    checked("ridge_regression", texts, ratings)
    ratings = np.asarray(ratings, float)
    low, high = ratings.min(), ratings.max()

    def make(penalty: float) -> Any:
        return Ridge(alpha=penalty, solver="sparse_cg", random_state=seed)

    penalty = _choose(PENALTIES, make, tf_idf, texts, ratings, seed, _distance)
    features = tf_idf()
    model = make(penalty).fit(features.fit_transform(texts), ratings)
    return Baseline(
        name="TF-IDF + ridge regression",
        answers=np.clip(model.predict(features.transform(test)), low, high),
        seconds=time.perf_counter() - start,
        reproduce=f"make_pipeline(tf_idf(), Ridge(alpha={penalty:g}, solver='sparse_cg'))"
        f".fit(texts, ratings).predict(test).clip({low:g}, {high:g})",
        chosen={"alpha": penalty},
    )


def tf_idf() -> Any:
    """Weighted counts of words, word pairs and runs of 2 to 5 characters within words.

    Example:
        >>> tf_idf().fit_transform(["one text", "two texts"]).shape[0]
        2
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    # One-letter words and signs count as well: a text may consist of nothing else.
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return make_union(words, characters)


def counted() -> Any:
    """Counts of words and word pairs.

    Example:
        >>> counted().fit_transform(["one text", "two texts"]).shape[0]
        2
    """
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(ngram_range=(1, 2), token_pattern=WORD)


def _choose(
    candidates: Sequence[float],
    make: Callable[[float], Any],
    features_of: Callable[[], Any],
    texts: Sequence[str],
    targets: Values,
    seed: int,
    error: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> float:
    """The setting with the least error over folds, each with features of its own."""
    targets = np.asarray(targets)

    def errors(fit: np.ndarray, held: np.ndarray) -> list[float]:
        features = features_of()
        known = features.fit_transform([texts[place] for place in fit])
        new = features.transform([texts[place] for place in held])
        measure = error or _misses
        return [
            measure(targets[held], make(each).fit(known, targets[fit]).predict(new))
            for each in candidates
        ]

    return best_of(candidates, errors, folds(targets, seed))


def _misses(truth: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean(truth != answers))


def _distance(truth: np.ndarray, answers: np.ndarray) -> float:
    return float(np.abs(truth - np.clip(answers, truth.min(), truth.max())).mean())


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


WORD = r"\w+|[^\w\s]"
