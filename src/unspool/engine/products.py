"""The inner products: sums for a few rows and one panel of units, in registers.

One small function for every number of rows and of vectors side by side. The weights of a panel lie
in the order they are read, so a call streams through them once, and every row's input is broadcast
against them. Programs of whatever cell share them: they are compiled once for a width and height.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir

from unspool.engine.kernels import Host
from unspool.engine.vectors import FLOATS, Float, Vectors

I1, I64 = ir.IntType(1), ir.IntType(64)
# Independent chains of additions that keep both adders of a core busy.
CHAINS = 12


@cache
def product_code(dtype: str, host: Host, wide: int, block: int) -> str:
    """LLVM IR of a program that writes the addresses of product functions, by number of rows.

    Args:
        dtype: a key of `FLOATS`.
        host: the processor.
        wide: vectors of sums side by side.
        block: the most rows; entry 0 and `block` more are written.
    """
    module = ir.Module("unspool")
    form = FLOATS[dtype]
    products = Products(module, form, host.lanes(form.bytes), "+avx512f" in host.features)
    signature = ir.FunctionType(ir.VoidType(), [I64.as_pointer()])
    program = ir.Function(module, signature, "program")
    b = ir.IRBuilder(program.append_basic_block("entry"))
    for rows in range(block + 1):
        function = products.function(wide, max(1, rows))
        b.store(b.ptrtoint(function, I64), b.gep(program.args[0], [I64(rows)]))
    b.ret_void()
    return str(module)


def product_type(form: Float) -> ir.FunctionType:
    """Of a product function.

    Arguments: first row, its stride, packed weights, depth, where the sums go, their stride, and
    whether they are added to what is there.
    """
    numbers = form.type.as_pointer()
    return ir.FunctionType(ir.VoidType(), [numbers, I64, numbers, I64, numbers, I64, I1])


class Products:
    """The product functions of one module, made as they are asked for.

    Args:
        module: where they go.
        form: number format.
        lanes: numbers in a vector.
        avx512: as for `Vectors`.
    """

    def __init__(self, module: ir.Module, form: Float, lanes: int, avx512: bool) -> None:
        self.module, self.form, self.lanes, self.avx512 = module, form, lanes, avx512
        self.micros: dict[tuple[int, int], ir.Function] = {}

    def function(self, wide: int, rows: int) -> ir.Function:
        """Sums for ``rows`` rows and ``wide`` vectors of units over one operand."""
        if (wide, rows) not in self.micros:
            name = f"micro_{wide}x{rows}"
            function = ir.Function(self.module, product_type(self.form), name)
            function.linkage = "internal"
            self.micros[wide, rows] = function
            _Micro(self, function, wide, rows).emit()
        return self.micros[wide, rows]


class _Micro:
    def __init__(self, products: Products, function: ir.Function, wide: int, rows: int) -> None:
        self.function, self.wide, self.rows = function, wide, rows
        self.lanes = products.lanes
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.v = Vectors(self.b, products.form, products.lanes, products.avx512)

    def emit(self) -> None:
        b, v, wide = self.b, self.v, self.wide
        source, stride, self.weights, depth, target, target_stride, adding = self.function.args
        chains = self.rows * wide
        unroll = 1
        while chains * unroll < CHAINS and unroll < 8:
            unroll *= 2
        self.pointers = [b.gep(source, [b.mul(I64(m), stride)]) for m in range(self.rows)]
        places = [
            b.add(b.mul(I64(m), target_stride), I64(c * self.lanes))
            for m in range(self.rows)
            for c in range(wide)
        ]
        sums = self._before(target, places, adding)
        zeros = [v.constant(0.0)] * (chains * (unroll - 1))
        whole = b.mul(b.sdiv(depth, I64(unroll)), I64(unroll))
        sums = self._loop(I64(0), whole, unroll, sums + zeros)
        while len(sums) > chains:
            half = len(sums) // 2
            sums = [b.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        if unroll > 1:
            sums = self._loop(whole, depth, 1, sums)
        for total, place in zip(sums, places, strict=True):
            v.store(total, target, place)
        b.ret_void()

    def _before(self, target: ir.Value, places: list[ir.Value], adding: ir.Value) -> list[ir.Value]:
        """What the sums start from: zero, or what is there."""
        b, v = self.b, self.v
        entry = b.block
        old = self.function.append_basic_block("old")
        start = self.function.append_basic_block("start")
        b.cbranch(adding, old, start)
        b.position_at_end(old)
        there = [v.load(target, place) for place in places]
        b.branch(start)
        b.position_at_end(start)
        sums = []
        for value in there:
            phi = b.phi(v.type)
            phi.add_incoming(v.constant(0.0), entry)
            phi.add_incoming(value, old)
            sums.append(phi)
        return sums

    def _accumulate(self, k: ir.Value, sums: list[ir.Value], unroll: int) -> list[ir.Value]:
        """One or several inputs; ``unroll`` sets of sums run independently."""
        b, v, wide = self.b, self.v, self.wide
        result = list(sums)
        for u in range(unroll):
            place = b.add(k, I64(u))
            first = b.mul(place, I64(wide * self.lanes))
            columns = [v.load(self.weights, b.add(first, I64(c * self.lanes))) for c in range(wide)]
            for m, pointer in enumerate(self.pointers):
                scalar = v.broadcast(b.load(b.gep(pointer, [place])))
                for c in range(wide):
                    at = (u * self.rows + m) * wide + c
                    result[at] = v.fma(scalar, columns[c], result[at])
        return result

    def _loop(
        self, start: ir.Value, stop: ir.Value, unroll: int, values: list[ir.Value]
    ) -> list[ir.Value]:
        """Accumulate from ``start`` to ``stop``, the sums handed on from turn to turn."""
        b = self.b
        before = b.block
        head = self.function.append_basic_block("head")
        inside = self.function.append_basic_block("inside")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        phis = []
        for value in [start, *values]:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        k, sums = phis[0], phis[1:]
        b.cbranch(b.icmp_signed("<", k, stop), inside, after)
        b.position_at_end(inside)
        results = self._accumulate(k, sums, unroll)
        for phi, value in zip(phis, [b.add(k, I64(unroll)), *results], strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)
        return sums
