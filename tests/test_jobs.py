"""Whole jobs: what a training tells and leaves behind, and every way to be refused before it."""

from __future__ import annotations

import math

import pytest
import torch

import faults
import unspool
from trainings import EVERYTHING, Child, small_settings, small_text
from unspool import jobs, one_training
from unspool.config import from_toml
from unspool.devices import choose_device
from unspool.errors import ConfigError, DataError, RunError
from unspool.predictor import load
from unspool.tasks import write
from unspool.training.layout import list_checkpoints
from unspool.training.run import Run

SMALL = {"train__steps": 40, "train__evaluate_every": 20, "train__checkpoint_every": 20}


@pytest.fixture(autouse=True, scope="module")
def quick():
    before, length = torch.get_num_threads(), write.SAMPLE_LENGTH
    torch.set_num_threads(1)
    write.SAMPLE_LENGTH = 20
    with faults.through(faults.without_sync):
        yield
    torch.set_num_threads(before)
    write.SAMPLE_LENGTH = length


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(small_text())
    return path


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    """A finished run and its report."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, jobs.train(text, settings=small_settings(**SMALL), out=folder)


# The report.


def test_report_is_that_of_the_model_it_names(trained, text):
    folder, report = trained
    assert report["run"] == str(folder) and report["model"] == "lstm" and report["unit"] == "char"
    assert report["steps"] == 40 and report["trained_tokens"] == 40 * 4 * 8
    model = load(folder)
    assert report["parameters"] == sum(p.numel() for p in model.model.parameters())
    validation = text.read_text()[int(0.9 * len(text.read_text())) :]
    measured = model.evaluate(validation)
    assert measured["loss"] == pytest.approx(report["loss"], rel=1e-9)
    assert measured["bits_per_character"] == pytest.approx(report["bits_per_character"])
    assert report["bits_per_character"] == pytest.approx(report["loss"] / math.log(2))
    assert measured["perplexity"] == pytest.approx(math.exp(report["loss"]))
    [baseline] = report["baselines"]
    assert "gram" in baseline["name"] and baseline["name"] in report["verdict"]


def test_events_tell_the_whole_story(trained):
    events = list(Run.open(trained[0]).events())
    kinds = [event["event"] for event in events]
    assert kinds[:4] == ["start", "baseline", "sample", "checkpoint"] and kinds[-1] == "end"
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts["step"] == 40 and counts["evaluation"] == 2 and counts["sample"] == 3
    step = next(event for event in events if event["event"] == "step")
    assert step.keys() == {
        "event", "step", "loss", "gradient_norm", "clipped_norm", "learning_rate", "targets",
        "seconds",
    }  # fmt: skip


def test_observers_hear_what_the_record_holds(text, tmp_path):
    heard = []
    settings = small_settings(train__steps=2)
    jobs.train(text, settings=settings, out=tmp_path / "run", observers=[heard.append])
    written = list(Run.open(tmp_path / "run").events())
    assert [event for event in heard if event["event"] != "status"] == written


def test_settings_may_be_given_by_name(text, tmp_path):
    named = {name.replace(".", "__"): value for name, value in EVERYTHING.items()}
    named |= {"train__steps": 2, "size": "tiny"}
    assert unspool.train(text, out=tmp_path / "run", **named)["steps"] == 2
    settings = from_toml((tmp_path / "run" / "config.toml").read_text(), "config.toml")
    assert settings == small_settings(train__steps=2, size="tiny", task="write")


def test_model_folder_is_the_same_bytes_when_the_training_is(text, tmp_path):
    """Neither where nor how long it ran stands in what is given away."""
    settings = small_settings(train__steps=2)
    for name in ("one", "other"):
        jobs.train(text, settings=settings, out=tmp_path / name / "run")
    one, other = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "run" / "model").iterdir()}
        for name in ("one", "other")
    )
    assert one == other
    assert not [name for name, data in one.items() if str(tmp_path).encode() in data]


def test_artefacts_do_not_depend_on_the_validation_text(text, tmp_path):
    """Leakage: another validation text, the same tokenizer and the same weights at every step."""
    runs = []
    for seed in (7, 8):
        other = tmp_path / f"validation-{seed}.txt"
        other.write_text(small_text(100, seed) + "ß" * seed)
        settings = small_settings(train__steps=6, data__validation=str(other))
        jobs.train(text, settings=settings, out=tmp_path / f"run-{seed}")
        runs.append(tmp_path / f"run-{seed}")
    newest = [list_checkpoints(run)[0] for run in runs]
    for name in ("model.safetensors", "optimiser.safetensors", "state.safetensors"):
        assert (newest[0] / name).read_bytes() == (newest[1] / name).read_bytes()
    one, other = ((run / "tokenizer.json").read_bytes() for run in runs)
    assert one == other and "ß" not in one.decode()


# Measuring.


def test_evaluation_of_a_run_is_that_of_its_report(trained):
    measured = jobs.evaluate(trained[0])
    assert measured["file"] == "validation part"
    assert measured["loss"] == pytest.approx(trained[1]["loss"], rel=1e-9)
    assert measured["baselines"][0]["loss"] == trained[1]["baselines"][0]["loss"]


def test_evaluation_on_a_file_judges_model_and_counting_alike(trained, tmp_path):
    file = tmp_path / "other.txt"
    file.write_text("the cat sat on the mat\n" * 9)
    measured = jobs.evaluate(trained[0], file)
    assert measured["file"] == str(file) and measured["tokens"] == 23 * 9 - 1
    assert measured["loss"] == load(trained[0]).evaluate(file.read_text())["loss"]
    assert measured["baselines"][0]["loss"] != trained[1]["baselines"][0]["loss"]


def test_evaluation_is_refused_when_a_file_cannot_be_read_or_spelt(trained, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        jobs.evaluate(trained[0], tmp_path / "missing.txt")
    (tmp_path / "snow.txt").write_text("the ☃")
    with pytest.raises(DataError, match=r"snow\.txt.*'☃'"):
        jobs.evaluate(trained[0], tmp_path / "snow.txt")


@pytest.mark.parametrize("tokens", ["char", "word", "bpe"])
def test_run_is_trained_loaded_and_measured_in_every_kind_of_token(tokens, text, tmp_path):
    settings = small_settings(
        data__tokens=tokens, data__vocabulary=270, train__steps=20, train__length=4, train__batch=2,
        train__truncation="full",
    )  # fmt: skip
    report = jobs.train(text, settings=settings, out=tmp_path / "run")
    model = load(tmp_path / "run")
    assert report["unit"] == model.unit == {"char": "char", "word": "word", "bpe": "token"}[tokens]
    assert isinstance(model.generate("the cat", 9), str)
    assert len(model.next("the cat", 3)) == 3
    measured = jobs.evaluate(tmp_path / "run")
    assert measured["loss"] == pytest.approx(report["loss"], rel=1e-9)
    assert measured["bits_per_character"] == pytest.approx(report["bits_per_character"])


def test_words_are_measured_by_the_tokens_they_were_validated_on(text, tmp_path):
    """A word the vocabulary lacks stays the stand-in: it is not spelt out and cut again."""
    settings = small_settings(
        data__tokens="word", data__vocabulary=6, train__steps=4, train__length=4
    )
    report = jobs.train(text, settings=settings, out=tmp_path / "run")
    assert jobs.evaluate(tmp_path / "run")["loss"] == pytest.approx(report["loss"], rel=1e-9)


# Steps, time, refusals.


def test_minutes_fix_the_number_of_steps_in_the_record(text, tmp_path):
    report = jobs.train(text, settings=small_settings(), out=tmp_path / "run", minutes=0.02)
    settings = from_toml((tmp_path / "run" / "config.toml").read_text(), "config.toml")
    assert settings.train.steps == report["steps"] and settings.train.steps >= 1
    assert jobs.resume(tmp_path / "run") == report


def test_trial_of_the_speed_changes_nothing_of_the_training(text, tmp_path, monkeypatch):
    real = one_training.with_steps

    def measured(*arguments):
        real(*arguments)
        return settings

    settings = small_settings(train__steps=4, task="write")
    monkeypatch.setattr(one_training, "with_steps", measured)
    jobs.train(text, settings=settings, out=tmp_path / "tried", minutes=0.01)
    jobs.train(text, settings=settings, out=tmp_path / "plain")
    one, other = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("tried", "plain")
    )
    assert one == other


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_minutes_are_refused_when_they_are_no_time(minutes, text, tmp_path):
    with pytest.raises(ConfigError, match="--minutes: got"):
        jobs.train(text, minutes=minutes, out=tmp_path / "run")


def test_run_folder_that_exists_is_refused_before_any_work(trained, monkeypatch):
    monkeypatch.setattr(jobs, "read_source", None)
    with pytest.raises(RunError, match=r"exists; `unspool resume .*` goes on with it"):
        jobs.train(sample="english", out=trained[0])


def test_folder_of_something_else_is_not_touched(text, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(RunError, match="exists and is not a run"):
        jobs.train(text, settings=small_settings(), out=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("arguments", [((), None), (("x.txt",), "english")])
def test_training_wants_a_file_or_a_sample(arguments, tmp_path):
    files, sample = arguments
    with pytest.raises(ConfigError, match="one of the two"):
        jobs.train(*files, sample=sample, out=tmp_path / "run")


def test_sample_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'english'"):
        jobs.train(sample="englisch", out=tmp_path / "run")


def test_settings_and_single_settings_together_are_refused(text):
    with pytest.raises(ConfigError, match="not both"):
        jobs.train(text, settings=small_settings(), model__hidden=3)


def test_single_setting_is_refused_with_the_nearest_name(text):
    with pytest.raises(ConfigError, match=r"unknown key 'model\.hiden'.*'model\.hidden'"):
        jobs.train(text, model__hiden=3)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", b"too short"])
def test_text_that_cannot_be_learnt_leaves_nothing_behind(content, tmp_path):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(DataError, match="text"):
        jobs.train(tmp_path / "text.txt", settings=small_settings(), out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_run_in_use_is_refused_with_the_process_that_holds_it(text, tmp_path):
    folder = tmp_path / "run"
    child = Child(text, folder, pause=60.0)
    child.hear("paused")
    try:
        with pytest.raises(RunError, match=f"process {child.number} is using it"):
            jobs.resume(folder)
        # Reading needs no lock.
        assert load(folder).step == 0
    finally:
        child.kill_after(0.0)


def test_device_is_refused_by_name_when_it_is_not_here(trained, text, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'cuda'"):
        choose_device("cudo")
    with pytest.raises(ConfigError, match="Did you mean 'cpu'"):
        load(trained[0], device="cup")
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigError, match=f"finds no '{absent}' here"):
        load(trained[0], device=absent)
    with pytest.raises(ConfigError, match=f"finds no '{absent}' here"):
        jobs.train(text, settings=small_settings(device=absent), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_demo_trains_once_and_then_only_reports(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jobs, "train", lambda **keywords: calls.append(keywords) or {})
    jobs.demo(out=tmp_path / "demo", seconds=30.0)
    assert calls[0]["sample"] == "english" and calls[0]["minutes"] == 0.5
    (tmp_path / "demo").mkdir()
    monkeypatch.setattr(jobs, "resume", lambda folder, **_: {"run": str(folder)})
    assert jobs.demo(out=tmp_path / "demo") == {"run": str(tmp_path / "demo")}
    assert len(calls) == 1
