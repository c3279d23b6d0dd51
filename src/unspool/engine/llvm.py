"""CPU code for a program: loops over time, panels of units and blocks of rows, as LLVM IR.

One function a program. A thread owns a run of rows and walks them through all of time; inside a
step the stages follow one another. Where rows are few and weights many, several threads own the
same rows and share the units; they meet before every sweep that reads what another has stored.
A stage with products sweeps over panels of units, and for each panel the products of a few rows are
summed in registers (`product_code`) before the equations are computed (`Sweeps`). Stages without
products follow one another row by row.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from llvmlite import ir

from unspool.engine.dots import Dots
from unspool.engine.frame import HEADER, I64, WORDS, Frame
from unspool.engine.kernels import Host
from unspool.engine.products import product_type
from unspool.engine.slots import Slot
from unspool.engine.stages import Group, Program, Stage, axis_of
from unspool.engine.sweeps import Sweeps

__all__ = ["HEADER", "WORDS", "Code", "fold_of", "generate"]

I1 = ir.IntType(1)


@dataclass(frozen=True, slots=True)
class Code:
    """What was generated.

    Attributes:
        text: LLVM IR.
        slots: in the order of the argument array.
        groups: all groups, stage by stage; each term of each has one packed array.
        fold: for each group how many panels it computes side by side.
        num_sums, num_scalars: row sums and numbers a row, which need scratch.
        products: of the functions that are called for sums, for each array of them how many vectors
            side by side and how many rows at most; the array stands behind the packed weights.
        widest: vectors of sums in the widest stage, times rows of a block.
    """

    text: str
    slots: tuple[Slot, ...]
    groups: tuple[Group, ...]
    fold: tuple[int, ...]
    num_sums: int
    num_scalars: int
    products: tuple[tuple[int, int], ...]
    widest: int


def generate(
    program: Program, dtype: str, host: Host, reverse: bool, unpacked: bool = False
) -> Code:
    """Emit the code of a program.

    Args:
        program: stages.
        dtype: a key of `FLOATS`.
        host: the processor, which decides the width and number of vectors.
        reverse: walk time backwards.
        unpacked: weights are read where they lie, one array for every sum of every term.
    """
    return _Emitter(program, dtype, host, reverse, unpacked).run()


def fold_of(stage: Stage) -> int:
    """Panels a stage computes side by side: two where a single sum would leave registers idle."""
    return 2 if stage.groups and max(len(g.nodes) for g in stage.groups) == 1 else 1


class _Emitter:
    def __init__(
        self, program: Program, dtype: str, host: Host, reverse: bool, unpacked: bool
    ) -> None:
        self.program, self.reverse, self.registers = program, reverse, host.registers
        self.module = ir.Module("unspool")
        self.widest = max((self._rows(s) * self._vectors(s) for s in program.stages), default=0)
        self.f = Frame(self.module, program, dtype, host, self.widest, unpacked)
        self.b, self.lanes = self.f.b, self.f.lanes
        self.product = product_type(self.f.form).as_pointer().as_pointer()
        self.products: dict[tuple[int, int], int] = {}
        self.dots = None
        if unpacked:
            avx512 = "+avx512f" in host.features
            self.dots = Dots(self.module, self.f.form, self.lanes, avx512).function
        self.sweeps = Sweeps(self.f)

    def run(self) -> Code:
        b, f = self.b, self.f
        with f.loop(I64(0), f.steps) as step:
            t = b.sub(b.sub(f.steps, I64(1)), step) if self.reverse else step
            f.at_step(t)
            with b.if_then(b.icmp_signed(">", f.rows, I64(0))):
                f.place_slots(t)
                self._step(b.icmp_signed("<", b.add(step, I64(1)), f.steps))
        b.ret_void()
        fold = [fold_of(stage) for stage in self.program.stages for _ in stage.groups]
        return Code(
            str(self.module), tuple(f.slots), tuple(f.groups), tuple(fold),
            len(f.sums), len(f.scalars), tuple(self.products), self.widest,
        )  # fmt: skip

    def _step(self, goes_on: ir.Value) -> None:
        group = 0
        runs: list[list[Stage]] = []
        for multiplies, found in itertools.groupby(
            self.program.stages, lambda stage: bool(stage.groups)
        ):
            run = list(found)
            runs += [[stage] for stage in run] if multiplies else [run]
        for number, stages in enumerate(runs):
            if number and self.f.meets:
                self.f.meet()
            if not stages[0].groups:
                self.sweeps.rowwise(stages)
                continue
            for stage in stages:
                self.sweeps.clear(stage)
                self._stage(stage, group)
                self.sweeps.finish(stage)
                group += len(stage.groups)
        if self.f.meets:
            with self.b.if_then(goes_on):
                self.f.meet()

    def _rows(self, stage: Stage) -> int:
        """Rows of a block: all their sums, a row of weights and one input stay in registers."""
        if not stage.groups:
            return 0
        wide = max(len(g.nodes) for g in stage.groups) * fold_of(stage)
        free = self.registers - 1 - wide if self.registers > 16 else self.registers - 2 - wide // 2
        return max(1, min(12, free // wide))

    def _vectors(self, stage: Stage) -> int:
        return sum(len(g.nodes) for g in stage.groups) * fold_of(stage)

    def _stage(self, stage: Stage, first_group: int) -> None:
        b, f, fold, block = self.b, self.f, fold_of(stage), self._rows(stage)
        panel = I64(self.lanes * fold)
        blocks = b.sdiv(b.add(f.rows, I64(block - 1)), I64(block))
        size, extra = b.sdiv(f.rows, blocks), b.srem(f.rows, blocks)
        with f.loop(*f.panels[stage.axis, fold]) as p:
            unit = b.mul(p, panel)
            with f.loop(I64(0), blocks) as j:
                more = b.icmp_signed("<", j, extra)
                count = b.add(size, b.zext(more, I64))
                row = b.add(b.mul(j, size), b.select(more, j, extra))
                products = self._products if self.dots is None else self._dots
                products(stage, first_group, p, row, count)
                with f.loop(I64(0), count) as r, f.loop(I64(0), I64(fold)) as s:
                    at = b.add(unit, b.mul(s, I64(self.lanes)))
                    self.sweeps.equations(stage, b.add(row, r), at, self._sums(stage, r, s), {})

    def _products(
        self, stage: Stage, first_group: int, p: ir.Value, row: ir.Value, count: ir.Value
    ) -> None:
        """The sums of a stage for some rows and one panel, side by side in the scratch."""
        b, f, fold = self.b, self.f, fold_of(stage)
        vectors = self._vectors(stage)
        at = 0
        for number, group in enumerate(stage.groups, start=first_group):
            wide = len(group.nodes) * fold
            target = b.gep(f.scratch, [I64(at * self.lanes)])
            for term, (_, operand, _) in enumerate(group.terms[0]):
                slot = f.operand_slot(operand)
                axis = axis_of(f.nodes[operand])
                depth = f.depth(number, term)
                first = self._block_start(p, wide, len(group.nodes), depth, axis)
                size = b.mul(depth, I64(wide * self.lanes))
                weights = b.gep(f.weights(number, term), [b.mul(p, size)])
                source = b.gep(f.base[slot], [f.at(slot, row, first)])
                functions = f.functions(self._table(wide, self._rows(stage)))
                micro = b.load(b.gep(b.inttoptr(functions, self.product), [count]))
                arguments = [
                    source, f.strides[slot], weights, depth, target, I64(vectors * self.lanes),
                    I1(term > 0),
                ]  # fmt: skip
                b.call(micro, arguments)
            at += wide

    def _dots(
        self, stage: Stage, first_group: int, p: ir.Value, row: ir.Value, count: ir.Value
    ) -> None:
        """The same sums from weights that lie as the caller keeps them."""
        b, f, fold = self.b, self.f, fold_of(stage)
        row_size, at = I64(self._vectors(stage) * self.lanes), 0
        for number, group in enumerate(stage.groups, start=first_group):
            for (term, (_, operand, _)), (n, _), s in itertools.product(
                enumerate(group.terms[0]), enumerate(group.nodes), range(fold)
            ):
                slot = f.operand_slot(operand)
                place = I64((at + n * fold + s) * self.lanes)
                unit = b.add(b.mul(p, I64(self.lanes * fold)), I64(s * self.lanes))
                with f.loop(I64(0), count) as r:
                    source = b.gep(f.base[slot], [f.at(slot, b.add(row, r))])
                    target = b.gep(f.scratch, [b.add(b.mul(r, row_size), place)])
                    arguments = [
                        source, f.weights(number, term, n), f.depth(number, term, n),
                        f.width[stage.axis], unit, target, I1(term > 0),
                    ]  # fmt: skip
                    b.call(self.dots, arguments)
            at += len(group.nodes) * fold

    def _block_start(
        self, p: ir.Value, wide: int, sums: int, depth: ir.Value, axis: str
    ) -> ir.Value:
        """The first input a panel reads: that of its block, where the matrix consists of blocks."""
        b, f = self.b, self.f
        if axis not in f.width:
            return I64(0)
        unit = b.mul(p, I64(wide // sums * self.lanes))
        start = b.sub(unit, b.srem(unit, depth))
        return b.select(b.icmp_signed("<", depth, f.width[axis]), start, I64(0))

    def _table(self, wide: int, block: int) -> int:
        """Which array of product functions, in the order they are first needed."""
        return self.products.setdefault((wide, block), len(self.products))

    def _sums(self, stage: Stage, r: ir.Value, s: ir.Value) -> dict[int, ir.Value]:
        """The products' sums of a block's row and a panel, from the scratch."""
        b, fold, vectors = self.b, fold_of(stage), self._vectors(stage)
        sums: dict[int, ir.Value] = {}
        at = 0
        for group in stage.groups:
            for node in group.nodes:
                place = b.add(b.mul(r, I64(vectors)), b.add(I64(at), s))
                sums[node] = self.f.v.load(self.f.scratch, b.mul(place, I64(self.lanes)))
                at += fold
        return sums
