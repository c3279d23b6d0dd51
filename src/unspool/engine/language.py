"""The language cells are written in: `cell`, `Cell`, and the functions of `unspool.engine.symbols`.

A cell is a Python function of the input, the states and the parameter families. Called on symbols
it leaves behind a `unspool.engine.graph.Graph`, and with it the shapes of its parameters; called on
tensors it is one step. A mistake is a `CellError` that names the file, the line and the equation.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from unspool.engine.graph import Graph, simplify
from unspool.engine.symbols import (
    ACTIVATIONS,
    Function,
    bilinear,
    block_diagonal,
    exp,
    identity,
    layer_norm,
    log,
    maximum,
    relu,
    sigmoid,
    softmax,
    tanh,
    where,
)
from unspool.engine.trace import Trace
from unspool.errors import CellError, ConfigError, unknown

__all__ = [
    "ACTIVATIONS",
    "Cell",
    "Function",
    "bilinear",
    "block_diagonal",
    "cell",
    "exp",
    "identity",
    "layer_norm",
    "log",
    "maximum",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "where",
]


class Cell:
    """A recurrent cell: its equations, and everything that follows from them.

    Made by the decorator `cell`. The parameters' names and shapes, the gates' names and the order
    of the states all come from the one function.

    Attributes:
        name: the function's name.
        states: names of the states, in order; the first is what a layer hands on.
        options: settings of the equations (an activation, a number of heads) and their values.
        graph: the traced step.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None,
        name: str,
        states: tuple[str, ...],
        output: str | None = None,
        options: Mapping[str, Any] | None = None,
        graph: Graph | None = None,
    ) -> None:
        self.function, self.name, self.states, self.output = function, name, states, output
        self.options = dict(options or {})
        self.__doc__ = inspect.getdoc(function) if function else None
        self._graph = graph
        self._fingerprint: str | None = None
        self._text: str | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of the simplified equations: equal for cells that compute the same way."""
        if self._fingerprint is None:
            self._fingerprint = self.simplified.fingerprint
        return self._fingerprint

    @property
    def graph(self) -> Graph:
        """The step as a graph; traced at the first use."""
        if self._graph is None:
            self._graph = Trace(self).run()
        return self._graph

    @property
    def text(self) -> str:
        """`to_dict` as JSON: what brings the cell back in another process."""
        if self._text is None:
            self._text = json.dumps(self.to_dict())
        return self._text

    @property
    def traced(self) -> tuple[str, ...]:
        """Names in a trace: the gates, then the states."""
        return (*(name for name, _ in self.graph.gates), *self.states)

    @property
    def simplified(self) -> Graph:
        """The same step by fewer nodes: what a backend compiles."""
        return simplify(self.graph)

    def __call__(self, *values: Any) -> Any:
        """One step on values.

        Args:
            *values: x ``[D]``, each state ``[H]``, then each family: an object whose attributes are
                the gates' tensors, or one tensor for a family used whole. For a batch, map over
                the first axis with ``torch.vmap``.

        Returns:
            The new states, as the function returns them.
        """
        if self.function is None:
            raise CellError(
                f"cell '{self.name}': brought back from its graph; only `Recurrent` runs it."
            )
        return self.function(*values, **self.options)

    def with_options(self, **options: Any) -> Cell:
        """The same equations with other settings.

        Args:
            **options: for each option to change a number, the name of an activation, or one of the
                values that its annotation allows (``Literal["keep", "take"]``).

        Raises:
            ConfigError: for an option the cell does not have, or a value it cannot take.

        Example:
            >>> from unspool.cells import CELLS
            >>> CELLS["rnn"].with_options(activation="relu").options
            {'activation': relu}
        """
        if not options:
            return self
        if self.function is None:
            raise ConfigError(
                f"model.options: cell '{self.name}' was brought back from its graph; "
                "its options are fixed."
            )
        merged = dict(self.options)
        annotations = inspect.get_annotations(inspect.unwrap(self.function), eval_str=True)
        for key, value in options.items():
            if key not in merged:
                if not merged:
                    raise ConfigError(f"model.options: cell '{self.name}' has no options.")
                raise ConfigError(unknown(f"model.options of cell '{self.name}'", key, merged))
            where, allowed = f"model.options.{key}", annotations.get(key)
            merged[key] = _option(where, value, merged[key], allowed)
        return Cell(self.function, self.name, self.states, self.output, merged)

    def to_dict(self) -> dict[str, Any]:
        """Name and graph as plain data, for a model's config; no code is in it."""
        return {"name": self.name, **self.graph.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cell:
        """The cell whose graph was stored; runs nobody's Python.

        Raises:
            CellError: if the data is not a graph.
        """
        graph = Graph.from_dict(data)
        return cls(None, str(data.get("name", "cell")), graph.states, graph=graph)

    def __reduce__(self) -> tuple[Any, ...]:
        return Cell.from_dict, (self.to_dict(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self

    def __repr__(self) -> str:
        return f"<cell {self.name}: states {', '.join(self.states)}>"


def cell(
    *given: Any, state: str = "", output: str | None = None
) -> Callable[[Callable[..., Any]], Cell]:
    """Turn a function of equations into a `Cell`.

    The function takes the input, then the states named in ``state``, then the parameter families;
    arguments with a default are options. It returns the new states in the same order. A parameter's
    shape follows from its use: ``W.i @ x`` makes W.i a matrix, ``V.i * c`` a vector.

    Args:
        given: nothing; the states have to be named.
        state: names of the states, separated by spaces, such as ``"h c"``.
        output: name of the value a layer hands on, where it is not the first state.

    Raises:
        CellError: with the offending line, at the decorator for the arguments and at the first
            use for the equations.

    Example:
        >>> @cell(state="h")
        ... def plain(x, h, W, U, b):
        ...     h = tanh(W @ x + U @ h + b)
        ...     return h
        >>> plain.graph.parameter_count(features=3, units=5)
        45
    """
    states = tuple(state.split())
    if given:
        code = getattr(inspect.unwrap(given[0]), "__code__", None)
        where = f"{Path(code.co_filename).name}:{code.co_firstlineno}: " if code else ""
        raise CellError(f'{where}@cell has to name the states, as in @cell(state="h").')

    def decorate(function: Callable[..., Any]) -> Cell:
        code = inspect.unwrap(function).__code__
        where = f"{Path(code.co_filename).name}:{code.co_firstlineno}: cell '{function.__name__}'"
        parameters = inspect.signature(function).parameters
        required = [p.name for p in parameters.values() if p.default is p.empty]
        options = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
        if not states:
            raise CellError(f'{where}: no states; name at least one, as in `@cell(state="h")`.')
        for p in parameters.values():
            if p.kind in ODD or (p.kind is p.KEYWORD_ONLY and p.default is p.empty):
                raise CellError(f"{where}: takes `{p}`; wanted plain names only.")
        if tuple(required[1 : 1 + len(states)]) != states:
            raise CellError(
                f"{where}: after the input it takes ({', '.join(required[1 : 1 + len(states)])}), "
                f"but `state=` names ({', '.join(states)})."
            )
        return Cell(function, function.__name__, states, output, options)

    return decorate


ODD = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _option(where: str, value: Any, default: Any, annotation: Any) -> Any:
    """``value`` as the kind of thing ``default`` is, or one of those its annotation allows."""
    text = str(value)
    if get_origin(annotation) is Literal:
        choices = {str(choice): choice for choice in get_args(annotation)}
        if text not in choices:
            raise ConfigError(unknown(where, text, choices))
        return choices[text]
    if isinstance(default, Function):
        if isinstance(value, Function):
            return value
        if text not in ACTIVATIONS:
            raise ConfigError(unknown(where, text, ACTIVATIONS))
        return ACTIVATIONS[text]
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        made = type(default)(text)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError
    except (TypeError, ValueError, KeyError) as error:
        kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default))
        wanted = kind or f"what {type(default).__name__} takes"
        raise ConfigError(f"{where}: got '{text}'; wanted {wanted}.") from error
    return made
