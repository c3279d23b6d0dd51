"""A run from the outside: load what it learnt, use it; and models that are not what they claim."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc

import pytest
import torch

import faults
from trainings import small_settings, small_text
from unspool import jobs
from unspool.errors import (
    CellError,
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
)
from unspool.predictor import load
from unspool.tasks import text_loss, write
from unspool.training.checkpoint import MODEL_FORMAT, newest_checkpoint
from unspool.training.layout import list_checkpoints
from unspool.training.manifest import MANIFEST, seal

SMALL = {"train__steps": 40, "train__evaluate_every": 20, "train__checkpoint_every": 20}
CELL = '''
from unspool import cell, sigmoid, tanh

@cell(state="h")
def mine(x, h, W, U, b):
    """A leaky unit of the tests."""
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ h + b.n)
    h = (1 - z) * h + z * n
    return h
'''


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


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run")


# Loading and using.


def test_same_seed_writes_the_same_text(trained):
    model = load(trained[0])
    once = model.generate("the cat", 80, seed=1)
    assert (
        once
        == model.generate("the cat", 80, seed=1)
        == load(trained[0]).generate("the cat", 80, seed=1)
    )
    assert len(once) == 80 and once != model.generate("the cat", 80, seed=2)


def test_streamed_text_is_the_whole_text(trained):
    model = load(trained[0])
    options = {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 4}
    pieces = list(model.stream("the ", 60, **options))
    assert "".join(pieces) == model.generate("the ", 60, **options) and len(pieces) > 1


def test_next_tokens_are_the_likeliest_with_their_chances(trained):
    model = load(trained[0])
    table = model.next("the ca", top=1000)
    assert len(table) == model.tokenizer.size
    assert sum(chance for _, chance in table) == pytest.approx(1.0)
    assert [chance for _, chance in table] == sorted((c for _, c in table), reverse=True)
    assert table[:3] == model.next("the ca", top=3)
    assert model.generate("the ca", 1, temperature=0.0) == table[0][0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate("naïve ☃"), "'ï'.*'☃'"),
        (lambda m: m.next("naïve"), "'ï'"),
        (lambda m: m.evaluate("naïve"), "'ï'"),
        (lambda m: m.next(""), "text: is empty"),
        (lambda m: m.evaluate("t"), "wanted at least 2"),
    ],
)
def test_text_is_refused_when_the_vocabulary_lacks_it(trained, call, message):
    with pytest.raises(DataError, match=message):
        call(load(trained[0]))


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"length": -1}]
)
def test_generation_is_refused_when_an_option_is_out_of_range(trained, options):
    with pytest.raises(ConfigError, match="wanted"):
        load(trained[0]).stream("the", **options)


def test_table_of_no_tokens_is_refused(trained):
    with pytest.raises(ConfigError, match="top: got 0"):
        load(trained[0]).next("the", top=0)


def test_perplexity_of_a_hopeless_model_is_infinite_and_no_crash(trained, monkeypatch):
    monkeypatch.setattr(text_loss, "total_loss", lambda windows: 1000.0)
    assert load(trained[0]).evaluate("the cat")["perplexity"] == math.inf


def test_run_and_its_model_folder_load_alike(trained, copied, tmp_path):
    shutil.copytree(copied / "model", tmp_path / "elsewhere")
    shutil.rmtree(copied)
    whole, alone = load(trained[0]), load(tmp_path / "elsewhere")
    assert whole.generate("the", 50) == alone.generate("the", 50)
    assert whole.step is alone.step is None


def test_run_is_loaded_while_it_trains_from_its_newest_readable_checkpoint(copied):
    shutil.rmtree(copied / "model")
    loaded = load(copied)
    assert loaded.step == 40 and len(loaded.generate("the", 20)) == 20
    newest, previous = list_checkpoints(copied)[:2]
    (newest / "model.safetensors").write_bytes(b"")
    assert load(copied).step == int(previous.name.removeprefix("step-"))


def test_run_without_a_checkpoint_yet_is_refused(copied):
    shutil.rmtree(copied / "model")
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(RunError, match="has no model and no checkpoint yet"):
        load(copied)


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no such run"):
        load(tmp_path / "nothing")
    with pytest.raises(RunError, match="not a run of Unspool"):
        load(tmp_path)


# Models from strangers.

CONTENTS = sorted(MODEL_FORMAT.files | {"tokenizer.json"})


def reseal(folder, **changes):
    """Change config.json, and give it a manifest that fits, as any author can."""
    files = {name: (folder / name).read_bytes() for name in CONTENTS}
    config = json.loads(files["config.json"])
    for path, value in changes.items():
        *parents, name = path.split("__")
        inner = config
        for parent in parents:
            inner = inner[parent]
        inner[name] = value
    files["config.json"] = json.dumps(config).encode()
    (folder / "config.json").write_bytes(files["config.json"])
    (folder / MANIFEST).write_bytes(seal(MODEL_FORMAT, files, None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__hidden": 65536}, r"'.*' is \[.*\] of float32 in the file"),
        ({"model__hidden": 65536, "model__layers": 256}, r"'.*' is \[.*\] of float32 in the file"),
        ({"model__layers": 2}, r"the file has no 'encoder\.weights\.l1"),
        ({"model__hidden": 2**31}, r"model\.hidden: got 2147483648; wanted .* to 65536"),
        ({"model__hidden": -1}, r"model\.hidden: got -1"),
        ({"model__hidden": 8.5}, r"model\.hidden: got 8\.5; wanted a whole number"),
        ({"model__hidden": "8"}, r"model\.hidden: got '8'; wanted a whole number"),
        ({"model__hidden": True}, r"model\.hidden: got true; wanted a whole number"),
        ({"model__tie": "no"}, r"model\.tie: got 'no'; wanted true or false"),
        ({"model__layers": 10**6}, r"model\.layers: got 1000000"),
        ({"model__width": 8}, r"unknown key 'model\.width'"),
        ({"model": []}, "describes no model"),
        ({"model": {"hidden": {}}}, r"model\.hidden: got \{\}"),
        ({"cell": {}}, "describes no model"),
        ({"cell": []}, "describes no model"),
        ({"task": "sing"}, "unknown name 'sing'; use one of write"),
    ],
)
def test_model_that_is_not_what_it_claims_is_refused_before_it_takes_memory(
    copied, changes, message
):
    reseal(copied / "model", **changes)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as refusal:
        load(copied)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6 and "\n" not in str(refusal.value)


def test_nothing_is_allocated_for_a_model_that_is_refused(copied, monkeypatch):
    """Tracemalloc does not see torch's memory; the weights must stay on the meta device."""
    reseal(copied / "model", model__hidden=65536)
    made = []
    real = torch.empty

    def watched(*arguments, **keywords):
        made.append(real(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(torch, "empty", watched)
    with pytest.raises(CheckpointError):
        load(copied)
    assert made and all(tensor.is_meta or tensor.numel() < 10**6 for tensor in made)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "manifest.json", "README.md"]
)
def test_model_is_refused_when_a_file_is_damaged_or_missing(copied, name):
    path = copied / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"damaged|not"):
        load(copied)
    path.unlink()
    with pytest.raises(CheckpointError, match=name):
        load(copied)


def test_model_is_refused_when_a_newer_version_wrote_it(copied):
    manifest = copied / "model" / MANIFEST
    newer = type(MODEL_FORMAT)(
        name=MODEL_FORMAT.name, version=MODEL_FORMAT.version + 1, files=frozenset(CONTENTS)
    )
    files = {name: (copied / "model" / name).read_bytes() for name in CONTENTS}
    manifest.write_bytes(seal(newer, files, None))
    with pytest.raises(CheckpointError, match="reads up to"):
        load(copied)


def test_tokenizer_that_does_not_fit_the_weights_is_refused(copied, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("xyz" * 99)
    jobs.train(other, settings=small_settings(train__steps=1), out=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "tokenizer.json", copied / "model" / "tokenizer.json")
    reseal(copied / "model")
    with pytest.raises(CheckpointError, match=r"tokenizer.json has 3 tokens and the model \d+"):
        load(copied)


# A cell of one's own.


def test_own_cell_trains_and_is_loaded_after_its_file_is_gone(text, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CELL)
    settings = small_settings(**SMALL, model__name=f"{file}:mine")
    report = jobs.train(text, settings=settings, out=tmp_path / "run")
    assert report["model"] == "mine"
    before = load(tmp_path / "run").generate("the", 40)
    file.unlink()
    assert load(tmp_path / "run").generate("the", 40) == before
    shutil.rmtree(tmp_path / "run" / "model")
    assert load(tmp_path / "run").generate("the", 40)


def test_run_with_an_own_cell_is_resumed_exactly_after_its_file_is_gone(text, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CELL)
    settings = small_settings(**SMALL, model__name=f"{file}:mine")
    jobs.train(text, settings=settings, out=tmp_path / "run")
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    file.unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(list_checkpoints(tmp_path / "run")[0])
    assert newest_checkpoint(tmp_path / "run")[0].step == 20
    jobs.resume(tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("lstn", ConfigError, "Did you mean 'lstm'"),
        ("missing.py:mine", ConfigError, "no file 'missing.py'"),
        ("{}:yours", ConfigError, "it has mine"),
        ("{}", ConfigError, "wanted the cell as well"),
    ],
)
def test_cell_is_refused_when_it_cannot_be_found(name, error, message, text, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CELL)
    settings = small_settings(model__name=name.format(file))
    with pytest.raises(error, match=message):
        jobs.train(text, settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cell_with_a_mistake_is_refused_with_its_line(text, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CELL.replace("U.n @ h", "U.n @ x"))
    with pytest.raises(CellError, match=r"mine\.py:\d+"):
        jobs.train(text, settings=small_settings(model__name=f"{file}:mine"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
