"""`load`: a run, or a model on its own, ready to use on plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from unspool.config import resolve
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import load_tokenizer
from unspool.devices import choose_device
from unspool.engine.language import Cell
from unspool.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
    UnspoolError,
    choose,
)
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings
from unspool.models.settings import ModelSettings
from unspool.record import Record
from unspool.tasks.corpus import UNITS
from unspool.tasks.job import Answers
from unspool.tasks.live_transcript import LiveTranscript
from unspool.tasks.table import TASKS
from unspool.tasks.text_loss import measured
from unspool.tasks.transcript_answers import TranscriptAnswers
from unspool.tasks.write import TOKENIZER_FILE, write
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
        return measured(self.model, tokens, characters, self.unit)

    def _tokens(self, ids: Any) -> Tensor:
        return torch.as_tensor(ids, device=self.model.device)


@dataclass(frozen=True, slots=True)
class ExamplePredictor:
    """A model of whole examples, with what turns its numbers into answers.

    Attributes:
        model: in evaluation mode.
        task: what it does, a key of `unspool.tasks.table.TASKS`.
        answers: of the task.
        where: the folder it came from.
        step: updates behind it; None for a finished model.
    """

    model: nn.Module
    task: str
    answers: Answers
    where: Path
    step: int | None = None

    def predict(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        """One answer for every input, as plain values.

        Raises:
            DataError: for an input that the model cannot read, with its number.
        """
        return self.answers.predict(self.model, inputs)

    def live(self) -> LiveTranscript:
        """A transcription of sound that still comes in, of a run that transcribes.

        Raises:
            ConfigError: if the run does something else, or its model needs the end of a sound.
        """
        if not isinstance(self.answers, TranscriptAnswers):
            raise ConfigError(f"{self.where}: is a model for '{self.task}'; wanted 'transcribe'.")
        return self.answers.live(self.model)

    def with_beam(self, width: int) -> ExamplePredictor:
        """The same, following so many beginnings of a transcript at once; 1 is greedy.

        Raises:
            ConfigError: if the run does not transcribe, or for fewer than one.
        """
        if not isinstance(self.answers, TranscriptAnswers):
            raise ConfigError(f"{self.where}: is a model for '{self.task}'; wanted 'transcribe'.")
        return replace(self, answers=self.answers.with_beam(width))


def load(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """Load what a run has learnt: its model, or its newest readable checkpoint while it trains.

    Args:
        path: a run folder, or the ``model`` folder of one.
        device: where the weights go; a name is one of `unspool.devices.DEVICES`.

    Returns:
        A `Predictor` for a model that writes, an `ExamplePredictor` for all others.

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
    settings = record.settings
    plan = _Plan(settings.task, record.shape, settings.model, record.cell, record.files)
    return plan.filled(checkpoint.model, run.folder, device, checkpoint.step)


def load_writer(path: str | Path) -> Predictor:
    """The same for what only a model that writes can do.

    Raises:
        ConfigError: if the run does something else, naming the command that uses it.
    """
    loaded = load(path)
    if not isinstance(loaded, Predictor):
        raise ConfigError(
            f"{path}: is a model for '{loaded.task}'; wanted one that writes: use it with "
            f"`unspool predict {path}`."
        )
    return loaded


def model_config(record: Record, report: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config.json`` of a model holds: enough to build it again, as plain data.

    Args:
        record: of the run.
        report: of the training; where and how long it ran is left out, so that the same training
            gives the same file, and so is whatever quotes the test part, since models are shared.
    """
    baselines = [
        {key: value for key, value in each.items() if key != "seconds"}
        for each in report["baselines"]
    ]
    kept = {name: value for name, value in report.items() if name not in STAYS_IN_THE_RUN}
    return {
        "library": "unspool",
        "task": record.settings.task,
        "shape": record.shape,
        "model": asdict(record.settings.model),
        "cell": None if record.cell is None else record.cell.to_dict(),
        "report": kept | {"baselines": baselines},
    }


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything of a model but its weights."""

    task: str
    shape: Mapping[str, Any]
    settings: ModelSettings
    cell: Cell | None
    files: Mapping[str, str]

    def filled(
        self, tensors: dict[str, Tensor], where: Path, device: torch.device, step: int | None
    ) -> Predictor | ExamplePredictor:
        """The model with its weights; its memory is that of ``tensors``."""
        task = TASKS[self.task].load()
        with torch.device("meta"):  # shapes are compared before anything is made
            model = task.build(self.shape, self.settings, self.cell)
        load_weights(model, tensors, str(where), assign=True)
        model = model.to(device).eval()
        if self.task == "write":
            tokenizer = load_tokenizer(self.files[TOKENIZER_FILE], str(where / TOKENIZER_FILE))
            if tokenizer.size != self.shape["vocabulary"]:
                raise CheckpointError(
                    f"{where}: {TOKENIZER_FILE} has {tokenizer.size} tokens and the model "
                    f"{self.shape['vocabulary']}; it is of another model."
                )
            return Predictor(model, tokenizer, where, step)
        answers = task.restore(self.files, str(where))
        return ExamplePredictor(model, self.task, answers, where, step)


def _load_model(folder: Path, device: torch.device) -> Predictor | ExamplePredictor:
    tensors, config, files = load_model(folder)
    try:
        task = choose(config["task"], TASKS, "task").name
        # The strict reading of a configuration: every key known, every value of its type.
        changes = {f"model.{key}": value for key, value in config["model"].items()}
        settings = resolve(None, {**changes, "task": task}).model
        cell = None if config["cell"] is None else Cell.from_dict(config["cell"])
        return _Plan(task, dict(config["shape"]), settings, cell, files).filled(
            tensors, folder, device, None
        )
    except CheckpointError:
        raise
    except NO_MODEL as error:
        raise CheckpointError(
            one_line(f"{folder}: config.json describes no model ({error}).")
        ) from error


# Of a report: what the model's folder does not repeat.
STAYS_IN_THE_RUN = ("run", "errors", "forecasts")
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
