"""The map from the lectures' words to the code: complete, and every place on it exists."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from unspool.cli import app
from unspool.config import Settings, resolve

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
IDS = [
    *(f"A{number}" for number in range(1, 19)),
    *(f"D{number}" for number in range(1, 21)),
    *(f"E{number}" for number in range(1, 8)),
    *(f"F{number}" for number in range(1, 17)),
    *(f"G{number}" for number in range(1, 19)),
    *(f"H{number}" for number in range(1, 13)),
    *(f"I{number}" for number in range(1, 14)),
]
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if re.match(r"\| [AD-I]\d+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}


def places(text):
    """What stands in code marks and names a place: not a word such as `head` or `trace`."""
    return [mark for mark in re.findall(r"`([^`]+)`", text) if re.search(r"[.:/ ]", mark)]


PLACES = sorted({place for _, here in ROWS.values() for place in places(here)})


@cache
def functions_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def settings_of(key):
    """The value of a dotted key among the defaults."""
    value = resolve(None, {})
    assert isinstance(value, Settings)
    for name in key.split("."):
        value = getattr(value, name)
    return value


def find(place):
    """Fail unless the place exists."""
    if place.startswith("unspool "):
        command, *rest = place.split()[1:]
        assert command in app, f"no command {place}"
        for flag in (word for word in rest if word.startswith("--")):
            names = {name for argument in app[command].assemble_argument_collection()
                     for name in argument.names}  # fmt: skip
            assert flag in names, f"{place}: no flag {flag}"
    elif "::" in place:
        path, _, name = place.partition("::")
        assert name in functions_of(path), f"{path} has no {name}"
    elif ":" in place:
        module, _, name = place.partition(":")
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    elif "/" in place:
        assert (ROOT / place).exists(), place
    else:
        settings_of(place)


def test_every_item_of_the_lectures_has_a_row():
    assert list(ROWS) == IDS


@pytest.mark.parametrize("place", PLACES)
def test_every_place_on_the_map_exists(place):
    find(place)


@pytest.mark.parametrize("row", IDS)
def test_every_row_names_a_place_or_says_what_it_comes_with(row):
    words, here = ROWS[row]
    assert words
    assert places(here) or "comes with" in here or "come with" in here


@pytest.mark.parametrize(
    "place",
    [
        "unspool fly",
        "unspool cells --wings",
        "tests/test_concepts.py::test_that_does_not_exist",
        "unspool.cells.gru:gruu",
        "docs/nothing.md",
        "train.truncated",
    ],
)
def test_a_place_that_does_not_exist_is_noticed(place):
    with pytest.raises((AssertionError, AttributeError)):
        find(place)
