"""Shapes, parameters, memory and cost of a network, derived line by line; without torch.

A network is written as its layers with ``>`` in between:

    conv 6 5x5 > relu > maxpool 2x2 > flatten > dense 10
    embedding 64 > lstm 64 bidirectional > last > dense 3

| layer | reads | gives |
|---|---|---|
| ``conv MAPS KxK [stride S] [same or pad P] [unbiased]`` | image | image |
| ``conv MAPS K …`` | steps | steps |
| ``maxpool KxK [stride S]`` | image | image |
| ``CELL UNITS [bidirectional]`` | steps | steps; any cell of `unspool cells` |
| ``last``, ``mean``, ``max`` | steps | one vector |
| ``flatten`` | image or steps | one vector |
| ``embedding WIDTH`` | tokens | steps |
| ``positions STEPS`` | steps | steps; a learned vector for each is added |
| ``transformer HEADS [units U] [unbiased]`` | steps | steps; one block, U is 4 times the width |
| ``norm [unbiased]`` | vector or steps | the same, normalised |
| ``dense UNITS [unbiased]`` | vector or steps | the same; of steps each one |
| ``relu``, ``tanh``, ``sigmoid``, ``softmax``, ``dropout`` | anything | the same |

A convolution pads nothing and moves on by one place unless it says so; pooling moves on by its own
size. An input is ``200x300x3`` (rows, columns, channels), ``50x100`` (steps, features; ``Tx100``
leaves the steps open), ``T of 30000`` (tokens) or ``784`` (a vector).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unspool.errors import ConfigError, choose
from unspool.models.layer_counts import CONVENTIONS, Line, Shape, count_layer

BYTES = 4  # of a float32


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a network is made of, layer by layer.

    Attributes:
        network: as it was written.
        input: shape of an example.
        convention: whose biases were counted, a key of `CONVENTIONS`.
        lines: one a layer.
    """

    network: str
    input: Shape
    convention: str
    lines: tuple[Line, ...]

    @property
    def parameters(self) -> int:
        """Weights and biases of all layers."""
        return sum(line.parameters for line in self.lines)

    @property
    def parameter_bytes(self) -> int:
        """Memory of the parameters in float32."""
        return BYTES * self.parameters

    @property
    def activation_bytes(self) -> int:
        """Memory of all layers' outputs for one example (one step, if steps are open)."""
        return BYTES * sum(line.output.values for line in self.lines)

    @property
    def cost(self) -> int:
        """Multiply-adds of one example (with one step, if steps are open)."""
        return sum(line.cost for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {
            "network": self.network,
            "input": str(self.input),
            "convention": self.convention,
            "lines": [
                {
                    "layer": line.layer,
                    "output": str(line.output),
                    "parameters": line.parameters,
                    "how": line.how,
                    "multiply_adds": line.cost,
                    "multiply_adds_how": line.cost_how,
                }
                for line in self.lines
            ],
            "per_step": self.input.open,
            "parameters": self.parameters,
            "parameter_bytes": self.parameter_bytes,
            "activation_bytes": self.activation_bytes,
            "multiply_adds": self.cost,
        }


def count(network: str, input: str, convention: str = "unspool") -> Derivation:
    """Derive shapes, parameters and cost of a network.

    Args:
        network: layers with ``>`` in between, as this module says.
        input: what one example is, as this module says.
        convention: whose biases of recurrent layers to count, a key of `CONVENTIONS`.

    Raises:
        ConfigError: for a word that is not in a table, or a number that is missing.
        ShapeError: for a layer that cannot read what the one before gives.

    Example:
        >>> derivation = count("conv 100 3x3 stride 2 same", "200x300x3")
        >>> derivation.lines[0].how, str(derivation.lines[0].output)
        ('(3·3·3 + 1)·100 = 28·100', '100×150×100')
        >>> derivation.parameters
        2800
    """
    choose(convention, CONVENTIONS, "convention")
    start = read_input(input)
    shape, lines = start, []
    for text in network.split(">"):
        words = text.split()
        if not words:
            raise ConfigError(f"count: '{network}' has an empty layer; wanted one between two '>'.")
        line = count_layer(words, shape, convention)
        lines.append(line)
        shape = line.output
    return Derivation(" > ".join(line.layer for line in lines), start, convention, tuple(lines))


def read_input(text: str) -> Shape:
    """The shape of an example from its text.

    Raises:
        ConfigError: if it is none of the forms.

    Example:
        >>> read_input("28x28x1").kind, read_input("Tx100").kind, read_input("9 of 65").sizes
        ('image', 'steps', (9, 65))
    """
    found = re.fullmatch(r"(T|\d+) of (\d+)", text.strip())
    if found:
        return Shape("tokens", (int(found[1].replace("T", "0")), int(found[2])))
    parts = re.split(r"[x×]", text.strip())
    kinds = {1: "vector", 2: "steps", 3: "image"}
    is_open = len(parts) == 2 and parts[0] == "T"
    numbers = ["0", parts[1]] if is_open else parts
    if len(parts) not in kinds or not all(re.fullmatch(r"\d+", part) for part in numbers):
        raise ConfigError(
            f"--input: got '{text}'; wanted rows x columns x channels as in 28x28x1, steps x "
            "features as in 50x100 or Tx100, tokens as in 'T of 30000', or one number."
        )
    sizes = tuple(int(part) for part in numbers)
    if 0 in sizes[is_open:]:
        raise ConfigError(f"--input: got '{text}'; wanted no zero in it.")
    return Shape(kinds[len(parts)], sizes)


def recurrent_network(
    cell: str,
    hidden: int,
    layers: int = 1,
    bidirectional: bool = False,
    dense: Sequence[int] = (),
    pooling: str = "",
) -> str:
    """The text of a recurrent stack with dense layers behind it.

    Args:
        cell: a name of `CELLS`.
        hidden: units of each layer and direction.
        layers: recurrent layers.
        bidirectional: read from the end as well.
        dense: units of each dense layer.
        pooling: last, mean or max; empty keeps every step.

    Example:
        >>> recurrent_network("lstm", 64, 2, True, [64, 1])
        'lstm 64 bidirectional > lstm 64 bidirectional > dense 64 > dense 1'
    """
    stack = [f"{cell} {hidden}" + " bidirectional" * bidirectional] * layers
    return " > ".join([*stack, *[pooling] * bool(pooling), *(f"dense {units}" for units in dense)])
