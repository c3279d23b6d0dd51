"""The lectures' networks by name, with the choices of their exercises; without torch."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import choose
from unspool.models.count import Derivation, count


@dataclass(frozen=True, slots=True)
class Choice:
    """A number that an exercise offers.

    Attributes:
        value: the number.
        how: the arithmetic that leads to it.
        why: what is right or wrong about it.
    """

    value: int
    how: str
    why: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """A network that a lecture counts.

    Attributes:
        network: its layers, as `unspool.models.count` reads them.
        input: shape of one example.
        convention: whose biases are counted.
        about: what it is.
        answer: the choice that is right, where there are any.
        choices: by letter.
    """

    network: str
    input: str
    convention: str
    about: str
    answer: str = ""
    choices: tuple[tuple[str, Choice], ...] = ()

    def derive(self, input: str | None = None, convention: str | None = None) -> Derivation:
        """Count it, on another input or with other biases if wanted.

        Example:
            >>> EXERCISES["simple-rnn"].derive().parameters
            548
            >>> EXERCISES["simple-rnn"].derive(convention="torch").parameters
            553
        """
        return count(self.network, input or self.input, convention or self.convention)


def find_exercise(name: str) -> Exercise:
    """The exercise of a name.

    Raises:
        ConfigError: if there is none, with the nearest name.

    Example:
        >>> find_exercise("lenet").derive().parameters
        61706
    """
    return choose(name, EXERCISES, "count")


EXERCISES = {
    "cnn-exercise": Exercise(
        network="conv 100 3x3 stride 2 same > conv 200 3x3 stride 2 same"
        " > conv 400 3x3 stride 2 same",
        input="200x300x3",
        convention="unspool",
        about="Three convolutions with biases, stride 2 and SAME padding on a colour image.",
        answer="e",
        choices=(
            ("a", Choice(
                6_300, "3·3·(100 + 200 + 400)",
                "every filter reads one map instead of all maps below it, and no filter has a bias",
            )),
            ("b", Choice(
                7_000, "(3·3 + 1)·(100 + 200 + 400)",
                "every filter reads one map instead of all maps below it; the biases are there",
            )),
            ("c", Choice(
                902_700, "3·3·3·100 + 3·3·100·200 + 3·3·200·400",
                "the depth is right, but all 700 biases are missing",
            )),
            ("d", Choice(
                902_800, "(3·3·3 + 1)·100 + 3·3·100·200 + 3·3·200·400",
                "only the first layer has its 100 biases; the 600 of the others are missing",
            )),
            ("e", Choice(
                903_400, "(3·3·3 + 1)·100 + (3·3·100 + 1)·200 + (3·3·200 + 1)·400",
                "every filter reads all maps below it and has a bias; neither the stride, the "
                "padding nor the size of the image changes what is learnt",
            )),
        ),
    ),
    "dense-on-image": Exercise(
        network="flatten > dense 100",
        input="200x300x3",
        convention="unspool",
        about="The same image into one dense layer of 100 neurons, without convolution.",
    ),
    "lenet": Exercise(
        network="conv 6 5x5 > relu > maxpool 2x2 > conv 16 5x5 > relu > maxpool 2x2 > flatten"
        " > dense 120 > relu > dense 84 > relu > dense 10 > softmax",
        input="32x32x1",
        convention="unspool",
        about="LeNet-5 with filters of 5×5 and pooling of 2×2; the lecture leaves the widths open, "
        "these are LeNet-5's.",
    ),
    "max-pooling": Exercise(
        network="maxpool 3x3 stride 3",
        input="6x6x1",
        convention="unspool",
        about="Pooling keeps the depth, shrinks the size and learns nothing. The printed map, zero "
        "but for ones in row 2, column 5 and row 4, column 2, becomes [[0, 1], [1, 0]].",
    ),
    "edge-filter": Exercise(
        network="conv 1 1x2 unbiased",
        input="280x320x1",
        convention="unspool",
        about="A filter of two pixels that finds upright edges: two weights and 280·319 places, "
        "3 operations at each (two products, one sum), 267,960 in all. A matrix that does the same "
        "has 320·280·319·280 = 8,003,072,000 entries. The lecture's 250k are operations, its "
        "8 billion are entries; the convolution itself has 2 parameters.",
    ),
    "simple-rnn": Exercise(
        network="rnn 5 > last > dense 3 > softmax",
        input="Tx100",
        convention="keras",
        about="SimpleRNN(5) and Dense(3). torch keeps a second bias for every unit: 5 more.",
    ),
    "bi-lstm": Exercise(
        network="lstm 64 bidirectional > lstm 64 bidirectional > dense 64 > relu > dense 1"
        " > sigmoid",
        input="Tx100",
        convention="keras",
        about="Two Bidirectional(LSTM(64, return_sequences=True)), Dense(64) and Dense(1): one "
        "value for every step. torch keeps a second bias for every gate: 4·64 more for each "
        "direction of each layer, 1,024 in all.",
    ),
}  # fmt: skip
