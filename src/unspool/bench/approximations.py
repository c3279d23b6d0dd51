"""What the lectures' approximations of attention cost and give, as sequences get longer.

Full attention costs T² and sees everything; a window costs T times its width; linear attention
costs T. Error is how far an output lies from full attention's on the same queries, keys and values,
over full attention's size: neither is made to be near it, both are trained as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.bench.harness import Effort, measure
from unspool.bench.results import Figure, Row
from unspool.layers.attention import scaled_dot_product
from unspool.layers.linear_attention import causal_linear_attention, feature
from unspool.layers.window_attention import LEAST_BLOCK, band, window_attention

Told = Callable[[str], None]
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """What is measured.

    Attributes:
        steps: T, one case each.
        heads, features: of a head, of one sequence.
        windows: steps seen.
        effort: of every case.
    """

    steps: Sequence[int] = tuple(2**power for power in range(6, 15))
    heads: int = 4
    features: int = 32
    windows: Sequence[int] = (64, 256)
    effort: Effort = field(default_factory=lambda: Effort(seconds=1.5, least=5, most=15))


def approximations(lengths: Lengths, tell: Told) -> Figure:
    """Seconds and error over T, of causal attention in one layer, without gradients.

    Args:
        lengths: what is measured.
        tell: called with a line for every length.
    """
    ways: dict[str, Way] = {"full": full, "linear": _linear}
    ways |= {f"window {width}": _window(width) for width in lengths.windows}
    # From the last, which leaves full attention for the end; all of them before the first point,
    # since a short sequence has no error to draw: so both panels have the same colours.
    names = [f"{panel}: {name}" for panel in ("seconds", "error") for name in reversed(ways)]
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    rows = []
    for T in lengths.steps:
        q, k, v = drawn(lengths.heads, T, lengths.features)
        with torch.inference_mode():
            found = {name: way(q, k, v) for name, way in ways.items()}
            calls = {name: partial(way, q, k, v) for name, way in ways.items()}
            times = measure(calls, lengths.effort)
        errors = {
            f"error, {name}": distance(y, found["full"])
            for name, y in found.items() if name != "full"
        }  # fmt: skip
        row = Row.of(f"T {T}", times, errors)
        for name, spread in row.amounts.items():
            curves[f"seconds: {name}"].append((float(T), spread.median))
        for name, error in errors.items():
            if error > SMALLEST:
                curves[f"error: {name.removeprefix('error, ')}"].append((float(T), error))
        rows.append(row)
        said = (f"{name} {1e3 * each.median:.2f} ms" for name, each in row.amounts.items())
        told = (f"{name} {value:.2f}" for name, value in errors.items())
        tell(f"approximations T {T}: {', '.join((*said, *told))}")
    return Figure(
        name="approximations",
        title="Window and linear attention beside full attention, as T grows",
        how=f"One sequence, {lengths.heads} heads of {lengths.features}, causal, no gradients; "
        "queries and keys whose products are spread as widely as a trained model's, and nearer "
        "steps likelier, as speech and text have it. Ratios are of times, over full attention's. "
        "Error is the root mean square of the difference over that of full attention's output.",
        rows=tuple(rows),
        curves=curves,
    )


def full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over all steps before."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def drawn(heads: int, steps: int, features: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``[1 N T K]`` of slow random walks, each step near those around it.

    Example:
        >>> [value.shape for value in drawn(2, 5, 4)]
        [torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 5, 4])]
    """
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(3, heads, steps + MEMORY, features, generator=rng)
    sums = F.pad(noise.cumsum(2), (0, 0, 1, 0))
    walk = (sums[:, :, MEMORY : MEMORY + steps] - sums[:, :, :steps]) / MEMORY**0.5
    q = k = walk[0] * SPREAD
    return q[None], k[None], walk[2][None]


def distance(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of what was wanted.

    Example:
        >>> distance(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])) < 0.5
        True
    """
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def _linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return causal_linear_attention(feature(q), feature(k), v)[0]


def _window(width: int) -> Way:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        T = q.shape[2]
        if width >= T:
            return full(q, k, v)
        if 2 * max(width, LEAST_BLOCK) >= T:  # as `SelfAttention` chooses
            steps = torch.arange(T)
            return scaled_dot_product(q, k, v, band(steps, steps, width, causal=True))[0]
        return window_attention(q, k, v, width, causal=True)

    return attend


MEMORY = 32  # steps over which a walk forgets
SPREAD = 1.5  # of queries and keys: the softmax is neither flat nor one step alone
SMALLEST = 1e-6  # an error below this is rounding
