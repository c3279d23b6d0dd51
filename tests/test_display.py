"""What is shown while something runs: on a terminal, in a log, and never where a machine reads."""

from __future__ import annotations

import io
import math
import sys

import pytest
from rich.console import Console

from unspool.display import PATIENCE, LiveDisplay, PlainDisplay, observing, report_table

START = {
    "event": "start", "task": "write", "unit": "char", "cell": "lstm", "steps": 100,
    "parameters": 345000, "train_tokens": 9000, "validation_tokens": 1000, "run": "runs/x",
    "backend": "torch",
}  # fmt: skip
STEP = {
    "event": "step", "step": 25, "loss": 2.0, "gradient_norm": 3.25, "clipped_norm": 1.0,
    "learning_rate": 0.002, "targets": 4096, "seconds": 0.5,
}  # fmt: skip
EVALUATION = {"event": "evaluation", "step": 50, "loss": 1.5, "best": True, "seconds": 0.1}
SAMPLE = {"event": "sample", "step": 50, "text": "the boy [bold] said\x1b[2J so"}
WARNING = {"event": "warning", "text": "one character was left out."}
BASELINE = {"event": "baseline", "name": "7-gram", "loss": 1.517, "seconds": 2.1}
STATUS = {"event": "status", "text": "counting n-grams"}
CHECKPOINT = {"event": "checkpoint", "step": 50}
END = {"event": "end", "step": 100, "loss": 1.4, "verdict": "The lstm is best."}
TRAINING = [START, BASELINE, STEP, EVALUATION, SAMPLE, CHECKPOINT, WARNING, END]


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(clock):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    return LiveDisplay(console, clock)


def shown(display):
    """What stands at the bottom, as lines of text."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(display.render())
    return console.file.getvalue()


def printed(display):
    return display.console.file.getvalue()


def test_figures_of_a_training_are_shown(live, clock):
    live(START)
    clock.now = 30.0
    live(STEP)
    live(EVALUATION)
    for expected in (
        "25/100", "2.000 nats/char", "2.885 bits/char", "8,192 chars/s", "3.25 → 1.00",
        "learning rate 0.002", "1:30 left", "validation 1.500 (best 1.500)",
    ):  # fmt: skip
        assert expected in shown(live)


def test_time_left_counts_only_the_steps_of_this_process(live, clock):
    live(START | {"event": "resume", "step": 24})
    clock.now = 2.0
    live(STEP)
    assert "2:30 left" in shown(live)


def test_best_stays_when_a_later_evaluation_is_worse(live):
    for event in (START, STEP, EVALUATION, EVALUATION | {"loss": 1.75}):
        live(event)
    assert "validation 1.750 (best 1.500)" in shown(live)


def test_samples_baselines_and_warnings_scroll_past(live):
    for event in TRAINING:
        live(event)
    for expected in (
        "write: lstm, 345,000 parameters (torch)",
        "7-gram: 1.517 nats/char (2.189 bits/char), in 2.1 s",
        "the boy [bold] said␛[2J so",
        "Warning: one character was left out.",
    ):
        assert expected in printed(live)
    assert "\x1b[2J" not in printed(live)


def test_a_bar_appears_only_when_something_lasts(live, clock):
    live(STATUS)
    clock.now = 0.9 * PATIENCE
    assert not shown(live).strip()
    clock.now = 1.1 * PATIENCE
    assert "counting n-grams" in shown(live)
    live(BASELINE)
    assert "counting n-grams" not in shown(live)


def test_a_bar_keeps_its_start_while_its_label_stays(live, clock):
    live(STATUS | {"done": 0, "total": 10})
    clock.now = 65.0
    live(STATUS | {"done": 5, "total": 10})
    assert "1:05" in shown(live)


def test_a_log_gets_one_line_for_each_evaluation_and_warning(capsys):
    display = PlainDisplay()
    for event in TRAINING:
        display(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "step 50 of 100: validation 1.500 nats/char (2.164 bits/char), the best so far; "
        "8,192 chars/s",
        "Warning: one character was left out.",
    ]


def test_time_of_a_training_is_told_once_after_its_first_seconds(capsys):
    clock = Clock()
    display = PlainDisplay(clock)
    for step, now in ((0, 0.0), (1, 1.0), (2, 4.0), (3, 6.0)):
        clock.now = now
        display({**START, "steps": 300} if not step else {**STEP, "step": step})
    assert capsys.readouterr().err == "300 steps will take about 10 minutes.\n"


@pytest.mark.parametrize("last", [2, 4])
def test_time_of_a_training_is_not_told_when_it_is_nearly_over(last, capsys):
    clock = Clock()
    display = PlainDisplay(clock)
    display({**START, "steps": last})
    clock.now = 5.0
    display({**STEP, "step": 2})
    assert capsys.readouterr().err == ""


def test_note_is_a_line_and_text_of_a_terminal_stays_text(capsys):
    display = PlainDisplay()
    display({"event": "note", "text": "vectors\x1b[2J for 3 words"})
    assert capsys.readouterr().err == "vectors␛[2J for 3 words\n"


@pytest.mark.parametrize("json", [False, True])
def test_nothing_live_is_drawn_where_nobody_watches(json, capsys):
    with observing(json) as observer:
        for event in TRAINING:
            observer(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == (0 if json else 2)
    assert "\x1b" not in captured.err


@pytest.mark.parametrize(("kind", "watched"), [("xterm", True), ("dumb", False)])
def test_a_terminal_is_drawn_on_unless_it_is_dumb(kind, watched, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", kind)
    with observing() as observer:
        assert isinstance(observer, LiveDisplay) is watched


def test_the_cursor_comes_back_when_training_fails(live):
    hide, show = "\x1b[?25l", "\x1b[?25h"
    with pytest.raises(ZeroDivisionError), live:
        live(START)
        raise ZeroDivisionError
    assert printed(live).rfind(show) > printed(live).rfind(hide) >= 0


@pytest.mark.parametrize("loss", [0.0, 1.0, 2.0])
def test_report_ranks_by_loss_and_shares_one_scale(loss):
    """Two tokens for three characters: bits per character are two thirds of bits per token."""
    report = {
        "model": "lstm",
        "loss": loss,
        "unit": "token",
        "bits_per_character": loss / math.log(8) * 2,
        "baselines": [{"name": "n-gram", "loss": 1.5, "seconds": 0.25}],
    }
    console = Console(file=io.StringIO(), width=100)
    console.print(report_table(report))
    rows = [line.split() for line in console.file.getvalue().splitlines()[1:]]
    assert [row[0] for row in rows] == (["lstm", "n-gram"] if loss < 1.5 else ["n-gram", "lstm"])
    bits = {row[0]: float(row[2]) for row in rows}
    assert bits["lstm"] == pytest.approx(report["bits_per_character"], abs=1e-3)
    if loss:
        assert bits["n-gram"] == pytest.approx(1.5 / math.log(8) * 2, abs=1e-3)
