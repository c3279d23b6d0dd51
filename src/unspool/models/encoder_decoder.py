"""An encoder reads an input, a decoder writes a text for it: many to many, and one to many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.cells.find import find_cell
from unspool.engine.language import Cell
from unspool.errors import ConfigError
from unspool.layers.dropout import Dropout
from unspool.layers.positions import Positions
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.encoders import ImageConvolution, build_encoder
from unspool.models.fronts import ImageFront, Inputs, build_front
from unspool.models.settings import (
    ConvolutionSettings,
    ModelSettings,
    RecurrentSettings,
    TransformerSettings,
)
from unspool.models.text_decoder import Memory, RecurrentDecoder
from unspool.models.text_stream import TextStream
from unspool.models.transformer import TransformerEncoder
from unspool.models.transformer_decoder import TransformerDecoder
from unspool.shapes import check_lengths, mask_of


class ImageGrid(nn.Module):
    """An image as a memory: a vector for every place of the last feature maps.

    Each place adds a vector of its own, so that what is asked can be where as well as what.

    Args:
        shape: ``channels``, ``height`` and ``width`` of an image.
        settings: ``image_layers`` halvings, each behind two convolutions that are normalised over
            the batch, the first with ``image_maps`` maps; dropout.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: if there are more layers than the image can be halved.

    Attributes:
        width: features of a place.
        sides: places down and across.

    Source:
        Xu et al. (2015), section 3.1.1.

    Example:
        >>> shape = {"channels": 3, "height": 32, "width": 48}
        >>> grid = ImageGrid(shape, RecurrentSettings(image_layers=2, image_maps=8))
        >>> grid.sides, grid(torch.zeros(5, 3, 32, 48))[0].shape
        ((8, 12), torch.Size([5, 96, 16]))
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: RecurrentSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(shape["height"], shape["width"]) >> settings.image_layers < 1:
            raise ConfigError(
                f"model.image_layers: {settings.image_layers} halvings of {shape['height']}×"
                f"{shape['width']} pixels leave nothing; use fewer."
            )
        convolutions = ConvolutionSettings(
            hidden=settings.image_maps,
            layers=2 * settings.image_layers,
            pool_every=2,
            batch_norm=True,
            dropout=settings.dropout,
        )
        self.convolutions = ImageConvolution(shape, convolutions, generator)
        self.width, self.sides = self.convolutions.maps, self.convolutions.sides
        places = torch.empty(self.sides[0] * self.sides[1], self.width)
        self.places = nn.Parameter(places.normal_(0.0, PLACES, generator=generator))

    def forward(
        self, x: Float[Tensor, "B channels rows columns"], lengths: Tensor | None = None
    ) -> tuple[Float[Tensor, "B P E"], Tensor]:
        """Places row by row from the top, and their mean; an image has no padding."""
        places = self.convolutions.read(x).flatten(2).transpose(1, 2) + self.places
        return places, places.mean(1)


class EncoderDecoder(nn.Module):
    """Reads an input of one kind, writes a text.

        memory = encoder(embedding(inputs))        logits_t = decoder(y_0 … y_{t-1}, memory)

    Args:
        shape: ``source``, as `unspool.models.fronts` says, with ``steps`` 1 for one vector that is
            read without positions; ``target``: ``size``, ``begin`` and ``end``; ``shared``, whether
            both have one vocabulary and one table of vectors.
        settings: of a recurrent stack, or of a transformer on both sides.
        cell: the equations of what reads, and of what writes where ``settings.decoder`` names no
            other; None for a transformer.
        generator: of the first weights; None is torch's global one.

    Attributes:
        embedding: from the tensors of a batch to a vector a step, or an image.
        encoder: a `Recurrent`, a `TransformerEncoder`, an `ImageGrid`, or None where there is one
            vector.
        decoder: a `RecurrentDecoder` or a `TransformerDecoder`.

    Raises:
        ConfigError: for settings that do not go together.

    Example:
        >>> from unspool.cells import CELLS
        >>> shape = {"source": {"kind": "tokens", "size": 9},
        ...          "target": {"size": 7, "begin": 5, "end": 6}, "shared": False}
        >>> settings = RecurrentSettings(hidden=4, bidirectional=True, decoder="lstm")
        >>> model = EncoderDecoder(shape, settings, CELLS["gru"])
        >>> inputs = {"tokens": torch.tensor([[1, 2, 3], [4, 5, 0]])}
        >>> model(inputs, torch.tensor([3, 2]), torch.tensor([[5, 0], [5, 1]])).shape
        torch.Size([2, 2, 7])
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: RecurrentSettings | TransformerSettings,
        cell: Cell | None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        source = shape["source"]
        self.encoder: nn.Module | None
        self.decoder: RecurrentDecoder | TransformerDecoder
        self.places: Positions | None = None  # of what a recurrent encoder reads
        if isinstance(settings, TransformerSettings):
            self.embedding = build_front(source, settings, None, generator)
            self.encoder = TransformerEncoder(self.embedding.width, settings, generator)
            width = self.encoder.width
            self.decoder = TransformerDecoder(shape["target"], settings, width, generator)
        else:
            self._build(shape, settings, cell, generator)
        self.forgets = Dropout(settings.token_dropout)
        if shape.get("shared"):
            _share(self, source)

    def _build(
        self,
        shape: Mapping[str, Any],
        settings: RecurrentSettings,
        cell: Cell | None,
        generator: torch.Generator | None,
    ) -> None:
        """The parts of a recurrent model."""
        source = shape["source"]
        if source["kind"] == "image":
            self.embedding = ImageFront(source, settings)
            self.encoder = ImageGrid(source, settings, generator)
            reads: Recurrent | int = self.encoder.width
            memory = self.encoder.width
        else:
            self.embedding = build_front(source, settings, cell, generator)
            if source.get("steps") == 1:
                self.encoder, reads, memory = None, self.embedding.width, 0
            else:
                if settings.positions != "none":
                    self.places = Positions(settings.positions, self.embedding.width)
                reads = build_encoder(source, self.embedding.width, settings, cell, generator)
                self.encoder, memory = reads, reads.hidden_size * reads.directions
        writes = find_cell(settings.decoder, "model.decoder") if settings.decoder else cell
        self.decoder = RecurrentDecoder(shape["target"], settings, writes, reads, memory, generator)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the inputs should be."""
        return self.decoder.weight.device

    @property
    def begin(self) -> int:
        """The token before every text."""
        return self.decoder.begin

    @property
    def end(self) -> int:
        """The token behind every text."""
        return self.decoder.end

    def encode(self, inputs: Inputs, lengths: Int64[Tensor, " B"] | None = None) -> Memory:
        """Read inputs.

        Args:
            inputs: tensors by name, batch first, padded at the end.
            lengths: true lengths, 1…S; None when all rows are full, and for images.

        Raises:
            ShapeError: for tensors or lengths that do not fit.
        """
        if lengths is not None and "image" not in inputs:
            first = next(iter(inputs.values()))
            check_lengths(lengths, len(first), first.shape[1], "EncoderDecoder")
        x, lengths = self.embedding(inputs, lengths)
        if self.encoder is None:
            rows = x if isinstance(x, Tensor) else x.rows()
            return self.decoder.remember(None, None, rows[:, 0])
        if isinstance(self.encoder, TransformerEncoder):
            outputs, _ = self.encoder(x if isinstance(x, Tensor) else x.rows(), lengths)
            mask = None if lengths is None else mask_of(lengths, outputs.shape[1])
            return self.decoder.remember(outputs, mask)
        if isinstance(self.encoder, ImageGrid):
            outputs, final = self.encoder(x)
            return self.decoder.remember(outputs, None, final)
        if self.places is not None:
            rows = x if isinstance(x, Tensor) else x.rows()
            x = self.places(rows, torch.arange(rows.shape[1], device=rows.device))
        outputs, final = self.encoder(x, lengths)
        steps = outputs.shape[1]
        whole = lengths is None or bool((lengths == steps).all())
        mask = None if whole else mask_of(lengths, steps)
        return self.decoder.remember(outputs, mask, final)

    def forward(
        self,
        inputs: Inputs,
        lengths: Int64[Tensor, " B"] | None,
        tokens: Int64[Tensor, "B U"],
        target_lengths: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B U V"]:
        """Scores of what follows each token of given texts (teacher forcing).

        While training, a share ``token_dropout`` of the given tokens is read as the one before
        every text, which says nothing: what comes next has to be found in the input.

        Args:
            inputs: tensors by name.
            lengths: true lengths of the inputs.
            tokens: of each text the beginning and all before the last.
            target_lengths: how many tokens of each are none of the padding; None reads all.

        Source:
            Bowman et al. (2016), Generating Sentences from a Continuous Space, section 3.1 (word
            dropout).
        """
        if self.forgets.active:
            known = self.forgets.mask(self.decoder.weight, *tokens.shape) > 0
            tokens = torch.where(known, tokens, self.begin)
        return self.decoder(tokens, self.encode(inputs, lengths), target_lengths)

    def start(self, memory: Memory) -> State:
        """The decoder's state before its first token."""
        return memory.start

    def step(
        self,
        tokens: Int64[Tensor, " R"],
        state: State,
        memory: Memory,
        weights: bool = False,
    ) -> tuple[Float[Tensor, "R V"], State, Float[Tensor, "R S"] | None]:
        """Read one more token of every text; see `RecurrentDecoder.step`."""
        return self.decoder.step(tokens, state, memory, weights)

    def stream(self, rows: int = 1) -> TextStream | EncoderDecoder:
        """The same step on weights that are packed once, for a search; without gradients.

        Args:
            rows: texts that will be followed at once.
        """
        if isinstance(self.decoder, TransformerDecoder):
            return self
        return TextStream(self.decoder, rows)


def build_encoder_decoder(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> EncoderDecoder:
    """The model of a family that writes a text for an input.

    Args:
        shape: ``source``, ``target`` and ``shared``, as `EncoderDecoder` says.
        settings: of a family.
        cell: the equations of a recurrent family.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for a family that cannot write.
    """
    if isinstance(settings, TransformerSettings):
        if shape["source"]["kind"] == "image":
            raise ConfigError(
                "model.name: 'transformer' writes for texts and numbers; for images use a cell, "
                "such as lstm or gru."
            )
    elif not isinstance(settings, RecurrentSettings) or cell is None:
        raise ConfigError(
            f"model.name: '{settings.name}' cannot write a text for an input; use transformer or a "
            "cell, such as lstm or gru."
        )
    return EncoderDecoder(shape, settings, cell, generator)


def _share(model: EncoderDecoder, source: Mapping[str, Any]) -> None:
    """One table of vectors for what is read and what is written."""
    own, other = model.decoder.weight, getattr(model.embedding, "weight", None)
    if source["kind"] != "tokens" or other is None or other.shape != own.shape:
        raise ConfigError(
            "target.shared: one vocabulary needs tokens of one kind on both sides, each with a "
            "vector as wide; leave it out."
        )
    model.embedding.weight = own


PLACES = 0.1  # deviation of the first vectors of the places of an image
