"""Writes keras.safetensors and keras.json: what Keras computes, for tests that do without it.

Run with Keras installed: ``KERAS_BACKEND=torch python tests/golden/make_keras.py``.
"""

import json
import os
import platform
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
from keras import layers
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent
B, T, D, H = 3, 6, 4, 5
EACH = {"units": H, "return_sequences": True}
# For each case: the layers, our name of the cell, the options of the exchange.
CASES = {
    "simple_rnn": ([layers.SimpleRNN(**EACH)], "rnn", {}),
    "lstm": ([layers.LSTM(**EACH)], "lstm", {}),
    "lstm_without_bias": ([layers.LSTM(**EACH, use_bias=False)], "lstm", {"bias": False}),
    "gru_reset_after": ([layers.GRU(**EACH, reset_after=True)], "gru_reset_after", {}),
    "gru_reset_before": ([layers.GRU(**EACH, reset_after=False)], "gru", {}),
    "lstm_both": (
        [layers.Bidirectional(layers.LSTM(**EACH))], "lstm", {"bidirectional": True}
    ),
    "gru_both_stacked": (
        [layers.Bidirectional(layers.GRU(**EACH)), layers.Bidirectional(layers.GRU(**EACH))],
        "gru_reset_after",
        {"bidirectional": True},
    ),
}  # fmt: skip


def main() -> None:
    """Draw weights and inputs, run each case, write what went in and what came out."""
    generator = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    cases = {}
    for name, (stack, cell, options) in CASES.items():
        x = generator.standard_normal((B, T, D), dtype=np.float32)
        values = keras.ops.convert_to_tensor(x)
        arrays: list[np.ndarray] = []
        for layer in stack:
            layer.build(values.shape)
            weights = [
                generator.uniform(-0.7, 0.7, array.shape).astype(np.float32)
                for array in layer.get_weights()
            ]
            layer.set_weights(weights)
            arrays += weights
            values = layer(values)
        tensors[f"{name}.input"] = x
        # A view with swapped axes would be written in the order of its memory.
        tensors[f"{name}.output"] = np.ascontiguousarray(keras.ops.convert_to_numpy(values))
        for index, array in enumerate(arrays):
            tensors[f"{name}.weights.{index}"] = array
        cases[name] = {"cell": cell, "options": options, "arrays": len(arrays)}
    versions = {
        "keras": keras.__version__, "backend": keras.backend.backend(),
        "torch": torch.__version__.partition("+")[0], "numpy": np.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    save_file(tensors, FOLDER / "keras.safetensors")
    text = json.dumps({"versions": versions, "cases": cases}, indent=1)
    (FOLDER / "keras.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
