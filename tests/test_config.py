"""The configuration: four sources in order, every problem at once, and a file that reads back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from unspool.config import SIZES, TASKS, Settings, Wish, from_toml, keys, resolve, to_toml
from unspool.errors import ConfigError
from unspool.flags import CHOICES
from unspool.models.setting_bounds import RECURRENT_TABLES
from unspool.models.settings import MODEL_SETTINGS, RecurrentSettings, settings_class
from unspool.tasks.table import TASKS as TASK_TABLE

KEYS = dict(keys())

# Values of a key that every other value drawn here allows; keys not named take their type's.
FITTING = {
    "task": st.sampled_from(["auto", "write", "tag"]),
    "size": st.sampled_from(list(SIZES)),
    "seed": st.integers(0, 2**63 - 1),
    "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    "data.tokens": st.sampled_from(["char", "word", "bpe"]),
    "data.vocabulary": st.integers(256, 10**6),
    "data.header": st.sampled_from(["auto", "yes", "no"]),
    "data.too_long": st.sampled_from(["refuse", "truncate"]),
    "data.delimiter": st.sampled_from([",", "\t", ";"]),
    "data.encoding": st.sampled_from(["utf-8", "latin-1"]),
    "data.fold": st.just(0),
    "model.hidden": st.integers(1, 60).map(lambda each: 8 * each),
    "model.embedding": st.just(0),
    "model.pooling": st.sampled_from(["last", "mean", "max", "attention"]),
    "model.characters": st.sampled_from(["none", "cnn"]),
    "model.pool": st.integers(0, 64),
    "model.dilation": st.integers(1, 64),
    "train.truncation": st.sampled_from(["full", "truncated", "randomised"]),
    "train.truncation_steps": st.integers(1, 60),
    "train.truncation_mean": st.integers(300, 10**6),
    "train.optimiser": st.sampled_from(["adamw", "sgd"]),
    "train.schedule": st.sampled_from(["cosine", "constant"]),
    "train.accumulate": st.just(1),
    "model.image_layers": st.integers(1, 16),
    "model.convolutions": st.integers(0, 16),
    "model.attends": st.just("late"),
}
OF_TYPE = {
    int: st.integers(2, 250),
    float: st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
    bool: st.booleans(),
    str: st.text(),
    str | None: st.text() | st.none(),
    dict[str, str]: st.dictionaries(st.text(), st.text()),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
}


APART = ("model", "sound", "image", "series", "target", "decoding")  # have tests of their own


def fitting(key, kind):
    if key in FITTING:
        return FITTING[key]
    return st.sampled_from(CHOICES[key]) if key in CHOICES else OF_TYPE[kind]


def changes_for(family):
    """Keys of all tables, and of one family of models."""
    section = settings_class(family)
    own = {f"model.{field.name}" for field in dataclasses.fields(section)} - DIVISORS
    optional = {
        key: fitting(key, kind)
        for key, kind in KEYS.items()
        if key in own or key.partition(".")[0] not in APART
    }
    if section is RecurrentSettings:
        optional["model.positions"] = st.sampled_from(RECURRENT_TABLES["positions"])
    named = {} if family == "lstm" else {"model.name": st.just(family)}
    if "model.embedding" in own:  # some tasks have a width of their own, which tied weights refuse
        named["model.embedding"] = FITTING["model.embedding"]
    return st.fixed_dictionaries(
        named, optional={k: v for k, v in optional.items() if k not in named}
    )


# Those that must divide `model.hidden`.
DIVISORS = {"model.heads", "model.key_heads", "model.attention_heads"}


CHANGES = st.sampled_from(["lstm", *MODEL_SETTINGS]).flatmap(changes_for)


def get(settings, key):
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(tmp_path, text, changes=None):
    """The message, with the folder of the file left out."""
    with pytest.raises(ConfigError) as caught:
        resolve(write(tmp_path, text), changes)
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert "\n" not in message
    return message


@trials(deadline=None)
@given(CHANGES)
@example({"model.name": '\x7f\x00\r\n\t"\\ é\u2028\U0001f600', "data.validation": "'''"})
def test_settings_come_back_equal_when_written_and_read(changes):
    settings = resolve(None, changes)
    assert from_toml(to_toml(settings), "x.toml") == settings


@trials(deadline=None)
@given(CHANGES)
def test_a_change_is_what_the_settings_hold_when_it_fits(changes):
    settings = resolve(None, changes)
    assert {key: get(settings, key) for key in changes} == changes


def test_each_source_wins_over_the_one_before_it(tmp_path):
    path = write(tmp_path, "size = 'base'\n[model]\nhidden = 7\n")
    base = TASK_TABLE["write"].defaults["base"]
    assert get(resolve(), "model.hidden") == Settings().model.hidden
    assert get(resolve(None, {"size": "base"}), "model.hidden") == base["model.hidden"]
    assert get(resolve(path), "model.hidden") == 7
    assert get(resolve(path), "train.length") == base["train.length"]
    assert get(resolve(path, {"model.hidden": 9}), "model.hidden") == 9


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_a_size_sets_what_its_table_says(task, size):
    expected = TASK_TABLE["write" if task == "auto" else task].defaults[size]
    found = {}
    for family in ({}, {"model.name": "transformer"}):  # which may have what the other has not
        settings = resolve(None, {"task": task, "size": size} | family)
        own = {f"model.{field.name}" for field in dataclasses.fields(settings.model)}
        for key in expected.keys() - family.keys():
            if not key.startswith("model.") or key in own:
                assert get(settings, key) == expected[key]
                found[key] = expected[key]
    assert found == expected


@pytest.mark.parametrize("task", TASK_TABLE)
def test_what_was_asked_for_stays_when_the_task_is_recognised(task):
    """Also where it is the default of another task."""
    wish = Wish.read(None, {"data.split": 0.9, "model.hidden": 64, "model.dropout": 0.4})
    settings = wish.settings(task)
    assert (settings.task, settings.data.split) == (task, 0.9)
    assert (settings.model.hidden, settings.model.dropout) == (64, 0.4)


def test_settings_of_another_family_are_refused_with_those_it_has():
    with pytest.raises(
        ConfigError, match=r"model\.kernel: 'gru' has no such setting; it has name, h"
    ):
        resolve(None, {"model.name": "gru", "model.kernel": 3})
    assert resolve(None, {"model.name": "cnn", "task": "classify"}).model.kernel == 3


def test_steps_asked_for_are_taken_when_the_task_counts_in_epochs():
    assert resolve(None, {"task": "classify"}).train.epochs > 0
    assert resolve(None, {"task": "classify", "train.steps": 7}).train.epochs == 0
    both = {"task": "classify", "train.steps": 7, "train.epochs": 3}
    assert resolve(None, both).train.epochs == 3


def test_a_size_is_refused_when_the_file_sets_all_that_it_governs(tmp_path):
    text = to_toml(resolve(None, {"size": "tiny"}))
    assert "x.toml sets" in problem(tmp_path, text, {"size": "base"})
    assert resolve(write(tmp_path, text), {"size": "tiny"}).size == "tiny"


def test_none_is_the_default_when_a_change_takes_back_a_file(tmp_path):
    path = write(tmp_path, "[data]\nvalidation = 'v.txt'\n")
    assert resolve(path).data.validation == "v.txt"
    assert resolve(path, {"data.validation": None}).data.validation is None


def test_options_of_file_and_changes_are_laid_over_each_other(tmp_path):
    path = write(tmp_path, "[model.options]\nheads = 4\nbias = true\nactivation = 'relu'\n")
    settings = resolve(path, {"model.options": {"activation": "tanh"}})
    assert settings.model.options == {"heads": "4", "bias": "true", "activation": "tanh"}


WRONG = {
    int: ["3", 3.0, True],
    float: ["3", True, [1.0]],
    bool: [1, "true"],
    str: [3, True],
    str | None: [3, False],
    dict[str, str]: ["x", {"a": [1]}],
    tuple[str, ...]: ["x", [1]],
    tuple[float, ...]: [0.5, ["x"]],
}


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_type_is_told_with_its_key(key):
    for value in WRONG[KEYS[key]]:
        with pytest.raises(ConfigError, match=rf"^{key}: got .*; wanted [^;]+\.$"):
            resolve(None, {key: value})


@pytest.mark.parametrize("key", [key for key, kind in KEYS.items() if kind is float])
def test_a_whole_number_becomes_a_float_where_one_is_wanted(key):
    try:
        value = get(resolve(None, {key: 1}), key)
    except ConfigError as refused:  # out of range, but not of the wrong type
        assert "got 1.0" in str(refused)
    else:
        assert type(value) is float


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_names_the_nearest(key, tmp_path):
    section, _, name = key.rpartition(".")
    misspelt = name + "x"
    text = f"[{section}]\n{misspelt} = 1\n" if section else f"{misspelt} = 1\n"
    dotted = f"{section}.{misspelt}" if section else misspelt
    expected = f"x.toml: unknown key '{dotted}'. Did you mean '{key}'?"
    assert problem(tmp_path, text) == expected


OTHER_NAMES = {*KEYS, *(key.partition(".")[0] for key in KEYS)}  # keys and tables
FIRST_OF_NAME = {key.partition(".")[2]: key for key in reversed(KEYS) if "." in key}


@pytest.mark.parametrize("key", [k for n, k in FIRST_OF_NAME.items() if n not in OTHER_NAMES])
def test_a_key_in_the_wrong_place_names_the_right_one(key, tmp_path):
    name = key.partition(".")[2]
    expected = f"x.toml: unknown key '{name}'. Did you mean '{key}'?"
    assert problem(tmp_path, f"{name} = 1\n") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden = 3", "x.toml: unknown key 'hidden'. Did you mean 'model.hidden'?"),
        ("[modle]\nhidden = 3", "x.toml: unknown table [modle]; use one of [data], [model], "
         "[train], [sound], [image], [series], [target], [decoding]. Did you mean [model]?"),
        ("model = 'lstm'", "x.toml: model: got 'lstm'; wanted a table, [model]."),
        ("[[train]]\nsteps = 1", "x.toml: train: got [{'steps': 1}]; wanted a table, [train]."),
        ("[train]\nsteps = 0", "x.toml: train.steps: got 0; wanted at least 1."),
        ("size = 'tinny'", "x.toml: size: unknown name 'tinny'; use one of tiny, small, base. "
         "Did you mean 'tiny'?"),
        ("seed = -1", "x.toml: seed: got -1; wanted a whole number from 0 to 2**63 - 1."),
        ("[train]\nsteps = ", "x.toml: invalid TOML: Invalid value (at end of document)."),
        ("seed = 1\nsize =\n", "x.toml: invalid TOML: Invalid value (at line 2, column 7)."),
        ("[train]\nlearning_rate = 1" + "0" * 400, "x.toml: train.learning_rate: got 1" + "0" * 79
         + "…; wanted a smaller number."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_one_line_with_the_file(text, message, tmp_path):
    assert problem(tmp_path, text) == message


def test_a_number_too_long_for_python_is_invalid_toml(tmp_path):
    assert problem(tmp_path, "seed = " + "9" * 5000).startswith("x.toml: invalid TOML: ")


def test_all_problems_are_told_at_once(tmp_path):
    text = (
        "sede = 1\n[data]\nsplit = 2.0\nlower = 1\n[model]\nhidden = 0\n"
        "[train]\nstep = 1\nbatch = 0\nlength = 0\n"
    )
    message = problem(tmp_path, text, {"device": "gpu", "model.layers": 0, "train.kep": 3})
    for expected in (
        "x.toml: unknown key 'sede'", "x.toml: data.lower: got 1", "x.toml: model.hidden: got 0",
        "x.toml: unknown key 'train.step'", "x.toml: train.batch: got 0",
        "x.toml: train.length: got 0", " device: unknown name 'gpu'", " model.layers: got 0",
        "unknown key 'train.kep'",
    ):  # fmt: skip
        assert expected in message
    assert message.count("x.toml: model.layers") == 0


def test_a_change_is_not_blamed_on_the_file_that_it_overrides(tmp_path):
    message = problem(tmp_path, "[train]\nsteps = 5", {"train.steps": 0})
    assert message == "train.steps: got 0; wanted at least 1."


def test_text_that_utf8_cannot_write_is_refused_before_it_is_lost():
    with pytest.raises(ConfigError, match=r"data\.validation: got .*; wanted text that UTF-8"):
        resolve(None, {"data.validation": "caf\udce9.txt"})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (Path.mkdir, "a directory"),
        (lambda path: path.write_bytes(b"seed\x80=1"), "not UTF-8 at byte 4"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_with_its_path(make, reason, tmp_path):
    path = tmp_path / "x.toml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        resolve(path)
    assert str(caught.value) == f"{path}: {reason}; wanted a TOML file."


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 4\n")
    assert resolve(path).seed == 4
