"""Writing: learn a text, predict its next token, go on from a prompt (many to many, synced)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unspool.data.streams import NO_TARGET, Streams, Window, evaluation_windows
from unspool.data.text import read_text
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import load_tokenizer
from unspool.engine.language import Cell
from unspool.errors import ConfigError, DataError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import ModelSettings, RecurrentSettings
from unspool.tasks.corpus import Corpus, read_corpus
from unspool.tasks.ngram import NGram

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

    def loss(self, batch: Window, state: State | None) -> tuple[Tensor, State]:
        """Summed cross-entropy in nats, −Σ ln p(target), and the state after the window."""
        return summed_loss(self.model, batch, state)

    def evaluate(self) -> float:
        """Nats per token on the validation part, read as a few streams at once."""
        rows = max(1, min(EVALUATION_ROWS, len(self.validation) // EVALUATION_ROW_LENGTH))
        return stream_loss(self.model, self.validation, rows)

    def sample(self) -> str:
        """A few lines of what the model writes now; the same draw every time."""
        return "".join(write(self.model, self.corpus.tokenizer, SAMPLE_LENGTH, seed=self.seed))


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageJob:
    """Learning to write, as the `unspool.tasks.job.Job` it is.

    Attributes:
        corpus: both parts as tokens.
        batch: rows read side by side.
        length: steps of a window.
        seed: of where each epoch starts, and of samples.
    """

    corpus: Corpus
    batch: int
    length: int
    seed: int

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
        """The size of the vocabulary."""
        return {"vocabulary": self.corpus.tokenizer.size}

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
        yield ngram_baseline(self.corpus)

    def judge(self, model: LanguageModel) -> dict[str, Any]:
        """Nats per token on the validation part as one stream, and what follows from them."""
        corpus = self.corpus
        return measured(model, corpus.validation, corpus.validation_characters, corpus.unit)

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
        DataError: if a part is too short or cannot be encoded.
    """
    tokenizer = None if files is None else load_tokenizer(files[TOKENIZER_FILE], TOKENIZER_FILE)
    corpus = read_corpus(data.text, settings.data, data.validation, tokenizer)
    train = settings.train
    return LanguageJob(corpus=corpus, batch=train.batch, length=train.length, seed=settings.seed)


def measuring(job: LanguageJob, file: str | Path, settings: Any) -> LanguageJob:
    """The same job, judged on another text.

    Raises:
        DataError: if the text cannot be read or holds what the vocabulary lacks.
    """
    text = read_text(file, settings.data.encoding)
    ids = torch.from_numpy(job.corpus.tokenizer.encode(text, str(file)))
    corpus = replace(job.corpus, validation=ids, validation_characters=len(text))
    return replace(job, corpus=corpus)


def build(
    shape: Mapping[str, Any], settings: ModelSettings, cell: Cell | None, seed: int | None
) -> LanguageModel:
    """A fresh model for a vocabulary.

    Args:
        shape: ``vocabulary``, V.
        settings: widths, layers, dropout.
        cell: the equations.
        seed: of the weights; None leaves them to torch's global generator.

    Raises:
        ConfigError: for a family of models that cannot write.
    """
    if not isinstance(settings, RecurrentSettings) or cell is None:
        raise ConfigError(
            f"model.name: '{settings.name}' cannot write; wanted a recurrent cell, such as lstm."
        )
    return build_model(shape["vocabulary"], settings, cell, seed)


def build_model(
    vocabulary: int, settings: RecurrentSettings, cell: Cell, seed: int | None
) -> LanguageModel:
    """A fresh model.

    Args:
        vocabulary: V.
        settings: widths, layers, dropout.
        cell: the equations.
        seed: of the weights; None leaves them to torch's global generator.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return LanguageModel(vocabulary, settings, cell, generator)


def summed_loss(
    model: nn.Module, window: Window, state: tuple[Tensor, ...] | None
) -> tuple[Tensor, State]:
    """Cross-entropy in nats, summed over the targets of a window, and the state after it.

    Source:
        SYLLABUS E6 and E7: next-token prediction as classification.
    """
    logits, state = model(window.inputs, state)
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), window.targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    return loss, state


@torch.no_grad()
def stream_loss(model: nn.Module, tokens: Tensor, rows: int = 1) -> float:
    """Nats per token over every token after the first.

    Args:
        model: a language model.
        tokens: int64 ``[N]``.
        rows: streams read side by side; with 1 each token is predicted from all before it.
    """
    model.eval()
    total, count = 0.0, 0
    state: State | None = None
    for window in evaluation_windows(tokens, EVALUATION_LENGTH, rows):
        loss, state = summed_loss(model, window, state)
        total += loss.item()
        count += window.num_targets
    return total / count


def measured(model: LanguageModel, tokens: Tensor, characters: int, unit: str) -> dict[str, Any]:
    """How well a model predicts a text, read as one stream.

    Args:
        model: a language model.
        tokens: int64 ``[N]``, at least two.
        characters: of the text they stand for.
        unit: what one token is called.

    Returns:
        ``loss`` in nats per token, ``unit``, ``tokens`` predicted, ``bits_per_character`` and
        ``perplexity`` (per token).
    """
    loss = stream_loss(model, tokens.to(model.device))
    return {
        "loss": loss,
        "unit": unit,
        "tokens": len(tokens) - 1,
        "bits_per_character": bits_per_character(loss, len(tokens), characters),
        "perplexity": math.exp(loss) if loss < LARGEST_EXPONENT else math.inf,
    }


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
        DataError: if the prompt holds what the vocabulary lacks, saying what.
    """
    ids = [int(i) for i in tokenizer.encode(prompt, "prompt")] or [_opening(tokenizer)]
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
    start = time.perf_counter()
    model = NGram.fit(corpus.train.numpy(), corpus.tokenizer.size)
    loss = model.loss(corpus.validation.numpy())
    return {
        "name": f"{model.order}-gram Kneser–Ney",
        "loss": loss,
        "seconds": time.perf_counter() - start,
    }


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


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """A loss per token in nats as bits per character.

    Example:
        >>> round(bits_per_character(math.log(2), tokens=100, characters=400), 3)
        0.25
    """
    return loss / math.log(2) * tokens / characters


LARGEST_EXPONENT = 700.0  # the exponential of a little more is no float
EVALUATION_LENGTH = 512
EVALUATION_ROWS = 32
EVALUATION_ROW_LENGTH = 1000
SAMPLE_LENGTH = 200
