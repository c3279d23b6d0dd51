"""`unspool predict`: answers beside their inputs, one line for what cannot be answered."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import csv
import io
import itertools
import json
import sys

import pytest
from PIL import Image

from command_line import call  # noqa: F401
from unspool import jobs
from unspool.answering import AT_ONCE, answered, explained
from unspool.config import resolve
from unspool.data.samples import SAMPLES, sample
from unspool.data.wav import encode_wav
from unspool.predictor import load
from unspool.tasks.example_answers import answer_all

pytestmark = pytest.mark.usefixtures("quick_training")
SMALL = {"threads": 1, "size": "tiny", "model.hidden": 4, "model.embedding": 4, "train.steps": 3}
FILES = {
    "classify": "id;text;label\n"
    + "".join(f"{i};good day {i};up\n{i};bad night {i};down\n" for i in range(20)),
    "rate": "id;text;stars\n"
    + "".join(f"{i};good day {i};{4 + i % 2}\n{i};bad night {i};{1 + i % 2}\n" for i in range(20)),
    "tag": "tokens;tags\n"
    + "".join(f"the cat {i};D N X\na dog ran {i};D N V X\n" for i in range(20)),
    "events": "visit;time;pulse;ward;label\n"
    + "".join(
        f"v{i};{t};{60 + 20 * (i % 2) + t}.5;{'east' if i % 3 else 'west'};"
        f"{'ill' if i % 2 else 'well'}\n"
        for i in range(24)
        for t in range(3)
    ),
}
CHANGES = {"events": {"data.group": "visit", "data.label": "label"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """For each kind a run whose file is separated by semicolons, and that file."""
    root = tmp_path_factory.mktemp("runs")
    made = {}
    for name, text in FILES.items():
        task = "classify" if name == "events" else name
        file = root / f"{name}.csv"
        file.write_text(text)
        changes = {**SMALL, "task": task, "data.delimiter": ";", **CHANGES.get(name, {})}
        jobs.train(file, settings=resolve(None, changes), out=root / name)
        made[name] = root / name, file
    return made


def table(file):
    return list(csv.DictReader(io.StringIO(file.read_text())))


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_file_is_answered_as_the_run_reads_it(runs, name, call):
    """Whatever belongs to an input is read too: separators, groups, columns of text."""
    run, file = runs[name]
    code, out, error = call("predict", run, "--file", file, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and error == "" and len(rows) == (24 if name == "events" else 40)
    assert all({"input", "answer"} <= row.keys() and "row" not in row for row in rows)


@pytest.mark.parametrize("name", ["classify", "rate", "tag"])
def test_arguments_lines_and_files_get_the_same_answers(runs, name, call, tmp_path, monkeypatch):
    run, _ = runs[name]
    texts = ["good day", "a bad night", "the cat 3"]
    column = "tokens" if name == "tag" else "text"
    (tmp_path / "new.csv").write_text("\n".join([f"id;{column}", *(f"7;{t}" for t in texts)]))
    by_argument = call("predict", run, *texts, "--json")[1]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts) + "\n"))
    assert call("predict", run, "--json")[1] == by_argument
    assert call("predict", run, "--file", tmp_path / "new.csv", "--json")[1] == by_argument
    library = load(run).predict([t.split() if name == "tag" else t for t in texts])
    assert [{k: v for k, v in json.loads(line).items() if k != "input"}
            for line in by_argument.splitlines()] == library  # fmt: skip


# CSV.


@pytest.mark.parametrize("name", FILES)
def test_a_table_keeps_the_columns_and_adds_the_answer(runs, name, call, tmp_path):
    run, file = runs[name]
    code, out, _ = call("predict", run, "--file", file, "--out", tmp_path / "out.csv")
    rows = table(tmp_path / "out.csv")
    assert code == 0 and f"{len(rows)} answers" in out
    columns = FILES[name].partition("\n")[0].split(";")
    assert list(rows[0])[: len(columns) + 1] == [*columns, "answer"]
    answers = list(answered(run, file=file))
    for row, answer in zip(rows, answers, strict=True):
        assert {column: row[column] for column in columns} == answer["row"]
        said = answer["answer"]
        assert row["answer"] == (" ".join(said) if isinstance(said, list) else str(said))
        for label, chance in answer.get("probabilities", {}).items():
            assert float(row[f"probability of {label}"]) == chance


def test_a_column_that_is_called_answer_stays(runs, call, tmp_path):
    (tmp_path / "new.csv").write_text("text;answer\ngood day;mine\n")
    run = runs["classify"][0]
    call("predict", run, "--file", tmp_path / "new.csv", "--out", tmp_path / "out.csv")
    [row] = table(tmp_path / "out.csv")
    assert row["answer"] == "mine" and row["answer (model)"] in ("up", "down")


def test_a_file_that_exists_is_not_written_over(runs, call):
    run, file = runs["classify"]
    before = file.read_bytes()
    code, _, error = call("predict", run, "--file", file, "--out", file)
    assert code == 2 and "exists; wanted the name of a new file" in error
    assert file.read_bytes() == before


# What cannot be answered.


def test_refused_rows_are_counted_and_the_others_answered(runs, call, tmp_path):
    (tmp_path / "new.csv").write_text("id;text\n1;good\n2;\n3;bad\n")
    code, out, error = call("predict", runs["classify"][0], "--file", tmp_path / "new.csv")
    assert code == 0 and len(out.splitlines()) == 2
    assert error.startswith("3 rows: 2 used, 1 refused; the first: ")
    assert error.endswith("new.csv, line 3: the text is empty\n")


@pytest.mark.parametrize("place", [2, AT_ONCE, AT_ONCE + 3])
def test_an_empty_line_is_refused_by_its_number(runs, call, monkeypatch, place):
    lines = ["good day"] * (place - 1) + ["  "] + ["bad"] * 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, _, error = call("predict", runs["classify"][0])
    assert code == 2 and error == f"Error: line {place}: is empty; wanted a text.\n"


def test_what_an_encoder_refuses_is_named_by_its_number(runs, call, tmp_path, monkeypatch):
    _, file = runs["classify"]
    changes = {**SMALL, "task": "classify", "data.delimiter": ";", "data.max_length": 5}
    jobs.train(file, settings=resolve(None, changes), out=tmp_path / "run")
    lines = ["good day"] * AT_ONCE + ["good " * 9]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, _, error = call("predict", tmp_path / "run")
    assert code == 2 and error.startswith(f"Error: line {AT_ONCE + 1}: has ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("",), "input 1: is empty"),
        ((), "got no input"),
        (("a", "--file", "x.csv"), "wanted one of the two"),
        (("a", "--out", "x.csv", "--json"), "wanted one of the two"),
        (("a", "b", "--explain"), "--explain wants one input"),
        (("--file", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_a_call_that_cannot_be_answered_is_one_line(runs, call, monkeypatch, words, message):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, out, error = call("predict", runs["classify"][0], *words)
    assert (code, out, error.count("\n")) == (2, "", 1) and message in error


def test_sequences_of_numbers_are_read_from_files_only(runs, call):
    code, _, error = call("predict", runs["events"][0], "1 2 3")
    assert code == 2 and "are read from a file" in error


def test_a_run_that_writes_is_refused_with_the_command_that_uses_it(call, tmp_path):
    from trainings import small_settings, small_text

    (tmp_path / "text.txt").write_text(small_text())
    settings = small_settings(train__steps=2, task="write")
    jobs.train(tmp_path / "text.txt", settings=settings, out=tmp_path / "run")
    code, _, error = call("predict", tmp_path / "run", "a")
    assert code == 2 and f"unspool generate {tmp_path / 'run'}" in error


# Which words an answer hangs on.


@pytest.mark.parametrize("name", ["classify", "rate"])
def test_differences_are_those_of_the_text_without_the_word(runs, name, call):
    run, _ = runs[name]
    text = "a  good good night"
    found = explained(run, text)
    assert [each["word"] for each in found["words"]] == text.split()
    whole, *others = load(run).predict(
        [text, "good good night", "a  good night", "a  good night", "a  good good "]
    )
    key = f"{whole['answer']:g}" if name == "rate" else whole["answer"]
    for each, other in zip(found["words"], others, strict=True):
        wanted = whole["probabilities"][key] - other["probabilities"][key]
        assert each["difference"] == pytest.approx(wanted, abs=1e-6)
    assert found["answer"] == whole["answer"]
    code, out, _ = call("predict", run, text, "--explain")
    assert code == 0 and len(out.splitlines()) == 5
    assert json.loads(call("predict", run, text, "--explain", "--json")[1]) == found


@pytest.mark.parametrize("name", ["tones", "shapes"])
def test_differences_are_those_of_the_input_with_a_part_at_the_mean(name, call, tmp_path):
    jobs.train(
        sample=name,
        settings=resolve(
            None, {"threads": 1, "size": "tiny", "task": SAMPLES[name][0], "train.steps": 3}
        ),
        out=tmp_path / "run",
    )
    example = sample(name).inputs[0]
    path = tmp_path / ("one.wav" if name == "tones" else "one.png")
    if name == "tones":
        path.write_bytes(encode_wav(example, 8000))
    else:
        Image.fromarray(example).save(path)
    found = explained(tmp_path / "run", str(path))
    predictor = load(tmp_path / "run")
    encoder = predictor.answers.encoder
    whole = encoder.encode(str(path))
    edges = [round(k * len(whole) / 10) for k in range(11)]
    places = [(slice(a, b),) for a, b in itertools.pairwise(edges)]
    if name == "shapes":
        sides = [[round(k * side / 4) for k in range(5)] for side in whole.shape[1:]]
        rows, columns = (list(itertools.pairwise(side)) for side in sides)
        places = [
            (slice(None), slice(*down), slice(*across)) for down in rows for across in columns
        ]
    assert len(found["parts"]) == len(places) and found["answer"] in found["probabilities"]
    for part, place in zip(found["parts"], places, strict=True):
        changed = whole.clone()
        changed[place] = 0
        [other] = answer_all(predictor.model, predictor.answers.rules, encoder, [changed])
        wanted = found["probability"] - other["probabilities"][found["answer"]]
        assert part["difference"] == pytest.approx(wanted, abs=1e-6)
    code, out, _ = call("predict", tmp_path / "run", path, "--explain")
    assert code == 0 and len(out.splitlines()) == 1 + len(places)


@pytest.mark.parametrize(("name", "text", "message"), [("tag", "a cat", "wanted one on texts"),
                                                       ("classify", " ", "is empty")])  # fmt: skip
def test_an_answer_that_cannot_be_explained_is_refused(runs, call, name, text, message):
    code, out, error = call("predict", runs[name][0], text, "--explain")
    assert (code, out, error.count("\n")) == (2, "", 1) and message in error
