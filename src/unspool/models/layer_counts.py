"""What each layer of a written network makes of a shape, and what it costs; without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from unspool.cells import CELLS
from unspool.cells.find import find_cell
from unspool.engine.graph import Family
from unspool.errors import ConfigError, ShapeError, choose, unknown
from unspool.layers.sizes import output_size


@dataclass(frozen=True, slots=True)
class Shape:
    """What flows between two layers.

    Attributes:
        kind: image, steps, tokens or vector.
        sizes: rows, columns and maps; or steps (0 if open) and features; or features alone.
    """

    kind: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        """Sizes with × in between; open steps as T."""
        if self.kind == "tokens":
            return f"{self.sizes[0] or 'T'} of {self.sizes[1]:,}"
        open_steps = self.kind == "steps" and not self.sizes[0]
        return "×".join(["T"] * open_steps + [f"{size}" for size in self.sizes[open_steps:]])

    @property
    def open(self) -> bool:
        """Whether the number of steps is not known, so that counts are those of one step."""
        return self.kind in ("steps", "tokens") and not self.sizes[0]

    @property
    def values(self) -> int:
        """Numbers that flow; of open steps those of one."""
        if self.kind == "tokens":
            return self.sizes[0] or 1
        return math.prod(size or 1 for size in self.sizes)


@dataclass(frozen=True, slots=True)
class Line:
    """One layer of a derivation.

    Attributes:
        layer: as it was written.
        output: shape after it.
        parameters: weights and biases.
        how: the arithmetic behind them, empty where there are none.
        cost: multiplications, each with an addition, of one example; of open steps, of one step.
        cost_how: the arithmetic behind it.
    """

    layer: str
    output: Shape
    parameters: int = 0
    how: str = ""
    cost: int = 0
    cost_how: str = ""


def count_layer(words: list[str], shape: Shape, convention: str) -> Line:
    """One layer from its words and the shape before it.

    Raises:
        ConfigError: for a word that is not in a table, or a number that is missing.
        ShapeError: if it cannot read such a shape.

    Example:
        >>> count_layer(["rnn", "5"], Shape("steps", (0, 100)), "unspool").how
        '100·5 + 5·5 + 5'
    """
    name, layer = words[0], " ".join(words)
    if name in LAYERS:
        return replace(LAYERS[name](words, shape), layer=layer)
    if name in CELLS or ":" in name:
        return replace(_recurrent(words, shape, convention), layer=layer)
    raise ConfigError(unknown("count", name, [*LAYERS, *CELLS]))


def _convolution(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "image", "steps")
    options = _options(words, 3, {"stride": True, "pad": True, "same": False, "unbiased": False})
    maps, window = _number(words, 1), _window(words, 2, 1 if shape.kind == "steps" else 2)
    stride = options.get("stride", 1)
    padding = "same" if "same" in options else options.get("pad", 0)
    *sides, inputs = shape.sizes
    if shape.open and (padding != "same" or stride > 1):
        raise ShapeError(f"count: '{' '.join(words)}' needs the number of steps; give it as 50x….")
    if not shape.open:
        sides = [
            output_size(size, kernel, stride, padding)
            for size, kernel in zip(sides, window, strict=True)
        ]
    one = math.prod(window) * inputs
    bias = 0 if "unbiased" in options else 1
    product = "·".join(str(factor) for factor in (*window, inputs))
    output = Shape(shape.kind, (*sides, maps))
    places = math.prod(side or 1 for side in sides)
    at = "·".join(str(side) for side in sides if side)
    how = f"({product} + 1)·{maps} = {one + 1}·{maps}" if bias else f"{product}·{maps}"
    return Line(
        "", output, (one + bias) * maps, how, places * maps * one,
        "·".join([*[at] * bool(at), str(maps), product]),
    )  # fmt: skip


def _max_pooling(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "image")
    options = _options(words, 2, {"stride": True})
    window = _window(words, 1, 2)
    *sides, maps = shape.sizes
    sides = [
        output_size(size, kernel, options.get("stride", kernel))
        for size, kernel in zip(sides, window, strict=True)
    ]
    return Line("", Shape("image", (*sides, maps)))


def _dense(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "vector", "steps")
    options = _options(words, 2, {"unbiased": False})
    units, inputs = _number(words, 1), shape.sizes[-1]
    bias = 0 if "unbiased" in options else 1
    how = f"({inputs} + 1)·{units}" if bias else f"{inputs}·{units}"
    steps = shape.sizes[0] if shape.kind == "steps" else 0
    output = Shape(shape.kind, (*shape.sizes[:-1], units))
    factors = [*[str(steps)] * bool(steps), str(inputs), str(units)]
    cost = (steps or 1) * inputs * units
    return Line("", output, (inputs + bias) * units, how, cost, "·".join(factors))


def _embedding(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "tokens")
    _options(words, 2, {})
    (steps, vocabulary), width = shape.sizes, _number(words, 1)
    return Line("", Shape("steps", (steps, width)), vocabulary * width, f"{vocabulary}·{width}")


def _recurrent(words: list[str], shape: Shape, convention: str) -> Line:
    _needs(words, shape, "steps")
    options = _options(words, 2, {"bidirectional": False})
    units, (steps, features) = _number(words, 1), shape.sizes
    directions = 2 if "bidirectional" in options else 1
    families, note = _families(words[0], convention)
    terms, parameters, products = [], 0, 0
    for family in families:
        values = math.prod(family.sizes(features, units))
        terms.append((len(family.gates), _product(family.shape, features, units)))
        parameters += values
        products += values if len(family.shape) > 1 else 0
    how = _sum_of(terms)
    if directions == 2:
        how = f"2·({how})"
    matrices = [term for term, family in zip(terms, families, strict=True) if len(family.shape) > 1]
    factors = [*[str(steps)] * bool(steps), *["2"] * (directions == 2)]
    cost_how = "·".join([*factors, f"({_sum_of(matrices)})"]) if factors else _sum_of(matrices)
    return Line(
        "", Shape("steps", (steps, units * directions)), directions * parameters,
        f"{how} {note}".strip(), (steps or 1) * directions * products, cost_how,
    )  # fmt: skip


def _block(words: list[str], shape: Shape) -> Line:
    """Attention to the own sequence and the network at every step, with norms before both.

    Queries, keys and values and what is made of them, D² each; two products of the network; two
    norms. With T steps every step also meets every other, twice.
    """
    _needs(words, shape, "steps")
    options = _options(words, 2, {"units": True, "unbiased": False})
    heads, (steps, width) = _number(words, 1), shape.sizes
    if width % heads:
        raise ShapeError(
            f"count: '{' '.join(words)}': {heads} heads of {width} features; wanted a divisor."
        )
    units, D = options.get("units", 4 * width), width
    attention, network, norms = 4 * D * D, 2 * D * units, 2 * D
    how = f"4·{D}·{D} + 2·{D}·{units} + 2·{D}"
    parameters = attention + network + norms
    if "unbiased" not in options:
        parameters += 4 * D + units + D + 2 * D
        how = f"4·({D}·{D} + {D}) + 2·{D}·{units} + {units} + {D} + 2·2·{D}"
    cost = (steps or 1) * (attention + network) + 2 * steps * steps * D
    one = f"4·{D}·{D} + 2·{D}·{units}"
    cost_how = f"{steps}·({one}) + 2·{steps}·{steps}·{D}" if steps else one
    return Line("", shape, parameters, how, cost, cost_how)


def _norm(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "steps", "vector")
    options = _options(words, 1, {"unbiased": False})
    width = shape.sizes[-1]
    if "unbiased" in options:
        return Line("", shape, width, f"{width}")
    return Line("", shape, 2 * width, f"2·{width}")


def _positions(words: list[str], shape: Shape) -> Line:
    """Vectors of a table, one for each step that there can be, added."""
    _needs(words, shape, "steps")
    _options(words, 2, {})
    context, width = _number(words, 1), shape.sizes[-1]
    return Line("", shape, context * width, f"{context}·{width}")


def _product(shape: tuple[str | int, ...], features: int, units: int) -> str:
    """The axes of a gate's part with numbers for letters, inputs first as in the lecture."""
    numbers = {"D": str(features), "H": str(units)}
    return "·".join(
        re.sub("[DH]", lambda letter: numbers[letter[0]], str(axis)) for axis in reversed(shape)
    )


def _sum_of(terms: list[tuple[int, str]]) -> str:
    """Products with their number of gates, which stands in front where it is always the same."""
    gates = {count for count, _ in terms}
    if len(gates) == 1 and gates != {1}:
        return f"{gates.pop()}·({' + '.join(text for _, text in terms)})"
    return " + ".join(f"{count}·{text}" if count > 1 else text for count, text in terms)


def _families(name: str, convention: str) -> tuple[list[Family], str]:
    """The parameters of a cell, with the biases of a convention, and a word about those."""
    families = list(find_cell(name, "count").graph.families.values())
    if convention == "unspool":
        return families, ""
    choose(name, CONVENTIONS[convention], f"count: convention '{convention}', cell")
    biases = CONVENTIONS[convention][name]
    kept = [family for family in families if family.role != "bias"]
    gates = kept[0].gates
    return (
        [*kept, *[Family("b", gates, ("H",), "bias")] * biases],
        "(two biases a gate)" if biases == 2 else "",
    )


def _pooled(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "steps")
    _options(words, 1, {})
    return Line("", Shape("vector", shape.sizes[1:]))


def _flatten(words: list[str], shape: Shape) -> Line:
    _needs(words, shape, "image", "steps")
    _options(words, 1, {})
    if shape.open:
        raise ShapeError("count: 'flatten' needs the number of steps; give it as 50x….")
    return Line("", Shape("vector", (shape.values,)))


def _same(words: list[str], shape: Shape) -> Line:
    _options(words, 1, {})
    return Line("", shape)


def _needs(words: list[str], shape: Shape, *kinds: str) -> None:
    if shape.kind not in kinds:
        raise ShapeError(
            f"count: '{' '.join(words)}' reads {' or '.join(kinds)}, and what comes before gives "
            f"{shape.kind} ({shape}); put {' or '.join(BRIDGES[shape.kind])} in between."
        )


def _number(words: list[str], place: int) -> int:
    if len(words) <= place or not re.fullmatch(r"\d+", words[place]) or not int(words[place]):
        raise ConfigError(
            f"count: '{' '.join(words)}': wanted a whole number above 0 as word {place + 1}."
        )
    return int(words[place])


def _window(words: list[str], place: int, axes: int) -> tuple[int, ...]:
    wanted = {1: r"\d+", 2: r"\d+[x×]\d+"}[axes]
    if len(words) <= place or not re.fullmatch(wanted, words[place]):
        raise ConfigError(
            f"count: '{' '.join(words)}': wanted a window such as {'5' if axes == 1 else '5x5'} "
            f"as word {place + 1}."
        )
    return tuple(int(side) for side in re.split(r"[x×]", words[place]))


def _options(words: list[str], start: int, known: dict[str, bool]) -> dict[str, int]:
    """The words behind a layer's own; those that take a number with it."""
    found: dict[str, int] = {}
    place = start
    while place < len(words):
        name = words[place]
        if name not in known:
            raise ConfigError(unknown(f"count: '{' '.join(words)}'", name, known or ["no option"]))
        found[name] = _number(words, place + 1) if known[name] else 1
        place += 2 if known[name] else 1
    return found


LAYERS: dict[str, Callable[[list[str], Shape], Line]] = {
    "conv": _convolution,
    "maxpool": _max_pooling,
    "dense": _dense,
    "embedding": _embedding,
    "positions": _positions,
    "transformer": _block,
    "norm": _norm,
    "flatten": _flatten,
    **dict.fromkeys(("last", "mean", "max"), _pooled),
    **dict.fromkeys(("relu", "tanh", "sigmoid", "softmax", "dropout"), _same),
}
# What turns one kind of shape into another.
BRIDGES = {
    "image": ["flatten"],
    "steps": ["last", "mean", "max"],
    "tokens": ["embedding"],
    "vector": ["nothing of the kind"],
}
# Bias vectors a gate, by cell: ours are those of the equations, Keras has one (two in the GRU that
# resets after the product), torch two everywhere. A cell that is missing has no layer there.
CONVENTIONS: dict[str, dict[str, int]] = {
    "unspool": {},
    "keras": {"rnn": 1, "lstm": 1, "gru": 1, "gru_reset_after": 2},
    "torch": {"rnn": 2, "rnn_relu": 2, "lstm": 2, "gru_reset_after": 2},
}
