"""What is measured in a process of its own: cold compilation, and memory.

``python -m unspool.bench.apart '{"job": …}'`` prints one JSON object. A process of its own has an
empty compiler cache where it is given one, and a peak of memory that nothing else has raised.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unspool.errors import RunError


def ask(**job: Any) -> dict[str, Any]:
    """Run a job in a fresh process with empty caches.

    Args:
        **job: ``job`` names it, a key of `JOBS`; the rest are its arguments.

    Raises:
        RunError: with the last line of what the process said, if it failed.
    """
    import torch

    with tempfile.TemporaryDirectory() as folder:
        caches = {
            name: str(Path(folder, name))
            for name in ("UNSPOOL_CACHE", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")
        }
        done = subprocess.run(
            [sys.executable, "-m", "unspool.bench.apart", json.dumps(job)],
            env={**os.environ, **caches, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise RunError(f"bench: {job} ended with {done.returncode}: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def first_gradient(side: str, hidden: int, batch: int, steps: int) -> dict[str, Any]:
    """Seconds from the definition of a cell to its first gradient; imports are done before.

    Args:
        side: ``unspool``, ``jax``, ``torch.compile`` or ``eager loop``.
        hidden: H, and D.
        batch: B.
        steps: T.
    """
    import torch

    from unspool.bench.batches import Batch
    from unspool.engine import kernels

    kernels.host()
    data = Batch.drawn(batch, steps, hidden)
    # With a gradient given, torch imports what it needs for that at the first call.
    torch.autograd.grad(data.x * 2, data.x, data.x.detach())
    shapes = {"W": (3 * hidden, hidden), "U": (3 * hidden, hidden), "b": (3 * hidden,)}
    rng = torch.Generator().manual_seed(0)
    weights = {
        name: (0.05 * torch.randn(shape, generator=rng)).requires_grad_()
        for name, shape in shapes.items()
    }
    began = FIRST[side](data, weights)
    return {"seconds": time.perf_counter() - began}


def _first_of_ours(data: Any, weights: Any) -> float:
    from unspool.engine.language import cell, sigmoid, tanh
    from unspool.engine.scan import scan

    began = time.perf_counter()

    @cell(state="h")
    def new(x, h, W, U, b):
        r = sigmoid(W.r @ x + U.r @ h + b.r)
        z = sigmoid(W.z @ x + U.z @ h + b.z)
        n = tanh(W.n @ x + U.n @ (r * h) + b.n)
        return z * h + (1 - z) * n

    start = data.x.new_zeros(len(data.x), weights["U"].shape[1])
    scanned = scan(new, weights, data.x.transpose(0, 1), (start,))
    _gradient(scanned.outputs.transpose(0, 1), data, weights)
    return began


def _first_of_jax(data: Any, weights: Any) -> float:
    import jax

    from unspool.bench.jax_peers import of_jax

    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    began = time.perf_counter()
    of_jax("gru", data.x, weights, data.cotangent)[0]()
    return began


def _first_of_loop(compiled: bool) -> Callable[[Any, Any], float]:
    def first(data: Any, weights: Any) -> float:
        import torch

        from unspool.bench.peers import gru

        began = time.perf_counter()
        _gradient((torch.compile(gru) if compiled else gru)(data.x, weights), data, weights)
        return began

    return first


def _gradient(outputs: Any, data: Any, weights: Any) -> None:
    from unspool.bench.batches import gradients

    gradients(outputs, data, list(weights.values()))


def memory(
    side: str, cell: str, hidden: int, batch: int, lengths: list[int], repeat: int = 1
) -> dict[str, Any]:
    """Peak growth of the process's memory over one training step, and its time, for each length.

    Weights and inputs are there before; what the step allocates, by whatever allocator, counts.

    Args:
        side: ``unspool`` or ``torch.nn``.
        cell: a key of `unspool.bench.batches.TORCH`.
        hidden: H, and D.
        batch: B.
        lengths: every T, in rising order: memory kept from a longer step would hide a shorter one.
        repeat: the time is the shortest of so many.
    """
    import torch

    from unspool.bench.batches import TORCH, Batch, of_ours, of_torch
    from unspool.layers.recurrent import Recurrent

    torch.manual_seed(0)
    module = TORCH[cell](hidden, hidden, batch_first=True)
    layer = Recurrent.from_torch(module)

    def step_on(data: Batch) -> Callable[[], Any]:
        return of_ours(layer, data) if side == "unspool" else of_torch(module, data, False)

    step_on(Batch.drawn(batch, 8, hidden))()  # compiled, threads started
    points = []
    for T in lengths:
        step = step_on(Batch.drawn(batch, T, hidden))
        before = forget_peak()
        step()
        growth = peak() - before
        seconds = []
        for _ in range(repeat):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        points.append({"steps": T, "bytes": growth, "seconds": min(seconds)})
    return {"points": points}


def forget_peak() -> int:
    """Start a new peak where the system can; bytes in memory now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes in memory since `forget_peak`, or since the process began."""
    try:
        return _status("VmHWM")
    except OSError:
        import resource  # Windows has none

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


FIRST: dict[str, Callable[[Any, Any], float]] = {
    "unspool": _first_of_ours,
    "jax": _first_of_jax,
    "torch.compile": _first_of_loop(compiled=True),
    "eager loop": _first_of_loop(compiled=False),
}
JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "first_gradient": first_gradient,
    "memory": memory,
}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(JOBS[asked.pop("job")](**asked)))
