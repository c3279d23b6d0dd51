"""Arithmetic on LLVM vectors: exp, tanh, sigmoid to a few units in the last place.

NaN stays NaN and infinities come out as the limits; nothing here is faster at the price of either.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point format and the constants that belong to it.

    Attributes:
        name: as LLVM's intrinsics spell it.
        type, integer: the scalar and the integer of the same width.
        mantissa: bits behind the point.
        bias: of the exponent.
        shifter: added and taken away, it rounds to a whole number that its low bits then hold.
        highest, lowest: where exp has left the finite numbers.
        log2_high, log2_low: ln 2 in two parts, the first with zeros at its end.
    """

    name: str
    type: ir.Type
    integer: ir.IntType
    bytes: int
    mantissa: int
    bias: int
    shifter: float
    highest: float
    lowest: float
    log2_high: float
    log2_low: float


FLOATS = {
    "float32": Float(
        "f32", ir.FloatType(), ir.IntType(32), 4, 23, 127, 1.5 * 2.0**23,
        89.0, -104.0, 0.693359375, -2.12194440e-4,
    ),
    "float64": Float(
        "f64", ir.DoubleType(), ir.IntType(64), 8, 52, 1023, 1.5 * 2.0**52,
        710.0, -746.0, 6.93145751953125e-1, 1.42860682030941723212e-6,
    ),
}  # fmt: skip


class Vectors:
    """Emits arithmetic on vectors of one format.

    Args:
        builder: where instructions go.
        form: the format.
        lanes: numbers in a vector.
        avx512: whether the host has AVX-512F, whose scaling and reciprocal save instructions.
    """

    def __init__(
        self, builder: ir.IRBuilder, form: Float, lanes: int, avx512: bool = False
    ) -> None:
        self.b, self.form, self.lanes = builder, form, lanes
        self.avx512 = avx512 and form.name == "f32" and lanes == 16
        self.type = ir.VectorType(form.type, lanes)
        self.integers = ir.VectorType(form.integer, lanes)

    def constant(self, value: float) -> ir.Constant:
        """The same number in every lane."""
        if self.form.name == "f32":
            value = _rounded_to_float32(value)
        return ir.Constant(self.type, [value] * self.lanes)

    def whole(self, value: int) -> ir.Constant:
        """The same integer in every lane."""
        return ir.Constant(self.integers, [value] * self.lanes)

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane."""
        empty = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        one = self.b.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(one, empty, zeros)

    def load(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """The vector that starts ``index`` numbers behind ``base``."""
        address = self.b.bitcast(self.b.gep(base, [index]), self.type.as_pointer())
        loaded = self.b.load(address)
        loaded.align = self.form.bytes
        return loaded

    def store(self, value: ir.Value, base: ir.Value, index: ir.Value) -> None:
        """Write a vector there."""
        address = self.b.bitcast(self.b.gep(base, [index]), self.type.as_pointer())
        self.b.store(value, address).align = self.form.bytes

    def intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        """A call of one of LLVM's own functions."""
        full = f"llvm.{name}.v{self.lanes}{self.form.name}"
        module = self.b.module
        function = module.globals.get(full)
        if function is None:
            signature = ir.FunctionType(self.type, [self.type] * len(args))
            function = ir.Function(module, signature, full)
        return self.b.call(function, args)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """A * b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """Horner's rule, highest power first."""
        value: ir.Value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def select_above(self, x: ir.Value, limit: float) -> ir.Value:
        """min(x, limit), but NaN stays NaN."""
        bound = self.constant(limit)
        return self.b.select(self.b.fcmp_ordered(">", x, bound), bound, x)

    def select_below(self, x: ir.Value, limit: float) -> ir.Value:
        """max(x, limit), but NaN stays NaN."""
        bound = self.constant(limit)
        return self.b.select(self.b.fcmp_ordered("<", x, bound), bound, x)

    def exp(self, x: ir.Value) -> ir.Value:
        """e^x = 2^n e^r with n whole and |r| at most ln 2 / 2; denormal results come out right."""
        b, form = self.b, self.form
        x = self.select_below(self.select_above(x, form.highest), form.lowest)
        shifted = self.fma(x, self.constant(1.0 / math.log(2.0)), self.constant(form.shifter))
        n = b.fsub(shifted, self.constant(form.shifter))
        r = self.fma(n, self.constant(-form.log2_high), x)
        r = self.fma(n, self.constant(-form.log2_low), r)
        if self.avx512:
            return self._scaled(self._exp_near_zero(r), n)
        exponent = b.sub(
            b.bitcast(shifted, self.integers),
            b.bitcast(self.constant(form.shifter), self.integers),
        )
        half = b.ashr(exponent, self.whole(1))
        small = self._exp_near_zero(r)
        return b.fmul(b.fmul(small, self._power(half)), self._power(b.sub(exponent, half)))

    def _scaled(self, x: ir.Value, n: ir.Value) -> ir.Value:
        """X * 2^n in one instruction."""
        mask, whole = ir.Constant(ir.IntType(16), -1), ir.Constant(ir.IntType(32), CURRENT_ROUNDING)
        return self._native("mask.scalef.ps.512", x, n, x, mask, whole)

    def _native(self, name: str, *args: ir.Value) -> ir.Value:
        """A call of an AVX-512 instruction."""
        full = f"llvm.x86.avx512.{name}"
        function = self.b.module.globals.get(full)
        if function is None:
            signature = ir.FunctionType(self.type, [arg.type for arg in args])
            function = ir.Function(self.b.module, signature, full)
        return self.b.call(function, args)

    def reciprocal(self, d: ir.Value) -> ir.Value:
        """1 / d for d of at least one, infinity included."""
        one = self.constant(1.0)
        if not self.avx512:
            return self.b.fdiv(one, d)
        mask = ir.Constant(ir.IntType(16), -1)
        near = self._native("rcp14.ps.512", d, d, mask)
        left = self.fma(self.b.fneg(d), near, one)
        better = self.fma(near, left, near)
        infinite = self.b.fcmp_ordered("==", d, self.constant(math.inf))
        return self.b.select(infinite, self.constant(0.0), better)

    def _power(self, exponent: ir.Value) -> ir.Value:
        """2^exponent for exponents of normal numbers."""
        biased = self.b.add(exponent, self.whole(self.form.bias))
        return self.b.bitcast(self.b.shl(biased, self.whole(self.form.mantissa)), self.type)

    def _exp_near_zero(self, r: ir.Value) -> ir.Value:
        """e^r for |r| up to ln 2 / 2.

        Source:
            Moshier, Cephes mathematical library (1989): coefficients of expf and exp.
        """
        b = self.b
        if self.form.name == "f32":
            p = self.polynomial(r, EXP_FLOAT32)
            return self.fma(p, b.fmul(r, r), b.fadd(r, self.constant(1.0)))
        square = b.fmul(r, r)
        p = b.fmul(r, self.polynomial(square, EXP_FLOAT64_P))
        q = b.fsub(self.polynomial(square, EXP_FLOAT64_Q), p)
        return self.fma(self.constant(2.0), b.fdiv(p, q), self.constant(1.0))

    def sigmoid(self, x: ir.Value) -> ir.Value:
        """1 / (1 + e^-x)."""
        return self.reciprocal(self.b.fadd(self.constant(1.0), self.exp(self.b.fneg(x))))

    def tanh(self, x: ir.Value) -> ir.Value:
        """Near zero a polynomial, to keep the digits of small numbers; else 1 - 2 / (e^2|x| + 1).

        Computed for |x|, so that the sign, of a zero as well, is that of x.

        Source:
            Moshier, Cephes mathematical library (1989): coefficients of tanhf and tanh.
        """
        b = self.b
        bits = b.bitcast(x, self.integers)
        sign_bit = self.whole(-(2 ** (self.form.bytes * 8 - 1)))
        sign = b.and_(bits, sign_bit)
        size = b.bitcast(b.and_(bits, b.not_(sign_bit)), self.type)
        big = self.exp(b.fadd(size, size))
        share = self.reciprocal(b.fadd(big, self.constant(1.0)))
        far = self.fma(self.constant(-2.0), share, self.constant(1.0))
        square = b.fmul(size, size)
        if self.form.name == "f32":
            factor = self.polynomial(square, TANH_FLOAT32)
        else:
            top = self.polynomial(square, TANH_FLOAT64_P)
            factor = b.fdiv(top, self.polynomial(square, TANH_FLOAT64_Q))
        near = self.fma(b.fmul(size, square), factor, size)
        value = b.select(b.fcmp_ordered("<", size, self.constant(0.625)), near, far)
        return b.bitcast(b.or_(b.bitcast(value, self.integers), sign), self.type)

    def relu(self, x: ir.Value) -> ir.Value:
        """max(x, 0), NaN for NaN."""
        zero = self.constant(0.0)
        return self.b.select(self.b.fcmp_ordered("<=", x, zero), zero, x)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The larger; NaN if either is."""
        b = self.b
        larger = b.select(b.fcmp_ordered(">", x, y), x, y)
        return b.select(b.fcmp_unordered("uno", x, x), x, larger)

    def rsqrt(self, x: ir.Value) -> ir.Value:
        """1 / sqrt(x)."""
        return self.b.fdiv(self.constant(1.0), self.intrinsic("sqrt", x))

    def operation(self, op: str, args: list[ir.Value]) -> ir.Value:
        """An elementwise operation of the graph."""
        b = self.b
        match op:
            case "add" | "sub" | "mul":
                return getattr(b, f"f{op}")(*args, flags=FUSED)
            case "div" | "neg":
                return getattr(b, f"f{op}")(*args)
            case "centred":
                return b.fsub(*args, flags=FUSED)
            case "normed":
                return b.fmul(*args, flags=FUSED)
            case "identity" | "spread":
                return args[0]
            case "greater":
                return b.fcmp_ordered(">", *args)
            case "greater_equal":
                return b.fcmp_ordered(">=", *args)
            case "where":
                return b.select(*args)
            case "log":
                return self.intrinsic("log", *args)
            case "exp" | "sigmoid" | "tanh" | "relu" | "maximum" | "rsqrt":
                return getattr(self, op)(*args)
        raise AssertionError(f"no code for {op}")

    def as_number(self, value: ir.Value) -> ir.Value:
        """A comparison as ones and zeros; anything else as it is."""
        if value.type == self.type:
            return value
        return self.b.select(value, self.constant(1.0), self.constant(0.0))

    def reduce(self, x: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """All lanes joined in a fixed order; the result is in every lane."""
        lanes = ir.IntType(32)
        width = self.lanes // 2
        while width:
            order = [lane ^ width for lane in range(self.lanes)]
            mask = ir.Constant(ir.VectorType(lanes, self.lanes), order)
            x = join(x, self.b.shuffle_vector(x, x, mask))
            width //= 2
        return x


def _rounded_to_float32(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf if value > 0 else -math.inf


# A product and the sum it goes into may be rounded once instead of twice.
FUSED = ("contract",)
# Of the AVX-512 instructions: round as the processor is set to.
CURRENT_ROUNDING = 4
EXP_FLOAT32 = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2)
EXP_FLOAT32 += (1.6666665459e-1, 5.0000001201e-1)
EXP_FLOAT64_P = (1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
EXP_FLOAT64_Q = (3.00198505138664455042e-6, 2.52448340349684104192e-3)
EXP_FLOAT64_Q += (2.27265548208155028766e-1, 2.0)
TANH_FLOAT32 = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2)
TANH_FLOAT32 += (1.33314422036e-1, -3.33332819422e-1)
TANH_FLOAT64_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1)
TANH_FLOAT64_P += (-1.61468768441708447952e3,)
TANH_FLOAT64_Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3)
TANH_FLOAT64_Q += (4.84406305325125486048e3,)
