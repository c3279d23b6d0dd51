"""Every setting is a flag, every flag completes, and hints name the program as it is called."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import pytest

from command_line import call, library  # noqa: F401
from unspool.cli import app
from unspool.config import Settings, keys
from unspool.errors import RunError
from unspool.flags import CHOICES, SettingsFlags, descriptions
from unspool.models.settings import MODEL_SETTINGS, RecurrentSettings
from unspool.usage import program

KEYS = dict(keys())
COMMANDS = [name for name in app if not name.startswith("-")]


def settings_of(library) -> Settings:
    return library.calls["train"][1]["settings"].settings()


def get(settings, key):
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


# Flags.


def family_of(key):
    """A model that has a field, and its settings."""
    name = key.removeprefix("model.")
    families = {"lstm": RecurrentSettings, **MODEL_SETTINGS}
    return next(
        (family, settings()) for family, settings in families.items() if hasattr(settings(), name)
    )


def default_of(key):
    if key.startswith("model."):
        return getattr(family_of(key)[1], key.removeprefix("model."))
    return get(Settings(), key)


def other_value(key):
    """A value that is not the default, and fits."""
    kind, default = KEYS[key], default_of(key)
    special = {
        "size": "tiny",
        "task": "write",
        "device": "cpu",
        "data.encoding": "latin-1",
        "data.delimiter": ";",
        "data.folds": 5,
        "sound.bands": 50,
        "sound.hop": 0.02,
        "train.truncation_mean": 900,
        "train.accumulate": 2,
        "sound.speed": 0.25,
        "sound.deltas": 2,
        "series.target": ("a", "b"),
        "series.known": ("a", "b"),
        "series.quantiles": (0.25, 0.5),
        "model.positions": "sinusoidal",  # the one that every family knows
    }
    if key in special:
        return special[key]
    if key in CHOICES:
        return next(choice for choice in CHOICES[key] if choice != default)
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
    if isinstance(value, tuple):
        argument = [part for each in value for part in (f"--{name}", str(each))]
    if key == "data.fold":
        argument += ["--data.folds", "9"]
    if key == "model.heads":
        argument += ["--model.hidden", str(16 * value)]
    if key == "model.tie":
        argument += ["--model.embedding", "0"]
    if key.startswith("model.") and (family := family_of(key)[0]) != "lstm":
        argument += ["--model", family]
    assert call("train", "x.txt", *argument)[0] == 0
    assert get(settings_of(library), key) == value


@pytest.mark.parametrize("key", [key for key, kind in KEYS.items() if kind is bool])
def test_a_switch_can_be_turned_off_when_a_file_turns_it_on(key, call, library, tmp_path):
    section, _, name = key.partition(".")
    (tmp_path / "x.toml").write_text(f"[{section}]\n{name} = true\n")
    flag = f"--no-{key.replace('_', '-')}"
    if key.startswith("model."):
        with (tmp_path / "x.toml").open("a") as file:
            file.write(f"name = {family_of(key)[0]!r}\n")
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
    assert call("train", "x.csv", "--text", "review", "--label", "stars", "--group", "user")[0] == 0
    data = settings_of(library).data
    assert (data.text, data.label, data.group) == ("review", "stars", "user")


def test_underscores_do_as_well_as_hyphens(call, library):
    assert call("train", "x.txt", "--train.learning_rate", "1e-3")[0] == 0
    assert settings_of(library).train.learning_rate == 1e-3


def test_every_flag_says_what_it_is(call):
    sections = ("data", "train", "sound", "image")
    settings = [type(getattr(Settings(), section)) for section in sections]
    for each in (*settings, RecurrentSettings, *MODEL_SETTINGS.values()):
        said = descriptions(each)
        assert set(said) == {field.name for field in dataclasses.fields(each)}
        assert all(said.values())
        assert not any("\n" in text or "`" in text for text in said.values())
    _, out, _ = call("train", "--help")
    assert "[default: 384; tiny 128; base 512]" in " ".join(out.replace("│", "").split())


def test_a_flag_that_was_not_given_changes_nothing():
    assert SettingsFlags().changes() == {}


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
        "complete_line unspool train --train.schedule c\n"
    )
    (tmp_path / "ask.sh").write_text(script + ask)
    done = subprocess.run(["bash", tmp_path / "ask.sh"], capture_output=True, text=True)
    assert done.stdout.split() == [
        "train", "translate", "--model.hidden", "tiny", "cosine", "constant",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        (".venv/bin/unspool", "", ".venv/bin/unspool"),
        ("unspool", "", "./unspool"),
        (".venv/bin/unspool", ".venv/bin", "unspool"),
        (".venv/bin/unspool", "other", ".venv/bin/unspool"),
        ("my env/bin/unspool", "", "'my env/bin/unspool'"),
        ("bin/pytest", "", "unspool"),
    ],
)
def test_hints_name_the_program_as_it_can_be_called(script, path, expected, tmp_path, monkeypatch):
    full = tmp_path / script
    for file in (full, tmp_path / "other" / "unspool"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
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
