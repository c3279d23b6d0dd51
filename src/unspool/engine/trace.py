"""Tracing: a cell's function is called once on symbols and leaves a graph behind.

Shapes are found by unification, the names of gates by watching the function's own variables from
line to line. Every mistake becomes a `CellError` with file, line and equation.
"""

from __future__ import annotations

import inspect
import linecache
import math
import numbers
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from unspool.engine.graph import Graph
from unspool.engine.nodes import ARITY, COMPARISONS, MOST_BLOCKS, Node
from unspool.engine.symbols import Axis, Blocks, Family, Parameter, Symbol, Width
from unspool.errors import CellError, UnspoolError

if TYPE_CHECKING:
    from unspool.engine.language import Cell


class Trace:
    """The making of one graph: the nodes so far, who is called what, and where we are."""

    def __init__(self, cell: Cell) -> None:
        assert cell.function is not None
        self.cell = cell
        self.function: Callable[..., Any] = cell.function
        self.code: CodeType = inspect.unwrap(cell.function).__code__
        self.nodes: list[Node] = []
        self.shapes: list[tuple[Width | Axis, ...]] = []
        self.parameters: dict[str, Parameter] = {}
        self.forms: dict[str, str] = {}
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
        self.arguments = dict(zip(required, (x, *before, *families), strict=True))
        previous = sys.gettrace()
        sys.settrace(self._watch_calls)
        try:
            returned = self.function(x, *before, *families, **self.cell.options)
        except UnspoolError:
            raise
        except Exception as error:
            self.line = _line_in(error, self.code, self.line)
            self.fail(f"{type(error).__name__}: {' '.join(str(error).split())}", cause=error)
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
        if len(operands) != ARITY[op]:
            self.fail(f"`{op}` takes {ARITY[op]} values, got {len(operands)}")
        symbols = [
            self._operand(op, operand, condition=op == "where" and position == 0)
            for position, operand in enumerate(operands)
        ]
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
        if not isinstance(value, numbers.Real) or not 0.0 <= value < math.inf:
            self.fail(f"`{op}` got the epsilon {value!r}; wanted a number of at least 0")
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
            if type(heads) is not int or not 1 <= heads <= MOST_BLOCKS:
                self.fail(
                    f"`block_diagonal` got {heads!r} heads; wanted a whole number "
                    f"from 1 to {MOST_BLOCKS}"
                )
            self.unify(inner[0], "H", vectors)
            outer, shape = "H", (heads, f"H/{heads}", f"H/{heads}")
        form = {"matmul": "matrix", "bilinear": "tensor"}.get(op, f"matrix of {heads} blocks")
        known = self._claim(parameter, form, shape)
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
            if name not in self.cell.states and (name in self.names or name in self.arguments):
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
            if isinstance(value, Parameter):
                self.fail(f"state `{name}`: returned the parameter `{value.name}` as it is")
            if not isinstance(value, Symbol):
                self.fail(f"state `{name}`: returned {value!r}, not a value computed from symbols")
            if value.shape:
                self.unify("H", value.shape[0], [value])
            if value.index == before[states.index(name)].index:
                self.fail(
                    f"state `{name}` is returned as it came in, so it can never hold anything"
                )
            if self.nodes[value.index].op in COMPARISONS:
                self.fail(f"state `{name}`: returned a comparison; use `where(z > 0, 1, 0)`")
            for other in states:
                if other != name and other in self.names and self.names[other] is value:
                    self.fail(
                        f"state `{name}` is returned the value of `{other}`; the order is "
                        f"({', '.join(states)})"
                    )
        return list(values)

    def _output(self, updated: list[Symbol]) -> Symbol:
        name = self.cell.output
        if name is None:
            return updated[0]
        if name not in self.names:
            self.fail(f'`output="{name}"` names no value of the cell')
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
                    f'`state=` and say `output="{name}"`'
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
            if symbol.index not in final
            and name not in self.cell.states
            and self.nodes[symbol.index].op not in COMPARISONS
        )
        return Graph(
            nodes,
            self.cell.states,
            tuple(symbol.index for symbol in updated),
            output.index,
            gates,
        )

    # Small parts.

    def _operand(self, op: str, value: Any, condition: bool = False) -> Symbol:
        """A symbol for an operand: a number becomes a constant, a parameter a vector."""
        if isinstance(value, Symbol):
            if value.trace is not self:
                self.fail(f"`{op}` got a value of another cell's step")
            if isinstance(value, Parameter):
                value = self._claim(value, "vector", (Width(),))
            if condition != (self.nodes[value.index].op in COMPARISONS):
                self.fail(
                    "`where` wants a comparison first, as in `where(z > 0, z, 0)`"
                    if condition
                    else f"`{op}` got a comparison; use `where(z > 0, 1, 0)`"
                )
            return value
        if condition:
            self.fail(f"`where` wants a comparison first, got {value!r}")
        if isinstance(value, numbers.Real):
            if not math.isfinite(value):
                self.fail(f"`{op}` got the number {value}, which no step can compute with")
            return self.add("constant", (), (), value=float(value))
        if isinstance(value, Blocks):
            self.fail("`block_diagonal(...)` is multiplied with `@`")
        return self.fail(f"`{op}` got {type(value).__name__} {value!r}; wanted a value or a number")

    def _claim(self, parameter: Parameter, form: str, shape: tuple[Width | Axis, ...]) -> Symbol:
        """The parameter's node; the first use fixes its form, later ones must agree."""
        if parameter.index < 0:
            whole = isinstance(parameter, Family)
            letter = parameter.name.partition(".")[0]
            for name in self.forms:
                if name.partition(".")[0] == letter and whole != (name == letter):
                    self.fail(f"`{letter}` is used whole and by its gates; choose one")
            if whole:
                self.parameters[parameter.name] = parameter
            node = self.add("parameter", (), shape, name=parameter.name)
            parameter.index, parameter.shape = node.index, shape
            self.forms[parameter.name] = form
        elif self.forms[parameter.name] != form:
            self.fail(
                f"shapes are mixed: `{parameter.name}` is a {self.forms[parameter.name]} from an "
                f"earlier line and is used here as a {form}"
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
