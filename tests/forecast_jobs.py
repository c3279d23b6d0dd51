"""Small forecasts for tests: a job on a table, and a model of it."""

import numpy as np
import torch

from unspool.cells import CELLS
from unspool.config import resolve
from unspool.data.made_samples import epidemic, passengers, waves
from unspool.data.reading import read
from unspool.tasks import forecast

TINY = {"task": "forecast", "model.hidden": 6, "train.steps": 2, "threads": 1, "train.batch": 8}
SAMPLES = {"passengers": passengers, "epidemic": epidemic, "waves": waves}


def settings_of(**changes):
    return resolve(None, TINY | {name.replace("__", "."): each for name, each in changes.items()})


def job_of(text, tmp_path, **changes):
    """The job on a CSV file."""
    (tmp_path / "series.csv").write_text(text)
    settings = settings_of(**changes)
    reading = read([tmp_path / "series.csv"], settings.data, "forecast", settings.seed)
    return forecast.prepare(reading, settings)


def model_of(job, seed=0, **changes):
    """A model of the job whose weights are nowhere zero."""
    settings = settings_of(**changes)
    cell = CELLS.get(settings.model.name)
    generator = torch.Generator().manual_seed(seed)
    model = forecast.build(job.shape(), settings.model, cell, generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return model


def lines(count=120, columns=1, seed=0, start="2020-01-01"):
    """A table of days with random walks around a season."""
    draw = np.random.RandomState(seed)
    walk = 20 + draw.standard_normal((count, columns)).cumsum(0)
    walk += 3 * np.sin(2 * np.pi * np.arange(count) / 7)[:, None]
    names = "".join(f",c{n}" for n in range(columns))
    rows = [
        f"{np.datetime64(start) + n},{','.join(f'{value:.4f}' for value in row)}"
        for n, row in enumerate(walk)
    ]
    return "\n".join([f"day{names}", *rows]) + "\n"
