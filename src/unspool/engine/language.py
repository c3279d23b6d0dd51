"""The language cells are written in: symbols, functions, `cell`, and tracing.

A cell is a Python function of the input, the states and the parameter families. Called on symbols
it leaves behind a `unspool.engine.graph.Graph`, and with it the shapes of its parameters; called on
tensors it is one step. A mistake is a `CellError` that names the file, the line and the equation.
"""

from __future__ import annotations

import inspect
import linecache
import numbers
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

from unspool.engine.graph import Graph, Node, simplify
from unspool.errors import CellError, ConfigError, UnspoolError, unknown

Axis = str | int


class Width:
    """An axis that is not known yet; `_Trace.unify` ties it to D, H or another axis."""

    __slots__ = ("same",)

    def __init__(self) -> None:
        self.same: Width | Axis | None = None


class Symbol:
    """A value of the step, known only by what is done with it."""

    __slots__ = ("index", "shape", "trace")
    __array_ufunc__ = None

    def __init__(self, trace: _Trace, index: int, shape: tuple[Width | Axis, ...]) -> None:
        self.trace, self.index, self.shape = trace, index, shape

    def __add__(self, other: Any) -> Symbol:
        return self.trace.elementwise("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.trace.elementwise("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.trace.elementwise("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.trace.elementwise("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.trace.elementwise("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.trace.elementwise("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.trace.elementwise("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.trace.elementwise("div", other, self)

    def __neg__(self) -> Symbol:
        return self.trace.elementwise("neg", self)

    def __gt__(self, other: Any) -> Symbol:
        return self.trace.elementwise("greater", self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self.trace.elementwise("greater_equal", self, other)

    def __lt__(self, other: Any) -> Symbol:
        return self.trace.elementwise("greater", other, self)

    def __le__(self, other: Any) -> Symbol:
        return self.trace.elementwise("greater_equal", other, self)

    def __matmul__(self, other: Any) -> Symbol:
        self.trace.fail("only a parameter can stand left of `@`, as in `U.z @ h`")

    def __bool__(self) -> bool:
        self.trace.fail(
            "a Python condition on a value that is only known while running; use `where(...)`"
        )

    def __eq__(self, other: object) -> Any:
        self.trace.fail("`==` on values of a step; compare with `<` or `>` inside `where(...)`")

    __hash__ = object.__hash__

    def __pow__(self, other: Any) -> Symbol:
        self.trace.fail("`**` is not in the language; write the product, as in `z * z`")

    def __getitem__(self, index: Any) -> Symbol:
        self.trace.fail("a value cannot be indexed; equations hold for all units at once")

    def __iter__(self) -> NoReturn:
        self.trace.fail("a value cannot be looped over; equations hold for all units at once")

    def __float__(self) -> float:
        self.trace.fail(
            "a function that wants a number got a value of the step; use the functions of unspool"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.trace.fail(f"a value has no `.{name}`; only parameter families have gates")


class Parameter(Symbol):
    """A member of a family; its shape follows from the first use."""

    __slots__ = ("name",)

    def __init__(self, trace: _Trace, name: str) -> None:
        super().__init__(trace, -1, ())
        self.name = name

    def __matmul__(self, other: Any) -> Symbol:
        return self.trace.product("matmul", self, other)


class Family(Parameter):
    """A letter such as ``W``; its gates are attributes, or it is used whole."""

    __slots__ = ()

    def __getattr__(self, gate: str) -> Parameter:
        if gate.startswith("_"):
            raise AttributeError(gate)
        return self.trace.parameter(f"{self.name}.{gate}")


class Blocks:
    """A parameter declared block-diagonal; made by `block_diagonal`."""

    __slots__ = ("heads", "parameter")

    def __init__(self, parameter: Parameter, heads: int) -> None:
        self.parameter, self.heads = parameter, heads

    def __matmul__(self, other: Any) -> Symbol:
        return self.parameter.trace.product("blocks", self.parameter, other, heads=self.heads)


class Function:
    """A function of the language: a symbol in, a symbol out; a tensor in, a tensor out.

    Args:
        op: its key in `unspool.engine.graph.ARITY`.
    """

    def __init__(self, op: str) -> None:
        self.op = op

    def __call__(self, *args: Any) -> Any:
        for arg in args:
            if isinstance(arg, Symbol):
                return arg.trace.elementwise(self.op, *args)
        from unspool.engine.reference import TORCH

        return TORCH[self.op](*args)

    def __repr__(self) -> str:
        return self.op


sigmoid = Function("sigmoid")
tanh = Function("tanh")
relu = Function("relu")
identity = Function("identity")
exp = Function("exp")
log = Function("log")
maximum = Function("maximum")
where = Function("where")
ACTIVATIONS = {f.op: f for f in (tanh, relu, sigmoid, identity)}


def softmax(z: Any) -> Any:
    """Positive numbers that sum to one over the units, exp(z) / Σ exp(z).

    Args:
        z: a vector.
    """
    if isinstance(z, Symbol):
        return z.trace.rows("softmax", z)
    from unspool.engine.reference import TORCH

    return TORCH["softmax"](z)


def layer_norm(z: Any, gain: Any, bias: Any, epsilon: float = 1e-5) -> Any:
    """Shift and scale a vector to mean 0 and variance 1 over its units, then learn both anew.

        gain * (z - mean(z)) / sqrt(var(z) + epsilon) + bias

    Args:
        z: a vector.
        gain: parameter, one number a unit, starts at 1.
        bias: parameter, one number a unit, starts at 0.
        epsilon: keeps the root away from zero.

    Source:
        Ba, Kiros and Hinton (2016), equation 4.
    """
    if isinstance(z, Symbol):
        return z.trace.rows("layer_norm", z, gain, bias, value=epsilon)
    from unspool.engine.reference import TORCH

    return TORCH["layer_norm"](z, gain, bias, epsilon)


def block_diagonal(parameter: Any, heads: int) -> Any:
    """A recurrent matrix that mixes units only within each of ``heads`` equal groups.

    ``block_diagonal(R.i, heads) @ h`` learns ``heads`` squares of (H/heads) x (H/heads).

    Args:
        parameter: a member of a family.
        heads: number of groups; H must be a multiple of it.
    """
    if isinstance(parameter, Parameter):
        return Blocks(parameter, heads)
    from unspool.engine.reference import dense_blocks

    return dense_blocks(parameter)


def bilinear(parameter: Any, x: Any, z: Any) -> Any:
    """The multiplicative module: a matrix that is itself a product, s_i = Σ_j Σ_k u_ijk z_k x_j.

    Args:
        parameter: a member of a family; becomes a tensor of (H, width of x, width of z).
        x: a vector.
        z: a vector.
    """
    if isinstance(parameter, Parameter):
        return parameter.trace.product("bilinear", parameter, x, z)
    from unspool.engine.reference import TORCH

    return TORCH["bilinear"](parameter, x, z)


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
            self._graph = _Trace(self).run()
        return self._graph

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
            **options: a number, or the name of an activation, for each option to change.

        Raises:
            ConfigError: for an option the cell does not have, or a value it cannot take.

        Example:
            >>> from unspool.cells import CELLS
            >>> CELLS["rnn"].with_options(activation="relu").options
            {'activation': relu}
        """
        if not options:
            return self
        merged = dict(self.options)
        for key, value in options.items():
            if key not in merged:
                if not merged:
                    raise ConfigError(f"model.options: cell '{self.name}' has no options.")
                raise ConfigError(unknown(f"model.options of cell '{self.name}'", key, merged))
            merged[key] = _option(f"model.options.{key}", value, merged[key])
        if self.function is None:
            raise ConfigError(
                f"model.options: cell '{self.name}' was brought back from its graph; "
                "its options are fixed."
            )
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


def cell(*, state: str, output: str | None = None) -> Callable[[Callable[..., Any]], Cell]:
    """Turn a function of equations into a `Cell`.

    The function takes the input, then the states named in ``state``, then the parameter families;
    arguments with a default are options. It returns the new states in the same order. A parameter's
    shape follows from its use: ``W.i @ x`` makes W.i a matrix, ``V.i * c`` a vector.

    Args:
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

    def decorate(function: Callable[..., Any]) -> Cell:
        code = inspect.unwrap(function).__code__
        where = f"{Path(code.co_filename).name}:{code.co_firstlineno}: cell '{function.__name__}'"
        parameters = inspect.signature(function).parameters
        required = [p.name for p in parameters.values() if p.default is p.empty]
        options = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
        if not states:
            raise CellError(f"{where}: no states; name at least one, as in `@cell(state=\"h\")`.")
        if tuple(required[1 : 1 + len(states)]) != states:
            raise CellError(
                f"{where}: after the input it takes ({', '.join(required[1 : 1 + len(states)])}), "
                f"but `state=` names ({', '.join(states)})."
            )
        return Cell(function, function.__name__, states, output, options)

    return decorate


def _option(where: str, value: Any, default: Any) -> Any:
    """``value`` as the kind of thing ``default`` is."""
    if isinstance(default, Function):
        if isinstance(value, Function):
            return value
        if value not in ACTIVATIONS:
            raise ConfigError(unknown(where, str(value), ACTIVATIONS))
        return ACTIVATIONS[value]
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[str(value).lower()]
        return type(default)(value)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{where}: got '{value}'; wanted {type(default).__name__}.") from error


class _Trace:
    """The making of one graph: the nodes so far, who is called what, and where we are."""

    def __init__(self, cell: Cell) -> None:
        assert cell.function is not None
        self.cell = cell
        self.function: Callable[..., Any] = cell.function
        self.code: CodeType = inspect.unwrap(cell.function).__code__
        self.nodes: list[Node] = []
        self.shapes: list[tuple[Width | Axis, ...]] = []
        self.parameters: dict[str, Parameter] = {}
        self.names: dict[str, Symbol] = {}
        self.line_of_name: dict[str, int] = {}
        self.line = self.code.co_firstlineno

    def run(self) -> Graph:
        """Call the function on symbols and collect the graph."""
        states = self.cell.states
        required = [
            p.name
            for p in inspect.signature(self.function).parameters.values()
            if p.default is p.empty
        ]
        x = self.leaf("input", required[0], "D")
        before = [self.leaf("state", name, "H") for name in states]
        families = [Family(self, name) for name in required[1 + len(states) :]]
        self.arguments = {required[0]: x, **dict(zip(states, before, strict=True))}
        previous = sys.gettrace()
        sys.settrace(self._watch_calls)
        try:
            returned = self.function(x, *before, *families, **self.cell.options)
        except UnspoolError:
            raise
        except Exception as error:
            self.line = _line_in(error, self.code, self.line)
            self.fail(f"{type(error).__name__}: {error}", cause=error)
        finally:
            sys.settrace(previous)
        updated = self._returned(returned, before)
        output = self._output(updated)
        self._check_use(families, before, updated, output)
        return self._graph(updated, output)

    # What the symbols call.

    def leaf(self, op: str, name: str, axis: Axis) -> Symbol:
        """An input or a state."""
        return self.add(op, (), (axis,), name=name)

    def parameter(self, name: str) -> Parameter:
        """The one symbol of a parameter."""
        if name not in self.parameters:
            self.parameters[name] = Parameter(self, name)
        return self.parameters[name]

    def add(
        self,
        op: str,
        args: tuple[Symbol, ...],
        shape: tuple[Width | Axis, ...],
        name: str = "",
        value: float = 0.0,
    ) -> Symbol:
        """One more node."""
        line = self._current_line()
        self.nodes.append(Node(op, tuple(arg.index for arg in args), (), name, value, line))
        self.shapes.append(shape)
        return Symbol(self, len(self.nodes) - 1, shape)

    def elementwise(self, op: str, *operands: Any) -> Symbol:
        """A node over all units, scalars broadcast."""
        symbols = [self._operand(op, operand) for operand in operands]
        width: Width | Axis | None = None
        for symbol in symbols:
            if symbol.shape:
                if width is not None:
                    self.unify(width, symbol.shape[0], symbols)
                width = symbol.shape[0]
        return self.add(op, tuple(symbols), () if width is None else (width,))

    def rows(self, op: str, *operands: Any, value: float = 0.0) -> Symbol:
        """A node that looks at all units of a vector at once."""
        symbols = [self._operand(op, operand) for operand in operands]
        if not symbols[0].shape:
            self.fail(f"`{op}` wants a vector, got a number")
        for symbol in symbols[1:]:
            if not symbol.shape:
                self.fail(f"`{op}` wants parameters for gain and bias, got a number")
            self.unify(symbols[0].shape[0], symbol.shape[0], symbols)
        return self.add(op, tuple(symbols), symbols[0].shape, value=value)

    def product(self, op: str, parameter: Parameter, *operands: Any, heads: int = 0) -> Symbol:
        """A parameter times one vector, or for ``bilinear`` two."""
        vectors = [self._operand(op, operand) for operand in operands]
        if any(not vector.shape for vector in vectors):
            self.fail(f"`{parameter.name}` is multiplied with `@` by a number; use `*`")
        inner = [vector.shape[0] for vector in vectors]
        outer: Width | Axis = Width()
        shape: tuple[Width | Axis, ...] = (outer, *inner)
        if op == "blocks":
            if not isinstance(heads, int) or heads < 1:
                self.fail(f"block_diagonal: got {heads!r} heads; wanted a whole number ≥ 1")
            self.unify(inner[0], "H", vectors)
            outer, shape = "H", (heads, f"H/{heads}", f"H/{heads}")
        known = self._claim(parameter, op, shape)
        if op != "blocks":
            for axis, width in zip(known.shape[1:], inner, strict=True):
                self.unify(axis, width, [known, *vectors])
            outer = known.shape[0]
        return self.add(op, (known, *vectors), (outer,))

    def unify(self, one: Width | Axis, other: Width | Axis, symbols: list[Symbol]) -> None:
        """Make two axes the same, or say which shapes were mixed."""
        one, other = _root(one), _root(other)
        if one is other or one == other:
            return
        if isinstance(one, Width):
            one.same = other
        elif isinstance(other, Width):
            other.same = one
        else:
            parts = " and ".join(dict.fromkeys(f"{self._describe(s)}" for s in symbols if s.shape))
            self.fail(f"shapes are mixed: {parts}; a product such as `W.k @ x` changes a width")

    def fail(
        self, message: str, cause: BaseException | None = None, line: int | None = None
    ) -> NoReturn:
        """Raise with file, line and the equation."""
        line = line or self._current_line()
        source = linecache.getline(self.code.co_filename, line).strip()
        shown = f"; in `{source}`" if source else ""
        file = Path(self.code.co_filename).name
        raise CellError(f"{file}:{line}: cell '{self.cell.name}': {message}{shown}") from cause

    # Names from the source.

    def _watch_calls(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._watch_lines if frame.f_code is self.code else None

    def _watch_lines(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event in ("line", "return"):
            self._notice(frame)
        self.line = frame.f_lineno
        return self._watch_lines

    def _notice(self, frame: FrameType) -> None:
        """Compare the function's variables with what they were a line ago."""
        values = frame.f_locals
        for name, value in values.items():
            if not isinstance(value, Symbol) or isinstance(value, Parameter):
                continue
            if self.arguments.get(name) is value or self.names.get(name) is value:
                continue
            if name in self.names or (name in self.arguments and name not in self.cell.states):
                if name not in self.cell.states:
                    self.fail(
                        f"`{name}` is bound a second time; give the new value its own name",
                        line=self.line,
                    )
            self._refuse_alias(name, value, values)
            self.names[name] = value
            self.line_of_name[name] = self.line

    def _refuse_alias(self, name: str, value: Symbol, values: Mapping[str, Any]) -> None:
        for known in (*self.names, *self.arguments):
            held = self.names.get(known, self.arguments.get(known))
            if known != name and held is not None and held.index == value.index:
                self.fail(
                    f"one value has two names, `{known}` and `{name}`; use one of them",
                    line=self.line,
                )

    # The end of a trace.

    def _returned(self, returned: Any, before: list[Symbol]) -> list[Symbol]:
        """The new states, checked one by one."""
        states = self.cell.states
        values = returned if isinstance(returned, tuple) else (returned,)
        if len(values) != len(states):
            missing = ", ".join(f"`{name}`" for name in states[len(values) :])
            what = f"{missing} is not returned" if missing else "more is returned than states"
            self.fail(f"returned {len(values)} for the states ({', '.join(states)}): {what}")
        for name, value in zip(states, values, strict=True):
            if not isinstance(value, Symbol) or isinstance(value, Parameter):
                self.fail(f"state `{name}`: returned {value!r}, not a value computed from symbols")
            if value.shape:
                self.unify("H", value.shape[0], [value])
            if value.index == before[states.index(name)].index:
                self.fail(f"state `{name}` is returned as it came in, so it can never hold anything")
        return list(values)

    def _output(self, updated: list[Symbol]) -> Symbol:
        name = self.cell.output
        if name is None:
            return updated[0]
        if name not in self.names:
            self.fail(f"`output=\"{name}\"` names no value of the cell")
        value = self.names[name]
        if value.shape:
            self.unify("H", value.shape[0], [value])
        return value

    def _check_use(
        self, families: list[Family], before: list[Symbol], updated: list[Symbol], output: Symbol
    ) -> None:
        """Every state is read, every family used, every parameter shaped like its family."""
        read = {symbol.index for symbol in (*updated, output)}
        for index in reversed(range(len(self.nodes))):
            if index in read:
                read.update(self.nodes[index].args)
        for name, symbol in zip(self.cell.states, before, strict=True):
            if symbol.index not in read:
                self.line = self.line_of_name.get(name, self.line)
                self.fail(
                    f"state `{name}` is never read; if only the layer above needs it, drop it from "
                    f"`state=` and say `output=\"{name}\"`"
                )
        used = {node.name.partition(".")[0] for node in self.nodes if node.op == "parameter"}
        for family in families:
            if family.name not in used:
                self.fail(f"parameter family `{family.name}` is never used", line=self._signature())
        shapes: dict[str, tuple[str, tuple[Axis, ...]]] = {}
        for index, node in enumerate(self.nodes):
            if node.op == "parameter":
                letter = node.name.partition(".")[0]
                shape = _settled(self.shapes[index])
                first, known = shapes.setdefault(letter, (node.name, shape))
                if known != shape:
                    self.line = node.line
                    self.fail(
                        f"family `{letter}` would hold two shapes, {first} is {_show(known)} and "
                        f"{node.name} is {_show(shape)}; give one of them another letter"
                    )

    def _graph(self, updated: list[Symbol], output: Symbol) -> Graph:
        nodes = tuple(
            Node(n.op, n.args, _settled(shape), n.name, n.value, n.line)
            for n, shape in zip(self.nodes, self.shapes, strict=True)
        )
        final = {symbol.index for symbol in updated}
        gates = tuple(
            (name, symbol.index)
            for name, symbol in self.names.items()
            if symbol.index not in final and name not in self.cell.states
        )
        return Graph(
            nodes,
            self.cell.states,
            tuple(symbol.index for symbol in updated),
            output.index,
            gates,
        )

    # Small parts.

    def _operand(self, op: str, value: Any) -> Symbol:
        """A symbol for an operand: a number becomes a constant, a parameter a vector."""
        if isinstance(value, Parameter):
            return self._claim(value, "vector", (Width(),))
        if isinstance(value, Symbol):
            return value
        if isinstance(value, numbers.Real):
            return self.add("constant", (), (), value=float(value))
        if isinstance(value, Blocks):
            self.fail("`block_diagonal(...)` is multiplied with `@`")
        self.fail(f"`{op}` got {type(value).__name__} {value!r}; wanted a value or a number")

    def _claim(self, parameter: Parameter, form: str, shape: tuple[Width | Axis, ...]) -> Symbol:
        """The parameter's node; the first use fixes its form, later ones must agree."""
        if parameter.index < 0:
            whole = isinstance(parameter, Family)
            letter = parameter.name.partition(".")[0]
            for name, other in self.parameters.items():
                if other.index >= 0 and name.partition(".")[0] == letter and whole != (name == letter):
                    self.fail(f"`{letter}` is used whole and by its gates; choose one")
            if whole:
                self.parameters[parameter.name] = parameter
            node = self.add("parameter", (), shape, name=parameter.name)
            parameter.index, parameter.shape = node.index, shape
        elif len(parameter.shape) != len(shape):
            self.fail(
                f"shapes are mixed: `{parameter.name}` is {_show(_settled(parameter.shape))} from "
                f"an earlier line and is used here as a {form}"
            )
        return parameter

    def _describe(self, symbol: Symbol) -> str:
        node = self.nodes[symbol.index]
        names = [name for name, named in self.names.items() if named.index == symbol.index]
        what = node.name or (names[-1] if names else "")
        if not what and node.args and node.op in ("matmul", "blocks"):
            what = f"{self.nodes[node.args[0]].name} @ …"
        return f"{what or node.op} has {_show(_settled(symbol.shape))}"

    def _signature(self) -> int:
        """The line of `def`, below any decorators."""
        line = self.code.co_firstlineno
        while linecache.getline(self.code.co_filename, line).lstrip().startswith("@"):
            line += 1
        return line

    def _current_line(self) -> int:
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code is self.code:
                return frame.f_lineno
            frame = frame.f_back
        return self.line


def _root(axis: Width | Axis) -> Width | Axis:
    while isinstance(axis, Width) and axis.same is not None:
        axis = axis.same
    return axis


def _settled(shape: tuple[Width | Axis, ...]) -> tuple[Axis, ...]:
    """Letters for a shape; an axis nothing ties down is as wide as the layer."""
    roots = [_root(axis) for axis in shape]
    return tuple("H" if isinstance(root, Width) else root for root in roots)


def _show(shape: tuple[Axis, ...]) -> str:
    return " x ".join(str(axis) for axis in shape) or "a number"


def _line_in(error: BaseException, code: CodeType, otherwise: int) -> int:
    """The line of the cell in an error's traceback."""
    line, step = otherwise, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is code:
            line = step.tb_lineno
        step = step.tb_next
    return line
