"""Checkpoints and models: killed, failing, damaged, foreign, newer; and exact when all is well."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil

import pytest
import torch

from checkpoints import (
    CHECKPOINT_FILES,
    CONFIG,
    FITTED,
    MODEL_FILES,
    numbers,
    same,
    same_tree,
    steps_kept,
)
from faults import (
    FULL_OR_FAILING,
    FailAt,
    in_child,
    killed_at_every_call,
    through,
    without_sync,
)
from unspool.errors import CheckpointError, TrainingError, UnspoolError
from unspool.training import durable, plain_json
from unspool.training.checkpoint import (
    load_checkpoint,
    load_model,
    newest_checkpoint,
    save_checkpoint,
    save_model,
)
from unspool.training.layout import list_checkpoints
from unspool.training.optimiser_state import join_optimiser, split_optimiser

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def quick_disk_and_one_thread():
    """Forked children must meet no thread pool; fsync has its own test in test_durable.py."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with through(without_sync):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def run_folder(tmp_path):
    """Two checkpoints, of steps 10 and 20."""
    folder = tmp_path / "run"
    for step in (10, 20):
        save_checkpoint(folder, step, **numbers(step))
    return folder


# Killed and failing.


@forks
@pytest.mark.parametrize("step", [30, 20], ids=["next step", "same step again"])
def test_newest_checkpoint_is_the_old_or_the_new_one_when_killed_at_any_call(run_folder, step):
    trial = run_folder.with_name("trial")
    new = numbers(99)
    newest = []

    def prepare(number):
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(run_folder, trial)
        return lambda: save_checkpoint(trial, step, **new)

    for _ in killed_at_every_call(prepare):
        found, skipped = newest_checkpoint(trial)
        assert not skipped
        newest.append("new" if same(found, step, new) else "old")
        assert newest[-1] == "new" or same(found, 20)
        save_checkpoint(trial, step, **new)
        assert same(newest_checkpoint(trial)[0], step, new)
        assert all(folder.suffix == "" for folder in (trial / "checkpoints").iterdir())
    assert newest[0] == "old"
    assert newest[-1] == "new"
    assert newest == sorted(newest, key=["old", "new"].index), "once new, new for good"
    assert len(newest) > 60


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", FULL_OR_FAILING.values(), ids=FULL_OR_FAILING)
def test_newest_checkpoint_is_the_old_or_the_new_one_when_any_call_fails(run_folder, code, lasting):
    trial = run_folder.with_name("trial")
    for number in range(1, 1000):
        if steps_kept(trial) != [20, 10]:
            shutil.rmtree(trial, ignore_errors=True)
            shutil.copytree(run_folder, trial)
        fault = FailAt(number, code, lasting=lasting)
        told = None
        with through(fault):
            try:
                save_checkpoint(trial, 30, **numbers(30))
            except UnspoolError as error:
                told = str(error)
        found, skipped = newest_checkpoint(trial)
        assert not skipped
        assert same(found, 20) or same(found, 30)
        if not fault.failed:
            break
        durable.sweep(trial / "checkpoints")
        if told is not None:
            assert told.isprintable()
            assert str(trial) in told
            assert f"volume {durable.volume_of(trial)}" in told
            assert (code not in (errno.ENOSPC, errno.EDQUOT)) or ("free" in told)
        else:
            assert same(found, 30), "nothing was raised, so it was saved"
    assert told is None
    assert same(found, 30)
    assert number > 60


def test_full_disk_is_told_with_the_bytes_that_are_needed_and_free(run_folder):
    for number in range(2, 20):
        with through(FailAt(number, errno.ENOSPC)), pytest.raises(TrainingError) as raised:
            save_checkpoint(run_folder, 30, **numbers(30))
        needed, free = str(raised.value).split("needed ")[1].split(" bytes, free ")
        assert int(needed.replace(",", "")) > 3 * 40 * 40 * 4
        assert int(free.removesuffix(" bytes.").replace(",", "")) > 0


@forks
def test_previous_checkpoint_loads_when_a_real_volume_is_full(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    skip = tmp_path / "skipped"

    def fill():
        library = ctypes.CDLL(None, use_errno=True)
        new_mounts, own_users = 0x20000, 0x10000000
        flags = new_mounts | (own_users if os.geteuid() else 0)
        private = 0x44000
        if (
            library.unshare(flags)
            or library.mount(b"none", b"/", None, private, None)
            or library.mount(b"none", os.fsencode(volume), b"tmpfs", 0, b"size=200k")
        ):
            skip.write_text(os.strerror(ctypes.get_errno()))
            return
        run = volume / "run"
        save_checkpoint(run, 10, **numbers(10))
        save_checkpoint(run, 20, **numbers(20))
        filler = volume / "filler"
        filler.write_bytes(bytes(durable.free_bytes(volume) - 8192))
        with pytest.raises(
            TrainingError, match=r"no space left on volume .*/volume; needed .*free"
        ):
            save_checkpoint(run, 30, **numbers(30))
        assert same(newest_checkpoint(run)[0], 20)
        assert len(list((run / "checkpoints").iterdir())) == 2
        filler.unlink()
        save_checkpoint(run, 30, **numbers(30))
        assert same(newest_checkpoint(run)[0], 30)

    assert in_child(fill) == 0
    if skip.exists():
        pytest.skip(f"no volume of our own: {skip.read_text()}")


# Choosing.


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_checkpoint_with_a_file_missing_or_too_many_is_refused(run_folder, name):
    folder = run_folder / "checkpoints" / "step-000020"
    (folder / "extra").write_text("x")
    with pytest.raises(CheckpointError, match="'extra' does not belong there"):
        load_checkpoint(folder)
    (folder / "extra").unlink()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_checkpoint_under_the_name_of_another_step_is_refused(run_folder):
    folder = run_folder / "checkpoints"
    (folder / "step-000010").rename(folder / "step-000030")
    found, skipped = newest_checkpoint(run_folder)
    assert found.step == 20
    assert "step 10" in skipped[0].reason


def test_every_unreadable_checkpoint_is_reported_when_none_can_be_used(run_folder):
    for folder in list_checkpoints(run_folder):
        (folder / "manifest.json").unlink()
    found, skipped = newest_checkpoint(run_folder)
    assert found is None
    assert [entry.folder.name for entry in skipped] == ["step-000020", "step-000010"]


def test_newest_is_by_step_whatever_the_file_times_say(run_folder):
    save_checkpoint(run_folder, 999_999, **numbers(30))
    save_checkpoint(run_folder, 1_000_000, **numbers(30))
    for age, folder in enumerate(list_checkpoints(run_folder)):
        os.utime(folder, (age, age))
    assert newest_checkpoint(run_folder)[0].step == 1_000_000


def test_run_without_checkpoints_has_no_newest(tmp_path):
    assert newest_checkpoint(tmp_path / "none") == (None, [])


# Rotation.


@pytest.mark.parametrize(("keep", "kept"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_rotation_keeps_the_newest_and_never_fewer_than_two(tmp_path, keep, kept):
    for step in range(1, 6):
        save_checkpoint(tmp_path, step, **numbers(step), keep=keep)
    assert steps_kept(tmp_path) == [5, 4, 3][:kept]


def test_rotation_counts_only_checkpoints_that_read_back(run_folder):
    (run_folder / "checkpoints" / "step-000020" / "model.safetensors").write_bytes(b"damaged")
    save_checkpoint(run_folder, 30, **numbers(30))
    assert steps_kept(run_folder) == [30, 20, 10]
    assert newest_checkpoint(run_folder)[0].step == 30


def test_rotation_leaves_the_best_step(tmp_path):
    for step in range(1, 6):
        values = numbers(step)
        values["progress"]["best_step"] = 2
        save_checkpoint(tmp_path, step, **values)
    assert steps_kept(tmp_path) == [5, 4, 2]


def test_old_checkpoints_stay_when_the_new_one_does_not_read_back(run_folder):
    def forgetful(call, *arguments):
        if call is os.write:
            os.write(arguments[0], bytes(len(arguments[1])))
            return len(arguments[1])
        return call(*arguments)

    with through(forgetful), pytest.raises(TrainingError, match="does not read back"):
        save_checkpoint(run_folder, 30, **numbers(30))
    assert steps_kept(run_folder) == [20, 10]
    assert same(newest_checkpoint(run_folder)[0], 20)


# What may be saved, and that it comes back.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["model", "optimiser", "state", "progress", "group"])
def test_value_that_is_not_finite_is_never_saved(run_folder, part, value):
    values = numbers(30)
    if part == "optimiser":
        values["optimiser"]["state"][0]["exp_avg"][3, 3] = value
    elif part == "group":
        values["optimiser"]["param_groups"][0]["lr"] = value
    elif part == "progress":
        values["progress"]["loss"] = value
    else:
        next(iter(values[part].values()))[0, 1] = value
    before = sorted(path.name for path in (run_folder / "checkpoints").iterdir())
    with pytest.raises((TrainingError, CheckpointError)) as raised:
        save_checkpoint(run_folder, 30, **values)
    assert str(raised.value).isprintable()
    assert before == sorted(path.name for path in (run_folder / "checkpoints").iterdir())


def test_message_names_the_tensor_that_is_not_finite(tmp_path):
    values = numbers(30)
    values["model"]["w"][0] = torch.nan
    with pytest.raises(TrainingError, match="step 30: model: 40 of 1600 values of 'w' are not fin"):
        save_checkpoint(tmp_path, 30, **values)


OPTIMISERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1 / 3, betas=(0.9, 1 - 1e-7)),
    "amsgrad": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "two groups": lambda p: torch.optim.AdamW(
        [{"params": p[:1], "weight_decay": 0.0}, {"params": p[1:]}], lr=1e-300
    ),
}


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimiser_goes_on_bit_for_bit_when_loaded(tmp_path, name, stepped):
    def parameters():
        torch.manual_seed(1)
        return [torch.nn.Parameter(torch.randn(5)), torch.nn.Parameter(torch.randn(2, 3))]

    def step(parameters, optimiser, times):
        for time in range(times):
            for parameter in parameters:
                parameter.grad = torch.sin(parameter.detach() + time)
            optimiser.step()

    whole = parameters()
    optimiser = OPTIMISERS[name](whole)
    step(whole, optimiser, 3 * stepped)
    model = {str(index): parameter for index, parameter in enumerate(whole)}
    values = {**numbers(1), "model": model, "optimiser": optimiser.state_dict()}
    loaded = load_checkpoint(save_checkpoint(tmp_path, 1, **values))
    assert same_tree(loaded.optimiser, optimiser.state_dict())

    resumed = parameters()
    with torch.no_grad():
        for index, parameter in enumerate(resumed):
            parameter.copy_(loaded.model[str(index)])
    again = OPTIMISERS[name](resumed)
    again.load_state_dict(loaded.optimiser)
    step(whole, optimiser, 3)
    step(resumed, again, 3)
    assert all(map(torch.equal, whole, resumed))


def test_optimiser_state_that_is_no_tensor_comes_back_as_it_is():
    state = {"step": 3, "rate": 1 / 3, "buffer": None, "pair": (1, [0.1, True], "x")}
    groups = [{"lr": 5e-324, "betas": (0.9, 0.999), "params": [4]}, {"params": []}]
    whole = {"state": {4: {**state, "average": torch.ones(2)}}, "param_groups": groups}
    tensors, record = split_optimiser(whole)
    assert list(tensors) == ["4/average"]
    assert same_tree(join_optimiser(tensors, plain_json.parse(plain_json.dump(record)), ""), whole)


def odd_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    base = torch.arange(12.0).reshape(3, 4)
    tied = torch.randn(3, 3, generator=generator)
    return {
        "tied.one": tied,
        "tied.two": tied,
        "part": base[1:],
        "overlapping part": base[:2],
        "transposed": base.t(),
        "scalar": torch.tensor(-0.0),
        "empty": torch.empty(0, 5),
        "smallest": torch.tensor([5e-324, 1e308], dtype=torch.float64),
        "half": torch.randn(3, generator=generator).half(),
        "brain": torch.randn(3, generator=generator).bfloat16(),
        "whole": torch.tensor([-(2**63), 2**63 - 1]),
        "truth": torch.tensor([True, False]),
        "größe.日本": torch.ones(1),
    }


def test_second_save_of_a_loaded_model_is_byte_identical(tmp_path):
    first = save_model(tmp_path / "one", odd_tensors(), CONFIG, FITTED, "# Card ü\n")
    tensors, config, tokenizer = load_model(first)
    assert same_tree(tensors, odd_tensors())
    assert (config, tokenizer) == (CONFIG, FITTED)
    second = save_model(tmp_path / "two", tensors, config, tokenizer, "# Card ü\n")
    for name in MODEL_FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_second_save_of_a_loaded_checkpoint_is_byte_identical(run_folder):
    found, _ = newest_checkpoint(run_folder)
    again = save_checkpoint(
        run_folder.with_name("again"),
        found.step,
        model=found.model,
        optimiser=found.optimiser,
        state=found.state,
        progress=found.progress,
    )
    for name in CHECKPOINT_FILES:
        assert (again / name).read_bytes() == (found.folder / name).read_bytes(), name


def test_model_replaces_an_earlier_one(tmp_path):
    save_model(tmp_path, {"w": torch.zeros(1)}, CONFIG, FITTED, "# Card\n")
    folder = save_model(tmp_path, {"w": torch.ones(1)}, {"new": True}, {}, "")
    assert load_model(folder) == ({"w": torch.ones(1)}, {"new": True}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "progress",
    [
        {},
        {"events_length": -1},
        {"events_length": 1.0},
        {"events_length": True},
        {"events_length": 1, "pair": (1, 2)},
        {"events_length": 1, "table": {1: "a key that is no text"}},
        {"events_length": 1, "object": object()},
    ],
)
def test_progress_that_would_not_come_back_as_it_is_is_refused(tmp_path, progress):
    with pytest.raises(CheckpointError):
        save_checkpoint(tmp_path, 1, **{**numbers(1), "progress": progress})
    assert list(tmp_path.iterdir()) == []
