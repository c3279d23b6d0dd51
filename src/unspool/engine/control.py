"""Variables, loops and words of memory in a function that is being emitted as LLVM IR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

I64, F64 = ir.IntType(64), ir.DoubleType()
WORDS = I64.as_pointer()


class Function:
    """A function of a module, its instructions still to come.

    Args:
        module: where it goes.
        name: unique in the module.
        result: what it returns.
        arguments: their types.

    Attributes:
        b: where the next instruction goes.
        args: values of the arguments.
    """

    def __init__(
        self, module: ir.Module, name: str, result: ir.Type, arguments: Sequence[ir.Type]
    ) -> None:
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.args = self.function.args

    def variable(self, value: ir.Value) -> ir.Value:
        """Memory that starts with a value; the optimiser makes a register of it."""
        with self.b.goto_entry_block():
            place = self.b.alloca(value.type)
        self.b.store(value, place)
        return place

    def word(self, words: ir.Value, position: int) -> ir.Value:
        """One of an array of 64-bit words."""
        return self.b.load(self.b.gep(words, [I64(position)]))

    def number(self, words: ir.Value, position: int) -> ir.Value:
        """A word that holds the bits of a float64."""
        return self.b.bitcast(self.word(words, position), F64)

    def pointer(self, words: ir.Value, position: int, kind: ir.Type) -> ir.Value:
        """A word that holds an address."""
        return self.b.inttoptr(self.word(words, position), kind.as_pointer())

    @contextmanager
    def loop(self, start: ir.Value, stop: ir.Value, step: int = 1) -> Iterator[ir.Value]:
        """Count from ``start`` while below ``stop``."""
        with counting(self.b, start, stop, step) as i:
            yield i

    @contextmanager
    def repeat(self) -> Iterator[Callable[[ir.Value], None]]:
        """Go round until a condition that is given to the yielded function holds."""
        head = self.function.append_basic_block("head")
        after = self.function.append_basic_block("after")
        self.b.branch(head)
        self.b.position_at_end(head)

        def leave_when(condition: ir.Value) -> None:
            inside = self.function.append_basic_block("inside")
            self.b.cbranch(condition, after, inside)
            self.b.position_at_end(inside)

        yield leave_when
        self.b.branch(head)
        self.b.position_at_end(after)


@contextmanager
def counting(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int = 1) -> Iterator[ir.Value]:
    """A loop that counts from ``start`` while below ``stop``, around what is emitted inside."""
    before = b.block
    head, body, after = (b.function.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", i, stop), body, after)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, I64(step)), b.block)
    b.branch(head)
    b.position_at_end(after)
