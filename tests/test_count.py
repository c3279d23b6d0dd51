"""Every count against the layers themselves: parameters, shapes and products."""

# ruff: noqa: F811 - fixtures are imported by name

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from command_line import call  # noqa: F401
from unspool.cells import CELLS
from unspool.errors import ConfigError, ShapeError
from unspool.layers.convolution import Convolution, MaxPooling
from unspool.layers.dense import dense
from unspool.layers.pooling import Pooling
from unspool.layers.recurrent import Recurrent
from unspool.models.count import count, read_input, recurrent_network
from unspool.models.exercises import EXERCISES, find_exercise
from unspool.models.layer_counts import CONVENTIONS

CELL_NETWORKS = [(f"{name} 4 bidirectional > {name} 4 > last > dense 2", "5x3") for name in CELLS]
NETWORKS = [
    ("conv 4 3x3 stride 2 same > relu > maxpool 2x2 > flatten > dense 5", "13x10x3"),
    ("conv 4 5x5 pad 2 stride 3 > conv 2 3x3 > maxpool 3x3 stride 2", "28x25x1"),
    ("conv 6 4 same > mean > dense 3 unbiased", "7x5"),
    ("conv 6 4 stride 2 > max > tanh > dense 3", "9x5"),
    ("embedding 6 > gru 4 > dense 3 > softmax", "5 of 11"),
    ("dense 3 > sigmoid > dense 2", "7"),
    *CELL_NETWORKS,
]
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Outputs(nn.Module):
    """A recurrent layer without its final state."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class MapsFirst(nn.Module):
    """A layer that wants maps before places."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.movedim(-1, 1)).movedim(1, -1)


def option(words, name, default):
    return int(words[words.index(name) + 1]) if name in words else default


def build(line, before):
    """The real layer of a line of a derivation."""
    name, *words = line.layer.split()
    inputs = before.sizes[-1]
    if name == "conv":
        window = [int(side) for side in words[1].split("x")]
        padding = "same" if "same" in words else option(words, "pad", 0)
        stride = option(words, "stride", 1)
        if len(set(window)) > 1 or "unbiased" in words:
            return MapsFirst(nn.Conv2d(inputs, int(words[0]), window, stride, bias=False))
        layer = Convolution(
            inputs, int(words[0]), window[0], axes=len(window), stride=stride, padding=padding
        )
        return MapsFirst(layer)
    if name == "maxpool":
        side = int(words[0].split("x")[0])
        return MapsFirst(MaxPooling(side, option(words, "stride", side)))
    if name == "dense":
        return nn.Linear(inputs, int(words[0]), bias=False) if "unbiased" in words else dense(
            inputs, int(words[0])
        )  # fmt: skip
    if name == "embedding":
        return nn.Embedding(inputs, int(words[0]))
    if name == "flatten":
        return nn.Flatten()
    if name in ("last", "mean", "max"):
        return Pooling(name, inputs)
    if name in CELLS:
        return Outputs(
            Recurrent(
                name, inputs, int(words[0]), bidirectional="bidirectional" in words,
                backend="reference",
            )
        )  # fmt: skip
    return ACTIVATIONS.get(name, nn.Identity)()


def built(derivation):
    layers, shape = [], derivation.input
    for line in derivation.lines:
        layers.append((build(line, shape), line))
        shape = line.output
    return layers


def example(derivation):
    sizes = [size or 2 for size in derivation.input.sizes]
    if derivation.input.kind == "tokens":
        return torch.zeros(1, sizes[0], dtype=torch.int64)
    return torch.zeros(1, *sizes)


@pytest.mark.parametrize(("network", "input"), NETWORKS)
def test_each_line_is_what_the_layer_has_and_does(network, input, unchecked):
    derivation = count(network, input)
    x = example(derivation)
    for layer, line in built(derivation):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            x = layer(x)
        assert sum(weight.numel() for weight in layer.parameters()) == line.parameters, line
        assert tuple(x.shape[1:]) == line.output.sizes, line
        if line.layer.split()[0] not in CELLS:
            assert counter.get_total_flops() == 2 * line.cost, line


@pytest.mark.parametrize("name", EXERCISES)
def test_exercise_is_what_the_layers_have(name):
    derivation = find_exercise(name).derive(convention="unspool")
    with torch.device("meta"):
        layers = built(derivation)
    for layer, line in layers:
        assert sum(weight.numel() for weight in layer.parameters()) == line.parameters, line


@pytest.mark.parametrize(
    ("name", "parameters", "last"),
    [
        ("cnn-exercise", 903_400, "25×38×400"),
        ("dense-on-image", 18_000_100, "100"),
        ("lenet", 61_706, "10"),
        ("max-pooling", 0, "2×2×1"),
        ("edge-filter", 2, "280×319×1"),
        ("simple-rnn", 548, "3"),
        ("bi-lstm", 191_617, "T×1"),
    ],
)
def test_lectures_numbers_come_out(name, parameters, last):
    derivation = find_exercise(name).derive()
    assert derivation.parameters == parameters
    assert str(derivation.lines[-1].output) == last


def test_layers_of_the_exercise_are_the_lectures_lines():
    lines = find_exercise("cnn-exercise").derive().lines
    assert [line.parameters for line in lines] == [2_800, 180_200, 720_400]
    assert [line.how.split("= ")[1] for line in lines] == ["28·100", "901·200", "1801·400"]
    assert [str(line.output) for line in lines] == ["100×150×100", "50×75×200", "25×38×400"]
    lenet = [line.parameters for line in find_exercise("lenet").derive().lines if line.parameters]
    assert lenet == [156, 2_416, 48_120, 10_164, 850]


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_arithmetic_that_is_shown_gives_what_is_counted(name, convention):
    for line in find_exercise(name).derive(convention=convention).lines:
        how = line.how.partition(" (two")[0]
        for part in how.split("= "):
            assert not part or eval(part.replace("·", "*")) == line.parameters, line
        if line.cost_how:
            assert eval(line.cost_how.replace("·", "*")) == line.cost, line


def test_every_choice_of_the_exercise_is_the_number_its_mistake_gives():
    exercise = find_exercise("cnn-exercise")
    choices = dict(exercise.choices)
    assert [choice.value for choice in choices.values()] == [6300, 7000, 902700, 902800, 903400]
    for choice in choices.values():
        assert eval(choice.how.replace("·", "*")) == choice.value
    assert choices[exercise.answer].value == exercise.derive().parameters


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_after"])
def test_convention_of_keras_counts_the_arrays_of_keras(name):
    derivation = count(f"{name} 4 bidirectional > {name} 4", "Tx3", "keras")
    assert [line.parameters for line in derivation.lines] == [
        sum(array.size for array in Recurrent(name, width, 4, bidirectional=both).to_keras())
        for width, both in ((3, True), (8, False))
    ]


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru_reset_after"])
def test_convention_of_torch_counts_the_module_of_torch(name):
    derivation = count(f"{name} 4 bidirectional > {name} 4 bidirectional", "Tx3", "torch")
    module = Recurrent(name, 3, 4, 2, bidirectional=True).to_torch()
    assert derivation.parameters == sum(weight.numel() for weight in module.parameters())


def test_second_biases_are_all_that_torch_adds():
    keras, torchs = (find_exercise("bi-lstm").derive(convention=c) for c in ("keras", "torch"))
    assert torchs.parameters - keras.parameters == 4 * 64 * 2 * 2
    assert find_exercise("simple-rnn").derive(convention="torch").parameters == 548 + 5


def test_cost_of_a_cell_is_its_matrix_products(unchecked):
    for name in ("rnn", "lstm", "gru"):
        layer = Recurrent(name, 3, 4, backend="reference")
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            layer(torch.zeros(1, 5, 3))
        assert counter.get_total_flops() == 2 * count(f"{name} 4", "5x3").cost


def test_memory_is_four_bytes_a_number():
    derivation = count("dense 3 > relu", "7")
    assert (derivation.parameter_bytes, derivation.activation_bytes) == (4 * 24, 4 * 6)


def test_flags_of_a_stack_write_the_network():
    text = recurrent_network("lstm", 64, 2, True, [64, 1])
    assert count(text, "Tx100", "keras").parameters == 191_617
    assert count(recurrent_network("rnn", 5, dense=[3], pooling="last"), "Tx100").parameters == 548


REFUSED = [
    ("conv 4 3x3 > dense 2", "8x8x1", ShapeError, "put flatten in between"),
    ("lstm 4 > flatten", "Tx3", ShapeError, "needs the number of steps"),
    ("conv 4 3", "Tx3", ShapeError, "needs the number of steps"),
    ("lstm 4", "T of 9", ShapeError, "put embedding in between"),
    ("conv 4 9x9", "8x8x1", ShapeError, "shorter than a window of 9"),
    ("lstmm 4", "Tx3", ConfigError, "Did you mean 'lstm'"),
    ("lstm", "Tx3", ConfigError, "wanted a whole number above 0 as word 2"),
    ("conv 4 3", "8x8x1", ConfigError, "a window such as 5x5 as word 3"),
    ("conv 4 3x3 strid 2", "8x8x1", ConfigError, "Did you mean 'stride'"),
    ("conv 4 3x3 stride", "8x8x1", ConfigError, "as word 5"),
    ("relu 3", "8", ConfigError, "unknown name '3'"),
    ("dense 2 > ", "8", ConfigError, "an empty layer"),
    ("dense 2", "8x", ConfigError, "--input: got '8x'"),
    ("dense 2", "0x4", ConfigError, "wanted no zero"),
]


@pytest.mark.parametrize(("network", "input", "error", "said"), REFUSED)
def test_what_cannot_be_counted_is_refused(network, input, error, said):
    with pytest.raises(error, match=said):
        count(network, input)


def test_convention_that_has_no_such_layer_is_refused():
    with pytest.raises(ConfigError, match="convention 'torch', cell: unknown name 'gru'"):
        count("gru 4", "Tx3", "torch")
    with pytest.raises(ConfigError, match="use one of unspool, keras, torch"):
        count("gru 4", "Tx3", "kreas")
    with pytest.raises(ConfigError, match="Did you mean 'lenet'"):
        find_exercise("lenett")


def test_derivation_is_plain_values_for_json():
    value = find_exercise("simple-rnn").derive().to_dict()
    assert value["parameters"] == 548 and value["per_step"] is True
    assert value["lines"][0]["how"] == "100·5 + 5·5 + 5"
    assert str(read_input("9 of 65")) == "9 of 65"


def test_a_network_that_is_not_there_is_told_with_the_names_of_all(call):
    code, _, said = call("count", "simple_rnn")
    assert code == 2 and said.count("\n") == 1 and "Did you mean 'simple-rnn'?" in said
    assert all(name in said for name in EXERCISES)
    code, page, _ = call("count", "--help")
    assert code == 0 and all(name in page for name in EXERCISES)
