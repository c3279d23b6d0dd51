"""What a model is made of, a dataclass for each family; importable without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unspool.errors import ConfigError, unknown

POOLINGS = ("last", "mean", "max", "attention")
CHARACTERS = ("none", "rnn", "cnn")


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
        tie: use the embedding's matrix for the output as well; needs ``embedding`` = ``hidden``.
        learn_initial_state: make the state before the first step a parameter.
        initialisation: a key of `unspool.layers.initialisation.INITIALISATIONS`.
        forget_bias: where the biases of forget gates start.
        options: settings of the cell itself, such as ``activation = "relu"``.
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
    tie: bool = False
    learn_initial_state: bool = False
    initialisation: str = "orthogonal"
    forget_bias: float = 1.0
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [*_misfits(self)]
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
        pooling: how one vector is made of all steps where one is wanted: last, mean, max, or
            attention, a mean with learnt weights; images are always read whole.
        characters: what reads the characters of words, beside their vectors: none, rnn or cnn.
        character_hidden: units of what reads the characters.

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
    pooling: str = "max"
    characters: str = "cnn"
    character_hidden: int = 32

    def __post_init__(self) -> None:
        problems = [*_misfits(self)]
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

    def __post_init__(self) -> None:
        problems = [*_misfits(self, (*POOLINGS, "flatten"))]
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
        problems = [*_misfits(self)]
        if problems:
            raise ConfigError(" ".join(problems))


def settings_class(name: str) -> type:
    """The settings of a family of models by its name; a cell's are the recurrent ones.

    Example:
        >>> settings_class("cnn").__name__, settings_class("gru").__name__
        ('ConvolutionSettings', 'RecurrentSettings')
    """
    return MODEL_SETTINGS.get(name, RecurrentSettings)


def set_apart(settings: RecurrentSettings, names: tuple[str, ...]) -> list[str]:
    """Which of the named fields differ from their defaults, for a model that has no use for them.

    Example:
        >>> set_apart(RecurrentSettings(bidirectional=True), ("bidirectional", "pooling"))
        ['bidirectional']
    """
    default = RecurrentSettings()
    return [name for name in names if getattr(settings, name) != getattr(default, name)]


def _misfits(settings: Any, poolings: tuple[str, ...] = POOLINGS) -> Iterator[str]:
    """One sentence for each field whose value cannot be."""
    for name, (least, most) in WHOLE_NUMBERS.items():
        value = getattr(settings, name, least)
        if not least <= value <= most:
            wanted = ZERO[name].format(most=most) if name in ZERO else f"{least} to {most}"
            number = "" if name in ZERO else "a whole number from "
            yield f"model.{name}: got {value}; wanted {number}{wanted}."
    for name in ("dropout", "recurrent_dropout"):
        value = getattr(settings, name, 0.0)
        if not 0.0 <= value < 1.0:
            yield f"model.{name}: got {value}; wanted 0 ≤ share < 1."
    for name, table in (("pooling", poolings), ("characters", CHARACTERS)):
        value = getattr(settings, name, table[0])
        if value not in table:
            yield unknown(f"model.{name}", value, table)


# The least and the most of what is counted, and what a 0 means where it has a meaning.
WHOLE_NUMBERS = {
    "hidden": (1, 65536),
    "layers": (1, 256),
    "embedding": (0, 65536),
    "character_hidden": (1, 65536),
    "kernel": (1, 1024),
    "dilation": (1, 64),
    "pool": (0, 64),
    "pool_every": (1, 256),
    "dense": (0, 65536),
    "first_maps": (1, 65536),
    "second_maps": (1, 65536),
    "first_dense": (1, 65536),
    "second_dense": (1, 65536),
}
ZERO = {
    "embedding": "0 (as hidden) to {most}",
    "pool": "0 (2 for images, 1 for sequences) to {most}",
    "dense": "0 (none) to {most}",
}

SequenceSettings = RecurrentSettings | ConvolutionSettings | PerceptronSettings
ModelSettings = SequenceSettings | LeNetSettings
# Families that are not a cell.
MODEL_SETTINGS: Mapping[str, type] = {
    "cnn": ConvolutionSettings,
    "mlp": PerceptronSettings,
    "lenet": LeNetSettings,
}
