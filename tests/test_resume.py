"""Stopping in every way there is, and going on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import faults
from trainings import (
    Child,
    advance,
    contents,
    make_loop,
    measured,
    small_settings,
    small_text,
    trace,
)
from unspool import jobs, one_training
from unspool.errors import DataError, RunError
from unspool.tasks import write
from unspool.tasks.write import Writing
from unspool.training.checkpoint import newest_checkpoint
from unspool.training.interruption import Request
from unspool.training.layout import list_checkpoints
from unspool.training.optimisation import learning_rate

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
TRUNCATIONS = ("full", "truncated", "randomised")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(write, "SAMPLE_LENGTH", 20)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with faults.through(faults.without_sync):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(small_text())
    return path


@pytest.fixture(scope="module")
def undisturbed(text, tmp_path_factory):
    """A run that nothing happened to, its trace, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    seconds = Child(text, folder).finish()
    return folder, trace(folder), seconds


@pytest.fixture
def unfinished(undisturbed, tmp_path):
    """A copy of that run as it was before its model was written."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[0], folder)
    shutil.rmtree(folder / "model")
    return folder


# Killed.


@POSIX
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.long)])
def test_killed_run_ends_as_if_it_had_not_been_when_resumed(kills, text, undisturbed, tmp_path):
    _, expected, seconds = undisturbed
    draw, latest = random.Random(kills), 0.6 if kills > 20 else 0.9
    done, at = 0, []
    while done < kills:
        folder = tmp_path / f"run-{len(at)}"
        for _ in range(min(6, kills - done)):
            wait = draw.uniform(0.0, draw.choice((latest / 4, latest / 2, latest))) * seconds
            if not Child(text, folder).kill_after(wait):
                break
            done += 1
            at.append(newest_step(folder))
        else:
            Child(text, folder).finish()
        assert trace(folder) == expected, f"killed after the checkpoints {at}"
        shutil.rmtree(folder)
    assert len(set(at)) >= min(3, kills // 4), f"all kills struck in one place: {at}"


# The law, step by step.


def differing(one, other):
    one, other = contents(one), contents(other)
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def resumed(folder, checkpoint, **changes):
    # Weights from another seed: what is not restored shows.
    loop = make_loop(folder, weights_seed=2, **changes)
    loop.restore(checkpoint)
    return loop


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_ten_steps_saved_and_ten_more_are_twenty_steps(truncation, accumulate, cell, tmp_path):
    changes = {
        "train__truncation": truncation,
        "train__accumulate": accumulate,
        "model__name": cell,
        "model__recurrent_dropout": 0.1,
    }
    whole = advance(make_loop(tmp_path / "whole", **changes), 20)
    first = advance(make_loop(tmp_path / "parts", **changes), 10)
    first.save()
    checkpoint, _ = newest_checkpoint(tmp_path / "parts")
    second = advance(resumed(tmp_path / "parts", checkpoint, **changes), 10)
    assert differing(second, whole) == []


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_resume_law_holds_when_the_optimiser_is(optimiser, tmp_path):
    changes = {"train__optimiser": optimiser}
    whole = advance(make_loop(tmp_path / "whole", **changes), 12)
    first = advance(make_loop(tmp_path / "parts", **changes), 6)
    first.save()
    checkpoint, _ = newest_checkpoint(tmp_path / "parts")
    assert differing(advance(resumed(tmp_path / "parts", checkpoint, **changes), 6), whole) == []


def forget_optimiser(checkpoint):
    groups = checkpoint.optimiser["param_groups"]
    return replace(checkpoint, optimiser={"state": {}, "param_groups": groups})


@pytest.mark.parametrize(
    "forget",
    [
        forget_optimiser,
        lambda checkpoint: replace(checkpoint, state={}),
        lambda checkpoint: replace(checkpoint, step=0),
    ],
    ids=["optimiser", "carried state", "step"],
)
def test_resume_differs_when_a_part_of_the_checkpoint_is_forgotten(forget, tmp_path):
    whole = advance(make_loop(tmp_path / "whole"), 20)
    first = advance(make_loop(tmp_path / "parts"), 10)
    first.save()
    checkpoint, _ = newest_checkpoint(tmp_path / "parts")
    second = advance(resumed(tmp_path / "parts", forget(checkpoint)), 10)
    assert any(name.startswith("model.") for name in differing(second, whole))


def test_early_stopping_counts_on_when_resumed(tmp_path):
    changes = {"train__patience": 3, "train__evaluate_every": 1, "train__learning_rate": 1e-9}
    loop = make_loop(tmp_path / "run", **changes)
    loop.work.evaluate = iter([3.0, 2.0, 2.5, 2.5, 2.5]).__next__
    for _ in range(3):
        loop.step()
        loop.evaluate()
    loop.save()
    second = resumed(tmp_path / "run", newest_checkpoint(tmp_path / "run")[0], **changes)
    assert (second.progress.best, second.progress.best_step, second.progress.stale) == (2.0, 2, 1)
    second.work.evaluate = loop.work.evaluate
    second.train(Request())
    assert second.progress.step == 5 and second.out_of_patience


# Asked to stop.


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signalled_run_saves_and_resumes_exactly(number, text, undisturbed, tmp_path):
    folder, draw, stops = tmp_path / "run", random.Random(number), []
    for _ in range(2):
        child = Child(text, folder)
        if child.ends_within(draw.uniform(0.05, 0.3) * undisturbed[2]):
            break
        child.signal(number)
        step = child.stopped()
        if child.end() == 0:
            break
        assert step is not None
        taken = [event["step"] for event in measured(folder) if event["event"] == "step"]
        assert newest_step(folder) == step >= max(taken, default=0)
        stops.append(step)
    else:
        Child(text, folder).finish()
    assert stops, "the run was too quick to be stopped"
    # The saving is an event as well, and nobody asked the undisturbed run to save there.
    without = ("checkpoint",)
    assert measured(folder, without=without) == measured(undisturbed[0], without=without)
    expected = undisturbed[1]
    assert {**trace(folder), "events": None} == {**expected, "events": None}


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_leaves_at_once(number, text, tmp_path, capfd):
    child = Child(text, tmp_path / "run", pause=30.0)
    child.hear("paused")
    child.signal(number)
    assert not child.ends_within(0.3)  # it is asleep in the middle of a step
    child.signal(number)
    code = child.end()
    capfd.readouterr()  # the traceback of a KeyboardInterrupt
    assert code == (-number if number == signal.SIGTERM else 1)
    assert newest_step(tmp_path / "run") == 0


def test_signal_between_checkpoint_and_step_saves_nothing_twice(tmp_path):
    loop = make_loop(tmp_path / "run")
    loop.save()
    request = Request(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(Exception, match="stopped at step 0"):
            loop.train(request)
    assert [event["event"] for event in loop.run.events()] == ["checkpoint"]


# The same seed.


def test_weights_are_the_same_in_every_process_when_the_seed_is(text, tmp_path):
    code = """
import sys, trainings
from pathlib import Path
trainings.quicken()
for seed in (1, 2):
    folder = Path(sys.argv[2], str(seed))
    settings = trainings.small_settings(train__steps=4, train__evaluate_every=4, seed=seed)
    trainings.jobs.train(sys.argv[1], settings=settings, out=folder)
    print(trainings.trace(folder)["model/model.safetensors"])
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, text, tmp_path / hash_seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        for hash_seed in ("0", "12345")
    ]
    (first, second), other = (process.communicate()[0].split() for process in processes)
    assert [first, second] == other
    assert first != second


# Going on.


def test_resume_of_a_finished_run_gives_its_report_and_changes_nothing(undisturbed):
    folder = undisturbed[0]
    before = snapshot(folder)
    first, again = jobs.resume(folder), jobs.resume(folder)
    assert first == again and first["steps"] == 300 and first["run"] == str(folder)
    assert snapshot(folder) == before


def test_resume_starts_at_the_first_step_when_there_is_no_checkpoint(unfinished, undisturbed):
    shutil.rmtree(unfinished / "checkpoints")
    Child(None, unfinished).finish()
    assert trace(unfinished) == undisturbed[1]


def test_resume_falls_back_and_says_so_when_the_newest_checkpoint_is_damaged(
    unfinished, undisturbed
):
    newest, previous = list_checkpoints(unfinished)[:2]
    damage(newest / "optimiser.safetensors")
    events = []
    jobs.resume(unfinished, observers=[events.append])
    said = [event["text"] for event in events if event["event"] == "warning"]
    assert len(said) == 1 and newest.name in said[0] and "optimiser.safetensors" in said[0]
    [start] = [event for event in events if event["event"] == "resume"]
    assert f"step-{start['step']:06d}" == previous.name
    assert trace(unfinished) == undisturbed[1]


def test_model_is_that_of_the_last_step_when_the_best_checkpoint_is_damaged(tmp_path, text):
    losses = iter([1.0, 2.0, 2.0])
    settings = small_settings(train__steps=30, train__evaluate_every=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writing, "evaluate", lambda self: next(losses))
        patch.setattr(one_training, "save_model", refuse)
        with pytest.raises(RunError, match="stopped here"):
            jobs.train(text, settings=settings, out=tmp_path / "run")
    damage(tmp_path / "run" / "checkpoints" / "step-000010" / "model.safetensors")
    report = jobs.resume(tmp_path / "run")
    assert report["best_step"] == 30
    [said] = [e["text"] for e in measured(tmp_path / "run") if e["event"] == "warning"]
    assert "step-000010" in said and said.endswith("The model is that of the last step.")


def test_model_is_that_of_the_best_step(tmp_path, text):
    losses = iter([1.0, 2.0, 2.0])
    settings = small_settings(train__steps=30, train__evaluate_every=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writing, "evaluate", lambda self: next(losses))
        assert jobs.train(text, settings=settings, out=tmp_path / "run")["best_step"] == 10
    model, best = tmp_path / "run" / "model", tmp_path / "run" / "checkpoints" / "step-000010"
    assert same_bytes(model, best) and not same_bytes(model, best.with_name("step-000030"))


@pytest.mark.parametrize("which", ["text", "validation"])
def test_resume_is_refused_when_a_text_has_changed(which, tmp_path):
    files = {name: tmp_path / f"{name}.txt" for name in ("text", "validation")}
    for seed, file in enumerate(files.values()):
        file.write_text(small_text(200, seed))
    settings = small_settings(train__steps=4, data__validation=str(files["validation"]))
    jobs.train(files["text"], settings=settings, out=tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    before = snapshot(tmp_path / "run")
    original = files[which].read_text()
    files[which].write_text(original.replace("cat", "cow", 1))
    with pytest.raises(DataError, match=rf"{which}\.txt: has changed since the run began"):
        jobs.resume(tmp_path / "run")
    assert snapshot(tmp_path / "run") == before
    files[which].write_text(original)
    assert jobs.resume(tmp_path / "run")["steps"] == 4


def test_resume_warns_when_the_run_began_with_other_threads_or_versions(unfinished):
    record = json.loads((unfinished / "record.json").read_text())
    record["made_with"] |= {"threads": "7", "torch": "1.0"}
    (unfinished / "record.json").write_text(json.dumps(record))
    events = []
    jobs.resume(unfinished, observers=[events.append])
    [said] = [event["text"] for event in events if event["event"] == "warning"]
    assert "threads 7 (now 1)" in said and "torch 1.0 (now" in said


def test_resume_does_not_warn_on_the_machine_it_began_on(unfinished):
    events = []
    jobs.resume(unfinished, observers=[events.append])
    assert not [event for event in events if event["event"] == "warning"]


@pytest.mark.parametrize("contents", [None, b"{}", b"\xff", b"[1"])
@pytest.mark.parametrize("name", ["record.json", "cell.json", "tokenizer.json", "config.toml"])
def test_resume_names_the_run_when_its_record_is_damaged(name, contents, unfinished):
    path = unfinished / name
    path.unlink() if contents is None else path.write_bytes(contents)
    with pytest.raises(RunError, match="run") as refusal:
        jobs.resume(unfinished)
    assert "\n" not in str(refusal.value)


def test_step_counts_and_rates_of_the_record_are_those_of_the_schedule(undisturbed):
    settings = small_settings().train
    steps = [event for event in measured(undisturbed[0]) if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 301))
    rates = [learning_rate(settings, step) for step in range(300)]
    assert [event["learning_rate"] for event in steps] == rates


def newest_step(folder):
    checkpoint, _ = newest_checkpoint(folder)
    return None if checkpoint is None else checkpoint.step


def snapshot(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def same_bytes(one, other):
    name = "model.safetensors"
    return (one / name).read_bytes() == (other / name).read_bytes()


def refuse(*arguments, **keywords):
    raise RunError("stopped here")
