"""The run folder: made at once, taken once, added to only, held by one process at a time."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys

import pytest

from faults import (
    FULL_OR_FAILING,
    FailAt,
    in_child,
    killed_at_every_call,
    through,
    without_sync,
)
from unspool.errors import RunError, TrainingError, UnspoolError
from unspool.training import durable
from unspool.training.run import Run

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def quick_disk():
    with through(without_sync):
        yield


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "lm", "seed = 1\n", {"tokenizer.json": "{}"})


# Making and opening.


def test_run_is_there_with_all_its_files_once_made(tmp_path):
    run = Run.create(tmp_path / "a" / "b" / "lm", "seed = 1\n# ü\n", {"x": b"\x00\xff", "y": "ü"})
    assert Run.open(run.folder) == run
    assert run.config_toml == "seed = 1\n# ü\n"
    assert list(run.events()) == []
    assert run.events_length == 0
    assert run.checkpoints == []
    assert not run.finished
    assert (run.folder / "x").read_bytes() == b"\x00\xff"
    assert (run.folder / "y").read_text(encoding="utf-8") == "ü"


def test_existing_run_is_refused_with_how_to_resume_it_and_a_free_name(run):
    Run.create(run.folder.with_name("lm-2"), "")
    with pytest.raises(RunError) as raised:
        Run.create(run.folder, "seed = 2\n")
    free = run.folder.with_name("lm-3")
    assert f"`unspool resume {run.folder}`" in str(raised.value)
    assert f"`--out {free}`" in str(raised.value)
    assert not free.exists()
    assert run.config_toml == "seed = 1\n"


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_path_that_is_taken_by_something_else_is_left_alone(tmp_path, kind):
    path = tmp_path / "my data"
    make = {
        "file": lambda: path.write_text("precious"),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to("nowhere"),
    }
    make[kind]()
    with pytest.raises(RunError, match=r"is not a run; `--out '.*my data-2'` writes elsewhere"):
        Run.create(path, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["my data"]


def test_run_made_by_another_process_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "lm"

    def other_is_quicker(call, *arguments):
        if call is os.rename and not path.exists():
            path.mkdir()
            (path / "theirs").write_text("x")
        return call(*arguments)

    with through(other_is_quicker), pytest.raises(RunError, match="lm exists"):
        Run.create(path, "")
    assert [entry.name for entry in path.iterdir()] == ["theirs"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["lm"]


def test_missing_run_is_refused_with_the_nearest_name(run):
    with pytest.raises(RunError, match=r"no such run. Did you mean '.*/lm'"):
        Run.open(run.folder.with_name("lmm"))
    with pytest.raises(RunError, match=r"no such run\.$"):
        Run.open(run.folder.parent / "nowhere" / "x")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            '{"format": "unspool run", "version": 2, "unspool": "7.8.9"}',
            r"unspool 7\.8\.9 or later",
        ),
        ('{"format": "unspool run", "version": "1"}', "not a run of Unspool"),
        ('{"format": "theirs", "version": 1}', "not a run of Unspool"),
        ("{", r"run\.json"),
        (None, r"has no run\.json"),
    ],
)
def test_folder_that_is_foreign_newer_or_damaged_is_refused(run, header, words):
    path = run.folder / "run.json"
    path.unlink()
    if header is not None:
        path.write_text(header)
    with pytest.raises(RunError, match=words):
        Run.open(run.folder)


@pytest.mark.parametrize("name", ["config.toml", "events.jsonl"])
def test_run_that_lost_a_file_is_refused(run, name):
    (run.folder / name).unlink()
    with pytest.raises(RunError, match=f"has lost its {name}"):
        Run.open(run.folder)


@forks
def test_run_is_absent_or_complete_when_killed_at_any_call(tmp_path):
    path = tmp_path / "lm"
    seen = []

    def prepare(number):
        if path.exists():
            durable.remove_tree(path)
        return lambda: Run.create(path, "seed = 1\n", {"tokenizer.json": "{}"})

    for _ in killed_at_every_call(prepare):
        seen.append(path.exists())
        if path.exists():
            assert Run.open(path).config_toml == "seed = 1\n"
            assert (path / "tokenizer.json").read_text() == "{}"
    assert seen[0] is False
    assert seen[-1] is True
    assert [entry.name for entry in tmp_path.iterdir()] == ["lm"], "leftovers are swept"


@pytest.mark.parametrize("code", FULL_OR_FAILING.values(), ids=FULL_OR_FAILING)
def test_run_that_cannot_be_made_is_one_line_and_leaves_nothing(tmp_path, code):
    for number in range(1, 100):
        path = tmp_path / f"{number}" / "lm"
        fault = FailAt(number, code)
        with through(fault):
            try:
                Run.create(path, "seed = 1\n")
            except UnspoolError as error:
                assert isinstance(error, RunError)
                assert str(error).isprintable()
                assert str(durable.volume_of(path)) in str(error)
        if path.exists():
            Run.open(path)
        elif path.parent.exists():
            assert list(path.parent.iterdir()) == []
        if not fault.failed:
            break
    assert path.exists()
    assert number > 15


# Events.


def test_events_come_back_with_every_bit_of_their_floats(run):
    draw = random.Random(1)
    floats = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(300)]
    floats = [value for value in floats if value == value and abs(value) < 1e400]
    floats += [0.1, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308]
    for step, value in enumerate(floats):
        run.log("step", step=step, loss=value, text='ü\u2028\n"', many=[value, None, True])
    found = list(Run.open(run.folder).events())
    assert [event["step"] for event in found] == list(range(len(floats)))
    for event, value in zip(found, floats, strict=True):
        assert struct.pack("<d", event["loss"]) == struct.pack("<d", value)
        assert event == {
            "event": "step",
            "step": event["step"],
            "loss": value,
            "text": 'ü\u2028\n"',
            "many": [value, None, True],
        }


def test_value_that_is_not_finite_is_written_as_a_word(run):
    values = [float("nan"), float("inf"), -float("inf")]
    run.log("step", loss=values[0], norms=values, deep={"x": [values[2]]})
    text = (run.folder / "events.jsonl").read_text()
    strict = json.loads(text, parse_constant=pytest.fail)
    assert strict == {
        "event": "step",
        "loss": "nan",
        "norms": ["nan", "inf", "-inf"],
        "deep": {"x": ["-inf"]},
    }
    assert list(run.events()) == [strict]


def test_last_line_that_was_cut_short_is_left_out_and_removed_by_the_next_holder(run):
    run.log("one")
    run.log("two")
    path = run.folder / "events.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first + 1, len(whole)):
        path.write_bytes(whole[:end])
        assert [event["event"] for event in run.events()] == ["one"]
        with run.locked():
            assert path.read_bytes() == whole[:first]
            run.log("three")
        assert [event["event"] for event in run.events()] == ["one", "three"]


def test_damaged_line_in_the_middle_is_an_error_that_names_it(run):
    for name in ("one", "two", "three"):
        run.log(name)
    path = run.folder / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"two'))
    with pytest.raises(RunError, match=r"events\.jsonl, line 2"):
        list(run.events())


def test_events_after_the_length_of_a_checkpoint_are_forgotten(run):
    run.log("one")
    length = run.sync_events()
    assert length == run.events_length == (run.folder / "events.jsonl").stat().st_size
    run.log("two")
    run.truncate_events(length)
    assert [event["event"] for event in run.events()] == ["one"]
    with pytest.raises(RunError, match="events were lost"):
        run.truncate_events(length + 1)


@pytest.mark.parametrize("code", FULL_OR_FAILING.values(), ids=FULL_OR_FAILING)
def test_no_part_of_an_event_stays_when_any_call_fails(run, code):
    run.log("one")
    before = (run.folder / "events.jsonl").read_bytes()
    for number in range(1, 20):
        fault = FailAt(number, code)
        with through(fault):
            try:
                run.log("two", text="long enough to be cut in two")
            except TrainingError as error:
                assert str(error).isprintable()
                assert "events.jsonl" in str(error)
        if not fault.failed:
            break
        assert [event["event"] for event in run.events()] in (["one"], ["one", "two"])
        run.truncate_events(len(before))
    assert number > 3


def test_run_is_finished_once_its_model_is_there_and_the_last_event_says_so(run):
    run.log("end")
    assert not run.finished
    (run.folder / "model").mkdir()
    (run.folder / "model" / "manifest.json").write_text("{}")
    assert run.finished
    run.log("resumed")
    assert not run.finished


# One process at a time.


def test_second_holder_is_refused_and_told_the_process(run):
    with (
        run.locked(),
        pytest.raises(RunError, match=f"lm: process {os.getpid()} is using it"),
        Run.open(run.folder).locked(),
    ):
        pytest.fail("two at once")
    with run.locked():
        pass


@forks
def test_run_held_by_another_process_is_refused_until_that_is_killed(run):
    held, hold = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with run.locked():
                os.write(hold, b"!")
                signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(held, 1) == b"!"
        with pytest.raises(RunError, match=f"process {child} is using it"), run.locked():
            pytest.fail("two at once")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(held)
        os.close(hold)
    with run.locked():
        assert (run.folder / "lock").read_text() == f"{os.getpid()}\n"


@forks
def test_child_that_outlives_the_block_does_not_hold_the_run(run):
    stop, go = os.pipe()
    with run.locked():
        child = os.fork()
        if child == 0:
            os.read(stop, 1)
            os._exit(0)
    try:
        with run.locked():
            pass
    finally:
        os.write(go, b"!")
        os.waitpid(child, 0)
        os.close(stop)
        os.close(go)


def test_lock_is_free_again_when_the_block_fails(run):
    with pytest.raises(KeyError), run.locked():
        raise KeyError
    with run.locked():
        pass


def test_leftovers_are_swept_by_the_next_holder(run):
    (run.folder / "model.0123abcd.unfinished").mkdir()
    (run.folder / "model.0123abcd.unfinished" / "half").write_text("x")
    (run.folder / "model.4567abcd.replaced").mkdir()
    (run.folder / "checkpoints" / "step-000010.0123abcd.unfinished").mkdir(parents=True)
    (run.folder / "notes.txt").write_text("mine")
    with run.locked():
        names = {path.name for path in run.folder.iterdir()}
    assert {"model", "notes.txt", "checkpoints"} <= names
    assert not [name for name in names if name.endswith((".unfinished", ".replaced"))]
    assert list((run.folder / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EIO])
def test_lock_that_cannot_be_taken_is_one_line(run, code):
    for number in range(1, 30):
        fault = FailAt(number, code)
        with through(fault):
            try:
                with run.locked():
                    pass
            except RunError as error:
                assert str(error).isprintable()
                assert "volume" in str(error) or "another process" in str(error)
        if not fault.failed:
            break
    assert number > 6
    with run.locked():
        pass


@forks
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_folder_without_permission_is_refused_in_one_line(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)

    def try_it():
        if os.geteuid() == 0:
            os.setuid(65534)
        if os.access(closed, os.W_OK):
            return
        with pytest.raises(RunError, match=re.escape("permission denied on volume")):
            Run.create(closed / "lm", "")

    tmp_path.parent.chmod(0o755)
    tmp_path.parent.parent.chmod(0o755)
    assert in_child(try_it) == 0


def test_runs_can_be_made_and_opened_without_importing_torch():
    code = "import sys, unspool.training.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
