"""One core for every job whose output is not a sequence of its own: embedding, encoder, head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.errors import ConfigError
from unspool.layers.crf import ConditionalRandomField, forbidden_transitions
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.encoders import StepConvolution, build_encoder
from unspool.models.fronts import FrameFront, Inputs, build_front
from unspool.models.heads import build_head
from unspool.models.settings import (
    LeNetSettings,
    ModelSettings,
    RecurrentSettings,
    TransformerSettings,
    only_writing,
    set_apart,
)
from unspool.models.strided_front import StridedFront
from unspool.models.transformer import TransformerEncoder
from unspool.shapes import check_lengths


class SequenceModel(nn.Module):
    """Inputs become vectors, an encoder reads them, a head says what is wanted.

        logits = head(encoder(embedding(inputs)))

    Args:
        shape: of the inputs: ``kind`` and what `unspool.models.fronts` says of that kind.
        output: ``mapping`` and ``size`` and what `unspool.models.heads` says of that mapping; for
            ``each`` also ``crf``, which ``settings.crf`` may overrule, and with it ``labels``,
            whose impossible orders in IOB2 are ruled out, and ``aligned``, false where there need
            not be an output for every step (CTC).
        settings: of a family in `unspool.models.settings`.
        cell: the equations of a recurrent family; None for others.
        generator: of the first weights; None is torch's global one.

    Attributes:
        embedding: from the tensors of a batch to a vector a step, or an image.
        encoder: a `Recurrent`, or what `unspool.models.encoders` builds.
        head: from the encoder's steps to logits.
        crf: a `ConditionalRandomField` over the logits, or None.

    Raises:
        ConfigError: for settings that the inputs or the mapping cannot have.

    Example:
        >>> from unspool.cells import CELLS
        >>> shape, output = {"kind": "tokens", "size": 9}, {"mapping": "one", "size": 3}
        >>> settings = RecurrentSettings(hidden=4, bidirectional=True, pooling="max")
        >>> model = SequenceModel(shape, output, settings, CELLS["gru"])
        >>> tokens = torch.tensor([[1, 2, 3], [4, 5, 0]])
        >>> model({"tokens": tokens}, torch.tensor([3, 2])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        output: Mapping[str, Any],
        settings: ModelSettings,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(shape, output, settings)
        self.mapping = output["mapping"]
        recurrent = isinstance(settings, RecurrentSettings)
        self.embedding = build_front(shape, settings, cell, generator)
        self.encoder = build_encoder(shape, self.embedding.width, settings, cell, generator)
        directions = self.encoder.directions if isinstance(self.encoder, Recurrent) else 1
        self.head = build_head(
            output,
            settings.hidden * directions if recurrent else self.encoder.width,
            _pooling(shape, settings),
            directions,
            getattr(settings, "dense", 0),
            settings.dropout,
            generator,
        )
        self.crf = None
        if _joined(output, settings):
            self.crf = ConditionalRandomField(
                output["size"], forbidden_transitions(output.get("labels", ()))
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the inputs should be."""
        return next(self.parameters()).device

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Logits of a batch.

        Args:
            inputs: tensors by name, batch first, padded at the end.
            lengths: true lengths int64 ``[B]``, 1…T; None when all rows are full, and for images.

        Returns:
            ``[B C]`` for one, ``[B T C]`` for each, ``[B C−1]`` for ordinal, and
            ``[B horizon targets quantiles]`` for horizon. In the padding they mean nothing.

        Raises:
            ShapeError: for tensors or lengths that do not fit.
        """
        encoded, lengths = self.encode(inputs, lengths)
        return self.head(encoded, lengths, inputs.get("future"))

    def encode(self, inputs: Inputs, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the encoder makes of a batch.

        Args:
            inputs: tensors by name.
            lengths: true lengths; None when all rows are full.

        Returns:
            A vector a step ``[B T H]``, and the lengths that are left.
        """
        if lengths is not None and "image" not in inputs:
            first = next(value for name, value in inputs.items() if name != "future")
            check_lengths(lengths, len(first), first.shape[1], "SequenceModel")
        x, lengths = self.embedding(inputs, lengths)
        if isinstance(self.encoder, Recurrent):
            return self.encoder(x, lengths)[0], lengths
        return self.encoder(x.rows() if isinstance(x, Lookup) else x, lengths)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """How many steps the logits have of inputs of the given lengths, for mapping ``each``.

        Example:
            >>> from unspool.models.settings import ConvolutionSettings
            >>> shape = {"kind": "frames", "size": 4, "stack": 3}
            >>> settings = ConvolutionSettings(hidden=2)
            >>> output = {"mapping": "each", "size": 2, "aligned": False}
            >>> model = SequenceModel(shape, output, settings)
            >>> model.output_lengths(torch.tensor([7, 3]))
            tensor([3, 1])
        """
        if isinstance(self.embedding, FrameFront | StridedFront):
            lengths = self.embedding.output_lengths(lengths)
        if isinstance(self.encoder, StepConvolution):
            lengths = self.encoder.output_lengths(lengths)
        return lengths

    def read_on(self, inputs: Inputs, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of the next steps of sequences whose beginning was read before.

        Args:
            inputs: tensors by name, none of them padded.
            state: as the call before returned it; None starts afresh.

        Returns:
            Logits ``[B T C]`` and the state after the last step.

        Raises:
            ConfigError: if the model cannot be read in pieces: it is bidirectional or not
                made of steps, or it wants a whole sequence.
        """
        encoder = self.encoder
        if isinstance(encoder, TransformerEncoder):
            encoder = encoder.stack
            one_way = encoder.options.causal
        else:
            one_way = isinstance(encoder, Recurrent) and not encoder.bidirectional
        if not one_way:
            raise ConfigError(
                "SequenceModel.read_on: only a recurrent model or a transformer of one direction "
                "reads in pieces."
            )
        if self.mapping != "each":
            raise ConfigError(
                f"SequenceModel.read_on: mapping '{self.mapping}' wants a whole sequence; "
                "only 'each' gives something at every step."
            )
        x, _ = self.embedding(inputs, None)
        outputs, state = encoder(x, state=state)
        return self.head(outputs, None), state


def _check(shape: Mapping[str, Any], output: Mapping[str, Any], settings: ModelSettings) -> None:
    """Refuse what the inputs and the mapping cannot have."""
    problems = []
    each = output["mapping"] == "each"
    stepwise = isinstance(settings, RecurrentSettings | TransformerSettings)
    if stepwise and settings.tie:
        problems.append("model.tie: a model of labelled sequences has no output matrix to share.")
    problems += [
        f"model.{name}: is for models that write a text, and these are labels; leave it out."
        for name in set_apart(settings, only_writing(settings))
    ]
    if isinstance(settings, LeNetSettings) and shape["kind"] != "image":
        problems.append("model.name: 'lenet' reads images only; use cnn, mlp or a cell.")
    if each and shape["kind"] == "image" and not stepwise:
        problems.append(
            f"model.name: '{settings.name}' reads an image at once and cannot label its rows."
        )
    if each and getattr(settings, "pooling", "") == "flatten":
        problems.append("model.pooling: 'flatten' leaves one step, and every step is labelled.")
    if each and getattr(settings, "convolutions", 0):
        problems.append(
            "model.convolutions: leave fewer steps, and every step is labelled; leave it out, or "
            "use sound.stack where sounds are transcribed."
        )
    coarse = shape.get("stack", 1) > 1 or getattr(settings, "pool", 1) > 1
    if each and coarse and output.get("aligned", True):
        problems.append(
            "output.aligned: there is a label for every step, and pooling or stacking leaves "
            "fewer; use model.pool 1 and no stack."
        )
    if output.get("crf") and not each:
        problems.append("output.crf: only labels of every step can depend on each other.")
    labelled = each and output.get("aligned", True)
    if getattr(settings, "crf", "auto") == "yes" and not labelled:
        problems.append("model.crf: only labels of every step can depend on each other.")
    if problems:
        raise ConfigError(" ".join(problems))


def _joined(output: Mapping[str, Any], settings: ModelSettings) -> bool:
    """Whether the labels of steps depend on each other: as asked, or as the output suggests."""
    asked = getattr(settings, "crf", "auto")
    return bool(output.get("crf")) if asked == "auto" else asked == "yes"


def _pooling(shape: Mapping[str, Any], settings: ModelSettings) -> str:
    """An image, and a window read at once, is a single step."""
    stepwise = isinstance(settings, RecurrentSettings | TransformerSettings)
    if shape["kind"] == "image" and not stepwise:
        return "last"
    pooling = getattr(settings, "pooling", "last")
    return "last" if pooling == "flatten" else pooling
