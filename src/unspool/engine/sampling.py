"""Code that draws a token from scores: softmax, the likeliest few, a place in the sum of chances.

Weights are float64 whatever the scores are. Nothing is sorted: what top-k and top-p leave is all
above some score and, of those equal to it, the first ones. That score is found by bisection over
the bits of a number, in as many sweeps as it has bits.
"""

from __future__ import annotations

import functools
import math

from llvmlite import ir

from unspool.engine.control import F64, I64, WORDS, Function
from unspool.engine.kernels import Host
from unspool.engine.vectors import FLOATS, Vectors

# Where things stand in the array of words: scores and weights (float64) by address, V, V filled up
# (`filled`) with scores of -inf, temperature and top-p as bits of float64, top-k.
SCORES, WEIGHTS, SIZE, FILLED, TEMPERATURE, TOP_P, TOP_K = range(7)
DRAW_WORDS = 7
NOT_FINITE = -1  # instead of a token
F64_BYTES = FLOATS["float64"].bytes
SIDE_BY_SIDE = 2  # sums of a sweep, which need not wait for each other


def filled(size: int, host: Host) -> int:
    """A number of scores filled up to what the sweeps take at once."""
    most = max(host.lanes(FLOATS["float32"].bytes), SIDE_BY_SIDE * host.lanes(F64_BYTES))
    return -(-size // most) * most


class DrawCode:
    """The drawing functions of a module.

    Args:
        module: where they go.
        dtype: of the scores, a key of `FLOATS`.
        host: the processor.
    """

    def __init__(self, module: ir.Module, dtype: str, host: Host) -> None:
        self.module, self.form = module, FLOATS[dtype]
        self.wide, self.lanes = host.lanes(self.form.bytes), host.lanes(F64_BYTES)
        self.largest = self._largest()
        self.likeliest = self._likeliest()
        self.soften = self._soften()
        self.reach = self._reach()
        self.lowest = self._lowest()
        self.keep = self._keep()
        self.pick = self._pick()
        self.draw = self._draw()

    def _start(self, name: str, result: ir.Type, *more: ir.Type) -> tuple[Function, ir.Value]:
        made = Function(self.module, name, result, [WORDS, *more])
        made.function.linkage = "internal"
        return made, made.args[0]

    def _draw(self) -> ir.Function:
        """Words and a uniform number in [0, 1) in; a token, or `NOT_FINITE`, out."""
        f, words = self._start("draw", I64, F64)
        b = f.b
        with b.if_then(b.fcmp_ordered("==", f.number(words, TEMPERATURE), F64(0.0))):
            b.ret(b.call(self.likeliest, [words]))
        total = b.call(self.soften, [words])
        usable = b.fcmp_ordered("<", total, F64(math.inf))  # not of NaN
        with b.if_then(b.not_(usable)):
            b.ret(I64(NOT_FINITE))
        some = b.icmp_signed("<", f.word(words, TOP_K), f.word(words, SIZE))
        part = b.not_(self._all_of_it(b, f.number(words, TOP_P)))
        with b.if_then(b.or_(some, part)):
            b.call(self.keep, [words, total])
        b.ret(b.call(self.pick, [words, f.args[1]]))
        return f.function

    def _largest(self) -> ir.Function:
        """The largest score, NaN if there is one."""
        f, words = self._start("largest", self.form.type)
        b, v = f.b, Vectors(f.b, self.form, self.wide)
        scores = f.pointer(words, SCORES, self.form.type)
        best = f.variable(v.constant(-math.inf))
        with f.loop(I64(0), f.word(words, FILLED), self.wide) as i:
            b.store(v.maximum(b.load(best), v.load(scores, i)), best)
        b.ret(b.extract_element(v.reduce(b.load(best), v.maximum), ir.IntType(32)(0)))
        return f.function

    def _likeliest(self) -> ir.Function:
        """The first of the tokens with the largest score."""
        f, words = self._start("likeliest", I64)
        b = f.b
        scores = f.pointer(words, SCORES, self.form.type)
        best = b.call(self.largest, [words])
        with b.if_then(b.fcmp_unordered("uno", best, best)):
            b.ret(I64(NOT_FINITE))
        token = f.variable(I64(0))
        with f.repeat() as leave_when:
            i = b.load(token)
            leave_when(b.fcmp_ordered("==", b.load(b.gep(scores, [i])), best))
            b.store(b.add(i, I64(1)), token)
        b.ret(b.load(token))
        return f.function

    def _soften(self) -> ir.Function:
        """Weights exp((score - largest) / temperature), and their sum.

        The largest score is taken off first: divided by a tiny temperature it would be infinite.
        """
        f, words = self._start("soften", F64)
        b = f.b
        narrow = Vectors(b, self.form, self.lanes)
        v = Vectors(b, FLOATS["float64"], self.lanes)
        scores, weights = f.pointer(words, SCORES, self.form.type), f.pointer(words, WEIGHTS, F64)
        best = v.broadcast(self._widened(b, b.call(self.largest, [words]), F64))
        temperature = v.broadcast(f.number(words, TEMPERATURE))
        total = f.variable(F64(0.0))
        with f.loop(I64(0), f.word(words, FILLED), self.lanes) as i:
            score = self._widened(b, narrow.load(scores, i), v.type)
            weight = v.exp(b.fdiv(b.fsub(score, best), temperature))
            v.store(weight, weights, i)
            b.store(b.fadd(b.load(total), self._sum(v, weight)), total)
        b.ret(b.load(total))
        return f.function

    def _widened(self, b: ir.IRBuilder, value: ir.Value, kind: ir.Type) -> ir.Value:
        return value if self.form.name == "f64" else b.fpext(value, kind)

    def _sum(self, v: Vectors, value: ir.Value) -> ir.Value:
        return v.b.extract_element(v.reduce(value, v.b.fadd), ir.IntType(32)(0))

    def _reach(self) -> ir.Function:
        """How many scores lie above one, how much weight they have, and whether that is too much.

        Arguments after the words: the score, the sum of all weights, where the weight above is
        stored, where the number above is. Returns whether a token of this score may be drawn.
        """
        kinds = (self.form.type, F64, F64.as_pointer(), F64.as_pointer())
        f, words = self._start("reach", ir.IntType(1), *kinds)
        b, narrow = f.b, Vectors(f.b, self.form, self.lanes)
        v = Vectors(b, FLOATS["float64"], self.lanes)
        _, score, total, weight_place, count_place = f.args
        scores, weights = f.pointer(words, SCORES, self.form.type), f.pointer(words, WEIGHTS, F64)
        zero, one, limit = v.constant(0.0), v.constant(1.0), narrow.broadcast(score)
        sums = [(f.variable(zero), f.variable(zero)) for _ in range(SIDE_BY_SIDE)]
        with f.loop(I64(0), f.word(words, FILLED), self.lanes * SIDE_BY_SIDE) as i:
            for number, (weight, count) in enumerate(sums):
                at = b.add(i, I64(number * self.lanes))
                above = b.fcmp_ordered(">", narrow.load(scores, at), limit)
                more = b.select(above, v.load(weights, at), zero)
                b.store(b.fadd(b.load(weight), more), weight)
                b.store(b.fadd(b.load(count), b.select(above, one, zero)), count)
        weight, count = (
            self._sum(v, functools.reduce(b.fadd, [b.load(each) for each in column]))
            for column in zip(*sums, strict=True)
        )
        b.store(weight, weight_place)
        b.store(count, count_place)
        b.ret(self._allowed(f, words, count, b.fdiv(weight, total)))
        return f.function

    def _allowed(self, f: Function, words: ir.Value, count: ir.Value, share: ir.Value) -> ir.Value:
        """Whether a token may be drawn that has so many before it, with such a share of weight."""
        b, top_p = f.b, f.number(words, TOP_P)
        few = b.fcmp_ordered("<", count, b.sitofp(f.word(words, TOP_K), F64))
        return b.and_(few, b.or_(b.fcmp_ordered("<", share, top_p), self._all_of_it(b, top_p)))

    def _all_of_it(self, b: ir.IRBuilder, top_p: ir.Value) -> ir.Value:
        return b.fcmp_ordered("==", top_p, F64(1.0))

    def _ordered(self, b: ir.IRBuilder, bits: ir.Value) -> ir.Value:
        """Bits of a number as an integer that is larger for larger numbers, and back again."""
        whole = self.form.integer
        size = self.form.bytes * 8
        sign = b.ashr(bits, whole(size - 1))
        return b.xor(bits, b.and_(sign, whole(2 ** (size - 1) - 1)))

    def _lowest(self) -> ir.Function:
        """The lowest score of which a token may be drawn; arguments as `_reach` has them."""
        f, words = self._start("lowest", self.form.type, F64, F64.as_pointer(), F64.as_pointer())
        b, form = f.b, self.form
        none = self._ordered(b, b.bitcast(form.type(-math.inf), form.integer))
        best = self._ordered(b, b.bitcast(b.call(self.largest, [words]), form.integer))
        above, below = f.variable(best), f.variable(b.sub(none, form.integer(1)))
        with f.repeat() as leave_when:
            low, high = b.load(below), b.load(above)
            gap = b.sub(high, low)
            leave_when(b.icmp_unsigned("<=", gap, form.integer(1)))
            middle = b.add(low, b.lshr(gap, form.integer(1)))
            score = b.bitcast(self._ordered(b, middle), form.type)
            allowed = b.call(self.reach, [words, score, *f.args[1:]])
            b.store(b.select(allowed, middle, high), above)
            b.store(b.select(allowed, low, middle), below)
        b.ret(b.bitcast(self._ordered(b, b.load(above)), form.type))
        return f.function

    def _keep(self) -> ir.Function:
        """Set the weights to zero of all but the likeliest that top-k and top-p leave."""
        f, words = self._start("keep", ir.VoidType(), F64)
        b, narrow = f.b, Vectors(f.b, self.form, self.lanes)
        v = Vectors(b, FLOATS["float64"], self.lanes)
        total = f.args[1]
        scores, weights = f.pointer(words, SCORES, self.form.type), f.pointer(words, WEIGHTS, F64)
        weight, count = f.variable(F64(0.0)), f.variable(F64(0.0))
        lowest = b.call(self.lowest, [words, total, weight, count])
        b.call(self.reach, [words, lowest, total, weight, count])
        limit = narrow.broadcast(lowest)
        with f.loop(I64(0), f.word(words, FILLED), self.lanes) as i:
            low = b.fcmp_ordered("<", narrow.load(scores, i), limit)
            v.store(b.select(low, v.constant(0.0), v.load(weights, i)), weights, i)
        with f.loop(I64(0), f.word(words, SIZE)) as i:
            tied = b.fcmp_ordered("==", b.load(b.gep(scores, [i])), lowest)
            with b.if_then(tied):
                place = b.gep(weights, [i])
                own, before = b.load(place), b.fdiv(b.load(weight), total)
                allowed = self._allowed(f, words, b.load(count), before)
                b.store(b.select(allowed, own, F64(0.0)), place)
                b.store(b.fadd(b.load(weight), own), weight)
                b.store(b.fadd(b.load(count), F64(1.0)), count)
        b.ret_void()
        return f.function

    def _pick(self) -> ir.Function:
        """The first token at which the sum of weights passes its share of the whole."""
        f, words = self._start("pick", I64, F64)
        b, v = f.b, Vectors(f.b, FLOATS["float64"], self.lanes)
        weights, size = f.pointer(words, WEIGHTS, F64), f.word(words, FILLED)
        total = f.variable(F64(0.0))
        with f.loop(I64(0), size, self.lanes) as i:
            b.store(b.fadd(b.load(total), self._sum(v, v.load(weights, i))), total)
        goal = b.fmul(f.args[1], b.load(total))
        # Sums are rounded: where the goal is never passed, the last token that may be drawn is it.
        block, before, running = f.variable(I64(0)), f.variable(F64(0.0)), f.variable(F64(0.0))
        at = f.variable(I64(0))
        with f.repeat() as leave_when:
            i, known = b.load(at), b.load(running)
            leave_when(b.icmp_signed(">=", i, size))
            more = self._sum(v, v.load(weights, i))
            with b.if_then(b.fcmp_ordered(">", more, F64(0.0))):
                b.store(i, block)
                b.store(known, before)
            joined = b.fadd(known, more)
            b.store(joined, running)
            b.store(b.add(i, I64(self.lanes)), at)
            leave_when(b.fcmp_ordered(">", joined, goal))
        token, last = f.variable(b.load(block)), b.add(b.load(block), I64(self.lanes))
        with f.loop(b.load(block), last) as i:
            weight = b.load(b.gep(weights, [i]))
            with b.if_then(b.fcmp_ordered(">", weight, F64(0.0))):
                b.store(i, token)
            b.store(b.fadd(b.load(before), weight), before)
            with b.if_then(b.fcmp_ordered(">", b.load(before), goal)):
                b.ret(b.load(token))
        b.ret(b.load(token))
        return f.function
