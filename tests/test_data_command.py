"""`unspool data`: what would be trained on, and every row accounted for."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields

import pytest

from command_line import call  # noqa: F401
from unspool.display import PlainDisplay
from unspool.flags import DataFlags, ModelFlags, SettingsFlags, TrainFlags

ROWS = "".join(f"good day {i},up\nbad night {i},down\n" for i in range(15))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my rows.csv").write_text(f"review,verdict\n{ROWS},up\nlonely,\n")
    return "my rows.csv"


def test_every_row_is_used_or_refused_with_line_and_reason(call, file):
    code, out, _ = call("data", file, "--json")
    report = json.loads(out)
    rows = report["rows"]
    assert code == 0 and rows["used"] + rows["refused"] == rows["total"] == 32
    assert [each["line"] for each in report["refused"]] == [32, 33]
    text = call("data", file)[1]
    assert "rows 32: 30 used, 2 refused" in text
    assert "line 32: the text is empty" in text and "line 33: the label is empty" in text


def test_what_was_understood_is_shown(call, file):
    text = call("data", file)[1]
    first = text.splitlines()[0]
    assert first.startswith("classify (many to one): ") and "2 labels" in first
    for expected in ("columns: text = review, label = verdict", "2 labels: up 15, down 15",
                     "lengths in characters: 10 to 12", "█", "parts: ", " train, ",
                     "1. good day 0 → up"):  # fmt: skip
        assert expected in text


def test_lengths_and_parts_add_up_to_what_is_used(call, file):
    report = json.loads(call("data", file, "--json")[1])
    bars = sum(each["count"] for each in report["lengths"]["histogram"])
    parts = sum(report["split"][name] for name in ("train", "validation", "test"))
    assert bars == parts == report["rows"]["used"] == sum(report["classes"].values())


def test_long_examples_are_cut_to_the_width(call, tmp_path):
    rows = "".join(f"{'word ' * 500}{i},a\nshort {i},b\n" for i in range(9))
    (tmp_path / "long.csv").write_text(f"text,label\n{rows}")
    lines = call("data", tmp_path / "long.csv")[1].splitlines()
    assert max(len(line) for line in lines if "→" in line) <= 80


def test_the_command_to_train_reads_what_was_shown(call, file):
    """The words behind ``train`` are taken by ``data`` too, and show the same."""
    text = call("data", file, "--data.text", "review", "--task", "classify", "--seed", "5",
                "--data.lower")[1]  # fmt: skip
    [command] = re.findall(r"Train on it: `(.*)`", text)
    words = shlex.split(command)
    words = words[words.index("train") + 1 :]
    assert words[0] == file and "--data.lower" in words
    assert call("data", *words)[1] == text


def test_flags_are_written_as_they_are_read():
    flags = SettingsFlags(
        model="gru",
        seed=3,
        model_fields=ModelFlags(bidirectional=False, options={"activation": "relu"}),
        train_fields=TrainFlags(batch=4),
        data_fields=DataFlags(max_length=9, lower=True),
    )
    assert flags.written() == [
        "--model.bidirectional".replace("--", "--no-"), "--model.options.activation", "relu",
        "--train.batch", "4", "--data.lower", "--data.max-length", "9", "--model.name", "gru",
        "--seed", "3",
    ]  # fmt: skip
    assert {"bidirectional", "options"} <= {field.name for field in fields(ModelFlags)}


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        ((), None, "got neither"),
        (("few.csv", "--sample", "tag"), "text,label\na,b\n", "got both"),
        (("few.csv",), "", "few.csv"),
        (("nowhere.csv",), None, "nowhere.csv"),
        (("few.csv", "--data.label", "stars"), "text,label\n" + ROWS, "is no column"),
        (("few.csv", "--task", "sing"), "text,label\n" + ROWS, "sing"),
        (("--sample", "nothing"), None, "nothing"),
    ],
)
def test_bad_input_is_one_line(call, tmp_path, monkeypatch, words, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "few.csv").write_text(content)
    code, out, error = call("data", *words)
    assert (code, out, error.count("\n")) == (2, "", 1) and message in error


def test_a_log_begins_with_what_was_read(capsys):
    refused = [{"file": "a.csv", "line": 7, "reason": "the text is\x1b[2J empty"}]
    PlainDisplay()(
        {
            "event": "data", "task": "rate", "mapping": "many to one", "reason": "stars",
            "rows": {"total": 9, "used": 6, "refused": 3, "unit": "rows"}, "refused": refused,
        }
    )  # fmt: skip
    assert capsys.readouterr().err.splitlines() == [
        "recognised as rate (many to one): stars; 9 rows, 6 used, 3 refused",
        "refused: a.csv, line 7: the text is␛[2J empty; and 2 more",
    ]
