"""From an input to the text that a model writes for it, and where it looked while writing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from unspool.data.encoders import encode_all, length_of
from unspool.data.examples import Examples
from unspool.data.target_encoder import TargetEncoder
from unspool.errors import CheckpointError, ConfigError, DataError
from unspool.models.answers import Written
from unspool.models.decoding import decode
from unspool.models.decoding_settings import DecodingSettings
from unspool.tasks.example_answers import ENCODER_FILE, TARGETS_FILE, restored_encoder


@dataclass(frozen=True, slots=True)
class DecodeAnswers:
    """What writes with a trained model, as the `unspool.tasks.job.Answers` it is.

    Attributes:
        task: a key of `unspool.tasks.table.TASKS`.
        encoder: of the inputs.
        writer: of the texts.
        decoding: how answers are searched for.
        shared: whether inputs and texts have one vocabulary.
        single: whether every input is one vector, without steps to look at.
        looks: whether answers say where the model looked while it wrote.
    """

    task: str
    encoder: Any
    writer: TargetEncoder
    decoding: DecodingSettings
    shared: bool = False
    single: bool = False
    looks: bool = False

    @property
    def unit(self) -> str:
        """What one token of a text is called."""
        return UNITS[self.writer.tokenizer.kind]

    @property
    def shape(self) -> dict[str, Any]:
        """What of the data the model depends on."""
        source, target = dict(self.encoder.shape), self.writer.shape
        if self.shared:
            source["size"] = target["size"]
        if self.single:
            source["steps"] = 1
        return {"source": source, "target": target, "shared": self.shared}

    def to_dict(self) -> dict[str, Any]:
        """All but the encoder of the inputs, as plain JSON values."""
        return {
            "writer": self.writer.to_dict(),
            "decoding": asdict(self.decoding),
            "shared": self.shared,
            "single": self.single,
        }

    def predict(
        self, model: nn.Module, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """One answer for every input, as plain values.

        Args:
            model: of the task.
            inputs: as the encoder reads them.
            names: what each is called in a message; None counts them.

        Returns:
            What `search` gives.

        Raises:
            DataError: for an input that the model cannot read, with its name or number.
        """
        return self.search(model, self.encoded(inputs, names))

    def predict_examples(self, model: nn.Module, examples: Examples) -> list[dict[str, Any]]:
        """The same for what was read from a file.

        Raises:
            DataError: for an input that the model cannot read, with its place.
        """
        return self.search(model, encode_all(self.encoder, examples))

    def encoded(self, inputs: Sequence[Any], names: Sequence[str] | None = None) -> list[Any]:
        """Numbers of every input.

        Raises:
            DataError: for one that cannot be encoded, with its name or number.
        """
        names = names or [f"input {number}" for number in range(1, len(inputs) + 1)]
        encoded = []
        for name, each in zip(names, inputs, strict=True):
            try:
                encoded.append(self.encoder.encode(each))
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        return encoded

    def decode(
        self,
        model: nn.Module,
        encoded: Sequence[Any],
        settings: DecodingSettings | None = None,
    ) -> list[str]:
        """The best text for every input, in their order."""
        return [row["answer"] for row in self.search(model, encoded, settings)]

    @torch.no_grad()
    def search(
        self,
        model: nn.Module,
        encoded: Sequence[Any],
        settings: DecodingSettings | None = None,
    ) -> list[dict[str, Any]]:
        """What a model writes for every input, in their order, as plain values.

        Args:
            model: put into evaluation mode.
            encoded: numbers of every input.
            settings: of the search; None takes `decoding`.

        Returns:
            Of each ``answer``, ``log_probability`` of all its tokens together, in nats, and
            ``finished``, False where it was cut at the greatest length; with more than one answer
            asked for ``nbest``, the same of each; and where `looks`, ``attention``: ``source`` and
            ``target``, tokens, and ``weights``, a row for each of ``target``. Of an image that is
            seen whole, ``sides``, the places down and across that the weights go through row by
            row, stand instead of ``source``.

        Raises:
            ConfigError: if the model has no attention, and `looks`.
            DataError: if the scores of the model are not finite.
        """
        model.eval()
        settings = settings or self.decoding
        for number, each in enumerate(encoded, 1):
            if self.single and length_of(each) > 1:
                raise DataError(
                    f"input {number}: has {length_of(each)} steps; the model reads one, as those "
                    "that were trained on have."
                )
        order = sorted(range(len(encoded)), key=lambda row: length_of(encoded[row]))
        rows: dict[int, dict[str, Any]] = {}
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            inputs, lengths = self.encoder.collate([encoded[row] for row in some])
            inputs = {name: value.to(model.device) for name, value in inputs.items()}
            most = [self._most(settings, encoded[row]) for row in some]
            memory = model.encode(inputs, lengths)
            found = decode(model, memory, settings, most, weights=self.looks)
            for row, each in zip(some, found, strict=True):
                rows[row] = self._plain(model, each, encoded[row], settings.nbest)
        return [rows[row] for row in range(len(encoded))]

    def _most(self, settings: DecodingSettings, encoded: Any) -> int:
        """Tokens of the longest answer to an input."""
        if settings.max_length:
            return settings.max_length
        own = 2 * length_of(encoded) if self.encoder.reads == "text" else 1
        return max(self.writer.longest, own)

    def _plain(
        self, model: Any, found: Sequence[Written], encoded: Any, nbest: int
    ) -> dict[str, Any]:
        """The answers to one input as plain values."""
        rows = [
            {
                "answer": self.writer.decode(each.tokens),
                "log_probability": each.log_probability,
                "finished": each.finished,
            }
            for each in found
        ]
        best = dict(rows[0])
        if nbest > 1:
            best["nbest"] = rows
        if self.looks:
            best["attention"] = self._looked(model, found[0], encoded)
        return best

    def _looked(self, model: Any, written: Written, encoded: Any) -> dict[str, Any]:
        """Where a model looked while it wrote an answer, its end left out."""
        if written.weights is None:
            raise ConfigError(
                "attention: the model has none; train one with a model.score other than none."
            )
        target = self.writer.tokens(written.tokens)
        looked = {"target": target, "weights": written.weights[: len(target)].tolist()}
        if hasattr(model.encoder, "sides"):
            return {"sides": list(model.encoder.sides), **looked}
        if self.encoder.reads == "text":
            source = self.encoder.tokens(encoded)
        else:
            source = [str(step) for step in range(1, length_of(encoded) + 1)]
        weights = [row[: len(source)] for row in looked["weights"]]
        return {"source": source, "target": target, "weights": weights}


def restored_answers(task: str, files: Mapping[str, str], where: str) -> DecodeAnswers:
    """What writes with a trained model.

    Args:
        task: a key of `unspool.tasks.table.TASKS`.
        files: of the model.
        where: the folder, for messages.

    Raises:
        CheckpointError: if a file describes no encoder.
    """
    try:
        stored = json.loads(files[TARGETS_FILE])
        return DecodeAnswers(
            task,
            restored_encoder(files),
            TargetEncoder.from_dict(stored["writer"]),
            DecodingSettings(**stored["decoding"]),
            bool(stored["shared"]),
            bool(stored["single"]),
        )
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{where}: {ENCODER_FILE} or {TARGETS_FILE} describes no encoder ({error})."
        ) from error


UNITS = {"char": "char", "word": "word", "bpe": "token"}
AT_ONCE = 128  # inputs that are answered side by side
