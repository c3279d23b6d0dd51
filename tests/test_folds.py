"""Cross-validation: every row is tested on once by a model that never saw it."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

import unspool
from command_line import call  # noqa: F401
from test_compare import SMALL, WORDS, rows, timeless, weights  # noqa: F401
from unspool.comparing import folds as folding
from unspool.data.opening import read_source
from unspool.errors import ConfigError, DataError
from unspool.record import Record
from unspool.training.interruption import Interrupted, Request
from unspool.training.run import Run

pytestmark = pytest.mark.usefixtures("quick_training")
FOLDS = 4


def crossed(data, out, observers=(), **changes):
    changes = {**SMALL, "data__folds": FOLDS, **changes}
    return unspool.train(data, out=out, observers=observers, **changes)


@pytest.fixture(scope="module")
def finished(rows, tmp_path_factory):
    """A finished cross-validation: its folder and its report."""
    folder = tmp_path_factory.mktemp("folds") / "f"
    return folder, crossed(rows, folder)


def readings(folder):
    """What each run of the folds reads, from its own record."""
    for run in sorted(folder.glob("lstm-*")):
        record = Record.read(Run.open(run))
        settings = record.settings
        yield run, read_source(record.source, settings.data, settings.task, settings.seed)


def test_each_row_is_tested_on_exactly_once(finished):
    folder, report = finished
    tested = [row for _, reading in readings(folder) for row in reading.parts["test"]]
    assert sorted(tested) == list(range(60)) and report["rows"] == 60


def test_no_text_that_is_tested_on_is_trained_on(finished):
    for _, reading in readings(finished[0]):
        texts = {part: set(reading.part(part).inputs) for part in reading.parts}
        assert not texts["test"] & (texts["train"] | texts["validation"])
        assert not texts["train"] & texts["validation"]


def test_score_is_that_of_all_out_of_fold_answers(finished):
    folder, report = finished
    hits = []
    for run, reading in readings(folder):
        part = reading.part("test")
        answers = unspool.load(run).predict(part.inputs)
        pairs = zip(answers, part.targets, strict=True)
        hits += [each["answer"] == target for each, target in pairs]
    assert report["score"] == pytest.approx(np.mean(hits))
    assert report["interval"][0] <= report["score"] <= report["interval"][1]


def test_simple_methods_have_the_same_folds(finished):
    folder, report = finished
    hits = []
    for _, reading in readings(folder):
        known = reading.part("train").targets
        commonest = max(sorted(set(known)), key=known.count)
        hits += [target == commonest for target in reading.part("test").targets]
    majority = next(each for each in report["baselines"] if each["name"] == "majority class")
    assert majority["score"] == pytest.approx(np.mean(hits))
    assert len(majority["scores"]) == len(report["scores"]) == FOLDS


def test_folds_give_the_same_numbers_when_repeated_and_when_interrupted(rows, finished, tmp_path):
    folder, request = tmp_path / "f", Request()

    @contextmanager
    def given():
        yield request

    def stop(event):
        if event["event"] == "run" and event["number"] == 3:
            stop.now = True
        if stop.now and event["event"] == "step" and event["step"] == 2:
            request.signal = 2

    stop.now = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "requests", given)
        with pytest.raises(Interrupted):
            crossed(rows, folder, [stop])
    assert timeless(unspool.resume(folder)) == timeless(finished[1])
    assert weights(folder) == weights(finished[0])


def test_groups_stay_together_in_folds(tmp_path):
    speakers = [f"speaker {i % 8}" for i in range(48)]
    columns = {
        "text": [f"a {WORDS['up' if i % 2 else 'down'][i % 3]} day {i}" for i in range(48)],
        "label": ["up" if i % 2 else "down" for i in range(48)],
        "speaker": speakers,
    }
    seen = []
    crossed(
        columns, tmp_path / "f", [seen.append], data__group="speaker", data__text="text",
        data__label="label",
    )  # fmt: skip
    record = [Record.read(Run.open(run)) for run in sorted((tmp_path / "f").glob("lstm-*"))]
    tested = []
    for each in record:
        settings = each.settings
        reading = read_source(each.source, settings.data, settings.task, settings.seed, columns)
        tested.append({speakers[row] for row in reading.parts["test"]})
    assert sum(map(len, tested)) == len(set().union(*tested)) == 8


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"data__folds": 2}, ConfigError, "got 2; wanted 3 or more"),
        ({"data__folds": 50}, DataError, "ask for fewer data.folds"),
        ({"data__fold": 5}, ConfigError, "got 5 of 4 folds"),
    ],
)
def test_impossible_folds_are_refused_and_leave_nothing(rows, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        crossed(rows, tmp_path / "f", **changes)
    assert list(tmp_path.iterdir()) == []


def test_folds_are_refused_where_rows_follow_each_other_or_parts_are_given(rows, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat and looked at us. " * 50)
    with pytest.raises(DataError, match="cannot be cut into 4 folds"):
        crossed(tmp_path / "text.txt", tmp_path / "f", data__folds=4)
    shutil.copy(rows, tmp_path / "others.csv")
    with pytest.raises(DataError, match="cannot be cut into 4 folds"):
        crossed(rows, tmp_path / "f", data__test=str(tmp_path / "others.csv"))
    assert not (tmp_path / "f").exists()


def test_one_fold_alone_is_a_plain_training(rows, finished, tmp_path):
    report = crossed(rows, tmp_path / "run", data__fold=2)
    assert "kind" not in report and report["score"] == finished[1]["scores"][1]


def test_minutes_are_shared_by_the_folds(rows, tmp_path):
    changes = {key: value for key, value in SMALL.items() if key != "train__steps"}
    report = unspool.train(rows, out=tmp_path / "f", minutes=0.001, data__folds=FOLDS, **changes)
    steps = {Record.read(Run.open(run)).settings.train.steps for run in report["runs"]}
    assert len(steps) == 1 and steps.pop() >= 1


def test_command_says_what_all_folds_came_to(rows, tmp_path, call):
    flags = ["--size", "tiny", "--steps", 2, "--model.hidden", 4, "--threads", 1]
    code, output, said = call("train", rows, "--folds", 3, "--out", tmp_path / "f", *flags)
    assert code == 0 and "3 folds; each of 60 rows tested on once" in output
    assert "run 3 of 3: lstm-3: accuracy" in said
    report = json.loads(call("resume", tmp_path / "f", "--json")[1])
    assert report["verdict"] in output and report["kind"] == "folds"
