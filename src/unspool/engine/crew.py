"""`Crew`: threads that join a single step where they are at hand, and are not waited for elsewhere.

OpenMP's team waits for every thread it asked for, also for one that the system has put behind
another program's for milliseconds, and a step takes microseconds. Helpers of a crew look at a word
in memory instead. Who opens a job waits a moment for them to take a seat; with too few of them it
goes on alone, having lost that moment. Who has taken a seat was running just then.

The code is LLVM IR like the programs that it runs, since a seat has to be taken within a
microsecond. A helper that has seen no job for a while goes to sleep and is woken by steps in quick
succession.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir

from unspool.engine import kernels
from unspool.engine.control import I64, WORDS, Function

# Words of the crew's memory, each in a line of the cache of its own. That of the seats is a number
# of the job, a bit that is set once nobody may join, and how many have.
SEATS, GO, PROGRAM, DATA, WANTED, LEFT, BUSY, AWAKE, REST, MISSED, OVER = range(0, 88, 8)
NUM_WORDS = 88
CLOSED, COUNT, NUMBER = 128, 127, 8
# Looks, of about 50 ns each: for helpers to take their seats; for one to be done before others are
# let run; of a helper without a job before it lets others run. So many nanoseconds later it sleeps.
JOINING, PATIENCE, RESTLESS, WAITING = 100, 400, 40_000, 3_000_000
# A wait of so many nanoseconds beyond patience says that the machine is busy: so many steps are
# then taken alone, that such waits do not show at the 99th percentile. Where helpers did not come
# it is one step, twice as many each further time, 2 ** `MOST_OFTEN` at most.
LATE, RESTING, MOST_OFTEN = 500_000, 128, 2
# Seconds between two steps of a stream that is worth a core that only looks.
RUSH = 1e-3
# Processors that have a word for waiting, LLVM's function for it, and what that is given.
PAUSES = (
    (("x86_64", "i386", "i686"), "llvm.x86.sse2.pause", ()),
    (("aarch64", "arm64"), "llvm.aarch64.hint", (1,)),
)
# Helpers join all or not at all, and the more there are the likelier one of them is late.
MOST = 4


def most_threads() -> int:
    """How many threads may share a step on this machine; 1 where others cannot be let run."""
    if not kernels.lets_run():
        return 1
    has = hasattr(os, "sched_getaffinity")
    return min(MOST, len(os.sched_getaffinity(0)) if has else os.cpu_count() or 1)


class Crew:
    """Helpers of this process, started when steps follow one another.

    A forked child has none of its parent's.

    Example:
        >>> crew = Crew()
        >>> crew.at_hand(1), crew.at_hand(2)
        (True, False)
    """

    def __init__(self) -> None:
        self._words = (ctypes.c_int64 * NUM_WORDS)()
        self._bells: list[threading.Event] = []
        self._helpers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._last = -math.inf

    @property
    def address(self) -> int:
        """Of its memory, for code that calls `joined` itself."""
        return ctypes.addressof(self._words)

    def at_hand(self, threads: int) -> bool:
        """Whether so many threads, the caller's included, could share a step that comes now.

        Helpers that are missing are started, and those that sleep are woken, where this step
        follows another; nobody waits for them.
        """
        now = time.perf_counter()
        rushing, self._last = now - self._last < RUSH, now
        if self._words[REST] > 0:
            self._words[REST] -= 1
            return False
        if self._words[AWAKE] >= threads - 1:
            return True
        if rushing and self._lock.acquire(blocking=False):
            try:
                while len(self._helpers) < threads - 1:
                    self._hire()
                for helper, bell in zip(self._helpers, self._bells, strict=True):
                    if not bell.is_set():
                        _send_elsewhere(helper)
                        bell.set()
            finally:
                self._lock.release()
        return False

    def run(self, program: int, data: int, threads: int) -> None:
        """Run a program on so many threads; nothing is done where too few of them join.

        Args:
            program: address of a function of one address.
            data: that address.
            threads: the caller's included.
        """
        _code()[0](program, data, threads, self.address)

    def dismiss(self) -> None:
        """End all helpers; code they run may be gone soon."""
        self._words[OVER] = 1
        for bell in self._bells:
            bell.set()
        for helper in self._helpers:
            helper.join(1.0)

    def forget(self) -> None:
        """Have none, as in a forked child: its parent's are not there."""
        ctypes.memset(self._words, 0, ctypes.sizeof(self._words))
        self._bells, self._helpers, self._lock = [], [], threading.Lock()

    def _hire(self) -> None:
        bell, serve = threading.Event(), _code()[1]

        def help_out() -> None:
            while not self._words[OVER]:
                bell.wait()
                bell.clear()
                serve(self.address)

        helper = threading.Thread(target=help_out, name="unspool helper", daemon=True)
        self._bells.append(bell)
        self._helpers.append(helper)
        helper.start()


def _send_elsewhere(helper: threading.Thread) -> None:
    """Let a helper wake on another core than this one, which it could not have for milliseconds."""
    try:
        here = ctypes.CDLL(None).sched_getcpu()
        others = os.sched_getaffinity(0) - {here}
        if others and helper.native_id is not None:
            os.sched_setaffinity(helper.native_id, others)
    except (AttributeError, OSError, TypeError):
        return  # a system without such calls places threads itself


def joined() -> int:
    """Address of what `Crew.run` calls with a program, its data, threads and the crew's memory."""
    return ctypes.cast(_code()[0], ctypes.c_void_p).value or 0


@cache
def _code() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions of whoever opens a job and of a helper."""
    found = (ctypes.c_int64 * 2)()
    kernels.kernel(crew_code(kernels.host())).call(ctypes.addressof(found))
    word, address = ctypes.c_int64, ctypes.c_void_p
    opens = ctypes.CFUNCTYPE(None, word, word, word, address)
    return opens(found[0]), ctypes.CFUNCTYPE(None, address)(found[1])


def crew_code(host: kernels.Host) -> str:
    """LLVM IR of both functions, and of a program that writes their addresses.

    Args:
        host: the processor.
    """
    module = ir.Module("unspool")
    program = Function(module, "program", ir.VoidType(), [WORDS])
    b = program.b
    for number, made in enumerate((_opening(module, host), _helping(module, host))):
        b.store(b.ptrtoint(made, I64), b.gep(program.args[0], [I64(number)]))
    b.ret_void()
    return str(module)


class _Shared(Function):
    """A function over a crew's memory."""

    def __init__(self, module: ir.Module, name: str, others: int, host: kernels.Host) -> None:
        super().__init__(module, name, ir.VoidType(), [I64] * others + [WORDS])
        self.function.linkage = "internal"
        self.crew, self.host = self.args[others], host

    def at(self, word: int) -> ir.Value:
        """The address of a word."""
        return self.b.gep(self.crew, [I64(word)])

    def look(self, word: int) -> ir.Value:
        """A word that others write; what they wrote before it can be read after."""
        return self.b.load_atomic(self.at(word), "acquire", 8)

    def tell(self, word: int, value: ir.Value) -> None:
        """Write a word that others look at, after everything written before."""
        self.b.store_atomic(value, self.at(word), "release", 8)

    def count(self, looks: ir.Value) -> ir.Value:
        """One more look, after a moment in which the core's other half may work."""
        b, module, word = self.b, self.b.module, ir.IntType(32)
        for families, name, given in PAUSES:
            if self.host.triple.startswith(families):
                kind = ir.FunctionType(ir.VoidType(), [word] * len(given))
                function = module.globals.get(name) or ir.Function(module, kind, name)
                b.call(function, [word(each) for each in given])
        b.store(b.add(b.load(looks), I64(1)), looks)
        return b.load(looks)

    def let_run(self, looks: ir.Value, patience: int) -> None:
        """Let other threads of the machine run, after so many looks."""
        b, module = self.b, self.b.module
        name, kind = "sched_yield", ir.FunctionType(ir.IntType(32), [])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        with b.if_then(b.icmp_signed(">", looks, I64(patience)), likely=False):
            b.call(function, [])

    def now(self) -> ir.Value:
        """Nanoseconds since some day."""
        b, word = self.b, ir.IntType(32)
        pair = ir.ArrayType(I64, 2)
        kind = ir.FunctionType(word, [word, pair.as_pointer()])
        name = "clock_gettime"
        function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
        with b.goto_entry_block():
            place = b.alloca(pair)
        b.call(function, [word(time.CLOCK_MONOTONIC), place])
        seconds, rest = (b.load(b.gep(place, [I64(0), I64(k)])) for k in (0, 1))
        return b.add(b.mul(seconds, I64(10**9)), rest)

    def call(self, program: ir.Value, data: ir.Value) -> None:
        """A program on its data, both addresses."""
        b = self.b
        kind = ir.FunctionType(ir.VoidType(), [WORDS]).as_pointer()
        b.call(b.inttoptr(program, kind), [b.inttoptr(data, WORDS)])


def _opening(module: ir.Module, host: kernels.Host) -> ir.Function:
    """Of whoever has a job: open it, wait for the seats to be taken, run it with those who came."""
    f = _Shared(module, "open_job", 3, host)
    b, (program, data, threads, _) = f.b, f.args
    wanted = b.sub(threads, I64(1))
    with b.if_then(b.icmp_signed("<", f.look(AWAKE), wanted)):
        b.ret_void()
    rest = f.look(REST)
    with b.if_then(b.icmp_signed(">", rest, I64(0)), likely=False):
        f.tell(REST, b.sub(rest, I64(1)))
        b.ret_void()
    mine = b.extract_value(b.cmpxchg(f.at(BUSY), I64(0), I64(1), "acq_rel", "monotonic"), 1)
    with b.if_then(b.not_(mine)):  # another thread of Python has them
        b.ret_void()
    for word, value in ((PROGRAM, program), (DATA, data), (WANTED, wanted), (LEFT, I64(0))):
        f.tell(word, value)
    number = b.add(b.lshr(f.look(SEATS), I64(NUMBER)), I64(1))
    f.tell(SEATS, b.shl(number, I64(NUMBER)))
    looks = f.variable(I64(0))
    with f.repeat() as leave_when:
        full = b.icmp_signed(">=", b.and_(f.look(SEATS), I64(COUNT)), wanted)
        leave_when(b.or_(full, b.icmp_signed(">=", f.count(looks), I64(JOINING))))
    seats = b.atomic_rmw("or", f.at(SEATS), I64(CLOSED), "acq_rel")
    complete = b.icmp_signed("==", b.and_(seats, I64(COUNT)), wanted)
    f.tell(GO, b.select(complete, number, b.neg(number)))
    with b.if_then(complete):
        f.call(program, data)
        b.store(I64(0), looks)
        began = f.variable(I64(0))
        with f.repeat() as leave_when:
            leave_when(b.icmp_signed(">=", f.look(LEFT), wanted))
            done = f.count(looks)
            with b.if_then(b.icmp_signed("==", done, I64(PATIENCE)), likely=False):
                b.store(f.now(), began)
            f.let_run(done, PATIENCE)
        with b.if_then(b.icmp_signed("!=", b.load(began), I64(0)), likely=False):
            late = b.icmp_signed(">", b.sub(f.now(), b.load(began)), I64(LATE))
            with b.if_then(late):
                f.tell(REST, I64(RESTING))
        f.tell(MISSED, I64(0))
    with b.if_then(b.not_(complete), likely=False):
        missed = f.look(MISSED)
        f.tell(REST, b.shl(I64(1), missed))
        again = b.icmp_signed("<", missed, I64(MOST_OFTEN))
        f.tell(MISSED, b.select(again, b.add(missed, I64(1)), missed))
    f.tell(BUSY, I64(0))
    b.ret_void()
    return f.function


def _helping(module: ir.Module, host: kernels.Host) -> ir.Function:
    """Of a helper: look for jobs, take a seat, run what was opened if all seats are taken."""
    f = _Shared(module, "serve", 0, host)
    b = f.b
    b.atomic_rmw("add", f.at(AWAKE), I64(1), "acq_rel")
    looks, since, tired = (f.variable(value) for value in (I64(0), I64(0), ir.IntType(1)(0)))
    with f.repeat() as leave_when:
        over = b.icmp_signed("!=", f.look(OVER), I64(0))
        leave_when(b.or_(over, b.load(tired)))
        seats = f.look(SEATS)
        program, data, wanted = (f.look(word) for word in (PROGRAM, DATA, WANTED))
        taken = b.and_(seats, I64(COUNT))
        free = b.and_(
            b.icmp_signed("==", b.and_(seats, I64(CLOSED)), I64(0)),
            b.icmp_signed("<", taken, wanted),
        )
        with b.if_then(free, likely=False):
            # Nothing of the job has changed if its seats are still those: then it is this one's.
            one_more = b.add(seats, I64(1))
            result = b.cmpxchg(f.at(SEATS), seats, one_more, "acq_rel", "monotonic")
            with b.if_then(b.extract_value(result, 1)):
                _take_part(f, b.lshr(seats, I64(NUMBER)), program, data, looks)
        done = f.count(looks)
        with b.if_then(b.icmp_signed("==", done, I64(RESTLESS)), likely=False):
            b.store(f.now(), since)
        with b.if_then(b.icmp_signed(">", done, I64(RESTLESS)), likely=False):
            f.let_run(done, RESTLESS)
            waited = b.sub(f.now(), b.load(since))
            b.store(b.icmp_signed(">", waited, I64(WAITING)), tired)
    b.atomic_rmw("sub", f.at(AWAKE), I64(1), "acq_rel")
    b.ret_void()
    return f.function


def _take_part(
    f: _Shared, number: ir.Value, program: ir.Value, data: ir.Value, looks: ir.Value
) -> None:
    """Wait for the word to go, or that too few came."""
    b = f.b
    b.store(I64(0), looks)
    said = f.variable(I64(0))
    with f.repeat() as leave_when:
        go = f.look(GO)
        b.store(go, said)
        late = b.icmp_signed(">=", b.select(b.icmp_signed("<", go, I64(0)), b.neg(go), go), number)
        leave_when(late)
        f.let_run(f.count(looks), PATIENCE)
    with b.if_then(b.icmp_signed("==", b.load(said), number)):
        f.call(program, data)
        b.atomic_rmw("add", f.at(LEFT), I64(1), "acq_rel")
    b.store(I64(0), looks)


CREW = Crew()
atexit.register(CREW.dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CREW.forget)
