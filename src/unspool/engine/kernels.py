"""Machine code from LLVM IR: compiled once, kept on disk, called on several threads.

The cache key is what was compiled, for which host, by which versions; an entry carries its own
SHA-256, so a damaged one is compiled anew. Two processes that race write the same bytes, each under
a name of its own that is then renamed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from unspool.errors import BackendError


@dataclass(frozen=True, slots=True)
class Host:
    """The processor code is made for.

    Attributes:
        triple, cpu, features: as LLVM names them.
        vector_bytes: width of a vector register.
        registers: how many there are.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int

    def lanes(self, bytes_each: int) -> int:
        """Numbers in a vector."""
        return self.vector_bytes // bytes_each


@cache
def host() -> Host:
    """This machine.

    Raises:
        BackendError: if LLVM has no code generator for it.
    """
    try:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        flat = features.flatten()
    except RuntimeError as error:
        raise BackendError(f"LLVM knows no code for this processor ({error})") from error
    triple = llvm.get_process_triple()
    wide = 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
    many = 32 if features.get("avx512f") or triple.startswith(("aarch64", "arm64")) else 16
    return Host(triple, llvm.get_host_cpu_name(), flat, wide, many)


class Kernel:
    """A compiled program.

    Args:
        text: LLVM IR with one function ``program(i64*)``.
    """

    def __init__(self, text: str) -> None:
        self.object = _object(text)
        machine = _machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(self.object))
        self._engine.finalize_object()
        self.address = self._engine.get_function_address("program")
        self.call = _PROTOTYPE(self.address)

    def __call__(self, arguments: int, threads: int) -> None:
        """Run it.

        Args:
            arguments: address of its array of words; the first points to a counter at zero.
            threads: shards of rows; each is one call, on threads of its own where that can be.
        """
        if threads == 1:
            self.call(arguments)
        else:
            _parallel()(self.address, arguments, threads)


# What generated code needs: it has no calls to inline and no loops to turn into vectors. LLVM's own
# selection takes seven times as long and ends at code that is no faster.
PASSES = ("sroa", "simplify_cfg", "new_gvn", "instruction_combine")
_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_KERNELS: dict[str, Kernel] = {}
_LOCK = threading.Lock()


def kernel(text: str) -> Kernel:
    """The compiled form of some IR, from memory, from disk, or made now; safe from any thread."""
    key = hashlib.sha256(text.encode()).hexdigest()
    with _LOCK:
        if key not in _KERNELS:
            _KERNELS[key] = Kernel(text)
        return _KERNELS[key]


def cache_folder() -> Path:
    """Where compiled code is kept: ``UNSPOOL_CACHE``, or the user's cache folder."""
    if folder := os.environ.get("UNSPOOL_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "unspool" / "kernels"


def _object(text: str) -> bytes:
    """Object code, from the cache if it is there undamaged."""
    here = host()
    versions = (llvmlite.__version__, llvm.llvm_version_info)
    key = hashlib.sha256(repr((text, here, versions, PASSES)).encode()).hexdigest()
    path = cache_folder() / f"{key}.o"
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            return data[32:]
    except OSError:
        pass
    made = compile_object(text)
    _keep(path, hashlib.sha256(made).digest() + made)
    return made


def compile_object(text: str) -> bytes:
    """Optimise IR and make object code for this machine."""
    machine = _machine()
    module = llvm.parse_assembly(text)
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    for name in PASSES:
        getattr(passes, f"add_{name}_pass")()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    passes.run(module, llvm.create_pass_builder(machine, options))
    return machine.emit_object(module)


def _keep(path: Path, data: bytes) -> None:
    """Write a cache entry; a folder that cannot be written only costs compiling again."""
    made: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            made = Path(file.name)
            file.write(data)
        made.replace(path)
    except OSError:
        if made is not None:
            made.unlink(missing_ok=True)


def _machine() -> llvm.TargetMachine:
    here = host()
    target = llvm.Target.from_triple(here.triple)
    return target.create_target_machine(cpu=here.cpu, features=here.features, opt=3, jit=True)


@cache
def _parallel() -> Callable[[int, int, int], None]:
    """How several threads enter a program: torch's own OpenMP pool, where it can be found.

    Another pool beside it would fight with its threads, which spin for a while after their work.
    """
    library = _openmp()
    if library is None:
        pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)

        def in_pool(address: int, arguments: int, threads: int) -> None:
            program = _PROTOTYPE(address)
            if _FORKED:
                return in_turn(address, arguments, threads)
            waiting = [pool.submit(program, arguments) for _ in range(threads - 1)]
            program(arguments)
            for future in waiting:
                future.result()
            return None

        return in_pool
    gomp = library.GOMP_parallel
    gomp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    gomp.restype = None

    def in_team(address: int, arguments: int, threads: int) -> None:
        if _FORKED:
            return in_turn(address, arguments, threads)
        gomp(address, arguments, threads, 0)
        return _finish(address, arguments, threads)

    return in_team


def _finish(address: int, arguments: int, threads: int) -> None:
    """Shards nobody took: OMP_THREAD_LIMIT and OMP_DYNAMIC make a team smaller than asked for."""
    counter = ctypes.c_int64.from_address(ctypes.c_int64.from_address(arguments).value)
    if counter.value < threads:
        in_turn(address, arguments, threads - counter.value)


def in_turn(address: int, arguments: int, threads: int) -> None:
    """One shard after the other, as a forked child must: its parent's threads are not there."""
    program = _PROTOTYPE(address)
    for _ in range(threads):
        program(arguments)


@cache
def attendance() -> tuple[int, int]:
    """Addresses of what tells how many threads a team has, and of what lets others run; or zeros.

    Threads that wait for each other in the middle of their work need both.
    """
    try:
        library, system = _openmp(), ctypes.CDLL(None)
        present, let_run = library.omp_get_num_threads, system.sched_yield
    except (AttributeError, OSError, TypeError):
        return 0, 0
    return tuple(ctypes.cast(each, ctypes.c_void_p).value or 0 for each in (present, let_run))


def meet() -> bool:
    """Whether threads of one call may wait for each other in the middle of it."""
    return team() != 0 and all(attendance())


def team() -> int:
    """Address of OpenMP's ``GOMP_parallel``; 0 without it, or where a fork has lost its threads."""
    library = None if _FORKED else _openmp()
    if library is None:
        return 0
    return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0


@cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library this process has loaded already, if it is GNU's."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = {line.split()[-1] for line in lines if "libgomp" in line}
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "GOMP_parallel"):
            return library
    return None


_FORKED: list[bool] = []
if hasattr(os, "register_at_fork"):
    # Forking waits for a compilation on another thread: the child could never release its lock.
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )
    os.register_at_fork(after_in_child=lambda: _FORKED.append(True))
