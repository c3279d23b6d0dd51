"""What stands before an encoder: each kind of input becomes a vector a step, or an image.

A shape says what the data is like, in plain values that JSON can hold:

| kind | the rest of the shape | tensors of a batch |
|---|---|---|
| tokens | size; width, frozen | tokens int64 ``[B T]`` |
| words | size, characters; width, frozen | tokens and characters int64 ``[B T K]``, 0 = none |
| numbers | size; categories (values of each) | numbers ``[B T D]``, categories int64 ``[B T M]`` |
| frames | size; stack (frames read as one step) | frames ``[B T F]`` |
| image | height, width, channels | image ``[B channels height width]`` |

What stands in the padding is never read: it may be anything, NaN too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.errors import ShapeError, choose
from unspool.layers.dropout import Dropout
from unspool.layers.embedding import CharacterEncoder, category_width, fill_table, table
from unspool.layers.pooling import blank
from unspool.models.settings import (
    ModelSettings,
    RecurrentSettings,
    SequenceSettings,
    TransformerSettings,
)
from unspool.models.strided_front import StridedFront
from unspool.shapes import mask_of

Inputs = Mapping[str, Tensor]
Read = tuple[Tensor | Lookup, Tensor | None]


class TokenFront(nn.Module):
    """A vector for every token.

    Args:
        shape: ``size`` tokens; ``width`` of the vectors, else the settings say; ``frozen`` vectors
            are not trained.
        settings: of the model.
        cell: not looked at.
        generator: of the first vectors.

    Attributes:
        width: features of a step, D.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: SequenceSettings,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.width = _token_width(shape, settings)
        self.weight = table(shape["size"], self.width, generator)
        self.weight.requires_grad_(not shape.get("frozen", False))
        self.dropout = Dropout(settings.dropout)

    def load_vectors(self, vectors: Tensor) -> int:
        """Start from vectors learnt elsewhere; see `unspool.layers.embedding.fill_table`."""
        return fill_table(self.weight, vectors)

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """The tokens, looked up here or, where nothing is done to them, by the encoder."""
        look = Lookup(self.weight, _tokens(inputs, lengths))
        return (self.dropout(look.rows()) if self.dropout.active else look), lengths


class WordFront(nn.Module):
    """A vector for every word, and beside it one from its characters.

    Args:
        shape: ``size`` words, so many ``characters`` with the filler 0; ``width`` and ``frozen``
            as for tokens.
        settings: of the model; they name what reads the characters.
        cell: what a recurrent reader of characters computes.
        generator: of the first weights.

    Attributes:
        width: features of a step, D.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: SequenceSettings,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        width = _token_width(shape, settings)
        self.weight = table(shape["size"], width, generator)
        self.weight.requires_grad_(not shape.get("frozen", False))
        self.characters = None
        if settings.characters != "none":
            self.characters = CharacterEncoder(
                shape["characters"], settings.character_hidden, settings.characters, cell, generator
            )
            width += self.characters.width
        self.width = width
        self.dropout = Dropout(settings.dropout)

    def load_vectors(self, vectors: Tensor) -> int:
        """Start from vectors learnt elsewhere; see `unspool.layers.embedding.fill_table`."""
        return fill_table(self.weight, vectors)

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """Both vectors of every word, side by side."""
        x = F.embedding(_tokens(inputs, lengths), self.weight)
        if self.characters is not None:
            spelt = self.characters(_input(inputs, "characters", 3), lengths)
            x = torch.cat([x, spelt], -1)
        return self.dropout(x), lengths


class NumberFront(nn.Module):
    """Numbers as they are, and beside them a vector for every category.

    Args:
        shape: ``size`` numbers a step; ``categories``, the number of values of each column of them.
        settings: not looked at.
        cell: not looked at.
        generator: of the first vectors.

    Attributes:
        width: features of a step, D.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: ModelSettings | None = None,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = shape.get("categories", ())
        self.tables = nn.ParameterList(
            table(size, category_width(size), generator) for size in sizes
        )
        self.size = shape["size"]
        self.width = self.size + sum(category_width(size) for size in sizes)

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """Numbers and vectors of categories, side by side; the encoder leaves out the padding."""
        found = []
        if self.size:
            found.append(_sized(inputs, "numbers", self.size))
        if len(self.tables):
            categories = _input(inputs, "categories", 3)
            if lengths is not None:
                mask = mask_of(lengths, categories.shape[1])[..., None]
                categories = torch.where(mask, categories, 0)
            found += [
                F.embedding(categories[..., column], weight)
                for column, weight in enumerate(self.tables)
            ]
        return torch.cat(found, -1), lengths


class FrameFront(nn.Module):
    """Frames of sound or video, several of them read as one step where the shape says so.

    Args:
        shape: ``size`` values a frame; ``stack``, frames of a step, 1 if left out.
        settings: not looked at.
        cell: not looked at.
        generator: not looked at.

    Attributes:
        width: features of a step, D.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: ModelSettings | None = None,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.size, self.stack = shape["size"], shape.get("stack", 1)
        self.width = self.size * self.stack

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """The frames; where they are stacked, a last step that is not full ends in zeros."""
        x = _sized(inputs, "frames", self.size)
        if self.stack == 1:
            return x, lengths
        x = blank(x, lengths)
        B, T, _ = x.shape
        steps = -(-T // self.stack)
        x = F.pad(x, (0, 0, 0, steps * self.stack - T)).reshape(B, steps, self.width)
        return x, self.output_lengths(lengths)

    def output_lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Steps that so many frames make."""
        return None if lengths is None else -(-lengths // self.stack)


class RowFront(nn.Module):
    """An image as a sequence of its rows, from the top.

    Args:
        shape: ``height``, ``width`` and ``channels``.
        settings: not looked at.
        cell: not looked at.
        generator: not looked at.

    Attributes:
        width: features of a step: of all channels one row.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: ModelSettings | None = None,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape = _image_shape(shape)
        self.width = shape["width"] * shape["channels"]

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """A row a step; images have no padding, so lengths mean nothing."""
        image = _image(inputs, self.shape)
        return image.permute(0, 2, 3, 1).flatten(2), None


class ImageFront(nn.Module):
    """An image as it is.

    Args:
        shape: ``height``, ``width`` and ``channels``.
        settings: not looked at.
        cell: not looked at.
        generator: not looked at.

    Attributes:
        width: values of an image.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        settings: ModelSettings | None = None,
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape = _image_shape(shape)
        self.width = shape["channels"] * shape["height"] * shape["width"]

    def forward(self, inputs: Inputs, lengths: Tensor | None) -> Read:
        """The image; it has no padding, so lengths mean nothing."""
        return _image(inputs, self.shape), None


def build_front(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None,
) -> nn.Module:
    """What a kind of input needs; recurrent models read an image row by row.

    So do transformers, unless convolutions make their steps.

    Raises:
        ConfigError: for a kind that is not in the table, or settings it cannot have.

    Example:
        >>> shape = {"kind": "image", "height": 28, "width": 20, "channels": 3}
        >>> build_front(shape, RecurrentSettings(), None, None).width
        60
    """
    front = choose(shape["kind"], FRONTS, "shape.kind")
    if isinstance(settings, TransformerSettings) and settings.convolutions:
        inner = front(shape, settings, cell, generator)
        return StridedFront(inner, shape, settings, generator)
    if front is ImageFront and isinstance(settings, RecurrentSettings | TransformerSettings):
        front = RowFront
    return front(shape, settings, cell, generator)


def _token_width(shape: Mapping[str, Any], settings: SequenceSettings) -> int:
    return shape.get("width") or settings.width


def _input(inputs: Inputs, name: str, axes: int) -> Tensor:
    """One tensor of a batch, with as many axes as it should have."""
    if name not in inputs:
        raise ShapeError(
            f"SequenceModel: there is no input '{name}' among {', '.join(inputs) or 'none'}."
        )
    if inputs[name].dim() != axes:
        raise ShapeError(
            f"SequenceModel: '{name}' is {list(inputs[name].shape)}; wanted {axes} axes."
        )
    return inputs[name]


def _sized(inputs: Inputs, name: str, size: int) -> Tensor:
    """Features of every step, as many as the shape said."""
    found = _input(inputs, name, 3)
    if found.shape[2] != size:
        raise ShapeError(
            f"SequenceModel: '{name}' has {found.shape[2]} values a step; the model reads {size}."
        )
    return found


def _tokens(inputs: Inputs, lengths: Tensor | None) -> Tensor:
    """Token ids, 0 in the padding."""
    tokens = _input(inputs, "tokens", 2)
    if lengths is None:
        return tokens
    return torch.where(mask_of(lengths, tokens.shape[1]), tokens, 0)


def _image_shape(shape: Mapping[str, Any]) -> tuple[int, int, int]:
    return shape["channels"], shape["height"], shape["width"]


def _image(inputs: Inputs, shape: tuple[int, int, int]) -> Tensor:
    image = _input(inputs, "image", 4)
    if tuple(image.shape[1:]) != shape:
        raise ShapeError(
            f"SequenceModel: the images are {list(image.shape[1:])}; the model reads "
            f"{list(shape)}: channels, height, width."
        )
    return image


FRONTS = {
    "tokens": TokenFront,
    "words": WordFront,
    "numbers": NumberFront,
    "frames": FrameFront,
    "image": ImageFront,
}
