"""Recurrent weights as panels: in the order in which products read them, copied by machine code.

A panel is as many units as the sums of a product take at once. Its weights lie input by input, of
each input sum by sum, and of each sum unit by unit, so a product reads them from one end to the
other. Every training step changes the weights and packs them anew, forwards and backwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from jaxtyping import Float
from llvmlite import ir
from torch import Tensor

from unspool.engine import kernels
from unspool.engine.control import I64, WORDS, Function
from unspool.engine.memory import POOL
from unspool.engine.plan import Plan, Side
from unspool.engine.vectors import FLOATS, Vectors

# source, target, units, panels, depth, vectors of a panel side by side, numbers from input to
# input of the target, numbers from unit to unit and from input to input of the source
JOB = 9


def pack(side: Side, matrices: Mapping[int, Tensor]) -> list[Tensor]:
    """Weights in the order the products read them: panel, input, sum, unit.

    Args:
        side: whose groups are packed.
        matrices: by the caller's number of their node, ``[units inputs]``, or ``[inputs units]``
            where the product is with the transpose.

    Returns:
        One array ``[panels inputs sums·vectors·lanes]`` for every term of every group, zero for
        units that only fill a panel. Of matrices of blocks a panel holds its block only.
    """
    plan, original = side.plan, side.program.original
    heads = iter(side.heads_of_terms)
    packs: list[Tensor] = []
    jobs: list[int] = []
    for group, fold in zip(side.code.groups, side.code.fold, strict=True):
        for sums in zip(*group.terms, strict=True):
            given = [matrices[original[matrix]] for matrix, _, _ in sums]
            if sums[0][2]:
                given = [each.t() for each in given]
            packs.append(_panels(plan, given, next(heads), fold, jobs))
    words = array("q", [len(jobs) // JOB, *jobs])
    _packer(plan.dtype, plan.lanes).call(words.buffer_info()[0])
    return packs


def _panels(plan: Plan, given: Sequence[Tensor], heads: int, fold: int, jobs: list[int]) -> Tensor:
    """Memory for the panels of a term, one matrix a sum, and the words that will fill it."""
    units, depth = given[0].shape
    wide = fold * plan.lanes
    padded = plan.padded(units)
    if units % (heads * wide):
        heads = 1
    height, depth = units // heads, depth // heads
    step = len(given) * wide
    whole = POOL.empty(padded // wide, depth * step, plan.dtype).view(-1, depth, step)
    if padded > units:
        whole.zero_()
    size = plan.dtype.itemsize
    for number, matrix in enumerate(given):
        row, column = matrix.stride()
        source, target = matrix.data_ptr(), whole.data_ptr() + number * wide * size
        panels = -(-height // wide)
        for _ in range(heads):
            jobs += [source, target, height, panels, depth, fold, step, row, column]
            source += (height * row + depth * column) * size
            target += panels * depth * step * size
    return whole


def transposed(matrix: Float[Tensor, "N M"]) -> Float[Tensor, "M N"]:
    """A contiguous matrix with its axes exchanged, in memory of its own, not for autograd.

    Square by square in registers: for small ones a third of the time torch's copy takes.

    Example:
        >>> transposed(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        tensor([[1., 4.],
                [2., 5.],
                [3., 6.]])
    """
    height, width = matrix.shape
    lanes = kernels.host().lanes(matrix.element_size())
    result = torch.empty(width, height, dtype=matrix.dtype)
    job = matrix.data_ptr(), result.data_ptr(), height, 1, width, -(-height // lanes)
    words = array("q", [1, *job, height, width, 1])
    _packer(matrix.dtype, lanes).call(words.buffer_info()[0])
    return result


@cache
def _packer(dtype: torch.dtype, lanes: int) -> kernels.Kernel:
    return kernels.kernel(packing_code(str(dtype).removeprefix("torch."), lanes))


def packing_code(dtype: str, lanes: int) -> str:
    """LLVM IR of a program that fills panels; its words are how many jobs, and `JOB` for each.

    Args:
        dtype: a key of `FLOATS`.
        lanes: numbers in a vector.
    """
    form = FLOATS[dtype]
    module = ir.Module("unspool")
    program = Function(module, "program", ir.VoidType(), [WORDS])
    b = program.b
    given = program.args[0]
    with program.loop(I64(0), program.word(given, 0)) as job:
        words = b.gep(given, [b.add(b.mul(job, I64(JOB)), I64(1))])
        source, target = (program.pointer(words, k, form.type) for k in (0, 1))
        units, panels, depth, fold, step, row, column = (
            program.word(words, k) for k in range(2, JOB)
        )
        with program.loop(I64(0), panels) as panel, program.loop(I64(0), fold) as part:
            unit = b.mul(b.add(b.mul(panel, fold), part), I64(lanes))
            first = b.gep(target, [b.mul(b.mul(panel, depth), step)])
            _Strip(program, Vectors(b, form, lanes), depth, step, row, column).emit(
                b.gep(source, [b.mul(unit, row)]),
                b.gep(first, [b.mul(part, I64(lanes))]),
                b.sub(units, unit),
            )
    b.ret_void()
    return str(module)


class _Strip:
    """The copy of as many units as a vector holds, over all inputs."""

    def __init__(
        self, program: Function, v: Vectors, depth: ir.Value, step: ir.Value, row: ir.Value,
        column: ir.Value,
    ) -> None:  # fmt: skip
        self.program, self.b, self.v, self.lanes = program, program.b, v, v.lanes
        self.depth, self.step, self.row, self.column = depth, step, row, column

    def emit(self, source: ir.Value, target: ir.Value, left: ir.Value) -> None:
        """Copy one strip.

        Args:
            source: of its first unit.
            target: of its first input.
            left: units from its first one to the end.
        """
        b, lanes = self.b, self.lanes
        done = self.program.variable(I64(0))
        full = b.icmp_signed(">=", left, I64(lanes))
        along = b.icmp_signed("==", self.row, I64(1))
        across = b.icmp_signed("==", self.column, I64(1))
        with b.if_then(b.and_(full, along)):
            with self.program.loop(I64(0), self.depth) as k:
                vector = self.v.load(source, b.mul(k, self.column))
                self.v.store(vector, target, b.mul(k, self.step))
            b.store(self.depth, done)
        with b.if_then(b.and_(full, b.and_(across, b.not_(along)))):
            whole = b.mul(b.sdiv(self.depth, I64(lanes)), I64(lanes))
            with self.program.loop(I64(0), whole, lanes) as k:
                rows = [
                    self.v.load(source, b.add(b.mul(I64(n), self.row), k)) for n in range(lanes)
                ]
                for n, vector in enumerate(self._transposed(rows)):
                    self.v.store(vector, target, b.mul(b.add(k, I64(n)), self.step))
            b.store(whole, done)
        some = b.select(full, I64(lanes), left)
        with self.program.loop(b.load(done), self.depth) as k, self.program.loop(I64(0), some) as n:
            place = b.add(b.mul(n, self.row), b.mul(k, self.column))
            b.store(b.load(b.gep(source, [place])), b.gep(target, [b.add(b.mul(k, self.step), n)]))

    def _transposed(self, rows: list[ir.Value]) -> list[ir.Value]:
        """A square of vectors with rows and columns exchanged, one bit of their numbers a time."""
        lanes, bit = self.lanes, 1
        while bit < lanes:
            made = list(rows)
            for n in range(lanes):
                if not n & bit:
                    pair = rows[n], rows[n | bit]
                    even = [k if not k & bit else lanes + (k & ~bit) for k in range(lanes)]
                    odd = [k | bit if not k & bit else lanes + k for k in range(lanes)]
                    made[n], made[n | bit] = self._chosen(*pair, even), self._chosen(*pair, odd)
            rows, bit = made, bit * 2
        return rows

    def _chosen(self, a: ir.Value, b: ir.Value, places: list[int]) -> ir.Value:
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        return self.b.shuffle_vector(a, b, ir.Constant(kind, places))
