"""Model folders and checkpoints from strangers: one kind of error, one line, and nothing is run."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch

import unspool
from faults import through, without_sync
from unspool.errors import CheckpointError
from unspool.training import durable, plain_json
from unspool.training.checkpoint import (
    CHECKPOINT_FORMAT,
    MODEL_FORMAT,
    load_checkpoint,
    load_model,
    newest_checkpoint,
    save_checkpoint,
    save_model,
)
from unspool.training.manifest import MANIFEST, Format, seal
from unspool.training.tensor_file import decode_tensors


@pytest.fixture(autouse=True)
def quick_disk():
    with through(without_sync):
        yield


@pytest.fixture
def model_folder(tmp_path):
    tensors = {"w": torch.randn(3, 4), "b": torch.zeros(4), "n": torch.tensor([1, 2])}
    config = {"model": {"name": "lstm", "hidden": 4}, "list": [1, 2.5, "x", None, True]}
    return save_model(
        tmp_path / "run", tensors, config, {"tokenizer.json": '{"tokens": ["a"]}'}, "# Card\n"
    )


@pytest.fixture
def checkpoint_folder(tmp_path):
    weights = torch.nn.Parameter(torch.ones(2, 2))
    optimiser = torch.optim.AdamW([weights])
    weights.grad = torch.ones(2, 2)
    optimiser.step()
    return save_checkpoint(
        tmp_path / "run",
        7,
        model={"w": weights.detach()},
        optimiser=optimiser.state_dict(),
        state={"h": torch.zeros(1, 2)},
        progress={"events_length": 0, "loss": 0.5},
    )


def resealed(content: dict[str, bytes], kind: Format, changes: dict, step=None) -> bytes:
    """A manifest that fits ``content``, as any author can make one, with fields changed."""
    manifest = json.loads(seal(kind, content, step)) | changes
    manifest.pop("digest", None)
    manifest["digest"] = durable.sha256(plain_json.dump(manifest))
    return plain_json.dump(manifest)


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != MANIFEST
    }


# Mutations that know the structure.


def mutated_json(data: bytes, draw: random.Random) -> bytes:
    """JSON text with one thing wrong, or merely odd."""
    text = data.decode()
    value = json.loads(text)
    kind = draw.randrange(9)
    if kind == 0:
        odd = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-0", "1e-999", '"\\ud800"']
        return text.replace(draw.choice(["1", "2", "0", '"', "e"]), draw.choice(odd), 1).encode()
    if kind == 1:
        depth = draw.choice([10, 900, 100_000])
        opening, closing = draw.choice([("[", "]"), ('{"a":', "}")])
        nested = opening * depth + "1" + closing * depth
        return b'{"deep": ' + nested.encode() + b"}"
    if kind == 2:
        return text.replace("{", '{"twice": 1, "twice": 2, ', 1).encode()
    if kind == 3:
        place = draw.randrange(len(data))
        return (
            data[:place] + draw.choice([b"\xff", b"\xc3", b"\x00", b"\xed\xa0\x80"]) + data[place:]
        )
    if kind == 4:
        return draw.choice([b"", b"[]", b"1", b'"x"', b"null", b"{}", b"{", b"\xef\xbb\xbf{}"])
    if kind == 5:
        return data[: draw.randrange(len(data))]
    return json.dumps(with_one_change(value, draw)).encode()


def with_one_change(value, draw: random.Random):
    """``value`` with one entry, at any depth, gone, renamed or of another type."""
    odd = [None, True, -1, 2**31, 2**64, 10**30, 0.5, -1e300, "", "../../x", "a\n\x1b[31m", [], {}]
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        rest = {other: value[other] for other in value if other != key}
        how = draw.randrange(4)
        if how == 0:
            return rest
        if how == 1:
            return {**rest, draw.choice(["", "x" * 2000, "\x00", "a/b", "9"]): value[key]}
        return {**value, key: with_one_change(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        return [*value[:place], with_one_change(value[place], draw), *value[place + 1 :]]
    return draw.choice(odd)


def mutated_safetensors(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose header length, header or body was changed."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    kind = draw.randrange(8)
    if kind == 0:
        wrong = draw.choice([0, 1, length - 1, length + 1, len(data), 10**8, 2**63, 2**64 - 1])
        return struct.pack("<Q", wrong) + data[8:]
    if kind == 1:
        return data[: draw.randrange(len(data))]
    if kind == 2:
        return data + draw.randbytes(draw.randrange(1, 9))
    if kind == 3:
        return with_header(mutated_json(json.dumps(header).encode(), draw), body)
    name = draw.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    if kind == 4:
        shapes = [[], [0], [-1], [2**31, 2**31], [2**63], [2**64], [0, 2**62, 2**62], [1.5], "x"]
        entry["shape"] = draw.choice([*shapes, [[1]], None, [True], [12], [1] * 5000])
    elif kind == 5:
        types = ["F64", "F16", "BF16", "BOOL", "U64", "C64", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3"]
        entry["dtype"] = draw.choice([*types, "Q8", "", 1, None, ["F32"]])
    elif kind == 6:
        start, end = entry["data_offsets"]
        offsets = [[end, start], [start, end + 1], [0, end], [0, 2**63], [-1, end], [start], None]
        entry["data_offsets"] = draw.choice([*offsets, [0, 0], [start + 1, end + 1], [0.0, 1.0]])
    else:
        body = bytearray(body)
        place = draw.randrange(0, len(body) - 4)
        body[place : place + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f"])
    return with_header(json.dumps(header).encode(), bytes(body))


def with_header(header: bytes, body: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + body


@pytest.mark.parametrize("seed", range(4))
def test_mutated_model_loads_or_is_refused_in_one_line(model_folder, seed):
    draw = random.Random(seed)
    original = files_of(model_folder)
    refused = 0
    for case in range(200):
        content = dict(original)
        name = draw.choice([*["model.safetensors"] * 3, "config.json", "tokenizer.json"])
        mutate = mutated_safetensors if name.endswith("safetensors") else mutated_json
        content[name] = mutate(content[name], draw)
        (model_folder / name).write_bytes(content[name])
        manifest = seal(MODEL_FORMAT, content, None)
        if draw.random() < 0.2:
            changes = with_one_change(json.loads(manifest), draw)
            manifest = json.dumps(changes).encode()
            if isinstance(changes, dict) and draw.random() < 0.7:
                changes.pop("digest", None)
                manifest = resealed(content, MODEL_FORMAT, changes)
        (model_folder / MANIFEST).write_bytes(manifest)
        refused += refuses(load_model, model_folder, f"seed {seed}, case {case}: {name}")
        (model_folder / name).write_bytes(original[name])
    assert refused > 120


@pytest.mark.parametrize("seed", range(2))
def test_mutated_checkpoint_loads_or_is_refused_in_one_line(checkpoint_folder, seed):
    draw = random.Random(seed)
    original = files_of(checkpoint_folder)
    refused = 0
    for case in range(200):
        content = dict(original)
        name = draw.choice(["optimiser.safetensors", *["progress.json"] * 3])
        mutate = mutated_safetensors if name.endswith("safetensors") else mutated_json
        content[name] = mutate(content[name], draw)
        (checkpoint_folder / name).write_bytes(content[name])
        (checkpoint_folder / MANIFEST).write_bytes(seal(CHECKPOINT_FORMAT, content, 7))
        refused += refuses(load_checkpoint, checkpoint_folder, f"seed {seed}, case {case}: {name}")
        (checkpoint_folder / name).write_bytes(original[name])
    assert refused > 80


def refuses(load, folder: Path, case: str) -> bool:
    try:
        load(folder)
    except CheckpointError as error:
        assert str(error).isprintable(), case
        assert len(str(error)) <= 600, case
        return True
    except Exception as error:
        raise AssertionError(f"{case}: {type(error).__name__} is not a CheckpointError") from error
    return False


# Code that waits to be run.


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def hostile_files(canary: Path) -> dict[str, bytes]:
    numbered = pickle.dumps(Canary(canary))
    zipped = io.BytesIO()
    torch.save({"w": Canary(canary)}, zipped)
    legacy = io.BytesIO()
    torch.save({"w": Canary(canary)}, legacy, _use_new_zipfile_serialization=False)
    array = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    command = f"!!python/object/apply:os.system ['touch {canary}']"
    return {
        "pickle": numbered,
        "torch zip": zipped.getvalue(),
        "torch legacy": legacy.getvalue(),
        "numpy objects": array.ljust(128) + numbered,
        "yaml tag": command.encode(),
        "python": f"import pathlib; pathlib.Path({str(canary)!r}).touch()".encode(),
        "header that is a pickle": with_header(numbered, b""),
        "class path": json.dumps({"class_name": "os.system", "args": [f"touch {canary}"]}).encode(),
        "template": b'{"name": "{{ self.__init__.__globals__.os.system(1) }}"}',
    }


def test_canary_sings_when_unpickled(tmp_path):
    pickle.loads(hostile_files(tmp_path / "canary")["pickle"])
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", MANIFEST])
def test_nothing_is_run_when_a_file_holds_code(model_folder, tmp_path, name):
    original = files_of(model_folder)
    for kind, data in hostile_files(tmp_path / "canary").items():
        content = {**original, name: data}
        (model_folder / MANIFEST).write_bytes(
            seal(MODEL_FORMAT, {key: content[key] for key in original}, None)
        )
        (model_folder / name).write_bytes(data)
        refused = refuses(load_model, model_folder, kind)
        assert refused or kind in ("class path", "template"), kind  # plain JSON is just data
        assert not (tmp_path / "canary").exists(), kind


def test_no_module_of_the_package_can_unpickle():
    for path in Path(unspool.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "")]
                unsafe = {"pickle", "_pickle", "dill", "joblib", "shelve", "marshal"} & {*names}
                assert not unsafe, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                unsafe = called in ("torch.load", "torch.save", "np.load", "numpy.load")
                unsafe &= "allow_pickle=False" not in map(ast.unparse, node.keywords)
                assert not unsafe, f"{path}:{node.lineno}"


# Files that are no files, and names that lead elsewhere.


def test_link_out_of_the_folder_is_refused(model_folder, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(model_folder / "config.json", outside)
    (model_folder / "config.json").symlink_to(outside)
    assert refuses(load_model, model_folder, "link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_in_the_place_of_a_file_is_refused_without_waiting_on_it(model_folder):
    content = {**files_of(model_folder), "README.md": b""}
    (model_folder / MANIFEST).write_bytes(seal(MODEL_FORMAT, content, None))
    (model_folder / "README.md").unlink()
    os.mkfifo(model_folder / "README.md")
    assert refuses(load_model, model_folder, "pipe")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\x00b", "", ".", "model.bin"])
def test_name_that_does_not_belong_in_a_manifest_is_refused(model_folder, name):
    content = files_of(model_folder)
    files = json.loads(seal(MODEL_FORMAT, content, None))["files"]
    files[name] = files.pop("config.json")
    manifest = resealed(content, MODEL_FORMAT, {"files": files})
    (model_folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(CheckpointError, match="fields are missing, unknown or of a wrong type"):
        load_model(model_folder)


def test_manifest_that_would_fill_the_memory_is_refused_unread(model_folder):
    with (model_folder / MANIFEST).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="at most 1048576 belong"):
        load_model(model_folder)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F8_E4M3", [8], 8),
        ("F8_E8M0", [8], 8),
        ("F4", [16], 8),
        ("F6_E2M3", [4], 3),
        ("C64", [1], 8),
        ("U64", [1], 8),
        ("F32", [0, 2**63], 0),
        ("F32", [0, 2**40, 2**40], 0),
        ("F32", [2**32, 2**32], 0),
        ("F32", [2**62], 0),
    ],
)
def test_tensor_of_a_size_or_type_that_cannot_be_is_refused(dtype, shape, size):
    header = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    with pytest.raises(CheckpointError):
        decode_tensors(with_header(json.dumps(header).encode(), bytes(size)), "file")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model_folder, value):
    content = files_of(model_folder)
    data = content["model.safetensors"]
    content["model.safetensors"] = data[:-4] + struct.pack("<f", value)
    (model_folder / "model.safetensors").write_bytes(content["model.safetensors"])
    (model_folder / MANIFEST).write_bytes(seal(MODEL_FORMAT, content, None))
    with pytest.raises(CheckpointError, match="not finite"):
        load_model(model_folder)


# Versions.


def test_newer_model_is_refused_with_the_version_it_needs(model_folder):
    content = files_of(model_folder)
    manifest = resealed(content, MODEL_FORMAT, {"version": 3, "unspool": "7.8.9", "more": {"x": 1}})
    (model_folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(
        CheckpointError, match=r"format 3, .* reads up to 1; use unspool 7\.8\.9 or"
    ):
        load_model(model_folder)


def test_newer_checkpoint_is_refused_and_not_gone_back_behind(checkpoint_folder):
    run_folder = checkpoint_folder.parent.parent
    older = checkpoint_folder.with_name("step-000003")
    shutil.copytree(checkpoint_folder, older)
    content = files_of(older)
    (older / MANIFEST).write_bytes(seal(CHECKPOINT_FORMAT, content, 3))
    assert load_checkpoint(older).step == 3
    manifest = resealed(content, CHECKPOINT_FORMAT, {"version": 2, "unspool": "7.8.9"}, 7)
    (checkpoint_folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(CheckpointError, match=r"use unspool 7\.8\.9 or later"):
        newest_checkpoint(run_folder)
    (checkpoint_folder / MANIFEST).write_bytes(manifest.replace(b'"version": 2', b'"version": 3'))
    found, skipped = newest_checkpoint(run_folder)
    assert found.step == 3
    assert "damaged" in skipped[0].reason


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_version_that_never_was_is_refused(model_folder, version):
    content = files_of(model_folder)
    (model_folder / MANIFEST).write_bytes(resealed(content, MODEL_FORMAT, {"version": version}))
    with pytest.raises(CheckpointError, match="is unknown; wanted 1"):
        load_model(model_folder)


def test_folder_that_is_not_ours_is_refused(model_folder, checkpoint_folder, tmp_path):
    with pytest.raises(CheckpointError, match="not an unspool model"):
        load_model(checkpoint_folder)
    with pytest.raises(CheckpointError, match="not an unspool checkpoint"):
        load_checkpoint(model_folder)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"it has no manifest\.json"):
        load_model(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_model(tmp_path / "nowhere")
