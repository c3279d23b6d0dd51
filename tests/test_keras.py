"""Weights exchanged with Keras, against numbers that Keras computed once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine.language import cell
from unspool.errors import ConfigError, ShapeError
from unspool.layers.recurrent import Recurrent

FOLDER = Path(__file__).parent / "golden"
CASES = json.loads((FOLDER / "keras.json").read_text(encoding="utf-8"))["cases"]


@pytest.fixture(scope="module")
def golden():
    return load_file(FOLDER / "keras.safetensors")


def arrays_of(golden, case):
    return [golden[f"{case}.weights.{i}"].numpy() for i in range(CASES[case]["arrays"])]


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_keras_after_exchange(case, golden):
    layer = Recurrent.from_keras(
        arrays_of(golden, case), CASES[case]["cell"], **CASES[case]["options"]
    )
    outputs, _ = layer(golden[f"{case}.input"])
    assert_close(outputs, golden[f"{case}.output"])


@pytest.mark.parametrize("case", [c for c in CASES if "bias" not in CASES[c]["options"]])
def test_arrays_of_keras_come_back_as_they_were(case, golden):
    arrays = arrays_of(golden, case)
    layer = Recurrent.from_keras(arrays, CASES[case]["cell"], **CASES[case]["options"])
    for index, (array, back) in enumerate(zip(arrays, layer.to_keras(), strict=True)):
        assert back.flags.c_contiguous and back.dtype == array.dtype
        if array.ndim == 2 and index % 3 == 2:  # two biases, of which we keep the sum
            array, back = array.copy(), back.copy()
            H = layer.hidden_size
            assert np.array_equal(back[:, -H:], array[:, -H:])
            assert np.array_equal(back.sum(0)[:-H], array.sum(0)[:-H])
        else:
            assert np.array_equal(back, array)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_after"])
def test_weights_come_back_from_keras_bit_for_bit(name, bidirectional, rng):
    layer = Recurrent(name, 3, 4, num_layers=2, bidirectional=bidirectional).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    arrays = layer.to_keras()
    back = Recurrent.from_keras(arrays, name, bidirectional=bidirectional)
    for key, value in layer.state_dict().items():
        assert torch.equal(back.state_dict()[key], value)
    arrays[0][:] = 7.0
    assert not back.weights["l0"]["W"].eq(7.0).any()
    assert not layer.weights["l0"]["W"].eq(7.0).any()


def test_activation_that_weights_do_not_tell_is_given_with_the_cell(rng):
    rectified = CELLS["rnn"].with_options(activation="relu")
    arrays = Recurrent(rectified, 3, 4).to_keras()
    assert Recurrent.from_keras(arrays, rectified).cell is rectified


@pytest.mark.parametrize(
    ("change", "name", "options", "error", "message"),
    [
        (lambda a: a[:2], "lstm", {}, ConfigError, "got 2 arrays; wanted 3 a layer"),
        (lambda a: a, "lstm", {"bidirectional": True}, ConfigError, "wanted 6 a layer .* 2 direc"),
        (lambda a: a, "gru_reset_after", {}, ShapeError, r"array 0 is \[3, 16\]; wanted \[3, 12\]"),
        (lambda a: [a[0].T, *a[1:]], "lstm", {}, ShapeError, r"array 0 is \[16, 3\]"),
        (lambda a: [], "lstm", {}, ConfigError, "got 0 arrays"),
        (lambda a: [a[2]] * 3, "lstm", {}, ShapeError, r"array 0 is \[16\]; wanted a matrix"),
        (lambda a: a, "gruu", {}, ConfigError, "from_keras: unknown name 'gruu'"),
    ],
    ids=["few", "both", "cell", "transposed", "none", "vectors", "name"],
)
def test_arrays_that_do_not_fit_are_refused_by_number(change, name, options, error, message):
    arrays = Recurrent("lstm", 3, 4).to_keras()
    with pytest.raises(error, match=message):
        Recurrent.from_keras(change(arrays), name, **options)


@pytest.mark.parametrize(("made", "read"), [("gru", "gru_reset_after"), ("gru_reset_after", "gru")])
def test_bias_of_the_other_gru_is_named(made, read):
    arrays = Recurrent(made, 3, 4).to_keras()
    with pytest.raises(ShapeError, match=f"array 2 .* This is the bias of cell '{made}'"):
        Recurrent.from_keras(arrays, read)


def test_cell_that_keras_lacks_is_refused():
    @cell(state="h")
    def averaging(x, h, W):
        return 0.5 * h + 0.5 * (W.h @ x)

    with pytest.raises(ConfigError, match=r"Keras has no layer .* of cell 'averaging'"):
        Recurrent(averaging, 3, 4).to_keras()
