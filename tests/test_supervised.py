"""Tasks on labelled examples: order, batches, trained and resumed runs, answers, and no leakage."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json

import pytest
import torch

from command_line import call  # noqa: F401
from trainings import settled
from unspool import jobs
from unspool.data.samples import SAMPLES, sample_text
from unspool.errors import DataError
from unspool.predictor import load
from unspool.tasks.example_batches import NO_TARGET, order, side_by_side
from unspool.tasks.table import TASKS
from unspool.training.interruption import Interrupted, Request
from unspool.training.run import Run

pytestmark = pytest.mark.usefixtures("quick_training")
SMALL = {"threads": 1, "size": "tiny", "model.hidden": 6, "model.embedding": 5, "train.steps": 4}
INPUTS = {"sentiment": "the soup was good", "stars": "the plot is dull.", "tag": ["a", "zebra"]}
# Samples of texts and words; sounds, images and series have tests of their own.
LABELLED = list(INPUTS)


def settings_for(name, **changes):
    return settled({**SMALL, "task": SAMPLES[name][0]}, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of every labelled sample, and its report."""
    root = tmp_path_factory.mktemp("samples")
    return {
        name: (root / name, jobs.train(sample=name, settings=settings_for(name), out=root / name))
        for name in LABELLED
    }


# Order and batches.


@pytest.mark.parametrize("batch", [1, 3, 7, 40])
def test_every_example_comes_once_in_an_epoch(batch):
    lengths = [(7 * i) % 11 + 1 for i in range(23)]
    batches = order(lengths, batch, seed=1, epoch=2)
    assert sorted(row for rows in batches for row in rows) == list(range(23))
    assert all(len(rows) <= batch for rows in batches)


def test_order_is_decided_by_seed_and_epoch_alone():
    lengths = list(range(50))
    assert order(lengths, 4, 1, 2) == order(lengths, 4, 1, 2)
    assert order(lengths, 4, 1, 2) != order(lengths, 4, 1, 3)
    assert order(lengths, 4, 1, 2) != order(lengths, 4, 2, 2)


def test_examples_of_a_batch_are_of_about_one_length():
    lengths = [(17 * i) % 101 for i in range(101)]
    spread = [max(lengths[r] for r in rows) - min(lengths[r] for r in rows)
              for rows in order(lengths, 10, 0, 0)]  # fmt: skip
    assert max(spread) <= 15


def test_targets_of_unequal_length_are_filled_with_what_is_no_target():
    rows = side_by_side([torch.tensor([1]), torch.tensor([2, 3])])
    assert rows.tolist() == [[1, NO_TARGET], [2, 3]]


# Runs.


@pytest.mark.parametrize("name", LABELLED)
def test_report_has_measure_interval_simple_methods_and_verdict(trained, name):
    _, report = trained[name]
    task = SAMPLES[name][0]
    assert report["task"] == task and report["steps"] == 4
    low, high = report["interval"]
    assert low <= report["score"] <= high
    assert len(report["baselines"]) >= 2
    assert all(
        {"name", "score", "seconds", "interval"} <= each.keys() for each in report["baselines"]
    )
    assert any(each["name"] in report["verdict"] for each in report["baselines"])


@pytest.mark.parametrize("name", LABELLED)
def test_model_says_the_same_after_it_was_saved(trained, name, tmp_path):
    folder, _ = trained[name]
    given = [INPUTS[name], INPUTS[name]]
    once, again = load(folder).predict(given)
    assert once == again
    alone = load(folder / "model").predict(given[:1])
    assert alone[0]["answer"] == once["answer"]


@pytest.mark.parametrize("name", LABELLED)
def test_evaluation_repeats_what_the_report_said(trained, name, tmp_path):
    folder, report = trained[name]
    measured = jobs.evaluate(folder)
    assert measured["score"] == report["score"] and measured["file"] == "test part"
    assert [each["score"] for each in measured["baselines"]] == [
        each["score"] for each in report["baselines"]
    ]
    file = tmp_path / "whole.txt"
    file.write_text(sample_text(name))
    whole = jobs.evaluate(folder, file)
    assert whole["rows"] > report["rows"] and whole["file"] == str(file)


@pytest.mark.parametrize("name", LABELLED)
def test_answers_do_not_depend_on_their_neighbours(trained, name):
    predictor = load(trained[name][0])
    short = INPUTS[name]
    long = short * 9
    alone = predictor.predict([short])[0]
    beside = predictor.predict([long, short])[1]
    assert alone["answer"] == beside["answer"]
    if "probabilities" in alone:
        for label, chance in alone["probabilities"].items():
            assert beside["probabilities"][label] == pytest.approx(chance, abs=1e-5)


def test_resumed_run_ends_with_the_same_bits(tmp_path):
    settings = settings_for("sentiment", train__steps=12, train__checkpoint_every=5)
    whole = jobs.train(sample="sentiment", settings=settings, out=tmp_path / "whole")
    request = Request()

    def stop(event):
        if event["event"] == "step" and event["step"] == 7:
            request.signal = 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "requests", lambda: _given(request))
        with pytest.raises(Interrupted):
            jobs.train(
                sample="sentiment", settings=settings, out=tmp_path / "cut", observers=[stop]
            )
    resumed = jobs.resume(tmp_path / "cut")
    same = [name for name in whole if name not in ("run", "baselines")]
    assert {name: resumed[name] for name in same} == {name: whole[name] for name in same}
    weights = [tmp_path / run / "model" / "model.safetensors" for run in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


class _given:
    def __init__(self, request):
        self.request = request

    def __enter__(self):
        return self.request

    def __exit__(self, *_):
        return None


def test_what_is_fitted_does_not_depend_on_what_is_held_out(tmp_path):
    """Leakage: another test and validation file, the same files of what was fitted."""
    train = tmp_path / "train.tsv"
    train.write_text(
        "text\tlabel\n" + "".join(f"good day {i}\ta\nbad night {i}\tb\n" for i in range(20))
    )
    runs = []
    for odd in ("wonderful", "gruesome"):
        for part in ("validation", "test"):
            (tmp_path / f"{odd}-{part}.tsv").write_text(
                f"text\tlabel\n{odd} {part} one\ta\n{odd} {part} two\tb\n"
            )
        settings = settings_for(
            "sentiment",
            data__validation=str(tmp_path / f"{odd}-validation.tsv"),
            data__test=str(tmp_path / f"{odd}-test.tsv"),
        )
        jobs.train(train, settings=settings, out=tmp_path / odd)
        runs.append(tmp_path / odd)
    for name in ("encoder.json", "targets.json"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


def test_label_that_training_never_saw_counts_as_wrong(tmp_path):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("text\tlabel\n" + "".join(f"good {i}\ta\nbad {i}\tb\n" for i in range(30)))
    test.write_text("text\tlabel\ngood x\ta\nodd y\tc\n")
    settings = settings_for("sentiment", data__test=str(test))
    report = jobs.train(train, settings=settings, out=tmp_path / "run")
    assert report["rows"] == 2 and report["score"] <= 0.5


# Refused.


def test_one_class_is_refused_in_one_line(tmp_path):
    file = tmp_path / "one.tsv"
    file.write_text("text\tlabel\n" + "".join(f"text {i}\tsame\n" for i in range(30)))
    with pytest.raises(DataError) as refusal:
        jobs.train(file, settings=settings_for("sentiment"), out=tmp_path / "run")
    assert "\n" not in str(refusal.value) and "same" in str(refusal.value)
    assert not (tmp_path / "run").exists()


# Commands.


def test_predict_answers_arguments_files_and_lines(trained, call, tmp_path, monkeypatch):
    folder = trained["sentiment"][0]
    code, out, _ = call("predict", folder, "good soup", "bad room", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["input"] for row in rows] == ["good soup", "bad room"]
    assert {row["answer"] for row in rows} <= {"positive", "negative"}
    file = tmp_path / "more.tsv"
    file.write_text("text\tlabel\ngood soup\tnegative\nbad room\tpositive\n")
    code, out, _ = call("predict", folder, "--file", file, "--json")
    assert [json.loads(line)["answer"] for line in out.splitlines()] == [r["answer"] for r in rows]


def test_predict_refuses_what_it_cannot_use(trained, call):
    folder = trained["tag"][0]
    assert call("predict", folder, "")[0] == 2
    code, _, error = call("generate", folder)
    assert code == 2 and "unspool predict" in error and error.count("\n") == 1
    code, _, error = call("predict", folder, "a b", "--file", "x.tsv")
    assert code == 2 and "one of the two" in error


@pytest.mark.parametrize("name", LABELLED)
def test_data_command_names_the_task_and_counts_rows(call, name):
    code, out, _ = call("data", "--sample", name, "--json")
    report = json.loads(out)
    assert code == 0 and report["task"] == SAMPLES[name][0]
    assert report["rows"]["used"] + report["rows"]["refused"] == report["rows"]["total"]
    text = call("data", "--sample", name)[1]
    assert text.startswith(f"{report['task']} ({TASKS[report['task']].mapping}")


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("cnn-exercise", 903400), ("dense-on-image", 18000100), ("lenet", 61706), ("simple-rnn", 548),
     ("bi-lstm", 191617)],
)  # fmt: skip
def test_count_command_derives_the_lectures_networks(call, network, parameters):
    code, out, _ = call("count", network, "--json")
    assert code == 0 and json.loads(out)["parameters"] == parameters
    assert f"{parameters:,}" in call("count", network)[1]


def test_training_says_first_what_it_read(tmp_path):
    said = []
    file = tmp_path / "few.tsv"
    rows = "".join(f"good {i}\ta\nbad {i}\tb\n" for i in range(20))
    file.write_text(f"text\tlabel\n{rows}\ta\n")
    settings = settings_for("sentiment")
    jobs.train(file, settings=settings, out=tmp_path / "run", observers=[said.append])
    assert said[0]["event"] == "data"
    assert said[0]["text"].endswith("41 rows, 40 used, 1 refused")


def test_events_of_a_run_hold_its_baselines(trained):
    events = list(Run.open(trained["stars"][0]).events())
    names = [event["name"] for event in events if event["event"] == "baseline"]
    assert names == [each["name"] for each in trained["stars"][1]["baselines"]]
