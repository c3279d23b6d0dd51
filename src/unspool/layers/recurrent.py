"""`Recurrent`: any cell, stacked, in one or two directions, over padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from unspool.cells.find import find_cell
from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.engine.operator import know
from unspool.engine.scan import Scanned, choose_backend, scan
from unspool.errors import ConfigError, ShapeError
from unspool.layers import exchange
from unspool.layers.dropout import Dropout
from unspool.layers.initialisation import initialise
from unspool.layers.state import State
from unspool.layers.stepping import compiled_step, reads_weights_in_place
from unspool.shapes import check_lengths

Trace = dict[str, dict[str, Tensor]]


class Recurrent(nn.Module):
    """A stack of recurrent layers of one cell, batch first.

    Parameters are stored by layer and family, gates stacked in the cell's order:
    ``weights.l0.W``, ``weights.l0_reverse.U``, and so on.

    Args:
        cell: a `Cell`, a key of `CELLS`, or ``my_file.py:name``.
        input_size: features of the input, D.
        hidden_size: units of each direction of each layer, H.
        num_layers: layers, L; each reads the outputs of the one below.
        bidirectional: run a second set of weights from each row's end; outputs are 2·H wide.
        residual: add a layer's input to its output, from the second layer on.
        dropout: share of values zeroed between layers.
        recurrent_dropout: share of state values zeroed on their way into the recurrent product,
            drawn once a sequence for each layer and direction, the same at every step (Gal and
            Ghahramani, 2016).
        learn_initial_state: make the state before the first step a parameter; else it is zero.
        initialisation: a key of `unspool.layers.initialisation.INITIALISATIONS`.
        forget_bias: where the bias of a gate called ``f`` starts.
        backend: a key of `unspool.engine.scan.BACKENDS`.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for a name or size that cannot be.
        CellError: for a mistake in the user's own cell.

    Example:
        >>> layer = Recurrent("gru", input_size=3, hidden_size=5)
        >>> outputs, state = layer(torch.zeros(2, 7, 3), lengths=torch.tensor([7, 4]))
        >>> outputs.shape, state[0].shape
        (torch.Size([2, 7, 5]), torch.Size([2, 1, 5]))
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        learn_initial_state: bool = False,
        initialisation: str = "orthogonal",
        forget_bias: float = 1.0,
        backend: str = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if value < 1:
                raise ConfigError(f"Recurrent: {name} is {value}; wanted at least 1.")
        self.cell = find_cell(cell, "Recurrent") if isinstance(cell, str) else cell
        if not isinstance(self.cell, Cell):
            raise ConfigError(
                f"Recurrent: cell is a {type(cell).__name__}; wanted a name, or a function "
                'decorated with `@cell(state="h")`.'
            )
        know(self.cell)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.residual = bidirectional, residual
        self.named_backend = backend
        self.dropout = Dropout(dropout)
        self.recurrent_dropout = Dropout(recurrent_dropout)
        self.weights = nn.ModuleDict()
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.directions
            for direction in range(self.directions):
                weights = _parameters(self.cell, width, hidden_size)
                for family in self.cell.graph.families.values():
                    initialise(
                        family, weights[family.name], hidden_size, initialisation, forget_bias,
                        generator,
                    )  # fmt: skip
                self.weights[_name(layer, direction)] = weights
        self.initial_state = nn.ParameterList(
            nn.Parameter(torch.zeros(num_layers * self.directions, hidden_size))
            for _ in self.cell.states
            if learn_initial_state
        )
        _ = self.backend  # refuses here what was named and cannot serve

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def backend(self) -> str:
        """Which backend a plain forward pass runs on."""
        return choose_backend(self.cell, next(self.parameters()), self.named_backend)

    def start(self, batch: int) -> State:
        """The state before the first step, learnt or zero.

        Args:
            batch: number of sequences, B.

        Returns:
            For each state of the cell ``[B, L·directions, H]``.
        """
        if len(self.initial_state):
            return State([value.expand(batch, -1, -1) for value in self.initial_state])
        like = next(iter(self.weights["l0"].values()))
        shape = (batch, self.num_layers * self.directions, self.hidden_size)
        return State([like.new_zeros(shape) for _ in self.cell.states])

    @overload
    def forward(
        self, x: Tensor | Lookup, lengths: Tensor | None = None, state: State | None = None,
        trace: Literal[False] = False,
    ) -> tuple[Tensor, State]: ...  # fmt: skip

    @overload
    def forward(
        self, x: Tensor | Lookup, lengths: Tensor | None = None, state: State | None = None,
        *, trace: Literal[True],
    ) -> tuple[Tensor, State, Trace]: ...  # fmt: skip

    def forward(
        self,
        x: Float[Tensor, "B T D"] | Lookup,
        lengths: Int64[Tensor, " B"] | None = None,
        state: tuple[Tensor, ...] | None = None,
        trace: bool = False,
    ) -> tuple[Tensor, State] | tuple[Tensor, State, Trace]:
        """Read sequences.

        Args:
            x: inputs, padded at the end, or where to look them up (`Lookup`, tokens batch first);
                what stands in the padding is never read.
            lengths: true lengths, 1…T; None when all rows are full.
            state: before the first step, as an earlier call returned it; None starts afresh. A
                bidirectional layer takes none: its reverse direction has no earlier part.
            trace: also return every gate and state over time.

        Returns:
            Outputs of the last layer ``[B T H·directions]``, zero in the padding; the state after
            each row's last step; and with ``trace`` for each layer and direction (``l0``,
            ``l0_reverse``, …) its gates and states by name, each ``[B T H]``.

        Raises:
            ShapeError: for inputs, lengths or a state that do not fit.
        """
        return self._run(x, lengths, state, trace, self.named_backend)

    def _run(
        self,
        x: Tensor | Lookup,
        lengths: Tensor | None,
        state: tuple[Tensor, ...] | None,
        trace: bool,
        backend: str,
    ) -> Any:
        self._check(x, lengths, state)
        weights = [dict(given.items()) for given in self.weights.values()]
        starts = iter(self._starts(weights[0], x.shape[0], state))
        options = {"lengths": lengths, "trace": trace, "backend": backend}
        y = x.transpose() if isinstance(x, Lookup) else x.transpose(0, 1)  # [T B D]
        finals: list[tuple[Tensor, ...]] = []
        kept: Trace = {}
        for layer in range(self.num_layers):
            below = self.dropout(y) if layer else y
            first = layer * self.directions
            scanned = [
                self._direction(given, below, next(starts), reverse=bool(number), **options)
                for number, given in enumerate(weights[first : first + self.directions])
            ]
            y = scanned[0].outputs
            if self.bidirectional:
                y = torch.cat([result.outputs for result in scanned], -1)
            if self.residual and layer:
                y = y + below
            for direction, result in enumerate(scanned):
                finals.append(result.state)
                kept[_name(layer, direction)] = {
                    name: value.transpose(0, 1) for name, value in result.trace.items()
                }
        final = State.of_layers(finals)
        outputs = y.transpose(0, 1)
        return (outputs, final, kept) if trace else (outputs, final)

    def _starts(
        self, weights: Mapping[str, Tensor], batch: int, state: tuple[Tensor, ...] | None
    ) -> list[tuple[Tensor, ...]]:
        """The state before the first step of every layer and direction, each ``[B H]``."""
        count = self.num_layers * self.directions
        if state is None and not len(self.initial_state):  # one tensor of zeros serves them all
            zeros = next(iter(weights.values())).new_zeros(batch, self.hidden_size)
            return [(zeros,) * len(self.cell.states)] * count
        whole = self.start(batch) if state is None else state
        return [tuple(value[:, index].contiguous() for value in whole) for index in range(count)]

    def _direction(
        self,
        weights: Mapping[str, Tensor],
        x: Tensor | Lookup,
        start: tuple[Tensor, ...],
        **options: Any,
    ) -> Scanned:
        """One scan, with the options of `scan`."""
        mask = None
        if self.recurrent_dropout.active:
            mask = self.recurrent_dropout.mask(start[0], x.shape[1], self.hidden_size)
        return scan(self.cell, weights, x, start, mask=mask, **options)

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B H"], State]:
        """Read one more input of every sequence.

        Without gradients a few sequences are one call of compiled code a layer, which reads the
        weights where they lie: a change of them is seen. Who streams long packs them once
        (`unspool.engine.stream`).

        Args:
            x: the inputs of one time step.
            state: as the step before returned it; None starts afresh.

        Returns:
            Outputs of the last layer and the new state, fresh tensors both.

        Raises:
            ShapeError: if the layer is bidirectional: the reverse direction starts at the end.
        """
        if self.bidirectional:
            raise ShapeError(
                "Recurrent.step: the layer is bidirectional, and its reverse direction starts at "
                "the end of the sequence; use a layer of one direction to stream."
            )
        found = compiled_step(self, x, state)
        if found is not None:
            return found
        backend = "reference" if reads_weights_in_place(self, x, state) else self.named_backend
        outputs, state = self._run(x[:, None], None, state, False, backend)
        return outputs[:, 0], state

    @classmethod
    def from_torch(cls, module: nn.Module) -> Recurrent:
        """The same layers as a module of torch, with its weights, on its device.

        The two biases of torch are summed. Outputs are batch first whatever ``batch_first`` was.

        Args:
            module: `nn.RNN`, `nn.LSTM` or `nn.GRU`; without biases they become zero.

        Raises:
            ConfigError: if it is another module, or has a projection.

        Example:
            >>> Recurrent.from_torch(torch.nn.GRU(3, 5)).cell
            <cell gru_reset_after: states h>
        """
        return cls._from_exchanged(exchange.read_torch(module)).train(module.training)

    def to_torch(self) -> nn.RNN | nn.LSTM | nn.GRU:
        """The module of torch that computes the same, batch first.

        Raises:
            ConfigError: if torch has no such module.

        Example:
            >>> Recurrent("lstm", 3, 5, num_layers=2).to_torch()
            LSTM(3, 5, num_layers=2, batch_first=True)
        """
        return exchange.write_torch(self._to_exchanged("to_torch")).train(self.training)

    @classmethod
    def from_keras(
        cls,
        arrays: Sequence[np.ndarray],
        cell: Cell | str,
        *,
        bidirectional: bool = False,
        bias: bool = True,
    ) -> Recurrent:
        """The same layers as Keras's, from what their ``get_weights()`` return.

        Args:
            arrays: of one layer, or of stacked ones after each other, as
                `unspool.layers.exchange.read_keras` says.
            cell: ``rnn`` for `SimpleRNN`, ``lstm``, ``gru_reset_after`` for `GRU`, ``gru`` for
                one made with ``reset_after=False``; activations other than tanh and sigmoid are
                not in the weights and must be given with the cell.
            bidirectional: whether the layers are wrapped in `Bidirectional`.
            bias: whether they were made with ``use_bias``.

        Raises:
            ConfigError: if Keras has no layer for the cell, or arrays are missing.
            ShapeError: naming the array that does not fit.

        Example:
            >>> arrays = Recurrent("lstm", 3, 5).to_keras()
            >>> Recurrent.from_keras(arrays, "lstm").hidden_size
            5
        """
        found = find_cell(cell, "from_keras") if isinstance(cell, str) else cell
        read = exchange.read_keras(arrays, found, bidirectional=bidirectional, bias=bias)
        return cls._from_exchanged(read)

    def to_keras(self) -> list[np.ndarray]:
        """Arrays for the ``set_weights()`` of Keras's layers, one layer after the other.

        Raises:
            ConfigError: if Keras has no such layer.

        Example:
            >>> [array.shape for array in Recurrent("gru_reset_after", 3, 5).to_keras()]
            [(3, 15), (5, 15), (2, 15)]
        """
        return exchange.write_keras(self._to_exchanged("to_keras"))

    @classmethod
    def _from_exchanged(cls, read: exchange.Exchanged) -> Recurrent:
        layer = cls(
            read.cell, read.input_size, read.hidden_size, read.num_layers,
            bidirectional=read.bidirectional, dropout=read.dropout, generator=torch.Generator(),
        )  # fmt: skip
        first = next(iter(read.weights[0].values()))
        layer = layer.to(device=first.device, dtype=first.dtype)
        for own, weights in zip(layer.weights.values(), read.weights, strict=True):
            own.load_state_dict(weights)
        return layer

    def _to_exchanged(self, where: str) -> exchange.Exchanged:
        """Settings and weights, unless they hold what no other library has."""
        masked = self.recurrent_dropout.active
        for name, has in (
            ("residual connections", self.residual and self.num_layers > 1),
            ("a learnt initial state", len(self.initial_state) > 0),
            ("dropout inside the recurrence while training (`.eval()` ends it)", masked),
        ):
            if has:
                raise ConfigError(f"{where}: the layer has {name}, which the other side has not.")
        return exchange.Exchanged(
            cell=self.cell,
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout.rate,
            weights=tuple(dict(weights.items()) for weights in self.weights.values()),
        )

    def _check(
        self, x: Tensor | Lookup, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> None:
        if isinstance(x, PackedSequence):
            raise ShapeError(
                "Recurrent.forward: got a PackedSequence; pass the padded batch and lengths=."
            )
        if isinstance(x, Tensor) and not x.is_floating_point():
            raise ShapeError(
                f"Recurrent.forward: inputs are {x.dtype}; wanted floating point, such as the "
                "outputs of an embedding."
            )
        if len(x.shape) != 3 or x.shape[2] != self.input_size or x.shape[1] < 1:
            raise ShapeError(
                f"Recurrent.forward: inputs are {list(x.shape)}; "
                f"wanted [B, T ≥ 1, {self.input_size}]."
            )
        if lengths is not None and not torch.compiler.is_compiling():  # there the operator does
            check_lengths(lengths, x.shape[0], x.shape[1], "Recurrent.forward")
        if state is None:
            return
        if self.bidirectional:
            raise ShapeError(
                "Recurrent.forward: the layer is bidirectional and cannot go on from a state: its "
                "reverse direction starts at the end of the sequence; pass whole sequences."
            )
        if len(state) != len(self.cell.states):
            raise ShapeError(
                f"Recurrent.forward: state has {len(state)} tensors; "
                f"cell '{self.cell.name}' has the states ({', '.join(self.cell.states)})."
            )
        wanted = [x.shape[0], self.num_layers * self.directions, self.hidden_size]
        for name, value in zip(self.cell.states, state, strict=True):
            if list(value.shape) != wanted:
                raise ShapeError(
                    f"Recurrent.forward: state '{name}' is {list(value.shape)}; wanted {wanted}."
                )

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.cell.name}, {self.input_size}, {self.hidden_size}, layers={self.num_layers}"


def _name(layer: int, direction: int) -> str:
    return f"l{layer}_reverse" if direction else f"l{layer}"


def _parameters(cell: Cell, features: int, units: int) -> nn.ParameterDict:
    """Uninitialised parameters of one layer in one direction.

    Raises:
        ConfigError: if the cell needs widths that these are not.
    """
    parameters = nn.ParameterDict()
    for family in cell.graph.families.values():
        for axis in family.shape:
            if isinstance(axis, str) and "/" in axis and units % int(axis.partition("/")[2]):
                raise ConfigError(
                    f"Recurrent: hidden_size {units} is not a multiple of the "
                    f"{axis.partition('/')[2]} blocks of `{family.name}` in cell '{cell.name}'."
                )
        parameters[family.name] = nn.Parameter(torch.empty(family.sizes(features, units)))
    return parameters
