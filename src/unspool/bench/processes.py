"""P6, P8 and growth: what needs a process of its own for every measurement."""

from __future__ import annotations

from collections.abc import Sequence

from unspool.bench.apart import ask
from unspool.bench.batches import Scale, Told
from unspool.bench.custom import compiler_missing
from unspool.bench.jax_peers import jax_missing
from unspool.bench.results import Figure, Row, Verdict

SMALLEST = 2**20  # bytes; growth below that is pages of other things


def first_gradients(scale: Scale, repeats: int, tell: Told) -> Figure:
    """P6: a new cell, from its definition to its first gradient, nothing compiled before."""
    sides = ["unspool", *([] if jax_missing() else ["jax"])]
    skipped = [reason for reason in (jax_missing(), compiler_missing()) if reason]
    if not scale.slow:
        skipped.append("torch.compile: takes half a minute, asked only in the full run")
    slow = scale.slow and not compiler_missing()
    rows, ratios = [], []
    for H in scale.hidden:
        job = {"job": "first_gradient", "hidden": H, "batch": 32, "steps": scale.steps}
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side in sides:
                times[side].append(ask(**job, side=side)["seconds"])
        more = {}
        if slow and scale.hidden[0] == H:
            more["torch.compile, once"] = ask(**job, side="torch.compile")["seconds"] / min(
                times["unspool"]
            )
        case = f"gru typed anew, H {H}, B 32"
        rows.append(Row.of(case, times, more))
        ratios += [spread.median for spread in rows[-1].ratios.values()]
        tell(f"P6 {case}: " + ", ".join(f"{min(t):.2f} s {side}" for side, t in times.items()))
    worst = min(ratios) if ratios else None
    return Figure(
        name="P6",
        title="A new cell: from its definition to its first gradient, cold cache",
        how=f"T {scale.steps}, D = H; a fresh process and empty caches each time; imports are done "
        "before the clock starts. The peer is JAX under `jit`.",
        rows=tuple(rows),
        verdicts=(Verdict(what="JAX's time over ours", value=worst, floor=1.0, reach=2.0),),
        skipped=tuple(skipped),
    )


def training_memory(scale: Scale, repeats: int, tell: Told) -> Figure:
    """P8: what a training step of a layer allocates at its peak."""
    rows = []
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                job = {"job": "memory", "cell": name, "hidden": H, "batch": B}
                amounts: dict[str, list[float]] = {"torch.nn": [], "unspool": []}
                for _ in range(repeats):
                    for side, found in amounts.items():
                        points = ask(**job, side=side, lengths=[scale.steps])["points"]
                        found.append(max(points[0]["bytes"], 1))
                case = f"{name}, H {H}, B {B}, T {scale.steps}"
                rows.append(Row.of(case, amounts))
                tell(f"P8 {case}: {rows[-1].ratio.median:.2f}")
    shares = [row.ratio.median for row in rows]
    return Figure(
        name="P8",
        title="Memory of one training step of a recurrent layer, over that of `torch.nn`",
        how="The peak growth of a fresh process's resident memory over one forward and backward "
        "pass, after a short one has compiled and loaded everything; weights and inputs are there "
        "before, gradients count. It sees every allocator, oneDNN's scratch memory too.",
        rows=tuple(rows),
        verdicts=(
            Verdict(what="worst case", value=max(shares), floor=1.0, reach=0.7, at_most=True),
        ),
    )


def growth(scale: Scale, lengths: Sequence[int], tell: Told) -> Figure:
    """Time and memory of a training step as sequences get longer."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for name in scale.cells:
        for side in ("unspool", "torch.nn"):
            points = ask(
                job="memory", side=side, cell=name, hidden=scale.hidden[0],
                batch=scale.batches[0], lengths=list(lengths),
            )["points"]  # fmt: skip
            label = f"{name.partition('_')[0]} {side}"
            curves[f"seconds: {label}"] = [(each["steps"], each["seconds"]) for each in points]
            curves[f"bytes: {label}"] = [
                (each["steps"], each["bytes"]) for each in points if each["bytes"] >= SMALLEST
            ]
            tell(f"growth {label}: {points[-1]['seconds']:.2f} s at T {points[-1]['steps']}")
    return Figure(
        name="growth",
        title="How the cost of one training step grows with T",
        how=f"Forward + backward, H = D = {scale.hidden[0]}, B {scale.batches[0]}; both axes "
        "logarithmic. Memory as in P8; below 1 MiB it cannot be told from other pages.",
        rows=(),
        curves=curves,
    )
