"""What a model is made of, a dataclass for each family; importable without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unspool.errors import ConfigError, unknown
from unspool.models.setting_bounds import (
    POOLINGS,
    RECURRENT_TABLES,
    TRANSFORMER_TABLES,
    head_misfits,
    misfits,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentSettings:
    """The embedding, the recurrent stack and the output layer of a model.

    Attributes:
        name: a cell of `unspool.cells.CELLS`, or ``my_file.py:name``.
        hidden: units of each recurrent layer, H.
        layers: recurrent layers, one on top of the other.
        embedding: width of the token vectors, D; 0 takes ``hidden``.
        dropout: share of values zeroed between layers and before the output, 0…1; a model of
            labelled sequences also zeroes so many of its embedded tokens.
        recurrent_dropout: share of state values zeroed on their way into the recurrent product, the
            same ones at every step of a sequence.
        residual: add each layer's input to its output, from the second layer on.
        bidirectional: read the sequence from its end as well.
        pooling: how one vector is made of all steps where one is wanted: last, mean, max, or
            attention, a mean with learnt weights.
        characters: what reads the characters of words, beside their vectors: none, rnn or cnn.
        character_hidden: units of what reads the characters.
        crf: let the label of a step depend on the one before; auto does so where labels mark spans.
        tie: use the embedding's matrix for the output as well; needs ``embedding`` = ``hidden``.
        learn_initial_state: make the state before the first step a parameter.
        initialisation: a key of `unspool.layers.initialisation.INITIALISATIONS`.
        forget_bias: where the biases of forget gates start.
        options: settings of the cell itself, such as ``activation = "relu"``.
        score: how a model that writes a text for an input finds where to look: none, additive,
            dot, general, scaled_dot or multi_head.
        attends: late, after the recurrence; feeding, which also reads at each step what was found
            at the one before; or inside, which looks before the recurrence reads.
        attention_heads: of multi_head, a divisor of the units of what writes.
        positions: of a model that writes a text for an input: sinusoidal adds to every token that
            is read, on either side, where it stands; none leaves that to the recurrence.
        decoder: cell of what writes a text for an input; left out, that of what reads.
        decoder_hidden: units of what writes; 0 takes ``hidden``.
        decoder_layers: recurrent layers of what writes; 0 takes ``layers``.
        token_dropout: share of the tokens before that a model which writes a text for an input
            reads as unknown while training, 0…1.
        image_layers: halvings of an image that a text is written for, each behind two convolutions.
        image_maps: feature maps of the first of them; twice as many after each pooling.
    """

    name: str = "lstm"
    hidden: int = 384
    layers: int = 1
    embedding: int = 0
    dropout: float = 0.2
    recurrent_dropout: float = 0.0
    residual: bool = False
    bidirectional: bool = False
    pooling: str = "last"
    characters: str = "rnn"
    character_hidden: int = 32
    crf: str = "auto"
    tie: bool = False
    learn_initial_state: bool = False
    initialisation: str = "orthogonal"
    forget_bias: float = 1.0
    options: dict[str, str] = field(default_factory=dict)
    score: str = "general"
    attends: str = "late"
    attention_heads: int = 4
    positions: str = "none"
    decoder: str = ""
    decoder_hidden: int = 0
    decoder_layers: int = 0
    token_dropout: float = 0.0
    image_layers: int = 3
    image_maps: int = 32

    def __post_init__(self) -> None:
        problems = [*misfits(self)]
        for name, table in RECURRENT_TABLES.items():
            if getattr(self, name) not in table:
                problems.append(unknown(f"model.{name}", getattr(self, name), table))
        if self.score == "none" and self.attends != "late":
            problems.append(
                f"model.attends: '{self.attends}' says where to look, and model.score is none."
            )
        if self.tie and self.embedding not in (0, self.hidden):
            problems.append(
                f"model.tie: embedding is {self.embedding} wide and hidden {self.hidden}; "
                "tied weights need both the same."
            )
        if not math.isfinite(self.forget_bias):
            problems.append(f"model.forget_bias: got {self.forget_bias}; wanted a finite number.")
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def width(self) -> int:
        """Width of the token vectors."""
        return self.embedding or self.hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolutionSettings:
    """A stack of convolutions: over time for sequences, over both axes for images.

    Attributes:
        name: ``cnn``.
        hidden: feature maps of the first layer; for images twice as many after each pooling.
        layers: convolutions, one on top of the other.
        kernel: steps, or pixels on a side, that a filter covers.
        dilation: each layer reads so many times as far apart as the one below; 1 reads neighbours.
        pool: steps, or pixels on a side, whose maximum is kept; 1 pools nothing, 0 takes 2 for
            images and 1 for sequences.
        pool_every: convolutions before each pooling.
        dense: units of a dense layer before the output; 0 has none.
        embedding: width of the token vectors, D; 0 takes ``hidden``.
        dropout: share of values zeroed between layers and before the output, 0…1; a model of
            labelled sequences also zeroes so many of its embedded tokens.
        residual: add each layer's input to its output, wherever both are equally large.
        batch_norm: bring each map of images to mean 0 and deviation 1 over a training batch, then
            scale and move it as is learnt; images only.
        pooling: how one vector is made of all steps where one is wanted: last, mean, max, or
            attention, a mean with learnt weights; images are always read whole.
        characters: what reads the characters of words, beside their vectors: none, rnn or cnn.
        character_hidden: units of what reads the characters.
        crf: let the label of a step depend on the one before; auto does so where labels mark spans.

    Example:
        >>> ConvolutionSettings(hidden=32, kernel=5).width
        32
    """

    name: str = "cnn"
    hidden: int = 64
    layers: int = 2
    kernel: int = 3
    dilation: int = 1
    pool: int = 0
    pool_every: int = 1
    dense: int = 0
    embedding: int = 0
    dropout: float = 0.2
    residual: bool = False
    batch_norm: bool = False
    pooling: str = "max"
    characters: str = "cnn"
    character_hidden: int = 32
    crf: str = "auto"

    def __post_init__(self) -> None:
        problems = [*misfits(self)]
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def width(self) -> int:
        """Width of the token vectors."""
        return self.embedding or self.hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class PerceptronSettings:
    """Dense layers: the same at every step of a sequence, or over a whole image or window.

    Attributes:
        name: ``mlp``.
        hidden: units of each layer.
        layers: hidden layers, one on top of the other.
        embedding: width of the token vectors, D; 0 takes ``hidden``.
        dropout: share of values zeroed between layers and before the output, 0…1; a model of
            labelled sequences also zeroes so many of its embedded tokens.
        residual: add each layer's input to its output, from the second layer on.
        pooling: how one vector is made of all steps where one is wanted: last, mean, max,
            attention, a mean with learnt weights; or flatten, which reads all steps of a window of
            fixed length at once.
        characters: what reads the characters of words, beside their vectors: none, rnn or cnn.
        character_hidden: units of what reads the characters.
        crf: let the label of a step depend on the one before; auto does so where labels mark spans.

    Example:
        >>> PerceptronSettings(hidden=100, layers=1).pooling
        'mean'
    """

    name: str = "mlp"
    hidden: int = 128
    layers: int = 2
    embedding: int = 0
    dropout: float = 0.2
    residual: bool = False
    pooling: str = "mean"
    characters: str = "cnn"
    character_hidden: int = 32
    crf: str = "auto"

    def __post_init__(self) -> None:
        problems = [*misfits(self, (*POOLINGS, "flatten"))]
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def width(self) -> int:
        """Width of the token vectors."""
        return self.embedding or self.hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class LeNetSettings:
    """LeNet-5: two convolutions of 5×5, each with 2×2 pooling, and three dense layers.

    The lecture leaves the widths open, so they are named here; the defaults are those of LeNet-5.

    Attributes:
        name: ``lenet``.
        first_maps: feature maps of the first convolution.
        second_maps: feature maps of the second.
        first_dense: units of the first dense layer.
        second_dense: units of the second.
        dropout: share of values zeroed between the dense layers, 0…1.

    Source:
        LeCun, Bottou, Bengio and Haffner (1998), section II.B.

    Example:
        >>> LeNetSettings(first_maps=20).second_maps
        16
    """

    name: str = "lenet"
    first_maps: int = 6
    second_maps: int = 16
    first_dense: int = 120
    second_dense: int = 84
    dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = [*misfits(self)]
        if problems:
            raise ConfigError(" ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerSettings:
    """Blocks of attention and a small network at every step, one on top of the other.

    Attributes:
        name: ``transformer``.
        hidden: features of a step, D.
        layers: blocks, one on top of the other.
        heads: of attention, N; each sees D / N features.
        key_heads: heads of keys and values, each shared by some of the queries'; 0 has as many as
            ``heads``, 1 is multi-query attention.
        feed_forward: units of the network at every step; 0 takes 4 · ``hidden``, and for swiglu
            two thirds of that, which has as many weights.
        positions: how a step knows its place: rotary, sinusoidal, learned or none.
        context: steps that learned positions are for; 0 takes ``train.length`` where a text is
            read in windows.
        norm: ``pre`` normalises what a block reads, ``post`` what it gives.
        activation: of the network at every step: gelu, gelu_tanh, relu or swiglu.
        attention: full; window, which sees the last ``window`` steps; or linear, whose cost does
            not grow with the steps before.
        window: steps that a step sees, itself included, where ``attention`` is window; a model that
            reads both ways sees as many to its right.
        bidirectional: let a step see those after it as well.
        convolutions: of stride 2 before the blocks, for images and sounds: each halves both sides,
            or the steps; 0 reads an image row by row, and every frame as a step.
        embedding: width of the token vectors; 0 takes ``hidden``, another is projected.
        dropout: share of values zeroed in each block and after the positions, 0…1; a model of
            labelled sequences also zeroes so many of its embedded tokens.
        tie: use the embedding's matrix for the output as well; needs ``embedding`` = ``hidden``.
        biases: add one after every product, and shift in every norm.
        pooling: how one vector is made of all steps where one is wanted: last, mean, max, or
            attention, a mean with learnt weights.
        characters: what reads the characters of words, beside their vectors: none or cnn.
        character_hidden: units of what reads the characters.
        crf: let the label of a step depend on the one before; auto does so where labels mark spans.
        token_dropout: share of the tokens before that a model which writes a text for an input
            reads as unknown while training, 0…1.

    Source:
        Vaswani et al. (2017); SYLLABUS I1 to I10.

    Example:
        >>> TransformerSettings(hidden=48, activation="swiglu").units
        128
    """

    name: str = "transformer"
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    key_heads: int = 0
    feed_forward: int = 0
    positions: str = "rotary"
    context: int = 0
    norm: str = "pre"
    activation: str = "gelu"
    attention: str = "full"
    window: int = 64
    bidirectional: bool = False
    convolutions: int = 0
    embedding: int = 0
    dropout: float = 0.1
    tie: bool = False
    biases: bool = True
    pooling: str = "mean"
    characters: str = "cnn"
    character_hidden: int = 32
    crf: str = "auto"
    token_dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = [*misfits(self), *head_misfits(self)]
        for name, table in TRANSFORMER_TABLES.items():
            if getattr(self, name) not in table:
                problems.append(unknown(f"model.{name}", getattr(self, name), table))
        if self.tie and self.embedding not in (0, self.hidden):
            problems.append(
                f"model.tie: embedding is {self.embedding} wide and hidden {self.hidden}; "
                "tied weights need both the same."
            )
        if self.characters == "rnn":
            problems.append("model.characters: a transformer has no cell for 'rnn'; use cnn.")
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def width(self) -> int:
        """Width of the token vectors."""
        return self.embedding or self.hidden

    @property
    def units(self) -> int:
        """Units of the network at every step."""
        if self.feed_forward:
            return self.feed_forward
        return 8 * self.hidden // 3 if self.activation == "swiglu" else 4 * self.hidden


def settings_class(name: str) -> type:
    """The settings of a family of models by its name; a cell's are the recurrent ones.

    Example:
        >>> settings_class("cnn").__name__, settings_class("gru").__name__
        ('ConvolutionSettings', 'RecurrentSettings')
    """
    return MODEL_SETTINGS.get(name, RecurrentSettings)


def set_apart(settings: Any, names: tuple[str, ...]) -> list[str]:
    """Which of the named fields differ from their defaults, for a model that has no use for them.

    Example:
        >>> set_apart(RecurrentSettings(bidirectional=True), ("bidirectional", "pooling"))
        ['bidirectional']
    """
    default = type(settings)()
    return [name for name in names if getattr(settings, name) != getattr(default, name)]


def only_writing(settings: Any) -> tuple[str, ...]:
    """The fields that only a model which writes a text for an input has a use for.

    Example:
        >>> only_writing(TransformerSettings()), only_writing(ConvolutionSettings())
        (('token_dropout',), ())
    """
    return WRITING.get(type(settings), ())


# Fields that only a model which writes a text for an input has a use for, by the settings' class.
WRITING: Mapping[type, tuple[str, ...]] = {
    RecurrentSettings: (
        "score", "attends", "attention_heads", "positions", "decoder", "decoder_hidden",
        "decoder_layers", "token_dropout", "image_layers", "image_maps",
    ),
    TransformerSettings: ("token_dropout",),
}  # fmt: skip

SequenceSettings = (
    RecurrentSettings | TransformerSettings | ConvolutionSettings | PerceptronSettings
)
ModelSettings = SequenceSettings | LeNetSettings
# Families that are not a cell.
MODEL_SETTINGS: Mapping[str, type] = {
    "transformer": TransformerSettings,
    "cnn": ConvolutionSettings,
    "mlp": PerceptronSettings,
    "lenet": LeNetSettings,
}
