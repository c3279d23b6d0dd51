"""Writing: learn a text, predict its next token, go on from a prompt (many to many, synced)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.data.opening import Texts
from unspool.data.streams import Streams, Window
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import load_tokenizer
from unspool.engine.language import Cell
from unspool.errors import ConfigError, DataError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import ModelSettings, RecurrentSettings, TransformerSettings
from unspool.tasks.corpus import Corpus, read_corpus
from unspool.tasks.ngram import NGram
from unspool.tasks.text_loss import (
    EVALUATION_ROWS,
    figures,
    stream_loss,
    stretches,
    summed_loss,
    total_loss,
    window_losses,
)

TOKENIZER_FILE = "tokenizer.json"


class Writing:
    """The work of a language model, as the training loop wants it.

    Args:
        model: what is trained.
        corpus: tokens of both parts.
        batch: rows read side by side.
        length: steps of a window.
        seed: of where each epoch starts, and of samples.

    Raises:
        DataError: if the text does not fill one window of every row.
    """

    def __init__(
        self, model: LanguageModel, corpus: Corpus, batch: int, length: int, seed: int
    ) -> None:
        self.model = model
        self.corpus, self.seed = corpus, seed
        self.streams = Streams(corpus.train.to(model.device), batch, length, shift_seed=seed)
        self.validation = corpus.validation.to(model.device)
        if len(self.validation) < 2:
            raise DataError(
                f"text: the validation part has {len(self.validation)} tokens; wanted at least 2: "
                "give more text, or lower data.split."
            )

    def batch(self, step: int) -> Window:
        """The window of one update; after the last window of an epoch comes the first again."""
        epoch, index = divmod(step, self.streams.windows_per_epoch)
        return self.streams.window(epoch, index)

    def loss(self, batch: Window, state: State | None) -> tuple[Tensor, State | None]:
        """Summed cross-entropy in nats, −Σ ln p(target), and the state after the window.

        A transformer starts every window afresh, so it returns none.
        """
        loss, state = summed_loss(self.model, batch, state)
        return loss, state if self.model.carries else None

    def evaluate(self) -> float:
        """Nats per token on the validation part, read as a few streams at once."""
        rows = max(1, min(EVALUATION_ROWS, len(self.validation) // EVALUATION_ROW_LENGTH))
        return stream_loss(self.model, self.validation, rows)

    def sample(self) -> str:
        """A few lines of what the model writes now; the same draw every time."""
        length = min(SAMPLE_LENGTH, self.model.limit or SAMPLE_LENGTH)
        return "".join(write(self.model, self.corpus.tokenizer, length, seed=self.seed))


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageJob:
    """Learning to write, as the `unspool.tasks.job.Job` it is.

    Attributes:
        corpus: both parts as tokens.
        batch: rows read side by side.
        length: steps of a window.
        seed: of where each epoch starts, and of samples.
        context: steps that a transformer reads from one start; 0 for models that carry a state.
    """

    corpus: Corpus
    batch: int
    length: int
    seed: int
    context: int = 0
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """Nats per token of stretches of the validation part, by method."""
        return self._rows

    @property
    def row_groups(self) -> None:
        """A stretch is long enough to stand for itself."""
        return

    @property
    def unit(self) -> str:
        """What one token is called."""
        return self.corpus.unit

    @property
    def measured_on(self) -> str:
        """The part that `judge` reads."""
        return "validation part"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What had to be left out."""
        return self.corpus.warnings

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return {TOKENIZER_FILE: self.corpus.tokenizer.to_json()}

    def shape(self) -> dict[str, Any]:
        """The size of the vocabulary, and how many steps a transformer reads from one start."""
        vocabulary = {"vocabulary": self.corpus.tokenizer.size}
        return vocabulary | ({"context": self.context} if self.context else {})

    def facts(self) -> dict[str, Any]:
        """Tokens of both parts, and kinds of them."""
        return {
            "train_tokens": len(self.corpus.train),
            "validation_tokens": len(self.corpus.validation),
            "vocabulary": self.corpus.tokenizer.size,
        }

    def epoch_steps(self) -> int:
        """Windows that read the training part once."""
        return max(1, (len(self.corpus.train) - 1) // (self.batch * self.length))

    def work(self, model: nn.Module) -> Writing:
        """What the training loop wants."""
        return Writing(model, self.corpus, self.batch, self.length, self.seed)

    def baselines(self) -> Iterator[dict[str, Any]]:
        """Counting."""
        counted, losses = counting(self.corpus)
        self._rows[counted["name"]] = losses
        yield counted

    def judge(self, model: LanguageModel) -> dict[str, Any]:
        """Nats per token on the validation part as one stream, and what follows from them."""
        corpus = self.corpus
        windows = list(window_losses(model, corpus.validation.to(model.device)))
        each = [np.full(count, total / count) for total, count in windows]
        self._rows[MODEL] = stretches(np.concatenate(each))
        return figures(
            total_loss(windows),
            len(corpus.validation),
            corpus.validation_characters,
            corpus.unit,
        )

    def verdict(
        self, name: str, judged: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]
    ) -> str:
        """Which is best, in a plain sentence."""
        return verdict(name, judged["loss"], list(baselines), self.corpus.unit)


def prepare(data: Any, settings: Any, files: Mapping[str, str] | None = None) -> LanguageJob:
    """The job on a text.

    Args:
        data: has ``text``, and ``validation`` or None.
        settings: has ``data``, ``train`` and ``seed``, as `unspool.config.Settings`.
        files: of a run that goes on; None learns a tokenizer.

    Raises:
        ConfigError: for a training that a transformer cannot have.
        DataError: if a part is too short or cannot be encoded.
    """
    context = _context(settings)
    tokenizer = None if files is None else load_tokenizer(files[TOKENIZER_FILE], TOKENIZER_FILE)
    corpus = read_corpus(data.text, settings.data, data.validation, tokenizer)
    train = settings.train
    return LanguageJob(
        corpus=corpus, batch=train.batch, length=train.length, seed=settings.seed, context=context
    )


def measuring(job: LanguageJob, found: Texts, name: str) -> LanguageJob:
    """The same job, judged on another text.

    Raises:
        DataError: if it holds what the vocabulary lacks.
    """
    ids = torch.from_numpy(job.corpus.tokenizer.encode(found.text, name))
    corpus = replace(job.corpus, validation=ids, validation_characters=len(found.text))
    return replace(job, corpus=corpus)


def build(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> LanguageModel:
    """A fresh model, as `unspool.tasks.job.Builds` says.

    Its shape is ``vocabulary``, V, and of a transformer ``context``, the steps it was trained on.

    Raises:
        ConfigError: for a family of models that cannot write.
    """
    if isinstance(settings, TransformerSettings):
        context = settings.context or shape.get("context", 0)
        settings = replace(settings, context=context)
    elif not isinstance(settings, RecurrentSettings) or cell is None:
        raise ConfigError(
            f"model.name: '{settings.name}' cannot write; wanted transformer or a recurrent cell, "
            "such as lstm."
        )
    return LanguageModel(shape["vocabulary"], settings, cell, generator)


def _context(settings: Any) -> int:
    """Steps that a transformer reads from one start; 0 for models that carry a state.

    Raises:
        ConfigError: for windows longer than learned positions, or a truncation of a state.
    """
    model, train = settings.model, settings.train
    if not isinstance(model, TransformerSettings):
        return 0
    problems = []
    if train.truncation != "full":
        problems.append(
            f"train.truncation: '{train.truncation}' cuts what flows back through a state, and a "
            "transformer carries none from window to window; leave it out."
        )
    if model.positions == "learned" and 0 < model.context < train.length:
        problems.append(
            f"train.length: windows of {train.length} steps, and model.context is "
            f"{model.context}; wanted at most that."
        )
    if problems:
        raise ConfigError(" ".join(problems))
    return model.context or train.length


def write(
    model: LanguageModel,
    tokenizer: Tokenizer,
    length: int,
    prompt: str = "",
    settings: SamplingSettings | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Text that follows a prompt, piece by piece as it is drawn.

    Args:
        model: a language model; put into evaluation mode.
        tokenizer: what it was trained with.
        length: tokens to draw, ≥ 0.
        prompt: read first, not yielded.
        settings: how tokens are drawn.
        seed: of the draw.

    Raises:
        DataError: if the prompt holds what the vocabulary lacks, saying what; or if both together
            go beyond learned positions.
    """
    ids = [int(i) for i in tokenizer.encode(prompt, "prompt")] or [_opening(tokenizer)]
    if 0 < model.limit < len(ids) + length - 1:
        raise DataError(
            f"length: {len(ids)} tokens of the prompt and {length} to write, and the model has "
            f"learned positions for {model.limit}; write at most "
            f"{max(0, model.limit + 1 - len(ids))}, or train with model.positions rotary."
        )
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    drawn = continuation(model, ids, settings or SamplingSettings(), generator)
    return tokenizer.pieces(next(drawn) for _ in range(length))


def _opening(tokenizer: Tokenizer) -> int:
    """What stands before a text that starts from nothing: a line break where there is one."""
    newline = [] if tokenizer.unknown("\n") else tokenizer.encode("\n")
    return int(newline[0]) if len(newline) else 0


def ngram_baseline(corpus: Corpus) -> dict[str, Any]:
    """How well counting does: the simple method a network has to beat.

    Returns:
        Its name, its loss in nats per token on the validation part, and the seconds it took.
    """
    return counting(corpus)[0]


def counting(corpus: Corpus) -> tuple[dict[str, Any], np.ndarray]:
    """The same, and its loss on each of the stretches that `LanguageJob.rows` has."""
    start = time.perf_counter()
    model = NGram.fit(corpus.train.numpy(), corpus.tokenizer.size)
    losses = -model.log_probs(corpus.validation.numpy())[1:]
    found = {
        "name": f"{model.order}-gram Kneser–Ney",
        "loss": float(losses.mean()),
        "seconds": time.perf_counter() - start,
    }
    return found, stretches(losses)


def verdict(name: str, loss: float, baselines: list[dict[str, Any]], unit: str) -> str:
    """Which is best, in a plain sentence.

    Example:
        >>> verdict("lstm", 1.6, [{"name": "7-gram", "loss": 1.5}], "char")
        'The 7-gram is better: 1.500 against 1.600 nats/char. Train longer, or use the 7-gram.'
    """
    best = min(baselines, key=lambda baseline: baseline["loss"])
    if loss < best["loss"]:
        return f"The {name} is best: {loss:.3f} nats/{unit}, the {best['name']} {best['loss']:.3f}."
    return (
        f"The {best['name']} is better: {best['loss']:.3f} against {loss:.3f} nats/{unit}. "
        f"Train longer, or use the {best['name']}."
    )


MODEL = ""  # the model's own stretches, among those of the simple methods
EVALUATION_ROW_LENGTH = 1000
SAMPLE_LENGTH = 200
