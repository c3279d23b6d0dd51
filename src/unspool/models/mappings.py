"""The five mappings of the lectures as masks over the inputs and outputs of one recurrent core.

A core always reads something and gives something at every step. Which of the inputs are there and
which of the outputs are used makes the difference; the rest is removed:

| mapping | inputs | outputs | such as |
|---|---|---|---|
| one to one | ``x`` | ``y`` | an image and its class |
| one to many | ``x . . .`` | ``y y y y`` | an image and its caption |
| many to one | ``x x x x`` | ``. . . y`` | a review and its stars |
| many to many, synced | ``x x x x`` | ``y y y y`` | words and their tags |
| many to many | ``x x x . .`` | ``. . y y y`` | a sentence and its translation |

`unspool.models.sequence_model.SequenceModel` serves those whose output is no sequence of its own:
``one`` with a cell of one direction and pooling ``last`` is many to one, ``each`` is synced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unspool.errors import ConfigError, choose
from unspool.layers.recurrent import Recurrent


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which steps of a core read and which give.

    Attributes:
        reads: True where there is an input, bool ``[T]``.
        gives: True where the output is used, bool ``[T]``.
    """

    reads: Bool[Tensor, " T"]
    gives: Bool[Tensor, " T"]


def masks(name: str, inputs: int, outputs: int) -> Mapping:
    """The masks of a mapping.

    Args:
        name: a key of `MAPPINGS`.
        inputs: number of inputs.
        outputs: number of outputs.

    Raises:
        ConfigError: if there is no such mapping, or it does not go with these numbers.

    Example:
        >>> masks("many to one", 3, 1).gives.tolist()
        [False, False, True]
        >>> masks("many to many", 3, 3).reads.tolist()
        [True, True, True, False, False]
    """
    fits = choose(name, MAPPINGS, "mapping")
    if inputs < 1 or outputs < 1 or not fits(inputs, outputs):
        raise ConfigError(f"mapping: '{name}' does not go with {inputs} inputs, {outputs} outputs.")
    steps = inputs if name == "many to many, synced" else inputs + outputs - 1
    step = torch.arange(steps)
    return Mapping(reads=step < inputs, gives=step >= steps - outputs)


def apply_mapping(
    core: Recurrent, x: Float[Tensor, "B S D"], name: str, outputs: int
) -> Float[Tensor, "B U H"]:
    """Run a core over a mapping: where there is no input it reads zeros.

    Args:
        core: of one direction.
        x: the inputs that there are.
        name: a key of `MAPPINGS`.
        outputs: how many to give, U.

    Raises:
        ConfigError: as `masks` does.

    Example:
        >>> core = Recurrent("rnn", input_size=3, hidden_size=5)
        >>> apply_mapping(core, torch.zeros(2, 1, 3), "one to many", 4).shape
        torch.Size([2, 4, 5])
    """
    mapping = masks(name, x.shape[1], outputs)
    read = x.new_zeros(len(x), len(mapping.reads), x.shape[2])
    read[:, mapping.reads] = x
    return core(read)[0][:, mapping.gives]


# By name, which numbers of inputs and outputs go together.
MAPPINGS = {
    "one to one": lambda inputs, outputs: inputs == outputs == 1,
    "one to many": lambda inputs, outputs: inputs == 1,
    "many to one": lambda inputs, outputs: outputs == 1,
    "many to many, synced": lambda inputs, outputs: inputs == outputs,
    "many to many": lambda inputs, outputs: True,
}
