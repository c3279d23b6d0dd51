"""`load`: a run, or a model on its own, ready to use on plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from unspool.config import resolve
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import load_tokenizer
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import CheckpointError, ConfigError, DataError, RunError, UnspoolError
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings
from unspool.models.settings import RecurrentSettings
from unspool.record import TOKENIZER_FILE, Record
from unspool.tasks.write import UNITS, bits_per_character, stream_loss, write
from unspool.training import layout
from unspool.training.checkpoint import load_model, newest_checkpoint
from unspool.training.durable import one_line
from unspool.training.loop import load_weights
from unspool.training.run import Run


@dataclass(frozen=True, slots=True)
class Predictor:
    """A language model with its tokenizer.

    Attributes:
        model: in evaluation mode.
        tokenizer: what it was trained with.
        where: the folder it came from.
        step: updates behind it; None for a finished model.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    where: Path
    step: int | None = None

    @property
    def unit(self) -> str:
        """What one token is called: char, word or token."""
        return UNITS[self.tokenizer.kind]

    def generate(self, prompt: str = "", length: int = 500, **options: Any) -> str:
        """Text that follows ``prompt``.

        Args:
            prompt: read first; not part of the result.
            length: tokens to draw.
            **options: ``temperature``, ``top_k``, ``top_p``, ``seed``, as for `stream`.

        Raises:
            DataError: if the prompt holds what the vocabulary lacks.
            ConfigError: if an option is out of range.
        """
        return "".join(self.stream(prompt, length, **options))

    def stream(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """The same, piece by piece.

        Args:
            prompt: read first.
            length: tokens to draw, ≥ 0.
            temperature: divides the scores; 0 always takes the likeliest.
            top_k: only the k likeliest; 0 allows all.
            top_p: only the likeliest that together reach this probability.
            seed: the same seed gives the same text.
        """
        if length < 0:
            raise ConfigError(f"length: got {length}; wanted a whole number ≥ 0.")
        settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
        return write(self.model, self.tokenizer, length, prompt, settings, seed)

    @torch.no_grad()
    def next(self, text: str, top: int = 10) -> list[tuple[str, float]]:
        """The likeliest tokens after a text, with their probabilities.

        Args:
            text: at least one token.
            top: how many.

        Raises:
            DataError: if the text is empty or holds what the vocabulary lacks.
        """
        if top < 1:
            raise ConfigError(f"top: got {top}; wanted a whole number ≥ 1.")
        ids = self.tokenizer.encode(text, "text")
        if not len(ids):
            raise DataError("text: is empty; wanted at least one character to go on from.")
        logits, _ = self.model(self._tokens(ids)[None])
        chances = torch.softmax(logits[0, -1].double(), -1)
        values, tokens = chances.topk(min(top, len(chances)))
        return [
            (self.tokenizer.token(token), value)
            for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        ]

    def evaluate(self, text: str) -> dict[str, Any]:
        """How well the model predicts a text, read as one stream.

        Returns:
            ``loss`` in nats per token, ``tokens`` predicted, ``unit``, ``bits_per_character`` and
            ``perplexity`` (per token).

        Raises:
            DataError: if the text is shorter than two tokens or holds what the vocabulary lacks.
        """
        return self.evaluate_tokens(self._tokens(self.tokenizer.encode(text, "text")), len(text))

    def evaluate_tokens(self, tokens: Int64[Tensor, " N"], characters: int) -> dict[str, Any]:
        """The same for a text that is tokens already.

        Args:
            tokens: ids, at least two.
            characters: of the text they stand for.
        """
        loss = stream_loss(self.model, tokens.to(self.model.device))
        return {
            "loss": loss,
            "unit": self.unit,
            "tokens": len(tokens) - 1,
            "bits_per_character": bits_per_character(loss, len(tokens), characters),
            "perplexity": math.exp(loss) if loss < LARGEST_EXPONENT else math.inf,
        }

    def _tokens(self, ids: Any) -> Tensor:
        return torch.as_tensor(ids, device=self.model.device)


def load(path: str | Path, device: torch.device | str = "cpu") -> Predictor:
    """Load what a run has learnt: its model, or its newest readable checkpoint while it trains.

    Args:
        path: a run folder, or the ``model`` folder of one.
        device: where the weights go; a name is one of `unspool.devices.DEVICES`.

    Raises:
        RunError: if there is no run, or it has neither a model nor a checkpoint yet.
        CheckpointError: if what is there is damaged, foreign or from a newer version.
        ConfigError: if there is no such device here.
    """
    folder = Path(path)
    device = choose_device(device) if isinstance(device, str) else device
    if (folder / layout.MODEL).is_dir():
        return _load_model(folder / layout.MODEL, device)
    if (folder / "manifest.json").is_file() and not (folder / layout.HEADER).exists():
        return _load_model(folder, device)
    run = Run.open(folder)
    checkpoint, skipped = newest_checkpoint(run.folder)
    if checkpoint is None:
        reasons = " ".join(each.reason for each in skipped)
        raise RunError(f"{folder}: has no model and no checkpoint yet. {reasons}".rstrip())
    record = Record.read(run)
    model = skeleton(record.tokenizer.size, record.settings.model, record.cell)
    return _filled(model, checkpoint.model, record.tokenizer, run.folder, device, checkpoint.step)


def model_config(
    task: str, settings: RecurrentSettings, cell: Cell, vocabulary: int, report: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``config.json`` of a model holds: enough to build it again, as plain data.

    Args:
        task: what the model does.
        settings: widths, layers, dropout.
        cell: the equations.
        vocabulary: V.
        report: of the training; where and how long it ran is left out, so that the same training
            gives the same file.
    """
    baselines = [{"name": each["name"], "loss": each["loss"]} for each in report["baselines"]]
    kept = {name: value for name, value in report.items() if name != "run"}
    return {
        "library": "unspool",
        "task": task,
        "vocabulary": vocabulary,
        "model": asdict(settings),
        "cell": cell.to_dict(),
        "report": kept | {"baselines": baselines},
    }


def skeleton(vocabulary: int, settings: RecurrentSettings, cell: Cell) -> LanguageModel:
    """A model without memory behind its weights, to compare shapes with before anything is made."""
    with torch.device("meta"):
        return LanguageModel(vocabulary, settings, cell)


def _load_model(folder: Path, device: torch.device) -> Predictor:
    tensors, config, tokenizer_json = load_model(folder)
    tokenizer = load_tokenizer(tokenizer_json, str(folder / TOKENIZER_FILE))
    try:
        if config["task"] != "write":
            raise CheckpointError(f"{folder}: is a model for '{config['task']}'; wanted 'write'.")
        # The strict reading of a configuration: every key known, every value of its type.
        settings = resolve(None, {f"model.{key}": v for key, v in config["model"].items()}).model
        model = skeleton(tokenizer.size, settings, Cell.from_dict(config["cell"]))
    except CheckpointError:
        raise
    except NO_MODEL as error:
        raise CheckpointError(
            one_line(f"{folder}: config.json describes no model ({error}).")
        ) from error
    return _filled(model, tensors, tokenizer, folder, device, None)


def _filled(
    model: LanguageModel,
    tensors: dict[str, Tensor],
    tokenizer: Tokenizer,
    where: Path,
    device: torch.device,
    step: int | None,
) -> Predictor:
    load_weights(model, tensors, str(where), assign=True)
    return Predictor(model.to(device).eval(), tokenizer, where, step)


# What a configuration that only looks like one is seen to lead to.
NO_MODEL = (
    UnspoolError,
    AttributeError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
LARGEST_EXPONENT = 700.0  # the exponential of a little more is no float
