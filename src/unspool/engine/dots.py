"""Products with weights that lie as the caller keeps them, a row a unit, for one input at a time.

Packed weights are read in the order of the sums; these are read along the rows, several rows at
once, and the lanes of every row's sum are added up at the end.
"""

from __future__ import annotations

from llvmlite import ir

from unspool.engine.control import I64, Function
from unspool.engine.vectors import Float, Vectors

I1, I32 = ir.IntType(1), ir.IntType(32)
# Rows read at once: as many chains of additions keep both adders of a core busy.
AT_ONCE = 8


class Dots:
    """A function of a module: sums for as many units as a vector has lanes.

    Its arguments are the input, the matrix, its depth, its rows, the first of them that is wanted,
    where the sums go, and whether they are added to what is there. Where the matrix has fewer rows
    the last one stands in for those that are not there.

    Args:
        module: where it goes.
        form: number format.
        lanes: of a vector.
        avx512: as `Vectors` has it.

    Attributes:
        function: it.
    """

    def __init__(self, module: ir.Module, form: Float, lanes: int, avx512: bool) -> None:
        numbers = form.type.as_pointer()
        self.f = Function(
            module, "dots", ir.VoidType(), [numbers, numbers, I64, I64, I64, numbers, I1]
        )
        self.f.function.linkage = "internal"
        self.function, self.b, self.form, self.lanes = self.f.function, self.f.b, form, lanes
        self.v = Vectors(self.b, form, lanes, avx512)
        self._emit()

    def _emit(self) -> None:
        b, v, lanes = self.b, self.v, self.lanes
        source, matrix, depth, height, first, target, adding = self.f.args
        at_once = min(AT_ONCE, lanes)
        found: list[ir.Value] = []
        for start in range(0, lanes, at_once):
            rows = []
            for i in range(start, start + at_once):
                unit, last = b.add(first, I64(i)), b.sub(height, I64(1))
                unit = b.select(b.icmp_signed("<", unit, height), unit, last)
                rows.append(b.gep(matrix, [b.mul(unit, depth)]))
            found += self._sums(source, rows, depth)
        while len(found) > 1:
            found = [self._folded(*found[k : k + 2]) for k in range(0, len(found), 2)]
        before = b.select(adding, v.load(target, I64(0)), v.constant(0.0))
        v.store(b.fadd(before, found[0]), target, I64(0))
        b.ret_void()

    def _sums(self, source: ir.Value, rows: list[ir.Value], depth: ir.Value) -> list[ir.Value]:
        """For each row a vector whose lanes together are its sum."""
        f, b, v = self.f, self.b, self.v
        places = [f.variable(v.constant(0.0)) for _ in rows]
        whole = b.mul(b.sdiv(depth, I64(self.lanes)), I64(self.lanes))
        with f.loop(I64(0), whole, self.lanes) as k:
            x = v.load(source, k)
            for row, place in zip(rows, places, strict=True):
                b.store(v.fma(x, v.load(row, k), b.load(place)), place)
        with f.loop(whole, depth) as k:  # into the first lane
            zero = v.constant(0.0)
            x = b.load(b.gep(source, [k]))
            for row, place in zip(rows, places, strict=True):
                product = b.fmul(x, b.load(b.gep(row, [k])))
                alone = b.insert_element(zero, product, I32(0))
                b.store(b.fadd(b.load(place), alone), place)
        return [b.load(place) for place in places]

    def _folded(self, left: ir.Value, right: ir.Value) -> ir.Value:
        """Sums of neighbouring lanes: of the first vector, then of the second."""
        kind = ir.VectorType(I32, self.lanes)

        def every_other(start: int) -> ir.Value:
            mask = ir.Constant(kind, list(range(start, 2 * self.lanes, 2)))
            return self.b.shuffle_vector(left, right, mask)

        return self.b.fadd(every_other(0), every_other(1))
