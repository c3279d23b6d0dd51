"""`TokenStep`: a token through embedding, layers, output and draw, in one native call.

The program calls the compiled steps of the layers by their addresses, so one compilation a dtype
serves every cell, any number of layers and every vocabulary.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from llvmlite import ir
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.control import F64, I64, WORDS, Function
from unspool.engine.frame import ARRIVED, COUNTER
from unspool.engine.hoist import filled_axis
from unspool.engine.products import Products
from unspool.engine.sampling import (
    DRAW_WORDS,
    FILLED,
    SCORES,
    SIZE,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    WEIGHTS,
    DrawCode,
    filled,
)
from unspool.engine.stream import Stream
from unspool.engine.together import Together, worth_sharing
from unspool.engine.vectors import FLOATS, Vectors

# Work that threads share: how many shares, the next that nobody has taken, whether the step is odd.
NUM_SHARES, NEXT, ODD = range(3)
# Then in the array of words of a program, where pairs serve even and odd steps in turn, and `TEAM`
# is the address of what runs a function on several threads, or 0:
NUM_LAYERS, LAYERS, NUM_LOOKUPS, LOOKUPS, HEAD, BIAS, DEPTH, TOP, _, DRAWING, TEAM = range(3, 14)
# Of a layer: its function, the pairs of argument arrays for one thread and for those that share its
# step, and how many they are; for a residual connection where the sum goes (0: none), the pairs of
# addends, and how wide they are.
STEP, ALONE, _, SHARED, _, THREADS, SUM, ABOVE, _, BELOW, _, WIDTH = range(12)
LAYER_WORDS = 12
# Of what is looked up: two places in argument arrays, the table's address, bytes of a row.
PLACE, _, TABLE, ROW = range(4)
LOOKUP_WORDS = 4
# How far a call goes.
READ, SCORE, DRAW = range(3)


class TokenStep:
    """Layers, output product and draw for one sequence, on packed weights and reused memory.

    Args:
        layers: the first made with a table; all at the start of a sequence.
        weight: of the output product; packed now, later changes are not seen.
        bias: of the output product.
        residual: add a layer's input to its output, from the second layer on.

    Attributes:
        layers: what was given; stepped here and nowhere else.
        scores: of the next token, overwritten by every call that scores.
        weights: what the last draw drew from, not normalised; zero where it could not go.

    Example:
        >>> from unspool.layers.recurrent import Recurrent
        >>> layer, table = Recurrent("lstm", 3, 5), torch.eye(3)
        >>> weights = dict(layer.weights["l0"].items())
        >>> first = Stream(layer.cell, weights, units=5, features=3, table=table)
        >>> step = TokenStep([first], torch.zeros(7, 5), torch.arange(7.0))
        >>> step.set_sampling(temperature=0.0); step.draw(2, 0.5)
        6
    """

    def __init__(
        self,
        layers: Sequence[Stream],
        weight: Float[Tensor, "V H"],
        bias: Float[Tensor, " V"],
        residual: bool = False,
    ) -> None:
        first, last = layers[0], layers[-1]
        self.dtype, self.size, self.rows = weight.dtype, len(weight), first.rows
        host = kernels.host()
        lanes, height = host.lanes(self.dtype.itemsize), filled(self.size, host)
        packed = filled_axis(weight.detach(), height, 0).reshape(-1, lanes, weight.shape[1])
        packed = packed.transpose(1, 2).contiguous()  # [panels H lanes]
        lowest = bias.detach().new_full((height,), -torch.inf)
        lowest[: self.size] = bias.detach()
        memory = torch.empty(height, dtype=self.dtype)
        weights = torch.zeros(height, dtype=torch.float64)
        self.scores, self.weights = memory[: self.size], weights[: self.size]
        self._draw = (ctypes.c_int64 * DRAW_WORDS)()
        self._draw[SCORES], self._draw[WEIGHTS] = memory.data_ptr(), weights.data_ptr()
        self._draw[SIZE], self._draw[FILLED] = self.size, height
        scorers = worth_sharing(packed.numel() * packed.element_size())
        sums = self._connect(layers, residual)
        top = (sums[-1], sums[-1]) if sums else last.outputs
        lookups = _words([word for each in first.lookups for word in each])
        self._words = _words([
            scorers, 0, 0, len(layers), ctypes.addressof(self._layers), len(first.lookups),
            ctypes.addressof(lookups), packed.data_ptr(), lowest.data_ptr(), weight.shape[1],
            *(each.data_ptr() for each in top), ctypes.addressof(self._draw), 0,
        ])  # fmt: skip
        self.layers = tuple(layers)
        self._alive = (packed, lowest, memory, weights, lookups, sums)
        self._address = ctypes.addressof(self._words)
        self._call = PROTOTYPE(_kernel(str(self.dtype).removeprefix("torch.")).address)
        several = max(scorers, *(layer.threads for layer in layers)) > 1
        self._team = kernels.team() if several else 0
        self._together = Together()
        self.set_sampling()

    def _connect(self, layers: Sequence[Stream], residual: bool) -> list[Tensor]:
        """Give every layer the outputs of the one below; sums of residual connections."""
        words: list[int] = []
        sums: list[Tensor] = []
        below: Sequence[Tensor] = ()
        for layer in layers:
            outputs = [each.data_ptr() for each in layer.outputs]
            words += [layer.function, *layer.addresses, layer.threads]
            if below:
                layer.read_from((below[0].data_ptr(), below[1].data_ptr()))
            if below and residual:
                sums.append(torch.zeros(1, layer.width, dtype=self.dtype))
                words += [sums[-1].data_ptr(), *outputs, *(each.data_ptr() for each in below)]
                below = (sums[-1], sums[-1])
            else:
                words += [0] * 5
                below = layer.outputs
            words.append(layer.width)
        self._layers = _words(words)
        return sums

    @property
    def together(self) -> bool:
        """Whether several threads share the work at present."""
        return self._together.chosen

    def set_sampling(self, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> None:
        """How tokens are drawn from now on.

        Args:
            temperature: divides the scores, ≥ 0; 0 always takes the likeliest.
            top_k: only the k likeliest; 0 allows all.
            top_p: only the likeliest that together reach this probability, in (0, 1].
        """
        self._draw[TEMPERATURE], self._draw[TOP_P] = _bits(temperature), _bits(top_p)
        self._draw[TOP_K] = min(top_k or self.size, self.size)

    def restart(self, states: Sequence[tuple[Tensor, ...]]) -> None:
        """Start a sequence.

        Args:
            states: of each layer before its first step, ``[1 H]`` each.
        """
        self._words[ODD] = 0
        for layer, state in zip(self.layers, states, strict=True):
            layer.restart(state)

    def read(self, token: int) -> None:
        """Read a token; nothing is scored."""
        self._go(READ, token, 0.0)

    def score(self, token: int) -> None:
        """Read a token and fill `scores`."""
        self._go(SCORE, token, 0.0)

    def draw(self, token: int, uniform: float) -> int:
        """Read a token, score the next, draw it.

        Args:
            token: 0…rows − 1.
            uniform: in [0, 1): the share of the chances, token after token, that lies before.

        Returns:
            The drawn token; `NOT_FINITE` where the scores leave nothing to draw from.
        """
        return self._go(DRAW, token, uniform)

    def _go(self, how: int, token: int, uniform: float) -> int:
        if not 0 <= token < self.rows:
            raise IndexError(f"token {token} is not one of 0 to {self.rows - 1}")
        if not self._team or how == READ:
            return self._call(self._address, how, token, uniform)

        def run(shared: bool) -> int:
            self._words[TEAM] = self._team if shared else 0
            return self._call(self._address, how, token, uniform)

        return self._together.take(run)


PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_double
)


def _words(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)


def _bits(number: float) -> int:
    return struct.unpack("q", struct.pack("d", number))[0]


def _kernel(dtype: str) -> kernels.Kernel:
    return kernels.kernel(token_code(dtype, kernels.host()))


@cache
def token_code(dtype: str, host: kernels.Host) -> str:
    """LLVM IR of the program.

    Args:
        dtype: of layers and scores, a key of `FLOATS`.
        host: the processor.
    """
    return _Emitter(dtype, host).emit()


class _Emitter:
    def __init__(self, dtype: str, host: kernels.Host) -> None:
        self.module = ir.Module("unspool")
        self.form = FLOATS[dtype]
        self.lanes = host.lanes(self.form.bytes)
        avx512 = "+avx512f" in host.features
        products = Products(self.module, self.form, self.lanes, avx512)
        self.product = products.function(1, 1)
        self.drawing = DrawCode(self.module, dtype, host)
        self.score_share = self._score_share()

    def emit(self) -> str:
        f = Function(self.module, "program", I64, [WORDS, I64, I64, F64])
        b = f.b
        words, how, token, uniform = f.args
        self.turn, self.team = f.word(words, ODD), f.word(words, TEAM)
        self._look_up(f, words, token)
        layers = f.pointer(words, LAYERS, I64)
        with f.loop(I64(0), f.word(words, NUM_LAYERS)) as k:
            self._layer(f, b.gep(layers, [b.mul(k, I64(LAYER_WORDS))]))
        with b.if_then(b.icmp_signed(">=", how, I64(SCORE))):
            self._score_together(f, words)
        b.store(b.xor(self.turn, I64(1)), b.gep(words, [I64(ODD)]))
        with b.if_then(b.icmp_signed("==", how, I64(DRAW))):
            b.ret(b.call(self.drawing.draw, [f.pointer(words, DRAWING, I64), uniform]))
        b.ret(I64(0))
        return str(self.module)

    def _run_together(
        self, f: Function, program: ir.Value, data: ir.Value, threads: ir.Value
    ) -> None:
        """Call a program on several threads; with fewer than asked for some parts are left."""
        b, whole, number = f.b, ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [program.type, whole, number, number])
        team = b.inttoptr(self.team, kind.as_pointer())
        b.call(team, [program, b.bitcast(data, whole), b.trunc(threads, number), number(0)])

    def _several(self, f: Function, threads: ir.Value) -> ir.Value:
        b = f.b
        return b.and_(b.icmp_signed(">", threads, I64(1)), b.icmp_signed("!=", self.team, I64(0)))

    def _score_together(self, f: Function, words: ir.Value) -> None:
        """Take all shares, on several threads where there are several and a team is to be had."""
        b, shares = f.b, f.word(words, NUM_SHARES)
        b.store(I64(0), b.gep(words, [I64(NEXT)]))
        with b.if_then(self._several(f, shares), likely=False):
            self._run_together(f, self.score_share, words, shares)
        # What nobody took: all of it, or what a team smaller than asked for has left.
        with f.repeat() as leave_when:
            leave_when(b.icmp_signed(">=", f.word(words, NEXT), shares))
            b.call(self.score_share, [words])

    def _taken(self, name: str) -> tuple[Function, ir.Value, ir.Value]:
        """The beginning of a function that takes the next share; its words and the number."""
        f = Function(self.module, name, ir.VoidType(), [WORDS])
        f.function.linkage = "internal"
        b, words = f.b, f.args[0]
        mine = b.atomic_rmw("add", b.gep(words, [I64(NEXT)]), I64(1), "monotonic")
        with b.if_then(b.icmp_signed(">=", mine, f.word(words, NUM_SHARES))):
            b.ret_void()
        return f, words, mine

    def _score_share(self) -> ir.Function:
        """A share of the output product: panel by panel, on top of the bias."""
        f, words, mine = self._taken("score_share")
        b, v, numbers = f.b, Vectors(f.b, self.form, self.lanes), self.form.type
        drawing = f.pointer(words, DRAWING, I64)
        scores, size = f.pointer(drawing, SCORES, numbers), f.word(drawing, FILLED)
        weights, bias = f.pointer(words, HEAD, numbers), f.pointer(words, BIAS, numbers)
        top = b.load(b.gep(words, [b.add(f.word(words, ODD), I64(TOP))]))
        h, depth = b.inttoptr(top, numbers.as_pointer()), f.word(words, DEPTH)
        panels = b.sdiv(size, I64(self.lanes))

        def edge(share: ir.Value) -> ir.Value:
            panel = b.sdiv(b.mul(panels, share), f.word(words, NUM_SHARES))
            return b.mul(panel, I64(self.lanes))

        with f.loop(edge(mine), edge(b.add(mine, I64(1))), self.lanes) as i:
            v.store(v.load(bias, i), scores, i)
            panel, target = b.gep(weights, [b.mul(i, depth)]), b.gep(scores, [i])
            b.call(self.product, [h, I64(0), panel, depth, target, I64(0), ir.IntType(1)(1)])
        b.ret_void()
        return f.function

    def _in_turn(self, f: Function, words: ir.Value, position: int) -> ir.Value:
        """The word of a pair that this step is to use."""
        return f.b.load(f.b.gep(words, [f.b.add(self.turn, I64(position))]))

    def _look_up(self, f: Function, words: ir.Value, token: ir.Value) -> None:
        """Point the first layer to the token's rows."""
        b = f.b
        lookups = f.pointer(words, LOOKUPS, I64)
        with f.loop(I64(0), f.word(words, NUM_LOOKUPS)) as k:
            each = b.gep(lookups, [b.mul(k, I64(LOOKUP_WORDS))])
            row = b.add(f.word(each, TABLE), b.mul(token, f.word(each, ROW)))
            b.store(row, b.inttoptr(self._in_turn(f, each, PLACE), WORDS))

    def _layer(self, f: Function, words: ir.Value) -> None:
        """Take its step; add what it read to what it gives, where that is wanted."""
        b = f.b
        kind = ir.FunctionType(ir.VoidType(), [WORDS]).as_pointer()
        program, threads = b.inttoptr(f.word(words, STEP), kind), f.word(words, THREADS)
        taken = f.variable(I64(0))
        with b.if_then(self._several(f, threads), likely=False):
            shared = b.inttoptr(self._in_turn(f, words, SHARED), WORDS)
            counter = self._reset(f, shared)
            self._run_together(f, program, shared, threads)
            b.store(b.load(counter), taken)
        with b.if_then(b.icmp_signed("==", b.load(taken), I64(0)), likely=True):
            alone = b.inttoptr(self._in_turn(f, words, ALONE), WORDS)
            self._reset(f, alone)
            b.call(program, [alone])
        with b.if_then(b.icmp_signed("!=", f.word(words, SUM), I64(0))):
            v = Vectors(b, self.form, self.lanes)
            numbers = self.form.type.as_pointer()
            above = b.inttoptr(self._in_turn(f, words, ABOVE), numbers)
            below = b.inttoptr(self._in_turn(f, words, BELOW), numbers)
            target = f.pointer(words, SUM, self.form.type)
            with f.loop(I64(0), f.word(words, WIDTH), self.lanes) as i:
                v.store(b.fadd(v.load(above, i), v.load(below, i)), target, i)

    def _reset(self, f: Function, arguments: ir.Value) -> ir.Value:
        """Make an argument array ready for one more run; where its threads are counted."""
        b = f.b
        counter, arrived = (b.inttoptr(f.word(arguments, k), WORDS) for k in (COUNTER, ARRIVED))
        b.store(I64(0), counter)
        b.store(I64(0), arrived)
        return counter
