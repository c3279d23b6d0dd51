"""The command line: what it hands to the library, what it prints, and one line for a mistake."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from command_line import CHANCES, MEASURED, REPORT, call, library  # noqa: F401
from unspool.cli import app, main
from unspool.config import keys
from unspool.errors import ConfigError, DataError, RunError
from unspool.training.interruption import Interrupted

KEYS = dict(keys())
COMMANDS = [name for name in app if not name.startswith("-")]

# Speed.


@pytest.mark.parametrize(("command", "spins"), [("cells", "1000"), ("bench", None)])
def test_threads_spin_briefly_but_where_speed_is_measured(command, spins, call, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is as before afterwards
    monkeypatch.delenv("GOMP_SPINCOUNT")
    call(command, "--help")
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_a_choice_of_spins_is_kept(call, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    call("cells", "--help")
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_nothing_heavy_is_imported_for_help_mistakes_and_tables(tmp_path):
    """One process does them all, since what one of them imports stays."""
    (tmp_path / "x.toml").write_text("[train]\nstep = 1\n")
    calls = [
        ["--help"], ["train", "--help"], ["train", "x", "--config", "x.toml"], ["--version"],
        ["train", "x", "--train.steps", "0"], ["trian"], ["completion", "bash"], ["samples"],
    ]  # fmt: skip
    code = (
        "import sys\nfrom unspool.cli import main\n"
        f"codes = [main(call) for call in {calls}]\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'safetensors', 'jaxtyping'} & set(sys.modules)\n"
        "print(codes, sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=tmp_path, text=True
    )
    assert done.stderr.splitlines()[-1] == "[0, 0, 2, 0, 2, 2, 0, 0] []"


# Mistakes.

WRONG_CALLS = [
    ("trian x", "unknown command 'trian'", "Did you mean 'train'?"),
    ("--verison", "unknown option '--verison'", ""),
    ("train", "got neither", "--sample NAME"),
    ("train x --sample english", "got both", ""),
    ("train x --modle gru", "unknown option '--modle'", "Did you mean '--model'?"),
    ("train x --model.hiden 3", "unknown option '--model.hiden'", "Did you mean '--model.hidden'?"),
    ("train x --model.hiden=3", "unknown option '--model.hiden'", "Did you mean '--model.hidden'?"),
    ("train x --size tinny", "unknown name 'tinny'", "Did you mean 'tiny'?"),
    ("train x --train.schedule cosin", "unknown name 'cosin'", "Did you mean 'cosine'?"),
    ("train x --device gpu", "--device: unknown name 'gpu'", "auto, cpu, cuda, mps"),
    ("train x --steps", "--steps: got nothing", "wanted a whole number"),
    ("train x --steps ten", "--steps: got 'ten'", "wanted a whole number"),
    ("train x --steps 1.5", "--steps: got '1.5'", "wanted a whole number"),
    ("train x --train.batch ten", "--train.batch: got 'ten'", "wanted a whole number"),
    ("train x --minutes long", "--minutes: got 'long'", "wanted a number"),
    ("train x --json=3", "--json: got '3'", ""),
    ("train x --seed 1 --seed 2", "--seed is given twice", ""),
    ("train x --steps 0", "train.steps: got 0", "wanted at least 1"),
    ("train x --seed -1", "seed: got -1", "whole number"),
    ("train x --steps 0 --model.hidden 0", "train.steps: got 0", "model.hidden: got 0"),
    ("train x --model gru --model.name lstm", "--model: got 'gru'", "--model.name 'lstm'"),
    ("train x --config nowhere.toml", "nowhere.toml: No such file", "wanted a TOML file"),
    ("train x --config .", ".: a directory", "wanted a TOML file"),
    ("next run the boy", "'boy' is one argument too many", "quotes"),
    ("next run", "TEXT is missing", "`unspool next --help`"),
    ("resume", "RUN is missing", ""),
    ("completion bosh", "unknown name 'bosh'", "Did you mean 'bash'?"),
    ("cells lsmt", "unknown name 'lsmt'", "Did you mean 'lstm'?"),
    ("cells nowhere.py:mine", "no file 'nowhere.py'", ""),
    ("cells --hidden 0", "H = 0", "wanted 1 or more"),
    ("samples englsh", "unknown name 'englsh'", "Did you mean 'english'?"),
]


@pytest.mark.parametrize(("words", "got", "way_out"), WRONG_CALLS)
def test_a_mistake_is_one_line_and_exit_code_2(words, got, way_out, call, library, tmp_path,
                                               monkeypatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert err.startswith("Error: ") and err.endswith("\n") and err.count("\n") == 1
    assert got in err and way_out in err
    assert "train" not in library.calls


WHOLE = [
    *(f"train x --{key.replace('_', '-')}" for key, kind in KEYS.items() if kind is int),
    *("train x --steps", "resume x --threads", "generate x --length", "generate x --top-k"),
    *("generate x --seed", "next x y --top", "cells --hidden", "cells --features"),
]


@pytest.mark.parametrize("words", WHOLE)
def test_a_fraction_is_refused_where_a_whole_number_is_wanted(words, call, library):
    code, out, err = call(*words.split(), "1.5")
    assert (code, out) == (2, "")
    assert "got '1.5'; wanted a whole number." in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_option_is_refused_by_every_command(command, call):
    code, out, err = call(command, "--helpp")
    assert (code, out) == (2, "")
    assert f"unspool {command}: unknown option '--helpp'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", [ConfigError, DataError, RunError])
def test_an_error_of_the_library_is_printed_as_it_is(kind, call, library, monkeypatch):
    def fail(*_, **__):
        raise kind("x.txt: is empty; wanted a text.")

    monkeypatch.setattr(library.jobs, "resume", fail)
    assert call("resume", "x") == (2, "", "Error: x.txt: is empty; wanted a text.\n")


def test_an_error_stays_one_line_without_control_characters(call, library, monkeypatch):
    def fail(*_, **__):
        raise DataError("my.py:3: wrong\n    h = \x1b[2J W @ x\n")

    monkeypatch.setattr(library.jobs, "resume", fail)
    assert call("resume", "x") == (2, "", "Error: my.py:3: wrong h = \\x1b[2J W @ x\n")


def test_an_unexpected_error_keeps_its_traceback(library, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(library.jobs, "resume", fail)
    with pytest.raises(ZeroDivisionError):
        main(["resume", "x"])


# Stopping.


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_ends_with_how_to_go_on(number, code, call, library, monkeypatch):
    def stop(*_, **__):
        raise Interrupted(number, 41, Path("runs/my run"))

    monkeypatch.setattr(library.jobs, "train", stop)
    assert call("train", "x.txt") == (
        code, "", "Stopped at step 41; go on with: unspool resume 'runs/my run'\n"
    )  # fmt: skip


def test_ctrl_c_outside_training_ends_quietly(call, library, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(library.jobs, "evaluate", stop)
    assert call("evaluate", "x") == (130, "", "Stopped.\n")


@pytest.mark.parametrize("words", [["samples"], ["samples", "english"]])
def test_a_reader_that_went_away_is_no_error(words):
    """The short output fails when it is flushed, the long one while it is written."""
    code = f"import sys; from unspool.cli import main; sys.exit(main({words}))"
    reading, writing = os.pipe()
    os.close(reading)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, env=environment
    )
    os.close(writing)
    assert (done.stderr, done.returncode) == (b"", 141)


# Output.

JSON_CALLS = {
    "train x.txt": REPORT,
    "train --sample english": REPORT,
    "resume run": REPORT,
    "demo": REPORT,
    "evaluate run x.txt": MEASURED | {"perplexity": None},
    "generate run --prompt Ro --seed 3": {"run": "run", "prompt": "Ro", "seed": 3, "text": "abc"},
    "next run text": {
        "run": "run",
        "text": "text",
        "next": [{"token": token, "probability": chance} for token, chance in CHANCES],
    },
}


@pytest.mark.parametrize("words", JSON_CALLS)
def test_json_is_one_object_and_nothing_else(words, call, library):
    code, out, err = call(*words.split(), "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out) == JSON_CALLS[words]
    assert out.isascii()


def test_json_of_cells_and_samples_holds_what_their_text_shows(call):
    lstm = json.loads(call("cells", "lstm", "--features", "3", "--hidden", "5", "--json")[1])
    assert lstm["parameter_count"] == 4 * (5 * 3 + 5 * 5 + 5)
    assert lstm["equations"][-1] == "h = o * tanh(c)"
    assert (lstm["states"], lstm["gates"]) == (["h", "c"], ["i", "f", "g", "o"])
    cells = json.loads(call("cells", "--json")[1])["cells"]
    assert "lstm" in [cell["name"] for cell in cells]
    samples = json.loads(call("samples", "--json")[1])["samples"]
    english = json.loads(call("samples", "english", "--json")[1])
    text = len(english["text"])
    assert {"name": "english", "task": "write", "characters": text} in samples


def test_cells_shows_equations_shapes_and_counts(call):
    _, out, _ = call("cells", "gru", "--features", "3", "--hidden", "5")
    for expected in ("z = sigmoid(W.z @ x", "W.r, W.z, W.n: H × D", "135 parameters at D = 3"):
        assert expected in out


def test_a_cell_of_ones_own_is_shown_like_the_others(call, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from unspool import cell, tanh\n\n@cell(state='h')\ndef plain(x, h, W, U):\n"
        "    h = tanh(W @ x\n             + U @ h)\n    return h\n"
    )
    code, out, _ = call("cells", f"{tmp_path}/mine.py:plain")
    assert code == 0
    assert "    h = tanh(W @ x\n             + U @ h)\n  states h" in out


def test_the_report_ranks_the_model_among_the_simple_methods(call, library):
    code, out, err = call("train", "x.txt")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    ranked = [line.split()[0] for line in lines if line.startswith(("7-gram", "lstm"))]
    assert ranked == ["7-gram", "lstm"]
    assert REPORT["verdict"] in lines
    assert "  unspool generate 'runs/a b' --prompt \"The \"" in lines


def test_train_hands_everything_on(call, library):
    call("train", "x.txt", "--out", "o", "--minutes", "2")
    (source,), keywords = library.calls["train"]
    assert source == Path("x.txt")
    assert (keywords["out"], keywords["minutes"], keywords["sample"]) == (Path("o"), 2.0, None)


def test_generate_prints_the_prompt_and_what_follows(call, library):
    assert call("generate", "run", "--prompt", "-x ", "--top-k", "5", "--temperature", "0.5") == (
        0, "-x abc\n", ""
    )  # fmt: skip
    assert library.calls["stream"] == (("-x ",), {"seed": 0, "top_k": 5, "temperature": 0.5})


def test_generate_shows_nothing_when_the_prompt_cannot_be_read(call, library):
    def pieces(*_, **__):
        raise DataError("prompt: the vocabulary lacks 'é'.")
        yield

    library.predictor.stream = pieces
    expected = "Error: prompt: the vocabulary lacks 'é'.\n"
    assert call("generate", "run", "--prompt", "café") == (2, "", expected)


def test_generate_writes_each_piece_before_it_asks_for_the_next(library, monkeypatch):
    written = []
    stream = SimpleNamespace(
        write=written.append, flush=lambda: written.append("|"), isatty=lambda: False
    )

    def pieces(*_, **__):
        for piece in "abc":
            yield piece
            assert written[-2:] == [piece, "|"]

    library.predictor.stream = pieces
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["generate", "run"]) == 0


def test_next_shows_characters_that_cannot_be_seen(call, library):
    _, out, _ = call("next", "run", "text", "--top", "2")
    assert library.calls["next"] == (("text", 2), {})
    assert "'\\n'" in out and "0.2500" in out
