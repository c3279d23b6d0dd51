"""The symbols and functions that a cell's equations are written in.

A `Symbol` does nothing but tell the `unspool.engine.trace.Trace` it belongs to what was done with
it. The functions take symbols and tensors alike: on tensors they compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from unspool.engine.trace import Trace

Axis = str | int


class Width:
    """An axis that is not known yet; `Trace.unify` ties it to D, H or another axis."""

    __slots__ = ("same",)

    def __init__(self) -> None:
        self.same: Width | Axis | None = None


class Symbol:
    """A value of the step, known only by what is done with it."""

    __slots__ = ("index", "shape", "trace")
    __array_ufunc__ = None

    def __init__(self, trace: Trace, index: int, shape: tuple[Width | Axis, ...]) -> None:
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

    def __ne__(self, other: object) -> Any:
        self.trace.fail("`!=` on values of a step; compare with `<` or `>` inside `where(...)`")

    __hash__ = object.__hash__

    def __pow__(self, other: Any) -> Symbol:
        self.trace.fail("`**` is not in the language; write the product, as in `z * z`")

    def __rpow__(self, other: Any) -> Symbol:
        self.trace.fail("`**` is not in the language; use `exp(...)`")

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """What torch calls when one of its functions is given a symbol."""
        given = next(arg for arg in (*args, *(kwargs or {}).values()) if isinstance(arg, Symbol))
        name = getattr(function, "__name__", "")
        given.trace.fail(f"`{name}` of torch got a value of the step; use the functions of unspool")

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

    def __init__(self, trace: Trace, name: str) -> None:
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
        """The function of symbols, or of tensors."""
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
