"""Training on data in memory: the run a file gives, gone on with only on the same data."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import numpy as np
import pytest

import unspool
from command_line import call  # noqa: F401
from unspool import jobs
from unspool.config import resolve
from unspool.data.fingerprint import fingerprint
from unspool.errors import ConfigError, DataError
from unspool.training.interruption import Interrupted, Request

pytestmark = pytest.mark.usefixtures("quick_training")
SMALL = {"threads": 1, "size": "tiny", "model.hidden": 4, "model.embedding": 4, "train.steps": 4,
         "train.checkpoint_every": 2}  # fmt: skip
TEXT = [f"{word} {i}" for i in range(20) for word in ("good day", "bad night")]
LABEL = ["up", "down"] * 20
COLUMNS = {"text": TEXT, "label": LABEL}


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, columns):
        self.columns = list(columns)
        self._values = columns

    def __getitem__(self, name):
        return self._values[name]


FORMS = {
    "a dict of columns": lambda: COLUMNS,
    "a frame": lambda: Frame(COLUMNS),
    "rows": lambda: [{"text": a, "label": b} for a, b in zip(TEXT, LABEL, strict=True)],
    "rows that come once": lambda: iter(FORMS["rows"]()),
}


def train(data, out, observers=()):
    settings = resolve(None, {**SMALL, "task": "classify"})
    return jobs.train(data, settings=settings, out=out, observers=observers)


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the same rows from a file, and one from memory."""
    root = tmp_path_factory.mktemp("memory")
    file = root / "rows.csv"
    rows = "".join(f"{a},{b}\n" for a, b in zip(TEXT, LABEL, strict=True))
    file.write_text(f"text,label\n{rows}")
    train(file, root / "file")
    report = train(COLUMNS, root / "memory")
    return root, report


@pytest.mark.parametrize("form", FORMS)
def test_run_is_the_same_bits_whatever_holds_the_rows(trained, form, tmp_path):
    root, _ = trained
    train(FORMS[form](), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(root / "memory") == weights(root / "file")


def test_the_run_holds_no_rows_but_their_digest(trained):
    root, _ = trained
    record = (root / "memory" / "record.json").read_text()
    assert fingerprint(COLUMNS) in record and "good day" not in record


def test_resumed_run_ends_with_the_same_bits_on_the_same_data_only(trained, tmp_path, call):
    run, request = tmp_path / "cut", Request()

    class Given:
        def __enter__(self):
            return request

        def __exit__(self, *_):
            return None

    def stop(event):
        if event["event"] == "step" and event["step"] == 3:
            request.signal = 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "requests", Given)
        with pytest.raises(Interrupted):
            train(COLUMNS, run, [stop])
    with pytest.raises(ConfigError, match=r"pass the same data again, as in `unspool\.resume\("):
        unspool.resume(run)
    code, _, error = call("resume", run)
    assert code == 2 and error.count("\n") == 1 and "pass the same data again" in error
    with pytest.raises(DataError, match="data: has changed since the run began"):
        unspool.resume(run, data={"text": TEXT, "label": LABEL[::-1]})
    unspool.resume(run, data=FORMS["rows"]())
    assert weights(run) == weights(trained[0] / "memory")


def test_evaluation_wants_the_data_again_and_repeats_the_report(trained):
    root, report = trained
    with pytest.raises(ConfigError, match="pass the same data again"):
        jobs.evaluate(root / "memory")
    measured = jobs.evaluate(root / "memory", data=COLUMNS)
    assert measured["score"] == report["score"] and measured["rows"] == report["rows"]


def test_data_beside_a_run_of_files_is_refused(trained):
    with pytest.raises(ConfigError, match="wanted no data beside it"):
        jobs.evaluate(trained[0] / "file", data=COLUMNS)


@pytest.mark.parametrize(
    ("sources", "kind", "message"),
    [
        ((COLUMNS, COLUMNS), ConfigError, "wanted one thing"),
        (({"text": ["a"], "label": []},), DataError, "columns of different length"),
        ((7,), DataError, "got int"),
    ],
)
def test_data_that_cannot_be_read_is_refused_before_a_run_is_made(
    sources, kind, message, tmp_path
):  # fmt: skip
    with pytest.raises(kind, match=message):
        jobs.train(*sources, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_writing_is_learnt_from_files_only(tmp_path):
    with pytest.raises(DataError, match="wanted text files to learn to write from"):
        jobs.train(COLUMNS, task="write", out=tmp_path / "run")


# What tells data apart.


def arrays():
    draw = np.random.RandomState(0)
    return draw.standard_normal((6, 3, 2)).astype("f4"), ["a", "b"] * 3


def changed(array):
    array = array.copy()
    array.flat[-1] += 1
    return array


def test_fingerprint_changes_with_every_cell_and_name():
    rows = [("good", "1"), ("bad", "0")]
    others = [
        [("good", "1"), ("bad", "1")],
        [("bad", "0"), ("good", "1")],
        [("good", "1")],
        [("goo", "d1"), ("bad", "0")],
        {"text": ["good", "bad"], "label": ["1", "0"]},
        {"text": ["good", "bad"], "stars": ["1", "0"]},
    ]
    found = [fingerprint(each) for each in [rows, *others]]
    assert len(set(found)) == len(found)


def test_fingerprint_of_arrays_changes_with_values_shape_type_and_labels():
    inputs, labels = arrays()
    same = fingerprint((inputs.copy(order="F"), list(labels)))
    assert fingerprint((inputs, labels)) == same
    others = [
        (changed(inputs), labels),
        (inputs.astype("f8"), labels),
        (inputs.reshape(6, 2, 3), labels),
        (inputs, labels[::-1]),
        (list(inputs), labels),
    ]
    found = [fingerprint(each) for each in others]
    assert len({same, *found}) == len(others) + 1
