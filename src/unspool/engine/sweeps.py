"""The equations of a stage: for one row and one vector of units, and the numbers a row.

What a row sum gathers waits in memory where products make its operand, panel by panel for many
rows; where a stage has no product a row goes through all its units at once, and the sums stay in
registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llvmlite import ir

from unspool.engine.frame import I32, I64, Frame
from unspool.engine.slots import Slot
from unspool.engine.stages import Stage, axis_of
from unspool.engine.vectors import Vectors

COMPARED = ("greater", "greater_equal")


class Sweeps:
    """Emits equations into a frame.

    Args:
        frame: where.
    """

    def __init__(self, frame: Frame) -> None:
        self.f, self.b, self.v = frame, frame.b, frame.v

    def rowwise(self, stages: Sequence[Stage]) -> None:
        """Stages without products, one after the other for each row."""
        f = self.f
        with f.loop(I64(0), f.rows) as row:
            numbers: dict[int, ir.Value] = {}
            for stage in stages:
                gathered = {index: self._register(index) for index in stage.sums}
                with f.loop(*f.panels[stage.axis, 1]) as p:
                    unit = self.b.mul(p, I64(f.lanes))
                    self.equations(stage, row, unit, {}, numbers, gathered)
                made = {index: self.b.load(place) for index, place in gathered.items()}
                self._numbers(stage, row, made, numbers)

    def _register(self, index: int) -> ir.Value:
        """A variable for a row sum; the optimiser makes a register of it."""
        with self.b.goto_entry_block():
            place = self.b.alloca(self.v.type)
        self.b.store(self._nothing(index), place)
        return place

    def _nothing(self, index: int) -> ir.Value:
        return self.v.constant(0.0 if self.f.nodes[index].op == "row_sum" else float("-inf"))

    def clear(self, stage: Stage) -> None:
        """Start the row sums of a stage of products."""
        f = self.f
        for index in stage.sums:
            with f.loop(I64(0), f.rows) as row:
                self.v.store(self._nothing(index), f.sums_at, f.sum_place(index, row))

    def finish(self, stage: Stage) -> None:
        """The numbers of every row, once a stage of products is over."""
        f = self.f
        if stage.sums:
            with f.loop(I64(0), f.rows) as row:
                made = {i: self.v.load(f.sums_at, f.sum_place(i, row)) for i in stage.sums}
                self._numbers(stage, row, made, {})

    def equations(
        self,
        stage: Stage,
        row: ir.Value,
        unit: ir.Value,
        products: Mapping[int, ir.Value],
        numbers: Mapping[int, ir.Value],
        gathered: Mapping[int, ir.Value] | None = None,
    ) -> None:
        """Everything of a stage for one row and one vector of units.

        Args:
            stage: its equations.
            row: which row.
            unit: the first of its units.
            products: the sums that are made already, by node.
            numbers: of this row, by node, where they are still in registers.
            gathered: variables of the row sums; None where they wait in memory.
        """
        f, v = self.f, self.v
        values = _Values(f, v, set(stage.nodes), row, unit, numbers)
        values.known.update(products)
        # Everything is read before anything is written: memory may be shared.
        ends = [node for _, node in (*stage.carries, *stage.learnt)]
        summed = [f.nodes[index].args[0] for index in stage.sums]
        for index in (*stage.nodes, *stage.stores, *ends, *summed):
            values.of(index)
        for index in stage.stores:
            slot = f.slot_of[Slot("store", index)]
            v.store(v.as_number(values.of(index)), f.base[slot], f.at(slot, row, unit))
        for index in stage.sums:
            value = values.of(f.nodes[index].args[0])
            self._gather(index, value, row, unit, stage.axis, gathered)
        for leaf, node in stage.learnt:
            base = f.base[f.slot_of[Slot("learnt", leaf)]]
            v.store(self.b.fadd(v.load(base, unit), values.of(node)), base, unit)
        for leaf, node in stage.carries:
            slot = f.slot_of[Slot("carry", leaf)]
            v.store(values.of(node), f.base[slot], f.at(slot, row, unit))

    def _gather(
        self,
        index: int,
        value: ir.Value,
        row: ir.Value,
        unit: ir.Value,
        axis: str,
        gathered: Mapping[int, ir.Value] | None,
    ) -> None:
        """Add a vector of units to a row's sum, without those that only fill the panel."""
        b, v, f = self.b, self.v, self.f
        value = b.select(f.inside(unit, axis), value, self._nothing(index))
        join = b.fadd if f.nodes[index].op == "row_sum" else v.maximum
        if gathered is not None:
            b.store(join(b.load(gathered[index]), value), gathered[index])
            return
        place = f.sum_place(index, row)
        v.store(join(v.load(f.sums_at, place), value), f.sums_at, place)

    def _numbers(
        self,
        stage: Stage,
        row: ir.Value,
        made: Mapping[int, ir.Value],
        numbers: dict[int, ir.Value],
    ) -> None:
        """A row's sums, and what is made of them, as single numbers; kept where they are read."""
        b, f, v = self.b, self.f, self.v
        values = _Values(f, f.one, set(stage.scalars), row, None, numbers)
        for index, vector in made.items():
            join = b.fadd if f.nodes[index].op == "row_sum" else v.maximum
            number = b.extract_element(v.reduce(vector, join), I32(0))
            values.known[index] = f.one.broadcast(number)
        for index in (*stage.sums, *stage.scalars):
            value = values.of(index)
            numbers[index] = value
            f.one.store(value, f.scalars_at, f.scalar_place(index, row))
            slot = f.slot_of.get(Slot("store", index))
            if slot is not None:
                f.one.store(value, f.base[slot], f.at(slot, row))


class _Values:
    """Nodes as values: found in memory or computed, each once.

    Args:
        frame: where they lie.
        v: makes vectors of units, or single numbers as vectors of one lane.
        here: nodes that are computed rather than loaded.
        row, unit: which; without a unit they are numbers a row.
        numbers: of this row, in registers.
    """

    def __init__(
        self,
        frame: Frame,
        v: Vectors,
        here: set[int],
        row: ir.Value,
        unit: ir.Value | None,
        numbers: Mapping[int, ir.Value],
    ) -> None:
        self.f, self.b, self.v, self.here = frame, frame.b, v, here
        self.row, self.unit, self.numbers = row, unit, numbers
        self.known: dict[int, ir.Value] = {}

    def of(self, index: int) -> ir.Value:
        """The value of a node."""
        if index not in self.known:
            self.known[index] = self._made(index)
        return self.known[index]

    def _made(self, index: int) -> ir.Value:
        f, v, node = self.f, self.v, self.f.nodes[index]
        if node.op == "constant":
            return v.constant(node.value)
        if node.op == "inverse_width":
            return v.broadcast(f.inverse[node.name])
        if node.op == "outer":
            return self._outer(index)
        if index not in self.here:
            if index in self.numbers:
                return v.broadcast(self.b.extract_element(self.numbers[index], I32(0)))
            if index in f.scalars:
                return self._number(f.scalars_at, f.scalar_place(index, self.row))
        slot = f.slot_of.get(Slot("load", index))
        if slot is None and index not in self.here:
            slot = f.slot_of.get(Slot("store", index))
        if slot is None:
            return v.operation(node.op, [self.of(arg) for arg in node.args])
        if axis_of(node) == "1":
            return self._number(f.base[slot], f.at(slot, self.row))
        loaded = v.load(f.base[slot], f.at(slot, self.row, self.unit))
        return self.b.fcmp_ordered(">", loaded, v.constant(0.5)) if node.op in COMPARED else loaded

    def _number(self, base: ir.Value, place: ir.Value) -> ir.Value:
        return self.v.broadcast(self.b.load(self.b.gep(base, [place])))

    def _outer(self, index: int) -> ir.Value:
        """One entry of the first side times a vector of the second, zero where that is filled."""
        f, b, v = self.f, self.b, self.v
        assert self.unit is not None
        left, right = f.nodes[index].args
        axis = axis_of(f.nodes[right])
        first, rest = b.sdiv(self.unit, f.padded[axis]), b.srem(self.unit, f.padded[axis])
        from_left, from_right = f.operand_slot(left), f.operand_slot(right)
        number = self._number(f.base[from_left], f.at(from_left, self.row, first))
        vector = v.load(f.base[from_right], f.at(from_right, self.row, rest))
        return b.select(f.inside(rest, axis), b.fmul(number, vector), v.constant(0.0))
