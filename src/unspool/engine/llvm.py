"""CPU code for a program: loops over time, panels of units and blocks of rows, as LLVM IR.

One function a program. A thread owns a run of rows and walks them through all of time; inside a
step the stages follow one another, a stage sweeps over panels of units, and for each panel the
products of a few rows are summed in registers (`Products`) before the equations are computed.

The function's one argument is an array of 64-bit words: `HEADER`, then `WORDS` a slot (memory that
a node is loaded from or stored to), then the packed weights of every group's terms.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from llvmlite import ir

from unspool.engine.control import counting
from unspool.engine.kernels import Host
from unspool.engine.products import Products
from unspool.engine.slots import Slot, slots_of
from unspool.engine.stages import Group, Program, Stage, axis_of
from unspool.engine.vectors import FLOATS, Vectors

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)

# counter, threads, steps, offsets, split, H, padded H, D, padded D, scratch, scratch bytes, rows
HEADER = 12
# pointer, stride of a row, whether time moves it, pointer and stride before the first step
WORDS = 5


@dataclass(frozen=True, slots=True)
class Code:
    """What was generated.

    Attributes:
        text: LLVM IR.
        slots: in the order of the argument array.
        groups: all groups, stage by stage; each term of each has one packed array.
        fold: for each group how many panels it computes side by side.
        num_sums, num_scalars: row sums and numbers a row, which need scratch.
        widest: vectors of sums in the widest stage, times rows of a block.
        by_units: no unit looks at another, so threads may share the units as well as the rows; the
            array of shares then holds for each thread first and last row, first and last vector.
    """

    text: str
    slots: tuple[Slot, ...]
    groups: tuple[Group, ...]
    fold: tuple[int, ...]
    num_sums: int
    num_scalars: int
    widest: int
    by_units: bool


def generate(program: Program, dtype: str, host: Host, reverse: bool) -> Code:
    """Emit the code of a program.

    Args:
        program: stages.
        dtype: a key of `FLOATS`.
        host: the processor, which decides the width and number of vectors.
        reverse: walk time backwards.
    """
    return _Emitter(program, dtype, host, reverse).run()


def fold_of(stage: Stage) -> int:
    """Panels a stage computes side by side: two where a single sum would leave registers idle."""
    return 2 if stage.groups and max(len(g.nodes) for g in stage.groups) == 1 else 1


class _Emitter:
    def __init__(self, program: Program, dtype: str, host: Host, reverse: bool) -> None:
        self.program, self.nodes = program, program.nodes
        self.form = FLOATS[dtype]
        self.lanes, self.registers = host.lanes(self.form.bytes), host.registers
        self.avx512, self.reverse = "+avx512f" in host.features, reverse
        self.module = ir.Module("unspool")
        self.pointer = self.form.type.as_pointer()
        self.products = Products(self.module, self.form, self.lanes, self.avx512)
        self.slots = slots_of(program)
        self.slot_of = {slot: number for number, slot in enumerate(self.slots)}
        self.groups = [group for stage in program.stages for group in stage.groups]
        self.sums: list[int] = []
        self.scalars: list[int] = []
        for stage in program.stages:
            self.sums += stage.sums
            self.scalars += [*stage.sums, *stage.scalars]
        self.by_units = not (self.groups or self.sums) and all(
            stage.axis == "H" for stage in program.stages
        )
        self.widest = max((self._rows(s) * self._vectors(s) for s in program.stages), default=0)

    def run(self) -> Code:
        signature = ir.FunctionType(ir.VoidType(), [I64.as_pointer()])
        self.function = ir.Function(self.module, signature, "program")
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.v = Vectors(self.b, self.form, self.lanes, self.avx512)
        self.args = self.function.args[0]
        self._prologue()
        with self._loop(I64(0), self.steps) as step:
            t = self.b.sub(self.b.sub(self.steps, I64(1)), step) if self.reverse else step
            self._step(t)
        self.b.ret_void()
        fold = [fold_of(stage) for stage in self.program.stages for _ in stage.groups]
        return Code(
            str(self.module), tuple(self.slots), tuple(self.groups), tuple(fold),
            len(self.sums), len(self.scalars), self.widest, self.by_units,
        )  # fmt: skip

    # Memory.

    def _word(self, position: int) -> ir.Value:
        return self.b.load(self.b.gep(self.args, [I64(position)]))

    def _slot_word(self, slot: int, word: int) -> ir.Value:
        return self._word(HEADER + WORDS * slot + word)

    def _weights_word(self, group: int, term: int) -> ir.Value:
        before = sum(len(g.terms[0]) for g in self.groups[:group])
        return self._word(HEADER + WORDS * len(self.slots) + before + term)

    def _pointer(self, word: ir.Value) -> ir.Value:
        return self.b.inttoptr(word, self.pointer)

    # Frame.

    def _prologue(self) -> None:
        b = self.b
        counter = b.inttoptr(self._word(0), I64.as_pointer())
        self.thread = b.atomic_rmw("add", counter, I64(1), "monotonic")
        with b.if_then(b.icmp_signed(">=", self.thread, self._word(1))):
            b.ret_void()
        self.steps = self._word(2)
        self.offsets = b.inttoptr(self._word(3), I64.as_pointer())
        split = b.inttoptr(self._word(4), I64.as_pointer())
        place = b.mul(self.thread, I64(4)) if self.by_units else self.thread
        self.first, self.last, *self.share = [
            b.load(b.gep(split, [b.add(place, I64(k))])) for k in range(4 if self.by_units else 2)
        ]
        self.width = {"H": self._word(5), "D": self._word(7)}
        self.padded = {"H": self._word(6), "D": self._word(8)}
        for axis in sorted({axis_of(n) for n in self.nodes if n.op == "outer"}):
            left, _, right = axis.partition("*")
            self.padded[axis] = b.mul(self.width[left], self.padded[right])
        self.max_rows = self._word(11)
        start = b.add(self._word(9), b.mul(self.thread, self._word(10)))
        self.scratch = self._pointer(start)
        sums_at = I64(self.widest * self.lanes)
        self.sums_at = b.gep(self.scratch, [sums_at])
        size = b.mul(self.max_rows, I64(len(self.sums) * self.lanes))
        self.scalars_at = b.gep(self.sums_at, [size])
        one = self.form.type(1.0)
        self.inverse = {
            axis: self.v.broadcast(b.fdiv(one, b.sitofp(width, self.form.type)))
            for axis, width in self.width.items()
        }
        self.strides = [self._slot_word(k, 1) for k in range(len(self.slots))]

    def _loop(
        self, start: ir.Value, stop: ir.Value, step: int = 1
    ) -> AbstractContextManager[ir.Value]:
        return counting(self.b, start, stop, step)

    def _step(self, t: ir.Value) -> None:
        b = self.b
        offset = b.load(b.gep(self.offsets, [t]))
        after = b.load(b.gep(self.offsets, [b.add(t, I64(1))]))
        active = b.sub(after, offset)
        last = b.select(b.icmp_signed("<", active, self.last), active, self.last)
        self.rows = b.sub(last, self.first)
        with b.if_then(b.icmp_signed(">", self.rows, I64(0))):
            self._place_slots(t, offset)
            group = 0
            for stage in self.program.stages:
                self._stage(stage, group)
                group += len(stage.groups)

    def _place_slots(self, t: ir.Value, offset: ir.Value) -> None:
        """For every slot the address of this thread's first row at this step."""
        b = self.b
        initial = b.icmp_signed("==", t, I64(0))
        earlier = b.select(initial, I64(0), b.sub(t, I64(1)))
        offset_before = b.load(b.gep(self.offsets, [earlier]))
        self.base: list[ir.Value] = []
        for k, slot in enumerate(self.slots):
            node = self.nodes[slot.node]
            pointer, stride = self._slot_word(k, 0), self.strides[k]
            if node.op == "parameter":
                if slot.kind == "learnt":
                    base = b.gep(self._pointer(pointer), [b.mul(self.thread, stride)])
                else:
                    base = self._pointer(pointer)
                self.base.append(base)
                continue
            moves = self._slot_word(k, 2)
            if node.op == "state" and slot.kind == "load":
                row = b.add(b.mul(offset_before, moves), self.first)
                later = b.gep(self._pointer(pointer), [b.mul(row, stride)])
                at_start = b.gep(
                    self._pointer(self._slot_word(k, 3)),
                    [b.mul(self.first, self._slot_word(k, 4))],
                )
                self.base.append(b.select(initial, at_start, later))
            else:
                row = b.add(b.mul(offset, moves), self.first)
                self.base.append(b.gep(self._pointer(pointer), [b.mul(row, stride)]))
        self.initial = initial

    def _row_stride(self, slot: int) -> ir.Value:
        node = self.nodes[self.slots[slot].node]
        if node.op == "state" and self.slots[slot].kind == "load":
            return self.b.select(self.initial, self._slot_word(slot, 4), self.strides[slot])
        return self.strides[slot]

    # One stage.

    def _rows(self, stage: Stage) -> int:
        """Rows of a block: all their sums, a row of weights and one input stay in registers."""
        if not stage.groups:
            return 8
        wide = max(len(g.nodes) for g in stage.groups) * fold_of(stage)
        free = self.registers - 1 - wide if self.registers > 16 else self.registers - 2 - wide // 2
        return max(1, min(12, free // wide))

    def _vectors(self, stage: Stage) -> int:
        return sum(len(g.nodes) for g in stage.groups) * fold_of(stage)

    def _stage(self, stage: Stage, first_group: int) -> None:
        b, fold, block = self.b, fold_of(stage), self._rows(stage)
        self._clear_sums(stage)
        panel = I64(self.lanes * fold)
        blocks = b.sdiv(b.add(self.rows, I64(block - 1)), I64(block))
        size = b.sdiv(self.rows, blocks)
        extra = b.srem(self.rows, blocks)
        strides = {k: self._row_stride(k) for k in range(len(self.slots))}
        first, last = self.share or (I64(0), b.sdiv(self.padded[stage.axis], panel))
        with self._loop(first, last) as p:
            unit = b.mul(p, panel)
            with self._loop(I64(0), blocks) as j:
                more = b.icmp_signed("<", j, extra)
                count = b.add(size, b.zext(more, I64))
                before = b.select(more, j, extra)
                row = b.add(b.mul(j, size), before)
                self._products(stage, first_group, p, row, count, strides)
                with self._loop(I64(0), count) as r, self._loop(I64(0), I64(fold)) as s:
                    at = b.add(unit, b.mul(s, I64(self.lanes)))
                    self._equations(stage, b.add(row, r), r, s, at, strides)
        self._finish_sums(stage)

    def _products(
        self, stage: Stage, first_group: int, p: ir.Value, row: ir.Value, count: ir.Value,
        strides: dict[int, ir.Value],
    ) -> None:  # fmt: skip
        b, fold = self.b, fold_of(stage)
        vectors = self._vectors(stage)
        at = 0
        for number, group in enumerate(stage.groups, start=first_group):
            wide = len(group.nodes) * fold
            target = b.gep(self.scratch, [I64(at * self.lanes)])
            for term, (_, operand, _) in enumerate(group.terms[0]):
                slot = self._operand_slot(operand)
                axis = axis_of(self.nodes[operand])
                depth = self.width.get(axis) or self.padded[axis]
                weights = self._pointer(self._weights_word(number, term))
                size = b.mul(depth, I64(wide * self.lanes))
                weights = b.gep(weights, [b.mul(p, size)])
                source = b.gep(self.base[slot], [b.mul(row, strides[slot])])
                micro = b.load(b.gep(self.products.table(wide, self._rows(stage)), [I64(0), count]))
                arguments = [
                    source, strides[slot], weights, depth, target, I64(vectors * self.lanes),
                    I1(term > 0),
                ]  # fmt: skip
                b.call(micro, arguments)
            at += wide

    def _operand_slot(self, operand: int) -> int:
        for kind in ("store", "load"):
            slot = Slot(kind, operand)
            if slot in self.slot_of:
                return self.slot_of[slot]
        raise AssertionError(f"operand {operand} has no memory")

    def _equations(
        self, stage: Stage, row: ir.Value, r: ir.Value, s: ir.Value, unit: ir.Value,
        strides: dict[int, ir.Value],
    ) -> None:  # fmt: skip
        """Everything of a stage that follows from its sums, for one row and one vector of units."""
        b, fold = self.b, fold_of(stage)
        vectors = self._vectors(stage)
        known: dict[int, ir.Value] = {}
        at = 0
        for group in stage.groups:
            for node in group.nodes:
                place = b.add(b.mul(r, I64(vectors)), b.add(I64(at), s))
                known[node] = self.v.load(self.scratch, b.mul(place, I64(self.lanes)))
                at += fold
        here = set(stage.nodes)
        for node in here:
            if self.nodes[node].op == "outer":
                known[node] = self._outer(node, row, unit, strides)

        def address(slot: int) -> tuple[ir.Value, ir.Value]:
            node = self.nodes[self.slots[slot].node]
            if node.op == "parameter":
                return self.base[slot], unit
            if axis_of(node) == "1":
                return self.base[slot], b.mul(row, strides[slot])
            return self.base[slot], b.add(b.mul(row, strides[slot]), unit)

        def value(index: int) -> ir.Value:
            if index not in known:
                known[index] = self._value(index, here, value, address, row)
            return known[index]

        # Everything is read before anything is written: memory may be shared.
        ends = [node for _, node in (*stage.carries, *stage.learnt)]
        summed = [self.nodes[index].args[0] for index in stage.sums]
        for index in (*stage.nodes, *stage.stores, *ends, *summed):
            value(index)
        for index in stage.stores:
            self.v.store(
                self.v.as_number(value(index)), *address(self.slot_of[Slot("store", index)])
            )
        for index in stage.sums:
            self._gather(index, value(self.nodes[index].args[0]), unit, row, stage.axis)
        for leaf, node in stage.learnt:
            base, place = address(self.slot_of[Slot("learnt", leaf)])
            total = b.fadd(self.v.load(base, place), value(node))
            self.v.store(total, base, place)
        for leaf, node in stage.carries:
            slot = self.slot_of[Slot("carry", leaf)]
            place = b.add(b.mul(row, strides[slot]), unit)
            self.v.store(value(node), self.base[slot], place)

    def _value(
        self, index: int, here: set[int], value: Callable[[int], ir.Value],
        address: Callable[[int], tuple[ir.Value, ir.Value]], row: ir.Value,
    ) -> ir.Value:  # fmt: skip
        """A node's vector: loaded where it has memory, else computed."""
        node = self.nodes[index]
        if node.op == "constant":
            return self.v.constant(node.value)
        if node.op == "inverse_width":
            return self.inverse[node.name]
        if index not in here and index in self.scalars:
            return self.v.broadcast(self.b.load(self._scalar(index, row)))
        for kind in ("load", "store"):
            slot = self.slot_of.get(Slot(kind, index))
            if slot is not None and (kind == "load" or index not in here):
                base, place = address(slot)
                if axis_of(node) == "1":
                    return self.v.broadcast(self.b.load(self.b.gep(base, [place])))
                loaded = self.v.load(base, place)
                if node.op in ("greater", "greater_equal"):
                    return self.b.fcmp_ordered(">", loaded, self.v.constant(0.5))
                return loaded
        return self.v.operation(node.op, [value(arg) for arg in node.args])

    def _outer(
        self, node: int, row: ir.Value, unit: ir.Value, strides: dict[int, ir.Value]
    ) -> ir.Value:
        """One entry of the first side times a vector of the second, zero where that is filled."""
        b, v = self.b, self.v
        left, right = self.nodes[node].args
        axis = axis_of(self.nodes[right])
        first, rest = b.sdiv(unit, self.padded[axis]), b.srem(unit, self.padded[axis])

        def place(operand: int, at: ir.Value) -> tuple[ir.Value, ir.Value]:
            slot = self._operand_slot(operand)
            return self.base[slot], b.add(b.mul(row, strides[slot]), at)

        scalar = v.broadcast(b.load(b.gep(place(left, first)[0], [place(left, first)[1]])))
        product = b.fmul(scalar, v.load(*place(right, rest)))
        return b.select(self._inside(rest, axis), product, v.constant(0.0))

    def _inside(self, unit: ir.Value, axis: str) -> ir.Value:
        """Which entries of a vector from ``unit`` on are there and do not only fill the panel."""
        lanes = ir.VectorType(I64, self.lanes)
        counted = ir.Constant(lanes, list(range(self.lanes)))
        numbers = self.b.add(self.v.broadcast(unit), counted)
        return self.b.icmp_signed("<", numbers, self.v.broadcast(self.width[axis]))

    # Row sums.

    def _sum_place(self, index: int, row: ir.Value) -> ir.Value:
        first = self.b.mul(self.max_rows, I64(self.sums.index(index)))
        return self.b.mul(self.b.add(first, row), I64(self.lanes))

    def _scalar(self, index: int, row: ir.Value) -> ir.Value:
        first = self.b.mul(self.max_rows, I64(self.scalars.index(index)))
        return self.b.gep(self.scalars_at, [self.b.add(first, row)])

    def _clear_sums(self, stage: Stage) -> None:
        for index in stage.sums:
            start = 0.0 if self.nodes[index].op == "row_sum" else float("-inf")
            with self._loop(I64(0), self.rows) as row:
                self.v.store(self.v.constant(start), self.sums_at, self._sum_place(index, row))

    def _gather(
        self, index: int, value: ir.Value, unit: ir.Value, row: ir.Value, axis: str
    ) -> None:
        """Add a vector of units to a row's sum, without those that only fill the panel."""
        b, v = self.b, self.v
        total = self.nodes[index].op == "row_sum"
        inside = self._inside(unit, axis)
        value = b.select(inside, value, v.constant(0.0 if total else float("-inf")))
        place = self._sum_place(index, row)
        known = self.v.load(self.sums_at, place)
        joined = b.fadd(known, value) if total else v.maximum(known, value)
        self.v.store(joined, self.sums_at, place)

    def _finish_sums(self, stage: Stage) -> None:
        if not stage.sums:
            return
        b, v = self.b, self.v
        with self._loop(I64(0), self.rows) as row:
            known: dict[int, ir.Value] = {}
            for index in stage.sums:
                gathered = self.v.load(self.sums_at, self._sum_place(index, row))
                join = b.fadd if self.nodes[index].op == "row_sum" else v.maximum
                known[index] = v.reduce(gathered, join)

            def address(slot: int) -> tuple[ir.Value, ir.Value]:
                return self.base[slot], b.mul(row, self.strides[slot])

            here = set(stage.scalars)

            def value(index: int) -> ir.Value:
                if index not in known:
                    known[index] = self._value(index, here, value, address, row)
                return known[index]

            for index in (*stage.sums, *stage.scalars):
                number = b.extract_element(value(index), I32(0))
                b.store(number, self._scalar(index, row))
                slot = self.slot_of.get(Slot("store", index))
                if slot is not None:
                    base, place = address(slot)
                    b.store(number, b.gep(base, [place]))
