"""How many steps fit into a time: measured before a training, then fixed in its record."""

from __future__ import annotations

import copy
import time
from typing import Any

from unspool.training.loop import Loop
from unspool.training.settings import TrainSettings


def steps_within(work: Any, settings: TrainSettings, seed: int, seconds: float) -> int:
    """Steps that take about so long, looks at the validation part included.

    A copy of the model is trained to find out, so that nothing of the training changes.

    Args:
        work: as `unspool.training.loop.Work`.
        settings: how the training will go.
        seed: of the run.
        seconds: to spend, measuring not included.

    Returns:
        At least 1.
    """
    trial = copy.copy(work)
    trial.model = copy.deepcopy(work.model)
    loop = Loop(trial, settings, seed)
    loop.step()
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < min(3.0, seconds / 20):
        loop.step()
        steps += 1
    step = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    trial.evaluate()
    trial.sample()
    looking = LOOKS * (time.perf_counter() - start)
    return max(1, int(max(seconds - looking, seconds / 2) / step))


# Evaluations of a training, and one or two to spare.
LOOKS = 12
