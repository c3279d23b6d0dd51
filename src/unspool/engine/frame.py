"""What surrounds the stages of a program: its arguments, its places in memory, a thread's rows.

The function's one argument is an array of 64-bit words: `HEADER`, then `WORDS` a slot (memory that
a node is loaded from or stored to), then the packed weights of every group's terms and how many
inputs each of their panels reads, then arrays of product functions.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager

from llvmlite import ir

from unspool.engine.control import counting
from unspool.engine.kernels import Host
from unspool.engine.slots import Slot, slots_of
from unspool.engine.stages import Group, Program, axis_of
from unspool.engine.vectors import FLOATS, Vectors

I32, I64 = ir.IntType(32), ir.IntType(64)

# counter, threads, steps, offsets, split, H, padded H, D, padded D, scratch, scratch bytes, rows,
# and of threads that share units: where they count who has arrived (`MEETING_WORDS` for each team
# of the same rows), the functions that tell how many there are and that let others run
HEADER = 15
COUNTER, ARRIVED, PRESENT, YIELD = 0, 12, 13, 14
# A line of the cache, so that two teams do not take it from each other.
MEETING_WORDS = 8
# Looks at the counter before others are let run, more than a meeting of threads that run takes.
PATIENCE = 2000
# pointer, stride of a row, whether time moves it, pointer and stride before the first step
WORDS = 5


class Frame:
    """A program's function while it is emitted, and where everything lies.

    Args:
        module: where the function goes.
        program: stages.
        dtype: a key of `FLOATS`.
        host: the processor.
        widest: vectors of sums in the widest stage, times rows of a block.
        unpacked: weights are read where they lie, one array for every sum of every term.

    Attributes:
        b, v, one: for instructions, for vectors, and for single numbers as vectors of one lane.
        slots, slot_of: memory, in the order of the argument array.
        sums, scalars: row sums, and all numbers a row, in the order of their scratch.
        shared, meets: whether threads may share units, and then have to wait for each other.
        rows: how many rows this thread has at this step.
        panels: this thread's first panel and the one after its last, by axis and by vectors wide.
        base: for every slot the address of this thread's first row at this step.
        strides: for every slot the numbers from row to row, at this step.
    """

    def __init__(
        self,
        module: ir.Module,
        program: Program,
        dtype: str,
        host: Host,
        widest: int,
        unpacked: bool = False,
    ) -> None:
        self.program, self.nodes = program, program.nodes
        self.form, self.widest, self.unpacked = FLOATS[dtype], widest, unpacked
        self.lanes = host.lanes(self.form.bytes)
        self.slots = slots_of(program)
        self.slot_of = {slot: number for number, slot in enumerate(self.slots)}
        self.groups = [group for stage in program.stages for group in stage.groups]
        self.sums = [index for stage in program.stages for index in stage.sums]
        self.scalars = [i for stage in program.stages for i in (*stage.sums, *stage.scalars)]
        self.shared, self.meets = program.shared, program.shared and program.meets
        self.pointer = self.form.type.as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [I64.as_pointer()])
        function = ir.Function(module, signature, "program")
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.v = Vectors(self.b, self.form, self.lanes, "+avx512f" in host.features)
        self.one = Vectors(self.b, self.form, 1)
        self.args = function.args[0]
        self._prologue()

    def word(self, position: int) -> ir.Value:
        """One of the argument array."""
        return self.b.load(self.b.gep(self.args, [I64(position)]))

    def slot_word(self, slot: int, word: int) -> ir.Value:
        """One of the words of a slot."""
        return self.word(HEADER + WORDS * slot + word)

    def weights(self, group: int, term: int, number: int = 0) -> ir.Value:
        """The packed weights of a group's term; unpacked, those of one of its sums."""
        return self.address(self.word(self._term_word(group, term, number)))

    def depth(self, group: int, term: int, number: int = 0) -> ir.Value:
        """How many inputs a panel of a group's term reads: all, or those of one block."""
        return self.word(self._term_word(group, term, number) + self._num_arrays)

    def _arrays(self, group: Group) -> int:
        """How many arrays the weights of each term of a group are."""
        return len(group.nodes) if self.unpacked else 1

    def _term_word(self, group: int, term: int, number: int) -> int:
        before = sum(len(g.terms[0]) * self._arrays(g) for g in self.groups[:group])
        inside = term * self._arrays(self.groups[group]) + number
        return HEADER + WORDS * len(self.slots) + before + inside

    @property
    def _num_arrays(self) -> int:
        return sum(len(group.terms[0]) * self._arrays(group) for group in self.groups)

    def functions(self, table: int) -> ir.Value:
        """The word that holds the address of an array of product functions."""
        return self.word(HEADER + WORDS * len(self.slots) + 2 * self._num_arrays + table)

    def address(self, word: ir.Value) -> ir.Value:
        """A word as the address of numbers."""
        return self.b.inttoptr(word, self.pointer)

    def loop(
        self, start: ir.Value, stop: ir.Value, step: int = 1
    ) -> AbstractContextManager[ir.Value]:
        """Count from ``start`` while below ``stop``."""
        return counting(self.b, start, stop, step)

    def _prologue(self) -> None:
        b = self.b
        counter = b.inttoptr(self.word(0), I64.as_pointer())
        if self.meets:
            self._all_present()
        self.thread = b.atomic_rmw("add", counter, I64(1), "monotonic")
        with b.if_then(b.icmp_signed(">=", self.thread, self.word(1))):
            b.ret_void()
        self.steps = self.word(2)
        self.offsets = b.inttoptr(self.word(3), I64.as_pointer())
        split = b.inttoptr(self.word(4), I64.as_pointer())
        place = b.mul(self.thread, I64(4))
        self.first, self.last, member, self.members = [
            b.load(b.gep(split, [b.add(place, I64(k))])) for k in range(4)
        ]
        self.width = {"H": self.word(5), "D": self.word(7)}
        self.padded = {"H": self.word(6), "D": self.word(8)}
        for axis in sorted({axis_of(n) for n in self.nodes if n.op == "outer"}):
            left, _, right = axis.partition("*")
            self.padded[axis] = b.mul(self.width[left], self.padded[right])
        self.max_rows = self.word(11)
        start = b.add(self.word(9), b.mul(self.thread, self.word(10)))
        self.scratch = self.address(start)
        self.sums_at = b.gep(self.scratch, [I64(self.widest * self.lanes)])
        size = b.mul(self.max_rows, I64(len(self.sums) * self.lanes))
        self.scalars_at = b.gep(self.sums_at, [size])
        one = self.form.type(1.0)
        self.inverse = {
            axis: b.fdiv(one, b.sitofp(width, self.form.type)) for axis, width in self.width.items()
        }
        self.strides_later = [self.slot_word(k, 1) for k in range(len(self.slots))]
        self._share_panels(member)
        if self.meets:
            team = b.mul(b.sdiv(self.thread, self.members), I64(MEETING_WORDS))
            self.arrived = b.gep(b.inttoptr(self.word(ARRIVED), I64.as_pointer()), [team])
            with b.goto_entry_block():
                self.awaited = b.alloca(I64)
            b.store(I64(0), self.awaited)

    def _all_present(self) -> None:
        """Leave where there are fewer threads than were asked for: one would wait for ever."""
        b = self.b
        told = self.word(PRESENT)
        with b.if_then(b.icmp_signed("!=", told, I64(0)), likely=False):
            number = b.call(b.inttoptr(told, ir.FunctionType(I32, []).as_pointer()), [])
            with b.if_then(b.icmp_signed("<", b.sext(number, I64), self.word(1))):
                b.ret_void()

    def _share_panels(self, member: ir.Value) -> None:
        """This thread's panels, by axis and by how many vectors wide they are."""
        b = self.b
        self.panels: dict[tuple[str, int], tuple[ir.Value, ir.Value]] = {}
        for (axis, padded), fold in itertools.product(self.padded.items(), (1, 2)):
            count = b.sdiv(padded, I64(fold * self.lanes))
            first, last = I64(0), count
            if self.shared:
                first = b.sdiv(b.mul(count, member), self.members)
                last = b.sdiv(b.mul(count, b.add(member, I64(1))), self.members)
            self.panels[axis, fold] = first, last

    def meet(self) -> None:
        """Wait for the threads that share this one's rows: what they stored can be read after."""
        b = self.b
        with b.if_then(b.icmp_signed(">", self.members, I64(1)), likely=False):
            awaited = b.add(b.load(self.awaited), self.members)
            b.store(awaited, self.awaited)
            b.atomic_rmw("add", self.arrived, I64(1), "acq_rel")
            let_run = b.inttoptr(self.word(YIELD), ir.FunctionType(I32, []).as_pointer())
            head, again = (b.function.append_basic_block(name) for name in ("wait", "again"))
            after, entry = b.function.append_basic_block("met"), b.block
            b.branch(head)
            b.position_at_end(head)
            looks = b.phi(I64)
            looks.add_incoming(I64(0), entry)
            there = b.load_atomic(self.arrived, "acquire", 8)
            b.cbranch(b.icmp_signed(">=", there, awaited), after, again)
            b.position_at_end(again)
            with b.if_then(b.icmp_signed(">", looks, I64(PATIENCE)), likely=False):
                b.call(let_run, [])
            looks.add_incoming(b.add(looks, I64(1)), b.block)
            b.branch(head)
            b.position_at_end(after)

    def at_step(self, t: ir.Value) -> None:
        """Find this thread's rows at a step, and where they lie."""
        b = self.b
        offset = b.load(b.gep(self.offsets, [t]))
        after = b.load(b.gep(self.offsets, [b.add(t, I64(1))]))
        active = b.sub(after, offset)
        last = b.select(b.icmp_signed("<", active, self.last), active, self.last)
        self.rows = b.sub(last, self.first)
        self._offset = offset

    def place_slots(self, t: ir.Value) -> None:
        """For every slot the address of this thread's first row at this step."""
        b, offset = self.b, self._offset
        initial = b.icmp_signed("==", t, I64(0))
        earlier = b.select(initial, I64(0), b.sub(t, I64(1)))
        offset_before = b.load(b.gep(self.offsets, [earlier]))
        self.base: list[ir.Value] = []
        self.strides = list(self.strides_later)
        for k, slot in enumerate(self.slots):
            node = self.nodes[slot.node]
            place, stride = self.address(self.slot_word(k, 0)), self.strides_later[k]
            if node.op == "parameter":
                if slot.kind == "learnt":
                    place = b.gep(place, [b.mul(self.thread, stride)])
                self.base.append(place)
                continue
            moves = self.slot_word(k, 2)
            if node.op == "state" and slot.kind == "load":
                stride_before = self.slot_word(k, 4)
                row = b.add(b.mul(offset_before, moves), self.first)
                later = b.gep(place, [b.mul(row, stride)])
                start = self.address(self.slot_word(k, 3))
                at_start = b.gep(start, [b.mul(self.first, stride_before)])
                self.base.append(b.select(initial, at_start, later))
                self.strides[k] = b.select(initial, stride_before, stride)
            else:
                row = b.add(b.mul(offset, moves), self.first)
                self.base.append(b.gep(place, [b.mul(row, stride)]))

    def at(self, slot: int, row: ir.Value, unit: ir.Value | None = None) -> ir.Value:
        """How many numbers behind a slot's base a row stands, or a unit of it."""
        if self.nodes[self.slots[slot].node].op == "parameter":
            return I64(0) if unit is None else unit
        place = self.b.mul(row, self.strides[slot])
        return place if unit is None else self.b.add(place, unit)

    def operand_slot(self, operand: int) -> int:
        """The memory of a node that is read whole."""
        for kind in ("store", "load"):
            slot = Slot(kind, operand)
            if slot in self.slot_of:
                return self.slot_of[slot]
        raise AssertionError(f"operand {operand} has no memory")

    def inside(self, unit: ir.Value, axis: str) -> ir.Value:
        """Which entries of a vector from ``unit`` on are there and do not only fill the panel."""
        b = self.b
        counted = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
        left = self.v.broadcast(b.trunc(b.sub(self.width[axis], unit), I32))
        return b.icmp_signed("<", counted, left)

    def sum_place(self, index: int, row: ir.Value) -> ir.Value:
        """Where a row sum is gathered, behind ``sums_at``."""
        first = self.b.mul(self.max_rows, I64(self.sums.index(index)))
        return self.b.mul(self.b.add(first, row), I64(self.lanes))

    def scalar_place(self, index: int, row: ir.Value) -> ir.Value:
        """Where a row's number is kept, behind ``scalars_at``."""
        return self.b.add(self.b.mul(self.max_rows, I64(self.scalars.index(index))), row)
