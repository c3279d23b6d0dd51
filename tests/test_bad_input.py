"""Files as people have them, on the command line: every row accounted for, or one clear line."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import random
import re
import wave

import numpy as np
import pytest

import faults
from command_line import call  # noqa: F401
from unspool import jobs
from unspool.config import resolve
from unspool.data.encoders import encode_all, num_cut
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.data.text_encoders import LONGEST, TextEncoder
from unspool.data.wav import encode_wav
from unspool.errors import DataError

SMALL = {
    "threads": 1, "size": "tiny", "model.hidden": 4, "model.embedding": 4, "train.epochs": 0,
    "train.steps": 2, "train.batch": 8,
}  # fmt: skip
ROWS = [
    f"{word} day {i},{label}"
    for i in range(12)
    for word, label in (("fine", "up"), ("bad", "down"))
]


@pytest.fixture(autouse=True, scope="module")
def quick():
    with faults.through(faults.without_sync):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on texts, and its file."""
    root = tmp_path_factory.mktemp("bad")
    file = root / "rows.csv"
    file.write_text("\n".join(["text,label", *ROWS]) + "\n")
    jobs.train(file, settings=resolve(None, {**SMALL, "task": "classify"}), out=root / "run")
    return root / "run", file


@pytest.fixture
def sounds(tmp_path):
    """Sounds in folders: whole ones of every form, and damaged ones."""
    rng = np.random.default_rng(0)
    for label, hertz in (("low", 300), ("high", 1200)):
        folder = tmp_path / "sounds" / label
        folder.mkdir(parents=True)
        for i in range(8):
            tone = np.sin(2 * np.pi * hertz * np.arange(800) / 8000) + rng.normal(0, 0.01, 800)
            (folder / f"{i}.wav").write_bytes(encode_wav(0.3 * tone, 8000))
    low = tmp_path / "sounds" / "low"
    (low / "silent.wav").write_bytes(encode_wav(np.zeros(800), 8000))
    with wave.open(str(low / "stereo.wav"), "wb") as sound:
        sound.setparams((2, 2, 44_100, 0, "NONE", ""))
        sound.writeframes(rng.integers(-3000, 3000, 8820).astype("<i2").tobytes())
    whole = encode_wav(np.zeros(800), 8000)
    (low / "cut.wav").write_bytes(whole[:500])
    (low / "nothing.wav").write_bytes(b"")
    (low / "no samples.wav").write_bytes(encode_wav(np.zeros(0), 8000))
    return tmp_path / "sounds"


def test_damaged_sounds_are_refused_by_name_and_the_rest_trains_and_answers(call, sounds, tmp_path):
    report = json.loads(call("data", sounds, "--json")[1])
    assert report["rows"] == {"total": 21, "used": 18, "refused": 3, "unit": "files"}
    assert all(each["file"] not in each["reason"] for each in report["refused"])
    changes = {**SMALL, "task": "listen", "model.embedding": 0}
    jobs.train(sounds, settings=resolve(None, changes), out=tmp_path / "run")
    code, out, error = call("predict", tmp_path / "run", "--file", sounds, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(answers) == 18 and "21 files: 18 used, 3 refused" in error
    assert all(np.isfinite(each["probability"]) for each in answers)
    code, out, error = call("predict", tmp_path / "run", sounds / "low" / "cut.wav")
    assert (code, out, error.count("\n")) == (2, "", 1) and "is cut short" in error


def test_damaged_images_are_refused_and_counted_and_the_rest_is_used(call, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / label).mkdir()
        for i, (mode, size) in enumerate([("L", (9, 9)), ("RGB", (9, 9)), ("RGBA", (12, 5))] * 2):
            shade = rng.integers(0, 90, (*size, {"L": 1, "RGB": 3, "RGBA": 4}[mode]), np.uint8)
            shade = (shade + (label == "light") * 150).squeeze()
            pillow.fromarray(shade.astype(np.uint8), mode).save(tmp_path / label / f"{i}.png")
    whole = (tmp_path / "dark" / "0.png").read_bytes()
    (tmp_path / "dark" / "cut.png").write_bytes(whole[:60])
    (tmp_path / "dark" / "empty.png").write_bytes(b"")
    code, out, _ = call("data", tmp_path, "--json")
    report = json.loads(out)
    assert code == 0 and report["rows"] == {"total": 14, "used": 12, "refused": 2, "unit": "files"}
    assert all("cannot be read as an image" in each["reason"] for each in report["refused"])


def test_a_text_too_long_for_memory_is_an_error_unless_a_limit_is_set(call, tmp_path):
    """C5: refused by default with its line; cut if asked, and then counted and told."""
    file = tmp_path / "long.csv"
    file.write_text("\n".join(["text,label", *ROWS, "no " * (LONGEST + 1) + ",up"]) + "\n")
    words = ["train", file, "--size", "tiny", "--steps", "1", "--out", tmp_path / "run"]
    code, _, error = call(*words)
    assert code == 2 and re.search(rf"line {len(ROWS) + 2}: has [\d,]+ steps", error)
    assert "data.max_length" in error and not (tmp_path / "run").exists()
    code, _, error = call(*words, "--data.max-length", "3", "--data.too-long", "truncate")
    assert code == 0 and f"1 of {len(ROWS) + 1} inputs were cut to data.max_length." in error


def test_cut_inputs_are_counted_and_whole_ones_of_the_limit_are_not():
    rows = [("a b c", "x"), ("a b c d", "y"), ("a", "x"), ("b c d e f", "y")]
    settings = DataSettings(tokens="word", max_length=3, too_long="truncate")
    examples = read(rows, settings).examples
    encoder = TextEncoder.fit(examples.inputs, settings)
    assert num_cut(encoder, examples, encode_all(encoder, examples)) == 2


def test_measuring_tells_what_was_trained_on_and_what_no_answer_can_be(call, run, tmp_path):
    folder, file = run
    warnings = [
        line for line in call("evaluate", folder, file)[2].splitlines() if "Warning" in line
    ]
    trained = len(read([file], DataSettings(split=0.8)).parts["train"])
    assert warnings == [
        f"Warning: {file}: {trained} of {len(ROWS)} rows were trained on; these figures flatter "
        "the model."
    ]
    new = tmp_path / "new.csv"
    new.write_text("text,label\nnever seen,up\nnor this,007\nnor that,NA\n,up\n")
    code, out, error = call("evaluate", folder, new)
    assert code == 0 and "over 3 rows" in out and "trained on" not in error
    assert (
        "4 rows: 3 used, 1 refused; the first: " in error and "line 5: the text is empty" in error
    )
    assert "2 of 3 rows have a label that training never saw (007, NA)" in error


def test_measuring_a_writer_on_its_own_text_tells_the_lines_that_it_learnt(call, tmp_path):
    rng = random.Random(0)
    lines = [
        " ".join(rng.choices(["the cat", "sat on", "a mat", "and it", "saw"], k=9))
        for _ in range(40)
    ]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    changes = {**SMALL, "task": "write", "train.length": 16}
    jobs.train(tmp_path / "text.txt", settings=resolve(None, changes), out=tmp_path / "run")
    error = call("evaluate", tmp_path / "run", tmp_path / "text.txt")[2]
    assert "of 40 lines were trained on" in error


def test_utf16_without_its_mark_is_told_the_encoding_that_reads_it(call, tmp_path):
    text = "\n".join(["text,label", *ROWS]) + "\n"
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
        code, out, error = call("data", tmp_path / "rows.csv")
        assert code == 2 and f"--data.encoding {encoding}" in error
        code, out, _ = call("data", tmp_path / "rows.csv", "--data.encoding", encoding)
        assert code == 0 and f"rows {len(ROWS)}: {len(ROWS)} used, 0 refused" in out


@pytest.mark.parametrize("command", ["data", "train"])
def test_file_of_blanks_is_refused_by_name(tmp_path, call, command):
    (tmp_path / "blank.csv").write_text(" \n\n")
    code, _, error = call(command, str(tmp_path / "blank.csv"))
    assert code == 2 and "blank.csv: holds nothing but blanks" in error


def test_cells_that_look_like_nothing_or_numbers_stay_what_they_are():
    labels = ["NA", "007", "null", "7"] * 4
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    assert read(rows, task="classify").examples.targets == labels


def test_a_single_input_many_times_over_is_refused_in_words():
    with pytest.raises(DataError, match="a single input cannot make 3 parts"):
        read([("the same", "no" if i % 2 else "yes") for i in range(20)], task="classify")
