"""Reverse mode on a lowered step: the gradient is a graph in the same language.

`lower` first writes softmax and layer_norm as sums over a row, so that one rule an operation is
enough. `gradient` then walks the step backwards. Rules are written in terms of *outputs*, s(1-s)
for a sigmoid and 1-t*t for a tanh, so that only what the forward pass computed anyway is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from unspool.engine.graph import Graph, Node
from unspool.errors import BackendError

Axis = str | int
ROW = (1,)


@dataclass(frozen=True, slots=True)
class OuterProduct:
    """How a matrix learns: dU = Σ over steps and rows of ``adjoint`` times ``operand`` transposed.

    Attributes:
        parameter: node of the matrix.
        adjoint: node of the gradient at the product.
        operand: node of the vector it was multiplied with.
    """

    parameter: int
    adjoint: int
    operand: int


@dataclass(frozen=True, slots=True)
class Gradient:
    """The step together with its gradient.

    Attributes:
        nodes: the lowered step first, then what the gradient adds.
        num_forward: how many belong to the step.
        leaves: for each input, state and vector parameter (by node) the node of its gradient.
        matrices: one entry for every product of a matrix.
    """

    nodes: tuple[Node, ...]
    num_forward: int
    leaves: dict[int, int]
    matrices: tuple[OuterProduct, ...]

    @property
    def operands(self) -> frozenset[int]:
        """What matrices' gradients are made of besides adjoints; the sides of outer products."""
        found: set[int] = set()
        for matrix in self.matrices:
            node = self.nodes[matrix.operand]
            found.update(node.args if node.op == "outer" else (matrix.operand,))
        return frozenset(found)


def lower(graph: Graph) -> Graph:
    """The same step with row operations and bilinear forms written out.

        softmax(z)      e / Σe,  e = exp(z - max z)
        layer_norm(z)   gain * d / sqrt(mean(d * d) + epsilon) + bias,  d = z - mean(z)
                        d = U' x + b' for z = U x + b, where U' and b' are centred beforehand
        bilinear(U, x, z)  U @ outer(x, z),  the last two axes of U as one

    Raises:
        BackendError: for an operation that has no lowered form yet.
    """
    builder = Builder()
    moved: list[int] = []
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    uses.update([*graph.updated, graph.output, *(index for _, index in graph.gates)])
    for node in graph.nodes:
        args = tuple(moved[arg] for arg in node.args)
        if node.op == "blocks":
            raise BackendError("a `blocks` product is made dense before it is lowered")
        if node.op == "softmax":
            moved.append(builder.softmax(args[0]))
        elif node.op == "layer_norm":
            z, (_, gain, bias) = node.args[0], args
            d = _centred(builder, graph, uses, moved, z)
            d = builder.centred(moved[z]) if d is None else d
            moved.append(builder.layer_norm(d, gain, bias, epsilon=node.value))
        elif node.op == "bilinear":
            pairs = builder.outer(args[1], args[2])
            moved.append(builder.add("matmul", args[0], pairs, shape=node.shape))
        else:
            moved.append(builder.add_node(replace(node, args=args)))
    return replace(
        graph,
        nodes=tuple(builder.nodes),
        updated=tuple(moved[index] for index in graph.updated),
        output=moved[graph.output],
        gates=tuple((name, moved[index]) for name, index in graph.gates),
    )


def _centred(
    builder: Builder, graph: Graph, uses: Counter[int], moved: list[int], index: int
) -> int | None:
    """A sum of products less its mean: the mean is taken out of matrices and biases instead.

    That is done once a call, where the mean of the sum would be one more pass over every row at
    every step. None where the sum is not made of parameters alone, or is read elsewhere too.
    """
    node = graph.nodes[index]
    if node.op == "parameter" and len(node.shape) == 1:
        return builder.leaf("parameter", node.name + CENTRED, node.shape)
    if uses[index] != 1:
        return None
    if node.op == "matmul":
        matrix = graph.nodes[node.args[0]]
        centred = builder.leaf("parameter", matrix.name + CENTRED, matrix.shape)
        return builder.add("matmul", centred, moved[node.args[1]], shape=node.shape)
    if node.op not in ("add", "sub", "neg"):
        return None
    parts = [_centred(builder, graph, uses, moved, arg) for arg in node.args]
    known = [part for part in parts if part is not None]
    return builder.add(node.op, *known, shape=node.shape) if len(known) == len(parts) else None


def gradient(graph: Graph) -> Gradient:
    """The gradient of a lowered step.

    New leaves are ``adjoint`` nodes: one named after each state, the gradient that arrives at its
    new value, and one named ``output``.

    Args:
        graph: as `lower` gives it.

    Returns:
        Both passes as one list of nodes, and where the gradients of the leaves stand.

    Source:
        Griewank and Walther (2008), section 3.2: reverse mode by adjoints.

    Example:
        >>> from unspool.cells import CELLS
        >>> result = gradient(lower(CELLS["rnn"].simplified))
        >>> [result.nodes[m.parameter].name for m in result.matrices]
        ['U.h', 'W.h']
    """
    builder = Builder(list(graph.nodes))
    adjoints: dict[int, int] = {}

    def arrive(index: int, adjoint: int) -> None:
        shape = builder.nodes[index].shape
        if builder.nodes[index].op == "constant" or shape == ():
            return
        if builder.nodes[adjoint].shape != shape:
            op = "row_sum" if shape == ROW else "spread"
            adjoint = builder.add(op, adjoint, shape=shape)
        known = adjoints.get(index)
        adjoints[index] = adjoint if known is None else builder.add("add", known, adjoint)

    arrive(graph.output, builder.leaf("adjoint", "output", ("H",)))
    for name, index in zip(graph.states, graph.updated, strict=True):
        arrive(index, builder.leaf("adjoint", name, ("H",)))
    depends = reaches_leaf(graph)
    matrices: list[OuterProduct] = []
    for index in reversed(range(len(graph.nodes))):
        adjoint, node = adjoints.get(index), graph.nodes[index]
        if adjoint is None or not node.args:
            continue
        if node.op == "matmul":
            matrix, operand = node.args
            matrices.append(OuterProduct(matrix, adjoint, operand))
            if graph.nodes[operand].op == "outer":
                for arg, contribution in _bilinear(builder, index, adjoint):
                    if depends[arg]:
                        arrive(arg, contribution)
            elif depends[operand]:
                shape = graph.nodes[operand].shape
                arrive(operand, builder.add("transposed", matrix, adjoint, shape=shape))
            continue
        for arg, contribution in RULES[node.op](builder, index, adjoint):
            if depends[arg]:
                arrive(arg, contribution)
    leaves = {
        index: adjoints[index]
        for index, node in enumerate(graph.nodes)
        if node.op in ("input", "state", "parameter", "sequence") and index in adjoints
    }
    return Gradient(tuple(builder.nodes), len(graph.nodes), leaves, tuple(matrices))


def reaches_leaf(graph: Graph) -> list[bool]:
    """For each node, whether anything that wants a gradient has a part in it."""
    wanted: list[bool] = []
    for node in graph.nodes:
        leaf = node.op in ("input", "state", "parameter")
        wanted.append(leaf or any(wanted[arg] for arg in node.args))
    return wanted


class Builder:
    """A list of nodes that grows; equal nodes are made once."""

    def __init__(self, nodes: list[Node] | None = None) -> None:
        self.nodes: list[Node] = []
        self.known: dict[tuple[object, ...], int] = {}
        for node in nodes or []:
            self.nodes.append(node)
            self.known.setdefault(self._key(node), len(self.nodes) - 1)

    @staticmethod
    def _key(node: Node) -> tuple[object, ...]:
        return node.op, node.args, node.shape, node.name, node.value

    def add_node(self, node: Node) -> int:
        """The position of ``node``, added unless an equal one stands already."""
        key = self._key(node)
        if key not in self.known:
            self.nodes.append(node)
            self.known[key] = len(self.nodes) - 1
        return self.known[key]

    def leaf(self, op: str, name: str, shape: tuple[Axis, ...]) -> int:
        """A node without operands."""
        return self.add_node(Node(op, (), shape, name))

    def constant(self, value: float) -> int:
        """A number."""
        return self.add_node(Node("constant", value=value))

    def add(self, op: str, *args: int, shape: tuple[Axis, ...] | None = None) -> int:
        """An operation; its shape is the widest of its operands' unless given."""
        if shape is None:
            shapes = [self.nodes[arg].shape for arg in args]
            wide = [s for s in shapes if s not in ((), ROW)]
            shape = wide[0] if wide else (ROW if ROW in shapes else ())
        return self.add_node(Node(op, args, shape))

    def outer(self, left: int, right: int) -> int:
        """Every product of an entry of one vector with one of another, ``left`` slowest."""
        axes = [self.nodes[side].shape[0] for side in (left, right)]
        return self.add("outer", left, right, shape=(f"{axes[0]}*{axes[1]}",))

    def permuted(self, tensor: int, order: str) -> int:
        """The same tensor with its axes in another order, a key of `ORDERS`."""
        node = self.nodes[tensor]
        shape = tuple(node.shape[axis] for axis in ORDERS[order])
        return self.leaf("parameter", node.name + order, shape)

    def inverse_width(self, vector: int) -> int:
        """One over the number of entries of a vector."""
        return self.leaf("inverse_width", str(self.nodes[vector].shape[0]), ())

    def mean(self, vector: int) -> int:
        """Mean over a row."""
        total = self.add("row_sum", vector, shape=ROW)
        return self.add("mul", total, self.inverse_width(vector))

    def softmax(self, z: int) -> int:
        """Lowered softmax."""
        e = self.add("exp", self.add("sub", z, self.add("row_max", z, shape=ROW)))
        return self.add("div", e, self.add("row_sum", e, shape=ROW))

    def centred(self, z: int) -> int:
        """A vector less its mean."""
        return self.add("centred", z, self.mean(z))

    def layer_norm(self, d: int, gain: int, bias: int, epsilon: float) -> int:
        """Lowered layer norm of a vector of mean zero."""
        variance = self.mean(self.add("mul", d, d))
        scale = self.add("rsqrt", self.add("add", variance, self.constant(epsilon)))
        return self.add("add", self.add("mul", self.add("normed", d, scale), gain), bias)


Contribution = tuple[int, int]
Rule = Callable[[Builder, int, int], list[Contribution]]


def _add(b: Builder, y: int, a: int) -> list[Contribution]:
    left, right = b.nodes[y].args
    return [(left, a), (right, a)]


def _sub(b: Builder, y: int, a: int) -> list[Contribution]:
    left, right = b.nodes[y].args
    return [(left, a), (right, b.add("neg", a))]


def _mul(b: Builder, y: int, a: int) -> list[Contribution]:
    left, right = b.nodes[y].args
    return [(left, b.add("mul", a, right)), (right, b.add("mul", a, left))]


def _div(b: Builder, y: int, a: int) -> list[Contribution]:
    left, right = b.nodes[y].args
    share = b.add("div", a, right)
    return [(left, share), (right, b.add("neg", b.add("mul", share, y)))]


def _identity(b: Builder, y: int, a: int) -> list[Contribution]:
    return [(b.nodes[y].args[0], a)]


def _neg(b: Builder, y: int, a: int) -> list[Contribution]:
    return [(b.nodes[y].args[0], b.add("neg", a))]


def _sigmoid(b: Builder, y: int, a: int) -> list[Contribution]:
    slope = b.add("mul", y, b.add("sub", b.constant(1.0), y))
    return [(b.nodes[y].args[0], b.add("mul", a, slope))]


def _tanh(b: Builder, y: int, a: int) -> list[Contribution]:
    slope = b.add("sub", b.constant(1.0), b.add("mul", y, y))
    return [(b.nodes[y].args[0], b.add("mul", a, slope))]


def _relu(b: Builder, y: int, a: int) -> list[Contribution]:
    zero = b.constant(0.0)
    return [(b.nodes[y].args[0], b.add("where", b.add("greater", y, zero), a, zero))]


def _exp(b: Builder, y: int, a: int) -> list[Contribution]:
    return [(b.nodes[y].args[0], b.add("mul", a, y))]


def _log(b: Builder, y: int, a: int) -> list[Contribution]:
    z = b.nodes[y].args[0]
    return [(z, b.add("div", a, z))]


def _rsqrt(b: Builder, y: int, a: int) -> list[Contribution]:
    cube = b.add("mul", y, b.add("mul", y, y))
    return [(b.nodes[y].args[0], b.add("mul", a, b.add("mul", b.constant(-0.5), cube)))]


def _centred_slope(b: Builder, y: int, a: int) -> list[Contribution]:
    return [(b.nodes[y].args[0], b.add("sub", a, b.mean(a)))]


def _normed(b: Builder, y: int, a: int) -> list[Contribution]:
    """The slope through mean and variance at once, for y = (z - mean z) scale.

        dz = (a - mean a - y mean(a y)) scale

    Where z is a sum of centred parameters, these take the mean of `a` away.

    Source:
        Ba, Kiros and Hinton (2016), section 3; the derivative by hand.
    """
    d, scale = b.nodes[y].args
    slope = b.add("sub", a, b.add("mul", y, b.mean(b.add("mul", a, y))))
    if b.nodes[d].op == "centred":
        d, slope = b.nodes[d].args[0], b.add("sub", slope, b.mean(a))
    return [(d, b.add("mul", slope, scale))]


def _maximum(b: Builder, y: int, a: int) -> list[Contribution]:
    """The larger operand takes the gradient; equal ones share it, as in torch."""
    left, right = b.nodes[y].args
    zero, half = b.constant(0.0), b.add("mul", a, b.constant(0.5))
    more, less = b.add("greater", left, right), b.add("greater", right, left)
    return [
        (left, b.add("where", more, a, b.add("where", less, zero, half))),
        (right, b.add("where", less, a, b.add("where", more, zero, half))),
    ]


def _where(b: Builder, y: int, a: int) -> list[Contribution]:
    condition, left, right = b.nodes[y].args
    zero = b.constant(0.0)
    return [
        (left, b.add("where", condition, a, zero)),
        (right, b.add("where", condition, zero, a)),
    ]


def _bilinear(b: Builder, y: int, a: int) -> list[Contribution]:
    """The slopes of s_i = Σ u_ijk x_j z_k are bilinear as well.

    dz_k = Σ u_ijk x_j a_i,   dx_j = Σ u_ijk a_i z_k
    """
    tensor, pairs = b.nodes[y].args
    x, z = b.nodes[pairs].args
    by_z = b.permuted(tensor, "(k,j,i)"), b.outer(x, a)
    by_x = b.permuted(tensor, "(j,i,k)"), b.outer(a, z)
    return [
        (z, b.add("matmul", *by_z, shape=b.nodes[z].shape)),
        (x, b.add("matmul", *by_x, shape=b.nodes[x].shape)),
    ]


def _row_sum(b: Builder, y: int, a: int) -> list[Contribution]:
    return [(b.nodes[y].args[0], a)]


def _none(b: Builder, y: int, a: int) -> list[Contribution]:
    """A comparison has no slope; the maximum inside a softmax cancels."""
    return []


# Ends the name of a parameter whose mean over its first axis is taken away.
CENTRED = "(centred)"
# Which axes of a tensor, whose own are i, j and k, stand first, second and third.
ORDERS = {"(k,j,i)": (2, 1, 0), "(j,i,k)": (1, 0, 2)}

RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "identity": _identity,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": _relu,
    "exp": _exp,
    "log": _log,
    "rsqrt": _rsqrt,
    "centred": _centred_slope,
    "normed": _normed,
    "maximum": _maximum,
    "where": _where,
    "row_sum": _row_sum,
    "row_max": _none,
    "greater": _none,
    "greater_equal": _none,
}
