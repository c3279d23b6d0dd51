"""Compiled code: kept on disk, never trusted blindly, called from threads and other processes."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from scanning import assert_same, draw_case, everything, lengths_for, threads, unchecked
from unspool.cells import CELLS
from unspool.engine import kernels
from unspool.engine.language import Cell

TEXT = """
define void @program(ptr %words) {
  store i64 42, ptr %words
  ret void
}
"""


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1), unchecked():
        yield


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache folder with nothing in it, and how often something was compiled."""
    compiled = []
    original = kernels.compile_object

    def counted(text):
        compiled.append(text)
        return original(text)

    monkeypatch.setenv("UNSPOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "compile_object", counted)
    return tmp_path / "cache", compiled


def works(kernel):
    words = (ctypes.c_int64 * 1)(0)
    kernel(ctypes.addressof(words), 1)
    return words[0] == 42


def run_python(code, **environment):
    """A fresh interpreter; what it printed."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[0] / "src")])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env=variables, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.split("\n")[:-1], result.stderr


AGREE = """
    import torch
    from scanning import assert_same, draw_case, everything, lengths_for
    from unspool.cells import CELLS
    torch.set_num_threads(1)
    case, options = draw_case(CELLS["gru"], (3, 4, 2, 5)), {"lengths": lengths_for(3, 4)}
    def agree():
        found = everything(CELLS["gru"], "llvm", case, **options)
        assert_same(found, everything(CELLS["gru"], "reference", case, **options))
"""


# The cache.


def test_what_is_in_the_cache_is_not_compiled_again(empty_cache):
    _, compiled = empty_cache
    assert works(kernels.Kernel(TEXT))
    assert works(kernels.Kernel(TEXT))
    assert len(compiled) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:100] + bytes([data[100] ^ 4]) + data[101:],
        lambda data: data + b"more",
        lambda data: b"not an object file",
    ],
    ids=["empty", "half", "short", "checksum", "code", "longer", "garbage"],
)
def test_damaged_cache_entry_is_compiled_again_and_mended(damage, empty_cache):
    folder, compiled = empty_cache
    kernels.Kernel(TEXT)
    (entry,) = folder.iterdir()
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    assert works(kernels.Kernel(TEXT))
    assert len(compiled) == 2
    assert works(kernels.Kernel(TEXT))
    assert len(compiled) == 2
    assert [path.name for path in folder.iterdir()] == [entry.name]


@pytest.mark.parametrize("blocked", ["a file", "a folder in the entry's place"])
def test_cache_that_cannot_be_written_only_costs_compiling(blocked, empty_cache):
    folder, compiled = empty_cache
    if blocked == "a file":
        folder.write_text("in the way")
    else:
        kernels.Kernel(TEXT)
        (entry,) = folder.iterdir()
        entry.unlink()
        entry.mkdir()
        compiled.clear()
    assert works(kernels.Kernel(TEXT))
    assert works(kernels.Kernel(TEXT))
    assert len(compiled) == 2
    if folder.is_dir():
        assert len(list(folder.iterdir())) == 1, "a half-written file was left behind"


def test_code_of_another_processor_or_version_is_not_taken(empty_cache, monkeypatch):
    folder, compiled = empty_cache
    kernels.Kernel(TEXT)
    here = kernels.host()
    other = kernels.Host(here.triple, here.cpu, here.features + ",", 16, 16)
    monkeypatch.setattr(kernels, "host", lambda: other)
    kernels.Kernel(TEXT)
    monkeypatch.setattr(kernels, "host", lambda: here)
    monkeypatch.setattr(kernels.llvmlite, "__version__", "another")
    kernels.Kernel(TEXT)
    assert len(compiled) == 3
    assert len(list(folder.iterdir())) == 3


def test_processes_that_race_for_a_cache_all_get_right_numbers(tmp_path):
    folder = tmp_path / "cache"
    code = AGREE + "    agree()"
    here = Path(__file__).parent
    variables = {
        **os.environ,
        "UNSPOOL_CACHE": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent / "src")]),
    }
    command = [sys.executable, "-c", textwrap.dedent(code)]
    racing = [subprocess.Popen(command, env=variables) for _ in range(2)]
    assert [process.wait(240) for process in racing] == [0, 0]
    entries = list(folder.iterdir())
    assert all(entry.suffix == ".o" for entry in entries)
    assert len(entries) == 4, "forwards, backwards, and the products and packing both share"


# Narrower machines.


@pytest.mark.parametrize(
    ("name", "dtype", "wide"),
    [
        ("lstm", torch.float32, 16),
        ("lstm", torch.float32, 32),
        ("gru", torch.float64, 16),
        ("layer_norm_lstm", torch.float64, 32),
    ],
)
def test_code_is_right_for_vectors_of_any_width(name, dtype, wide, monkeypatch):
    here = kernels.host()
    if wide > here.vector_bytes:
        pytest.skip(f"this processor's vectors have {here.vector_bytes} bytes")
    features = ",".join(f for f in here.features.split(",") if not f.startswith("+avx512"))
    narrow = kernels.Host(here.triple, here.cpu, features, wide, 16)
    monkeypatch.setattr(kernels, "host", lambda: narrow)
    fresh = Cell.from_dict(CELLS[name].to_dict())
    case = draw_case(fresh, (3, 5, 2, 11), dtype)
    options = {"lengths": lengths_for(3, 5)}
    expected = everything(fresh, "reference", case, **options)
    assert_same(everything(fresh, "llvm", case, **options), expected)


# No compiler, no llvmlite.


def test_engine_needs_no_compiler_and_nothing_on_the_path(tmp_path):
    code = (
        AGREE
        + """
    import shutil
    assert shutil.which("cc") is None and shutil.which("ld") is None
    agree()
    print("agreed")
    """
    )
    printed, _ = run_python(code, PATH="", UNSPOOL_CACHE=str(tmp_path / "cache"))
    assert printed == ["agreed"]


WITHOUT_LLVM = """
    import sys, warnings
    sys.modules["llvmlite"] = None
    import torch
    from unspool import Recurrent
    from unspool.errors import BackendError
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for name in ("gru", "lstm"):
            layer = Recurrent(name, 3, 5)
            for _ in range(3):
                outputs, _ = layer(torch.ones(2, 4, 3))
            outputs.sum().backward()
            print(layer.backend)
            expected = Recurrent(name, 3, 5, backend="reference")
            expected.load_state_dict(layer.state_dict())
            assert torch.allclose(expected(torch.ones(2, 4, 3))[0], outputs, atol=1e-6)
    print(len([w for w in said if "llvmlite" in str(w.message)]))
    try:
        Recurrent("gru", 3, 5, backend="llvm")
    except BackendError as error:
        print(error)
"""


def test_without_llvmlite_another_backend_serves_and_it_is_said_once():
    printed, _ = run_python(WITHOUT_LLVM)
    gru, lstm, count, error = printed
    assert (gru, lstm, count) == ("reference", "torch", "1")
    assert error.startswith("backend 'llvm': ")
    assert "llvmlite" in error


# Threads.


def test_team_smaller_than_asked_for_leaves_no_row_out():
    """OMP_THREAD_LIMIT gives fewer threads than torch says it has."""
    code = (
        AGREE
        + """
    torch.set_num_threads(3)
    agree()
    print(torch.get_num_threads())
    """
    )
    assert run_python(code, OMP_THREAD_LIMIT="2")[0] == ["3"]


@pytest.mark.parametrize("count", [1, 2])
def test_calls_from_several_threads_at_once_are_right(count):
    names = ["lstm", "gru", "layer_norm_lstm", "rnn"]
    cases = {name: draw_case(CELLS[name], (4, 5, 2, 7)) for name in names}
    expected = {name: everything(CELLS[name], "reference", cases[name]) for name in names}
    failures = []

    def call(first):
        torch.set_num_threads(count)
        try:
            for k in range(6):
                name = names[(first + k) % len(names)]
                assert_same(everything(CELLS[name], "llvm", cases[name]), expected[name])
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures, failures[0]


def test_threads_that_want_the_same_code_at_once_compile_it_once(empty_cache, monkeypatch):
    _, compiled = empty_cache
    counted = kernels.compile_object

    def slowly(text):
        time.sleep(0.2)
        return counted(text)

    monkeypatch.setattr(kernels, "compile_object", slowly)
    monkeypatch.setattr(kernels, "_KERNELS", {})
    found = []
    callers = [
        threading.Thread(target=lambda: found.append(kernels.kernel(TEXT))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(compiled) == 1
    assert len(found) == 4 and len(set(map(id, found))) == 1
    assert works(found[0])


# Processes.


def agrees(name):
    """Whether fused numbers are right here; what a child process answers."""
    torch.set_num_threads(2)
    case = draw_case(CELLS[name], (3, 4, 2, 5))
    expected = everything(CELLS[name], "reference", case)
    assert_same(everything(CELLS[name], "llvm", case), expected)
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_gets_right_numbers():
    code = (
        AGREE
        + """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.set_num_threads(2)
    agree()
    from unspool.cells import CELLS as members
    child = os.fork()
    if child == 0:
        agree()
        fresh = draw_case(members["rnn"], (3, 4, 2, 5))
        same = everything(members["rnn"], "reference", fresh)
        assert_same(everything(members["rnn"], "llvm", fresh), same)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    agree()
    """
    )
    assert run_python(code, OMP_NUM_THREADS="2")[0] == ["7"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork_waits_for_a_compilation_so_that_the_child_is_not_stuck():
    code = (
        AGREE
        + """
    import os, threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from unspool.engine import kernels
    began, original = threading.Event(), kernels.compile_object
    def slowly(text):
        began.set()
        time.sleep(0.3)
        return original(text)
    kernels.compile_object = slowly
    text = "define void @program(ptr %words) { ret void }"
    other = threading.Thread(target=lambda: kernels.kernel(text))
    other.start()
    began.wait()
    child = os.fork()
    if child == 0:
        import faulthandler
        faulthandler.dump_traceback_later(100, exit=True)
        kernels.compile_object = original
        agree()
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    )
    assert run_python(code, UNSPOOL_CACHE="/dev/null/none")[0] == ["7"]


def test_spawned_workers_get_right_numbers():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(agrees, ["lstm", "gru"], chunksize=1) == [True, True]


# Memory.

MIXED = """
    import gc, random, torch
    from pathlib import Path
    from scanning import draw_case, lengths_for
    from unspool.cells import CELLS
    from unspool.engine.scan import scan
    from unspool.errors import UnspoolError
    random.seed(1)
    members = [CELLS[name] for name in ("lstm", "gru", "layer_norm_lstm", "rnn", "indrnn")]

    def call(k):
        member, T, B = members[k % 5], random.randint(1, 9), random.randint(1, 9)
        dtype = random.choice([torch.float32, torch.float64])
        parameters, x, state = draw_case(member, (T, B, 3, random.randint(1, 40)), dtype)
        for value in parameters.values():
            value.requires_grad_(bool(k % 3))
        torch.set_num_threads(1 + k % 97 // 96)
        lengths = lengths_for(T, B) if k % 2 else None
        try:
            if k % 7 == 0:
                scan(member, parameters, x.half(), state, backend="llvm")
            if k % 11 == 0:
                parameters = {n: p[:-1] for n, p in parameters.items()}
            result = scan(member, parameters, x, state, lengths=lengths, trace=k % 5 == 0,
                          backend="llvm", reverse=k % 4 == 0)
            if k % 3:
                result.outputs.sum().backward()
        except (UnspoolError, RuntimeError, ValueError):
            return 1
        return 0

    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    failed = sum(call(k) for k in range(WARM))
    before = resident()
    failed += sum(call(k) for k in range(CALLS))
    print(failed > 0, (resident() - before) / 2**20)
"""


def growth(calls, warm):
    code = MIXED.replace("WARM", str(warm)).replace("CALLS", str(calls))
    failed, grown = run_python(code)[0][0].split()
    assert failed == "True", "no call failed, so exceptions were not tried"
    return float(grown)


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@linux
def test_mixed_calls_leak_no_memory():
    assert growth(500, warm=300) < 12


@pytest.mark.long
@linux
def test_ten_thousand_mixed_calls_leak_no_memory():
    assert growth(10_000, warm=1_000) < 25
