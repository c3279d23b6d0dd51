"""What a step is made of: the operations, the nodes and the axes of their shapes.

Shapes are written in two letters, D (input features) and H (units), in counts, and in parts of a
letter such as ``H/4``; a scalar has the empty shape.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAVES = ("input", "sequence", "state", "parameter", "constant")
PRODUCTS = ("matmul", "blocks", "bilinear")
ROWS = ("softmax", "layer_norm")
COMPARISONS = ("greater", "greater_equal")
ARITY = {
    **dict.fromkeys(LEAVES, 0),
    **dict.fromkeys(("neg", "identity", "sigmoid", "tanh", "relu", "exp", "log", "softmax"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", *COMPARISONS), 2),
    **dict.fromkeys(("matmul", "blocks"), 2),
    **dict.fromkeys(("where", "bilinear", "layer_norm"), 3),
}

MOST_BLOCKS = 4096


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the step.

    Attributes:
        op: a key of `ARITY`. ``input`` changes with time, ``sequence`` is drawn once a sequence
            (a dropout mask), ``state`` is the value of the step before.
        args: positions of the operands.
        shape: () for a scalar, (width,) for a vector; for a parameter the shape of one gate.
        name: of an input, state or parameter (``W.i``, or ``W`` for a family used whole).
        value: of a constant; the epsilon of a ``layer_norm``.
        line: line of the source, 0 when there is none.
    """

    op: str
    args: tuple[int, ...] = ()
    shape: tuple[str | int, ...] = ()
    name: str = ""
    value: float = 0.0
    line: int = 0


def resolve(axis: str | int, features: int, units: int) -> int:
    """The number behind an axis: D, H, a count, or ``H/4`` for a block of a quarter."""
    if isinstance(axis, int):
        return axis
    letter, _, parts = axis.partition("/")
    return {"D": features, "H": units}[letter] // int(parts or 1)
