"""Weight exchange with `torch.nn` and Keras, exact both ways.

The layouts differ in four places. torch adds two biases where we keep one; Keras transposes its
matrices, orders gates ``i f c o`` and ``z r h``, and holds the two biases of its GRU as rows of one
array. What cannot be exchanged is an error; a cell is recognised by its equations, not its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unspool.cells import CELLS
from unspool.engine.language import Cell
from unspool.errors import ConfigError, ShapeError

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchanged:
    """A stack of recurrent layers as settings and weights, in nobody's layout but ours.

    Attributes:
        cell: the equations.
        input_size: D.
        hidden_size: H of each direction.
        num_layers: L.
        bidirectional: whether a second set of weights reads from the end.
        dropout: share of values zeroed between layers.
        weights: for each layer and in it each direction, the stacked families by name.
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float = 0.0
    weights: tuple[Weights, ...]


def read_torch(module: nn.Module) -> Exchanged:
    """What an `nn.RNN`, `nn.LSTM` or `nn.GRU` holds; its two biases are summed.

    Args:
        module: of torch; without biases they become zero.

    Raises:
        ConfigError: if it is another module, or has a projection.
    """
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU):
        raise ConfigError(
            f"from_torch: got {type(module).__name__}; wanted torch.nn.RNN, LSTM or GRU."
        )
    if module.proj_size:
        raise ConfigError(
            f"from_torch: the LSTM projects its state to {module.proj_size} (proj_size), "
            "which no cell of ours does."
        )
    cell = next(cell for mode, cell in _torch_cells() if mode == module.mode)
    directions = 2 if module.bidirectional else 1
    weights = [
        _from_torch_weights(cell, module, f"_l{layer}" + "_reverse" * direction)
        for layer in range(module.num_layers)
        for direction in range(directions)
    ]
    return Exchanged(
        cell=cell,
        input_size=module.input_size,
        hidden_size=module.hidden_size,
        num_layers=module.num_layers,
        bidirectional=module.bidirectional,
        dropout=float(module.dropout),
        weights=tuple(weights),
    )


def write_torch(source: Exchanged) -> nn.RNN | nn.LSTM | nn.GRU:
    """The same layers as a module of torch, batch first; its second bias is zero where it can be.

    Raises:
        ConfigError: if torch has no module for the cell.
    """
    mode = _recognised(source.cell, {c.fingerprint: m for m, c in _torch_cells()}, "to_torch")
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU}.get(mode, nn.RNN)
    options = {} if kind is not nn.RNN else {"nonlinearity": mode.partition("_")[2].lower()}
    module = kind(
        source.input_size, source.hidden_size, source.num_layers, batch_first=True,
        dropout=source.dropout if source.num_layers > 1 else 0.0,
        bidirectional=source.bidirectional, **options,
    )  # fmt: skip
    first = next(iter(source.weights[0].values()))
    module = module.to(device=first.device, dtype=first.dtype)
    for names, weights in zip(module.all_weights, source.weights, strict=True):
        W, U, b, *inner = _in_order(source.cell, weights)
        second = torch.zeros_like(b)
        if inner:
            second[-source.hidden_size :] = inner[0]
        with torch.no_grad():
            for parameter, value in zip(names, (W, U, b, second), strict=True):
                parameter.copy_(value)
    return module


def read_keras(
    arrays: Sequence[np.ndarray], cell: Cell, *, bidirectional: bool = False, bias: bool = True
) -> Exchanged:
    """What the ``get_weights()`` of Keras's recurrent layers hold.

    Args:
        arrays: of one layer, or of several stacked ones after each other: for each the kernel
            ``[D, G·H]``, the recurrent kernel ``[H, G·H]`` and, unless ``bias`` is False, the bias,
            ``[G·H]``, or ``[2, 3·H]`` for a GRU with ``reset_after``. A `Bidirectional` layer
            has those of its forward and then those of its backward part.
        cell: the equations: `SimpleRNN` is ``rnn``, `LSTM` is ``lstm``, `GRU` is
            ``gru_reset_after``, or ``gru`` where it was made with ``reset_after=False``.
        bidirectional: whether they are wrapped in `Bidirectional`, merged by concatenation.
        bias: whether the layers were made with ``use_bias``.

    Raises:
        ConfigError: if Keras has no layer for the cell, or the arrays are not in groups.
        ShapeError: naming the first array that does not fit.
    """
    gates = _recognised(cell, _keras_gates(), "from_keras")
    directions, each = 2 if bidirectional else 1, 3 if bias else 2
    group = directions * each
    if not arrays or len(arrays) % group:
        raise ConfigError(
            f"from_keras: got {len(arrays)} arrays; wanted {group} a layer"
            f" ({each} of each of {directions} direction{'s' * (directions > 1)})."
        )
    for index, array in enumerate(arrays[:2]):
        if array.ndim != 2:
            raise ShapeError(f"from_keras: array {index} is {list(array.shape)}; wanted a matrix.")
    H = arrays[1].shape[0]
    weights = []
    for start in range(0, len(arrays), each):
        D = arrays[0].shape[0] if start < group else directions * H
        found = arrays[start : start + each]
        for offset, (array, wanted) in enumerate(
            zip(found, _keras_shapes(cell, D, H), strict=False)
        ):
            if list(array.shape) != wanted:
                raise ShapeError(
                    f"from_keras: array {start + offset} is {list(array.shape)}; wanted {wanted} "
                    f"for cell '{cell.name}'.{_other_gru(cell, array, H)}"
                )
        weights.append(_from_keras_weights(cell, gates, found))
    return Exchanged(
        cell=cell,
        input_size=arrays[0].shape[0],
        hidden_size=H,
        num_layers=len(arrays) // group,
        bidirectional=bidirectional,
        weights=tuple(weights),
    )


def write_keras(source: Exchanged) -> list[np.ndarray]:
    """Arrays for the ``set_weights()`` of Keras's layers, in the order `read_keras` takes them.

    Raises:
        ConfigError: if Keras has no layer for the cell.
    """
    gates = _recognised(source.cell, _keras_gates(), "to_keras")
    arrays: list[np.ndarray] = []
    for weights in source.weights:
        parts = [
            _reordered(value.detach().cpu(), gates, to_keras=True)
            for value in _in_order(source.cell, weights)[:3]
        ]
        W, U, b = (part.numpy() for part in parts)
        if len(weights) > 3:
            inner = _in_order(source.cell, weights)[3].detach().cpu().numpy()
            outer = np.zeros_like(b)
            outer[-len(inner) :] = inner
            b = np.stack([b, outer])
        arrays += [np.ascontiguousarray(W.T), np.ascontiguousarray(U.T), b.copy()]
    return arrays


def _recognised(cell: Cell, table: Mapping[str, str], where: str) -> str:
    """The entry for the cell's equations."""
    if cell.fingerprint not in table:
        other = "Keras" if "keras" in where else "torch.nn"
        raise ConfigError(
            f"{where}: {other} has no layer with the equations of cell '{cell.name}'."
        )
    return table[cell.fingerprint]


def _in_order(cell: Cell, weights: Weights) -> list[Tensor]:
    """W, U, b and perhaps d: by position, as the letters of a user's own cell may be others."""
    return [weights[name] for name in cell.graph.families]


def _named(cell: Cell, values: Sequence[Tensor]) -> Weights:
    return dict(zip(cell.graph.families, values, strict=True))


def _from_torch_weights(cell: Cell, module: nn.RNNBase, suffix: str) -> Weights:
    W, U = (getattr(module, f"weight_{part}{suffix}").detach().clone() for part in ("ih", "hh"))
    outer, inner = torch.zeros(2, len(W), dtype=W.dtype, device=W.device)
    if module.bias:
        outer, inner = (getattr(module, f"bias_{part}{suffix}").detach() for part in ("ih", "hh"))
    if len(cell.graph.families) == 3:
        return _named(cell, (W, U, outer + inner))
    H = module.hidden_size
    b = torch.cat([(outer + inner)[:-H], outer[-H:]])
    return _named(cell, (W, U, b, inner[-H:].clone()))


def _keras_shapes(cell: Cell, features: int, units: int) -> list[list[int]]:
    rows = len(next(iter(cell.graph.families.values())).gates) * units
    bias = [2, rows] if len(cell.graph.families) == 4 else [rows]
    return [[features, rows], [units, rows], bias]


def _other_gru(cell: Cell, array: np.ndarray, units: int) -> str:
    """The way out for the one mistake that is easily made."""
    forms = {(2, 3 * units): "gru_reset_after", (3 * units,): "gru"}
    other = forms.get(array.shape)
    if other is None or len(next(iter(cell.graph.families.values())).gates) != 3:
        return ""
    return f" This is the bias of cell '{other}'."


def _from_keras_weights(cell: Cell, gates: str, arrays: Sequence[np.ndarray]) -> Weights:
    W, U = (_reordered(torch.tensor(array.T), gates, to_keras=False) for array in arrays[:2])
    bias = torch.zeros(len(W), dtype=W.dtype)
    if len(arrays) > 2:
        bias = torch.tensor(arrays[2])
    if len(cell.graph.families) == 3:
        return _named(cell, (W, U, _reordered(bias, gates, to_keras=False)))
    outer, inner = bias.expand(2, -1)
    H = U.shape[1]
    b = torch.cat([(outer + inner)[:-H], outer[-H:]])
    return _named(cell, (W, U, _reordered(b, gates, to_keras=False), inner[-H:].clone()))


def _reordered(value: Tensor, gates: str, *, to_keras: bool) -> Tensor:
    """The gates of a stacked parameter in the other order.

    Args:
        value: gates along the first axis.
        gates: Keras's order, by our positions.
        to_keras: from ours to Keras's, or back.
    """
    order = [int(gate) for gate in gates]
    if not to_keras:
        order = [order.index(position) for position in range(len(order))]
    parts = value.chunk(len(order))
    return torch.cat([parts[position] for position in order])


def _torch_cells() -> list[tuple[str, Cell]]:
    return [
        ("RNN_TANH", CELLS["rnn"]),
        ("RNN_RELU", CELLS["rnn"].with_options(activation="relu")),
        ("LSTM", CELLS["lstm"]),
        ("GRU", CELLS["gru_reset_after"]),
    ]


def _keras_gates() -> dict[str, str]:
    """Keras's order of gates by our positions: i f g o is its i f c o, r z n its z r h."""
    simple = {
        CELLS["rnn"].with_options(activation=name).fingerprint: "0"
        for name in ("tanh", "relu", "sigmoid", "identity")
    }
    return {
        **simple,
        CELLS["lstm"].fingerprint: "0123",
        CELLS["gru"].fingerprint: "102",
        CELLS["gru_reset_after"].fingerprint: "102",
    }
