"""Measuring side by side: who computes the same, in turn, many times, compared pair by pair.

Nothing is timed before its numbers have been compared. Contenders alternate, A B A B …, in one
process, so that whatever else the machine does falls on all of them; a ratio is taken between the
two measurements of one round, and the median of those ratios is what counts.
"""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unspool.errors import UnspoolError

AGREEMENT = 1e-5  # float32: the largest difference over the tensor's largest magnitude


class Disagreement(UnspoolError):
    """Two contenders that do not compute the same; nothing of theirs is timed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How long a case is measured.

    Attributes:
        seconds: of rounds; no new one begins after that once there are ``least``.
        least, most: rounds.
        block: seconds that one measurement should last; short calls are repeated to fill it.
        pause: seconds of rest before each measurement, for contenders with threads of their own:
            those of the one before go on spinning for a while.
    """

    seconds: float = 1.5
    least: int = 5
    most: int = 30
    block: float = 0.005
    pause: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Several measurements of one thing.

    Attributes:
        median, low, high: the middle and the quartiles.
        minimum, maximum: the ends.
        count: how many.
    """

    median: float
    low: float
    high: float
    minimum: float
    maximum: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value.

        Example:
            >>> Spread.of([3.0, 1.0, 2.0]).median
            2.0
        """
        low, median, high = values[0], values[0], values[0]
        if len(values) > 1:
            low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(
            median=median, low=low, high=high, minimum=min(values), maximum=max(values),
            count=len(values),
        )  # fmt: skip


def measure(
    contenders: Mapping[str, Callable[[], Any]],
    effort: Effort,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time contenders in turn.

    Args:
        contenders: what to call, by name.
        effort: how long.
        clock: seconds, from any start.

    Returns:
        For each its seconds a call, one entry a round.
    """
    calls = {}
    for name, call in contenders.items():
        call()
        began = clock()
        call()
        once = max(clock() - began, 1e-9)
        calls[name] = max(1, math.ceil(effort.block / once))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    began, rounds = clock(), 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while rounds < effort.least or (rounds < effort.most and clock() - began < effort.seconds):
            for name, call in contenders.items():
                times[name].append(_block(call, calls[name], effort.pause, clock))
            gc.collect(0)
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return times


def _block(call: Callable[[], Any], calls: int, pause: float, clock: Callable[[], float]) -> float:
    """Seconds a call, after one that is not counted where there are several or was a pause."""
    if pause:
        time.sleep(pause)
    if calls > 1 or pause:
        call()  # brings weights and threads back from where the contender before left them
    began = clock()
    for _ in range(calls):
        call()
    return (clock() - began) / calls


def measure_steps(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    steps: int,
    pause: float = 0.2,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, list[list[float]]]:
    """Time every single call of contenders that take turns by blocks.

    Args:
        contenders: what to call, by name.
        rounds: blocks of each.
        steps: timed calls in a block; a tenth as many before them are not timed.
        pause: seconds of rest before a block.
        clock: nanoseconds, from any start.

    Returns:
        For each and in each round the seconds of every call.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            time.sleep(pause)
            for _ in range(max(3, steps // 10)):
                call()
            marks = [clock()]
            for _ in range(steps):
                call()
                marks.append(clock())
            block = [(b - a) * 1e-9 for a, b in itertools.pairwise(marks)]
            times[name].append(block)
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies, by nearest rank.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
        2.0
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(times: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """What each took over what the first took, round by round.

    Example:
        >>> ratios({"ours": [1.0, 2.0], "peer": [2.0, 2.0]})
        {'peer': [2.0, 1.0]}
    """
    first, *others = times
    return {
        name: [other / own for own, other in zip(times[first], times[name], strict=True)]
        for name in others
    }


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios: doubling one and halving another leave it as it was.

    Example:
        >>> geometric_mean([2.0, 0.5])
        1.0
    """
    return math.exp(sum(math.log(value) for value in values) / len(values))


def agree(
    where: str,
    actual: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    tolerance: float = AGREEMENT,
) -> None:
    """Refuse to go on unless two contenders computed the same.

    Args:
        where: the case and the peer, for the message.
        actual: ours by name.
        wanted: the peer's, of the same names.
        tolerance: allowed difference, over the largest magnitude of what was wanted.

    Raises:
        Disagreement: naming the first tensor that differs, and by how much.
    """
    if actual.keys() != wanted.keys():
        raise Disagreement(f"{where}: compared {list(actual)} with {list(wanted)}.")
    for name, value in actual.items():
        mine, theirs = value.detach().double(), wanted[name].detach().double()
        if mine.shape != theirs.shape:
            raise Disagreement(
                f"{where}: '{name}' is {list(mine.shape)} here and {list(theirs.shape)} there."
            )
        scale = float(theirs.abs().max()) or 1.0
        apart = float((mine - theirs).abs().max()) / scale
        if not apart <= tolerance:  # NaN is not
            raise Disagreement(
                f"{where}: '{name}' differs by {apart:.2g} of its largest value; wanted at most "
                f"{tolerance:g}. Nothing was timed."
            )
