"""One recurrent layer as an ONNX model with our weights, run step by step by onnxruntime.

Both packages are needed by the benchmark only; they are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

# torch stacks i f g o and r z n; ONNX wants i o f c and z r h.
ORDER = {"rnn": (0,), "gru_reset_after": (1, 0, 2), "lstm": (0, 3, 1, 2)}
OPERATORS = {"rnn": "RNN", "gru_reset_after": "GRU", "lstm": "LSTM"}


def onnx_missing() -> str | None:
    """Why onnxruntime cannot be asked, or None."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f'onnxruntime: {error}; `pip install "unspool[bench]"`'
    return None


def layer_model(name: str, module: nn.RNNBase) -> bytes:
    """The serialised model: ``x`` and the state in, ``y`` and the new state out.

    Args:
        name: ``rnn``, ``gru_reset_after`` or ``lstm``.
        module: of torch, one layer, one direction.
    """
    from onnx import TensorProto, helper, numpy_helper

    D, H, order = module.input_size, module.hidden_size, ORDER[name]

    def reordered(key: str) -> np.ndarray:
        value = getattr(module, f"{key}_l0").detach().numpy()
        parts = np.split(value, len(order))
        return np.concatenate([parts[position] for position in order])

    bias = np.concatenate([reordered("bias_ih"), reordered("bias_hh")])
    constants = {"W": reordered("weight_ih"), "R": reordered("weight_hh"), "B": bias}
    states = ["h", "c"] if name == "lstm" else ["h"]
    options = {"linear_before_reset": 1} if name == "gru_reset_after" else {}
    node = helper.make_node(
        OPERATORS[name],
        ["x", "W", "R", "B", "", *states],
        ["y", *(f"{state}_next" for state in states)],
        hidden_size=H,
        **options,
    )

    def described(key: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [node],
        name,
        [described("x", [1, 1, D]), *(described(state, [1, 1, H]) for state in states)],
        [described("y", [1, 1, 1, H])]
        + [described(f"{state}_next", [1, 1, H]) for state in states],
        [numpy_helper.from_array(value[None], key) for key, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def onnx_stepper(name: str, module: nn.RNNBase, threads: int) -> Callable[[Any], Any]:
    """A function of one input ``[1 1 D]`` that feeds its state back; it returns the output.

    Args:
        name: as for `layer_model`.
        module: of torch.
        threads: of onnxruntime's own pool.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        layer_model(name, module), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs() if each.name != "x"]
    zero = np.zeros((1, 1, module.hidden_size), np.float32)
    feeds: dict[str, Any] = dict.fromkeys(names, zero)
    run = session.run

    def step(x: Any) -> Any:
        feeds["x"] = x
        y, *state = run(None, feeds)
        feeds.update(zip(names, state, strict=True))
        return y

    return step
