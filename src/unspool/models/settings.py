"""What a recurrent model is made of; importable without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from unspool.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentSettings:
    """The embedding, the recurrent stack and the output layer of a model.

    Attributes:
        name: a cell of `unspool.cells.CELLS`, or ``my_file.py:name``.
        hidden: units of each recurrent layer, H.
        layers: recurrent layers, one on top of the other.
        embedding: width of the token vectors, D; 0 takes ``hidden``.
        dropout: share of values zeroed between layers and before the output, 0…1.
        recurrent_dropout: share of state values zeroed on their way into the recurrent product, the
            same ones at every step of a sequence.
        residual: add each layer's input to its output, from the second layer on.
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
    tie: bool = False
    learn_initial_state: bool = False
    initialisation: str = "orthogonal"
    forget_bias: float = 1.0
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [
            f"model.{name}: got {getattr(self, name)}; wanted a whole number from 1 to {most}."
            for name, most in (("hidden", 65536), ("layers", 256))
            if not 1 <= getattr(self, name) <= most
        ]
        if not 0 <= self.embedding <= 65536:
            problems.append(
                f"model.embedding: got {self.embedding}; wanted 0 (as hidden) to 65536."
            )
        for name in ("dropout", "recurrent_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                problems.append(f"model.{name}: got {getattr(self, name)}; wanted 0 ≤ share < 1.")
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
