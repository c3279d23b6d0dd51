"""Writing: learn a text, predict its next token, go on from a prompt (many to many, synced)."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.data.settings import TextSettings
from unspool.data.streams import NO_TARGET, Streams, Window, evaluation_windows
from unspool.data.text import split_text
from unspool.data.tokenizer import Tokenizer, lowered
from unspool.data.tokens import fit_tokenizer
from unspool.engine.language import Cell
from unspool.errors import DataError
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import RecurrentSettings
from unspool.tasks.ngram import NGram

UNITS = {"char": "char", "word": "word", "bpe": "token"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A text cut in two and turned into tokens.

    Attributes:
        tokenizer: learnt on the training part alone.
        train, validation: token ids, int64 ``[N]``, in the order of the text.
        validation_characters: what a loss per token is divided by to get one per character.
        warnings: what had to be left out, in words.
    """

    tokenizer: Tokenizer
    train: Tensor
    validation: Tensor
    validation_characters: int
    warnings: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What one token is called."""
        return UNITS[self.tokenizer.kind]


def read_corpus(
    text: str,
    settings: TextSettings,
    validation: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> Corpus:
    """Split a text, learn its tokens on the training part, and encode both parts.

    Args:
        text: all of it; or the training part, where ``validation`` is given.
        settings: kind of tokens, share to train on, lower-casing.
        validation: a text of its own to validate on.
        tokenizer: learnt before, for a run that goes on; None learns one.

    Raises:
        DataError: if a part is too short or cannot be encoded.
    """
    train = text
    if validation is None:
        train, validation = split_text(text, settings.split)
    tokenizer = tokenizer or fit_tokenizer(train, settings)
    warnings = []
    if tokenizer.kind == "char":
        validation, left_out = _without_unknown(tokenizer, validation)
        warnings += left_out
    elif (covered := tokenizer.coverage(validation)) < 1.0:
        warnings.append(f"{1 - covered:.1%} of the validation part is words the vocabulary lacks.")
    return Corpus(
        tokenizer=tokenizer,
        train=torch.from_numpy(tokenizer.encode(train, "training part")),
        validation=torch.from_numpy(tokenizer.encode(validation, "validation part")),
        validation_characters=len(validation),
        warnings=tuple(warnings),
    )


def _without_unknown(tokenizer: Tokenizer, text: str) -> tuple[str, list[str]]:
    """The text without characters that training never saw: nobody could predict those."""
    unknown = tokenizer.unknown(text)
    if not unknown:
        return text, []
    whole = lowered(text) if tokenizer.lower else text
    counts = Counter(whole)
    total = sum(counts[character] for character in unknown)
    kept = whole.translate(dict.fromkeys(map(ord, unknown)))
    shown = ", ".join(repr(character) for character in unknown[:8])
    more = ", …" if len(unknown) > 8 else ""
    return kept, [
        f"{total} of {len(whole)} characters of the validation part never occur in the training "
        f"part and were left out of it: {shown}{more}."
    ]


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


EVALUATION_LENGTH = 512
EVALUATION_ROWS = 32
EVALUATION_ROW_LENGTH = 1000
SAMPLE_LENGTH = 200
