"""The command line: what it hands to the library, what it prints, and one line for a mistake."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import unspool
from unspool.cli import app, main
from unspool.config import Settings, keys
from unspool.errors import ConfigError, DataError, RunError
from unspool.flags import CHOICES, SettingsFlags, descriptions
from unspool.models.settings import RecurrentSettings
from unspool.training.interruption import Interrupted
from unspool.usage import program

KEYS = dict(keys())
COMMANDS = [name for name in app if not name.startswith("-")]
REPORT = {
    "run": "runs/a b",
    "task": "write",
    "model": "lstm",
    "steps": 10,
    "loss": 1.6,
    "unit": "char",
    "bits_per_character": 1.6 / math.log(2),
    "baselines": [{"name": "7-gram Kneser–Ney", "loss": 1.5, "seconds": 2.0}],
    "verdict": "The 7-gram is better.",
    "parameters": 1000,
}
MEASURED = REPORT | {"file": "x.txt", "tokens": 40, "perplexity": math.inf}
CHANCES = [("e", 0.5), ("\n", 0.25)]


@pytest.fixture
def call(capsys):
    """Run a command in this process: its exit code and the lines of both streams."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def library(monkeypatch):
    """Stand-ins for `unspool.jobs` and `unspool.predictor` that note how they were called."""
    calls = {}

    def note(name, result):
        def function(*arguments, **keywords):
            calls[name] = arguments, keywords
            return result

        return function

    predictor = SimpleNamespace(
        stream=note("stream", ["ab", "c"]), next=note("next", CHANCES), unit="char"
    )
    jobs = SimpleNamespace(
        train=note("train", REPORT),
        resume=note("resume", REPORT),
        evaluate=note("evaluate", MEASURED),
        demo=note("demo", REPORT),
    )
    load = SimpleNamespace(load=note("load", predictor))
    for name, module in (("jobs", jobs), ("predictor", load)):
        monkeypatch.setitem(sys.modules, f"unspool.{name}", module)
        monkeypatch.setattr(unspool, name, module, raising=False)
    return SimpleNamespace(calls=calls, jobs=jobs, predictor=predictor)


def settings_of(library) -> Settings:
    return library.calls["train"][1]["settings"]


def get(settings, key):
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


# Speed.


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


# Flags.


def other_value(key):
    """A value that is not the default, and fits."""
    kind, default = KEYS[key], get(Settings(), key)
    if key in CHOICES:
        return next(choice for choice in CHOICES[key] if choice != default)
    special = {
        "size": "tiny",
        "task": "write",
        "device": "cpu",
        "data.encoding": "latin-1",
        "train.truncation_mean": 900,
        "train.accumulate": 2,
    }
    if key in special:
        return special[key]
    if kind is int:
        return 2 * default + 2
    return {float: 0.625, bool: not default}.get(kind, "x")


@pytest.mark.parametrize("key", [key for key, kind in KEYS.items() if kind != dict[str, str]])
def test_every_field_is_a_flag(key, call, library):
    value = other_value(key)
    name = key.replace("_", "-")
    argument = [f"--{name}", str(value)]
    if KEYS[key] is bool:
        argument = [f"--{name}"] if value else [f"--no-{name}"]
    if key == "model.tie":
        argument += ["--model.embedding", "0"]
    assert call("train", "x.txt", *argument)[0] == 0
    assert get(settings_of(library), key) == value


@pytest.mark.parametrize("key", [key for key, kind in KEYS.items() if kind is bool])
def test_a_switch_can_be_turned_off_when_a_file_turns_it_on(key, call, library, tmp_path):
    section, _, name = key.partition(".")
    (tmp_path / "x.toml").write_text(f"[{section}]\n{name} = true\n")
    flag = f"--no-{key.replace('_', '-')}"
    assert call("train", "x.txt", "--config", tmp_path / "x.toml")[0] == 0
    assert get(settings_of(library), key) is True
    assert call("train", "x.txt", "--config", tmp_path / "x.toml", flag)[0] == 0
    assert get(settings_of(library), key) is False


def test_options_of_a_cell_are_flags_below_model_options(call, library):
    code, *_ = call(
        "train", "x.txt", "--model.options.activation", "relu", "--model.options.n", "4"
    )
    assert code == 0
    assert settings_of(library).model.options == {"activation": "relu", "n": "4"}


def test_model_and_its_fields_are_read_together_in_any_order(call, library):
    for words in ("--model gru --model.hidden 32", "--model.hidden=32 --model=gru"):
        assert call("train", "x.txt", *words.split())[0] == 0
        assert settings_of(library).model == RecurrentSettings(name="gru", hidden=32)


def test_short_forms_set_the_same_as_their_fields(call, library):
    assert call("train", "x.txt", "--steps", "7", "--model.layers", "3", "--size", "tiny")[0] == 0
    settings = settings_of(library)
    assert (settings.train.steps, settings.model.layers, settings.size) == (7, 3, "tiny")


def test_underscores_do_as_well_as_hyphens(call, library):
    assert call("train", "x.txt", "--train.learning_rate", "1e-3")[0] == 0
    assert settings_of(library).train.learning_rate == 1e-3


def test_every_flag_says_what_it_is(call):
    for section in ("data", "model", "train"):
        settings = getattr(Settings(), section)
        said = descriptions(type(settings))
        assert set(said) == {key.partition(".")[2] for key in KEYS if key.startswith(section)}
        assert all(said.values())
        assert not any("\n" in text or "`" in text for text in said.values())
    _, out, _ = call("train", "--help")
    assert "[default: 256; tiny 128; base 512]" in " ".join(out.replace("│", "").split())


def test_a_flag_that_was_not_given_changes_nothing():
    assert SettingsFlags().changes() == {}


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


def test_a_reader_that_went_away_is_no_error():
    code = "import sys; from unspool.cli import main; sys.exit(main(['samples', 'english']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
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
    assert {"name": "english", "characters": len(english["text"])} in samples


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


# Completion, and how the program is called.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_field(shell, call):
    code, script, _ = call("completion", shell)
    assert code == 0
    for command in COMMANDS:
        assert command in script
    for key in KEYS:
        assert key.replace("_", "-") in script.replace("\\", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_completion_completes_when_bash_runs_it(call, tmp_path):
    _, script, _ = call("completion", "bash")
    ask = (
        'complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _unspool;'
        ' echo "${COMPREPLY[@]}"; }\ncomplete_line unspool tr\n'
        "complete_line unspool train --model.hid\ncomplete_line unspool train --size t\n"
    )
    (tmp_path / "ask.sh").write_text(script + ask)
    done = subprocess.run(["bash", tmp_path / "ask.sh"], capture_output=True, text=True)
    assert done.stdout.split() == ["train", "--model.hidden", "tiny"]


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        (".venv/bin/unspool", "", ".venv/bin/unspool"),
        ("unspool", "", "./unspool"),
        (".venv/bin/unspool", ".venv/bin", "unspool"),
        ("my env/bin/unspool", "", "'my env/bin/unspool'"),
        ("../pytest", "", "unspool"),
    ],
)
def test_hints_name_the_program_as_it_can_be_called(script, path, expected, tmp_path, monkeypatch):
    full = tmp_path / script
    full.parent.mkdir(parents=True, exist_ok=True)
    if full.stem == "unspool":
        full.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(full)])
    monkeypatch.setenv("PATH", str(tmp_path / path) if path else "/nowhere")
    assert program() == expected


def test_hints_inside_errors_are_as_the_program_can_be_called(call, library, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise RunError("x exists; `unspool resume x` goes on with it.")

    monkeypatch.setattr(library.jobs, "train", fail)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "unspool")])
    expected = "Error: x exists; `bin/unspool resume x` goes on with it.\n"
    assert call("train", "x.txt") == (2, "", expected)
