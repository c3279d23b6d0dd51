"""One bit, byte or page of a checkpoint or a model damaged: found before use, every time."""

from __future__ import annotations

import random

import pytest
import torch

from checkpoints import CHECKPOINT_FILES, CONFIG, FITTED, MODEL_FILES, numbers, same
from faults import through, without_sync
from unspool.errors import CheckpointError
from unspool.training.checkpoint import (
    load_model,
    newest_checkpoint,
    save_checkpoint,
    save_model,
)
from unspool.training.manifest import MANIFEST


@pytest.fixture(autouse=True)
def quick_disk():
    with through(without_sync):
        yield


@pytest.fixture
def run_folder(tmp_path):
    """Two checkpoints, of steps 10 and 20."""
    folder = tmp_path / "run"
    for step in (10, 20):
        save_checkpoint(folder, step, **numbers(step))
    return folder


@pytest.fixture
def model_folder(tmp_path):
    return save_model(tmp_path / "run", {"w": torch.randn(40, 40)}, CONFIG, FITTED, "# Card\n")


def damaged(content: dict[str, bytes], draw: random.Random) -> tuple[str, dict[str, bytes]]:
    """One case of damage: what was done, and the files it changed."""
    name = draw.choice(list(content))
    data = bytearray(content[name])
    place = draw.randrange(len(data))
    kind = draw.choice(["bit", "byte", "page", "truncated", "appended", "swapped"])
    if kind == "bit":
        data[place] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        data[place] = (data[place] + draw.randrange(1, 256)) % 256
    elif kind == "page":
        start = place // 4096 * 4096
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif kind == "truncated":
        del data[place:]
    elif kind == "appended":
        data += draw.randbytes(draw.randrange(1, 9))
    else:
        other = draw.choice([key for key in content if content[key] != content[name]])
        return f"{name} and {other} swapped", {name: content[other], other: content[name]}
    return f"{name}: {kind} at {place}", {name: bytes(data)}


@pytest.mark.parametrize("cases", [300, pytest.param(1500, marks=pytest.mark.long)])
def test_damage_is_found_and_the_previous_checkpoint_taken(cases, run_folder):
    folder = run_folder / "checkpoints" / "step-000020"
    content = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert list(content) == CHECKPOINT_FILES
    draw = random.Random(1)
    for _ in range(cases):
        case, changed = damaged(content, draw)
        for name, data in changed.items():
            (folder / name).write_bytes(data)
        found, skipped = newest_checkpoint(run_folder)
        assert found is not None, case
        assert found.step == 10, case
        assert [entry.folder for entry in skipped] == [folder], case
        assert skipped[0].reason.isprintable(), case
        assert str(folder) in skipped[0].reason, case
        assert "damaged" in skipped[0].reason or MANIFEST in changed, case
        for name in changed:
            (folder / name).write_bytes(content[name])
    assert same(newest_checkpoint(run_folder)[0], 20)


@pytest.mark.parametrize("cases", [100, pytest.param(500, marks=pytest.mark.long)])
def test_damage_to_a_model_is_found(cases, model_folder):
    content = {path.name: path.read_bytes() for path in sorted(model_folder.iterdir())}
    assert list(content) == MODEL_FILES
    draw = random.Random(2)
    for _ in range(cases):
        case, changed = damaged(content, draw)
        for name, data in changed.items():
            (model_folder / name).write_bytes(data)
        with pytest.raises(CheckpointError) as raised:
            load_model(model_folder)
        assert str(raised.value).isprintable(), case
        for name in changed:
            (model_folder / name).write_bytes(content[name])
    load_model(model_folder)


@pytest.mark.parametrize("change", [b" ", b"\n", b"\r\n"])
def test_manifest_is_refused_when_only_its_white_space_changed(model_folder, change):
    path = model_folder / MANIFEST
    original = path.read_bytes()
    for changed in (original + change, change + original, original.replace(b"\n", change + b"\n")):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged"):
            load_model(model_folder)
