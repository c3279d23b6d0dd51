"""Sequence models as scikit-learn estimators: ``fit``, ``predict``, pipelines, searches.

Importing this imports scikit-learn; ``unspool.SequenceClassifier`` does so at its first use.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from unspool.config import Settings, resolve
from unspool.data.encoders import encode_all, fit_encoder
from unspool.data.examples import Examples
from unspool.data.table import Place
from unspool.errors import ConfigError, UnspoolError, choose
from unspool.one_training import cell_of, fresh_model, with_epochs
from unspool.tasks.amounts import AmountRules
from unspool.tasks.classify import ClassRules
from unspool.tasks.classify import simple_methods as methods_for_classes
from unspool.tasks.example_answers import answer_all
from unspool.tasks.rate import RatingRules
from unspool.tasks.rate import simple_methods as methods_for_numbers
from unspool.tasks.supervised import SupervisedJob, encoded_part
from unspool.training.loop import Loop


class _SequenceEstimator(BaseEstimator):
    """What both estimators share: reading X, training, keeping the best weights.

    Nothing is looked at before ``fit``, as scikit-learn wants it, so arguments are of any type.
    """

    def __init__(
        self,
        model: Any = "gru",
        *,
        hidden: Any = 64,
        epochs: Any = 20,
        batch: Any = 32,
        learning_rate: Any = 3e-3,
        patience: Any = 5,
        validation_fraction: Any = 0.1,
        settings: Any = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.settings = settings
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    def _learn(self, examples: Examples, task: str, rules: Any, draw: Any) -> None:
        """Train on examples whose targets are there."""
        settings = self._settings(task, int(draw.randint(2**31 - 1)))
        parts = self._parts(examples, draw)
        encoder = fit_encoder(parts[0], settings)
        fitted = rules(parts[0].targets)
        train, validation = (encoded_part(part, encoder, fitted) for part in parts)
        job = SupervisedJob(
            rules=fitted,
            encoder=encoder,
            train=train,
            validation=validation,
            test=validation,
            batch=settings.train.batch,
            seed=settings.seed,
            simple=methods_for_classes if task == "classify" else methods_for_numbers,
            mixup=settings.train.mixup,
        )
        settings = with_epochs(job, settings)
        model = fresh_model(job.shape(), settings, cell_of(settings))
        self.n_iter_ = _train(Loop(job.work(model), settings.train, settings.seed))
        self.model_, self.encoder_, self.rules_ = model.eval(), encoder, fitted

    def _settings(self, task: str, seed: int) -> Settings:
        named = {
            "task": task,
            "seed": seed,
            "model.name": self.model,
            "train.epochs": self.epochs,
            "train.batch": self.batch,
            "train.learning_rate": self.learning_rate,
            "train.patience": self.patience,
        }
        if self.hidden is not None:
            named["model.hidden"] = self.hidden
        return resolve(None, {**named, **(self.settings or {})})

    def _parts(self, examples: Examples, draw: Any) -> tuple[Examples, Examples]:
        """What is learnt, and what chooses the step; of few examples, the same ones."""
        count = len(examples)
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"validation_fraction: got {self.validation_fraction}; wanted 0 ≤ share < 1."
            )
        apart = round(self.validation_fraction * count)
        if apart < FEWEST:
            return examples, examples
        order = draw.permutation(count)
        kinds = np.array([str(each) for each in examples.targets])
        if len(set(kinds.tolist())) <= count // FEWEST:  # every class in its share
            places = np.argsort(kinds[order], kind="stable")
            order = order[places]
            chosen = np.zeros(count, bool)
            chosen[np.linspace(0, count - 1, apart).astype(int)] = True
        else:
            chosen = np.arange(count) < apart
        return examples.take(order[~chosen].tolist()), examples.take(order[chosen].tolist())

    def _answers(self, X: Any) -> list[dict[str, Any]]:
        check_is_fitted(self, "model_")
        examples = self._examples(X, fitting=False)
        return answer_all(
            self.model_, self.rules_, self.encoder_, encode_all(self.encoder_, examples)
        )

    def _examples(self, X: Any, fitting: bool) -> Examples:
        """Sequences out of whatever X is."""
        kind, inputs = _sequences(X)
        if not kind:
            checked = validate_data(self, X, reset=fitting, dtype=np.float64)
            kind, inputs = "numbers", [np.asarray(row, np.float32)[:, None] for row in checked]
        elif fitting and hasattr(self, "n_features_in_"):
            del self.n_features_in_  # of an earlier fit to a table
        places = [Place("X", row + 1) for row in range(len(inputs))]
        return Examples(kind, inputs, [None] * len(inputs), places)


class SequenceClassifier(ClassifierMixin, _SequenceEstimator):
    """One of a few classes for every sequence, by a recurrent network or another model.

    X is one of

    - texts: a list of str;
    - sequences of vectors: an array ``[N T D]``, or a list of arrays ``[T D]`` of any length;
    - sequences of numbers: an array ``[N T]``, a number at every step, or a list of arrays ``[T]``.

    A tenth of the examples (``validation_fraction``) is not learnt but chooses the step at which
    the weights are kept; of fewer than 100 examples all are learnt and choose.

    Args:
        model: a cell, a family such as cnn or transformer, or FILE.py:NAME.
        hidden: units; None takes the job's own.
        epochs: how often every example is read, at most.
        batch: examples side by side.
        learning_rate: the highest.
        patience: looks without improvement before stopping, of some ten a training; 0 never stops.
        validation_fraction: share of the examples that choose the step.
        settings: any other setting of `unspool.train` by its dotted name, such as
            ``{"data.tokens": "char", "model.layers": 2}``.
        random_state: seed of weights and order, a generator of numpy, or None.

    Attributes:
        classes_: the labels, sorted.
        model_: the network that was trained.
        n_iter_: updates behind its weights.

    Raises:
        ValueError: for what cannot be learnt, as scikit-learn's own estimators do.

    Example:
        >>> found = SequenceClassifier(hidden=8, epochs=30, random_state=0)
        >>> texts = ["a good day", "a bad day", "good food", "bad food"] * 5
        >>> found.fit(texts, ["up", "down"] * 10).predict(["good"]).tolist()
        ['up']
    """

    def fit(self, X: Any, y: Any) -> SequenceClassifier:
        """Learn from sequences and their labels.

        Args:
            X: sequences; see the class.
            y: labels ``[N]``, of two classes or more.
        """
        draw = check_random_state(self.random_state)
        y = _wanted(y)
        examples = self._examples(X, fitting=True)
        check_classification_targets(y)
        _same_length(examples, y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: holds 1 class ({self.classes_[0]}); wanted 2 classes or more.")
        width = len(str(len(self.classes_)))
        examples.targets = [f"{place:0{width}}" for place in places.tolist()]
        names = tuple(f"{place:0{width}}" for place in range(len(self.classes_)))
        with _as_value_error():
            self._learn(examples, "classify", lambda _: ClassRules(names), draw)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each sequence, ``[N]``."""
        chances = self.predict_proba(X)  # says first whether there is a model
        return self.classes_[chances.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class of ``classes_``, ``[N C]``."""
        with _as_value_error():
            answers = self._answers(X)
        return np.array([list(each["probabilities"].values()) for each in answers])


class SequenceRegressor(RegressorMixin, _SequenceEstimator):
    """A number for every sequence; X and the arguments are those of `SequenceClassifier`.

    Args:
        loss: ``squared`` or ``absolute`` differences; or ``ordinal`` where the numbers are up to 20
            steps of a scale, such as stars: the answer is then the median of their distribution.

    Attributes:
        model_: the network that was trained.
        n_iter_: updates behind its weights.

    Raises:
        ValueError: for what cannot be learnt, as scikit-learn's own estimators do.

    Example:
        >>> rows = np.random.RandomState(0).randn(64, 5, 2)
        >>> found = SequenceRegressor("gru", hidden=16, random_state=0).fit(rows, rows.sum((1, 2)))
        >>> found.predict(rows[:3]).shape
        (3,)
    """

    def __init__(
        self,
        model: Any = "gru",
        *,
        loss: Any = "squared",
        hidden: Any = 64,
        epochs: Any = 20,
        batch: Any = 32,
        learning_rate: Any = 3e-3,
        patience: Any = 5,
        validation_fraction: Any = 0.1,
        settings: Any = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            model,
            hidden=hidden,
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            patience=patience,
            validation_fraction=validation_fraction,
            settings=settings,
            random_state=random_state,
        )
        self.loss = loss

    def fit(self, X: Any, y: Any) -> SequenceRegressor:
        """Learn from sequences and their numbers.

        Args:
            X: sequences; see `SequenceClassifier`.
            y: numbers ``[N]``.
        """
        draw = check_random_state(self.random_state)
        y = _wanted(y).astype(float)
        examples = self._examples(X, fitting=True)
        _same_length(examples, y)
        examples.targets = y.tolist()
        with _as_value_error():
            rules = choose(self.loss, LOSSES, "loss")
            self._learn(examples, "rate", rules, draw)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each sequence, ``[N]``."""
        with _as_value_error():
            return np.array([each["answer"] for each in self._answers(X)])


class _as_value_error:
    """What the user can mend is a ValueError, as scikit-learn wants it."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, UnspoolError):
            raise ValueError(str(error)) from error


def _train(loop: Loop) -> int:
    """Train to the end or until patience ends, and keep the best weights; their step."""
    progress, settings = loop.progress, loop.settings
    best = copy.deepcopy(loop.work.model.state_dict())
    while progress.step < settings.steps and not loop.out_of_patience:
        loop.step()
        last = progress.step == settings.steps
        if last or progress.step % settings.evaluation_interval == 0:
            loop.evaluate()
            if progress.best_step == progress.step:
                best = copy.deepcopy(loop.work.model.state_dict())
    loop.work.model.load_state_dict(best)
    return progress.best_step


def _sequences(X: Any) -> tuple[str, list[Any]]:
    """Texts or sequences of numbers, with their kind; nothing for what scikit-learn is to check."""
    if isinstance(X, str) or not (hasattr(X, "__len__") and hasattr(X, "__iter__")):
        return "", []
    if getattr(X, "ndim", 1) == 3:
        return "numbers", [_vectors(row, place) for place, row in enumerate(X)]
    if getattr(X, "ndim", 1) != 1 or not len(X):
        return "", []
    rows = list(X)
    if all(isinstance(row, str) for row in rows):
        return "text", [str(row) for row in rows]
    if isinstance(X, list | tuple) or getattr(getattr(X, "dtype", None), "hasobject", False):
        shapes = [np.shape(row) for row in rows if not isinstance(row, str | Mapping)]
        ragged = len({shape[:1] for shape in shapes}) > 1
        if len(shapes) == len(rows) and all(shapes) and (ragged or len(shapes[0]) == 2):
            return "numbers", [_vectors(row, place) for place, row in enumerate(rows)]
    return "", []


def _vectors(row: Any, place: int) -> np.ndarray:
    """One sequence of vectors ``[T D]``."""
    found = np.asarray(row, np.float32)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or not len(found) or not np.isfinite(found).all():
        raise ValueError(
            f"X[{place}]: got the shape {list(found.shape)}; wanted [T D] or [T], one step or "
            "more, and finite numbers."
        )
    return found


def _wanted(y: Any) -> np.ndarray:
    """Targets in one dimension."""
    if y is None:
        raise ValueError("y: requires y to be passed, but the target y is None.")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    return y


def _same_length(examples: Examples, y: np.ndarray) -> None:
    if len(examples) != len(y):
        raise ValueError(
            f"y: has {len(y)} targets for {len(examples)} sequences; wanted one for each "
            "(inconsistent numbers of samples)."
        )


FEWEST = 10  # examples that may choose a step
LOSSES: dict[str, Any] = {
    "squared": AmountRules.fit,
    "absolute": lambda targets: AmountRules.fit(targets, "absolute"),
    "ordinal": RatingRules.fit,
}
