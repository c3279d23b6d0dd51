"""P4 and P5: cells that no library has, beside a hand-written loop, and beside our own LSTM."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unspool.bench.batches import Batch, Scale, Told, gradients, named, of_ours
from unspool.bench.harness import agree, geometric_mean
from unspool.bench.jax_peers import jax_missing, of_jax
from unspool.bench.peers import LOOPS, Loop
from unspool.bench.results import Figure, Row, Verdict
from unspool.layers.recurrent import Recurrent

FLOORS = {64: (2.0, 4.0), 128: (1.4, 2.2), 256: (1.1, 1.7)}  # by H: floor and reach of P4
COMPILED = ("gru", 64)  # what torch.compile is asked for: every loop takes it half a minute


def custom_cells(scale: Scale, tell: Told) -> Figure:
    """P4: beside an eager loop, `torch.compile` of it, and JAX."""
    skipped = [reason for reason in (jax_missing(), compiler_missing()) if reason]
    if not scale.slow:
        skipped.append("torch.compile: takes half a minute, asked only in the full run")
    rows: dict[int, list[Row]] = {H: [] for H in scale.hidden}
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                layer, batch = _case(name, H, B, scale.steps)
                case = f"{name}, H {H}, B {B}"
                compiled = scale.slow and (name, H) == COMPILED and not compiler_missing()
                contenders = _contenders(case, name, layer, batch, compiled)
                row = Row.timed(case, contenders, scale.effort)
                rows[H].append(row)
                tell(f"P4 {case}: {row.ratio.median:.2f} ({row.against})")
    verdicts = []
    for H, found in rows.items():
        floor, reach = FLOORS.get(H, (None, None))
        ratios = [row.ratio.median for row in found]
        mean = geometric_mean(ratios)
        verdicts += [
            Verdict(what=f"H {H}, worst cell", value=min(ratios), floor=floor),
            Verdict(what=f"H {H}, geometric mean", value=mean, floor=floor, reach=reach),
        ]
    return Figure(
        name="P4",
        title="Custom cells, forward + backward, beside the fastest way of writing them by hand",
        how=f"T {scale.steps}, D = H. Peers: a loop in PyTorch with the input product before it "
        f"and stacked gates; `torch.compile` of that loop ({COMPILED[0]} at H {COMPILED[1]} only); "
        "`lax.scan` in JAX under `jit`, compiled before it is timed.",
        rows=tuple(row for found in rows.values() for row in found),
        verdicts=tuple(verdicts),
        skipped=tuple(skipped),
    )


def beside_lstm(scale: Scale, tell: Told) -> Figure:
    """P5: time for each multiplication of a product, beside the plain LSTM's."""
    rows, ratios = [], []
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                layer, batch = _case(name, H, B, scale.steps)
                lstm, _ = _case("lstm", H, B, scale.steps)
                case = f"{name}, H {H}, B {B}"
                contenders = {"unspool": of_ours(layer, batch), "own lstm": of_ours(lstm, batch)}
                row = Row.timed(case, contenders, scale.effort)
                ratios.append(row.ratio.median * _products(layer) / _products(lstm))
                rows.append(
                    Row(
                        case=case,
                        amounts=row.amounts,
                        ratios=row.ratios,
                        more={"at equal product size": ratios[-1]},
                    )
                )
                tell(f"P5 {case}: {ratios[-1]:.2f}")
    return Figure(
        name="P5",
        title="Custom cells beside our own plain LSTM at equal product size",
        how=f"Forward + backward, T {scale.steps}, D = H. Times are divided by the weights that "
        "take part in products, so that a GRU is not rewarded for having three gates.",
        rows=tuple(rows),
        verdicts=(
            Verdict(what="worst case", value=min(ratios), floor=0.85),
            Verdict(what="geometric mean", value=geometric_mean(ratios), floor=0.85, reach=0.95),
        ),
    )


def compiler_missing() -> str | None:
    """Why `torch.compile` cannot be asked, or None."""
    if shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"):
        return None
    return "torch.compile: there is no C++ compiler on PATH"


def of_loop(
    loop: Loop, layer: Recurrent, batch: Batch
) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    """Forward and backward of a hand-written loop on copies of our weights."""
    weights = {
        name: value.detach().clone().requires_grad_() for name, value in families(layer).items()
    }

    def run() -> tuple[Tensor, list[Tensor]]:
        outputs = loop(batch.x, weights)
        return outputs, gradients(outputs, batch, list(weights.values()))

    return run


def families(layer: Recurrent) -> dict[str, Tensor]:
    """The stacked parameters of a layer of one direction."""
    return dict(layer.weights["l0"].items())


def _case(name: str, H: int, B: int, steps: int) -> tuple[Recurrent, Batch]:
    layer = Recurrent(name, H, H, generator=torch.Generator().manual_seed(0))
    weights = layer.weights["l0"]
    with torch.no_grad():
        # Contractive: else the recurrence amplifies honest rounding, and nobody agrees in float32.
        # A layer norm undoes the scale of its product, so there the gain is what counts.
        if "alpha" in weights:
            weights["alpha"].view(9, H)[1:8:2].mul_(0.3)
        else:
            for family in {"U", "V"} & set(weights):
                weights[family].mul_(0.5)
    return layer, Batch.drawn(B, steps, H)


def _contenders(
    case: str, name: str, layer: Recurrent, batch: Batch, compiled: bool
) -> dict[str, Callable[[], Any]]:
    """All that can be asked, each compared with ours first."""
    ours = of_ours(layer, batch)
    mine = named(layer, *ours())
    contenders: dict[str, Callable[[], Any]] = {"unspool": ours}
    loops: dict[str, Loop] = {"eager loop": LOOPS[name]}
    if compiled:
        loops["torch.compile"] = torch.compile(LOOPS[name])
    for peer, loop in loops.items():
        contenders[peer] = of_loop(loop, layer, batch)
        agree(f"{case}, {peer}", mine, named(layer, *contenders[peer]()))
    if jax_missing() is None:
        weights = families(layer)
        contenders["jax"], computed = of_jax(name, batch.x, weights, batch.cotangent)
        found = computed()
        gradient = [found["x"], *(found[family] for family in weights)]
        agree(f"{case}, jax", mine, named(layer, found["outputs"], gradient))
    return contenders


def _products(layer: Recurrent) -> int:
    """Weights that take part in a product, at each step of each row."""
    return sum(value.numel() for value in layer.parameters() if value.dim() == 2)
