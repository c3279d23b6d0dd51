"""What is fitted is fitted on the training part: held-out rows change nothing of it, in any job."""

from dataclasses import replace

import pytest

from unspool.config import resolve
from unspool.data.opening import open_source, read_source
from unspool.data.samples import SAMPLES
from unspool.tasks.table import TASKS

# One of each job; series and plain texts are cut by time, and have such a test of their own.
NAMES = ["sentiment", "stars", "tag", "tones", "dtmf", "shapes", "reverse", "scenes"]
ROWS = 60


def with_first(reading, rows, *columns):
    """Some rows with inputs, or targets too, of the first one of the training part."""
    examples, [first, *_] = reading.examples, reading.parts["train"]
    changed = {}
    for column in columns:
        values = list(getattr(examples, column))
        for row in rows:
            values[row] = values[first]
        changed[column] = values
    return replace(reading, examples=replace(examples, **changed))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_fitted_is_the_same_bytes_when_all_held_out_rows_are_others(name):
    settings = resolve(None, {"task": SAMPLES[name][0], "size": "tiny"})
    origin = open_source((), name, settings.data, None)
    reading = read_source(origin, settings.data, settings.task, settings.seed)
    reading = replace(reading, parts={part: rows[:ROWS] for part, rows in reading.parts.items()})
    held_out = reading.parts["validation"] + reading.parts["test"]
    prepare = TASKS[settings.task].load().prepare
    job = prepare(reading, settings)
    other = prepare(with_first(reading, held_out, "inputs", "targets"), settings)
    assert other.files() == job.files() and other.shape() == job.shape()
    learnt = prepare(with_first(reading, reading.parts["train"], "inputs"), settings)
    assert learnt.files() != job.files()  # the training part does change it
