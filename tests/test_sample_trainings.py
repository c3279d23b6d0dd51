"""Every embedded sample trains two steps, is saved, loaded, and says the same."""

from __future__ import annotations

from functools import partial
from itertools import islice

import pytest

from trainings import judge_alone, shortened
from unspool import jobs
from unspool.answering import answered
from unspool.config import resolve
from unspool.data.samples import SAMPLES, sample
from unspool.predictor import load
from unspool.tasks.table import TASKS

pytestmark = pytest.mark.usefixtures("quick_training")
ROWS = 6


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_trains_two_steps_and_says_the_same_once_loaded(name, tmp_path, monkeypatch):
    judge_alone(monkeypatch)
    task = SAMPLES[name][0]
    monkeypatch.setitem(SAMPLES, name, (task, partial(shortened, task, sample(name))))
    changes = {"threads": 1, "size": "tiny", "task": task, "model.hidden": 8, "train.steps": 2}
    run = tmp_path / "run"
    report = jobs.train(sample=name, settings=resolve(None, changes), out=run)
    assert report["task"] == task in TASKS and report["steps"] == 2
    of_run, of_model = said(name, run, tmp_path), said(name, run / "model", tmp_path)
    assert of_run == of_model and of_run
    measured = jobs.evaluate(run)
    shared = (measured.keys() & report.keys()) - {"run", "baselines", "verdict", "warnings"}
    assert shared and all(measured[key] == report[key] for key in shared if key != "seconds")


def said(name, folder, tmp_path):
    """What a loaded model says of a few of the sample's inputs."""
    content = sample(name)
    if SAMPLES[name][0] == "write":
        return load(folder).next(content[:200])
    if not isinstance(content, str):
        return load(folder).predict(content.inputs[:ROWS])
    file = tmp_path / "sample.txt"
    file.write_text(content)
    return [list(row.items()) for row in islice(answered(folder, (), file), ROWS)]
