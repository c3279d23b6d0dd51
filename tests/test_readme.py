"""What the pages tell people to type exists, and what they link to is there.

Python blocks are run by Sybil (conftest.py at the root); this is about commands, links and the
files that are shown in part.
"""

import ast
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unspool.cli import app

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
README = PAGES["README.md"]


def typed(text):
    """Everything a page asks to type: lines of a console, and code marks that begin a command."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = prose.replace(r"\|", "|")  # as it is written in a table
    marks = [" ".join(mark.split()) for mark in re.findall(r"`([^`]+)`", prose)]
    return lines + [mark for mark in marks if re.match(r"(make|unspool|python|eval) ", mark)]


COMMANDS = sorted({(page, line) for page, text in PAGES.items() for line in typed(text)})


def check(line):
    """Fail unless a line can be typed: the command, its options and the files of ours it names."""
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line)
    words = shlex.split(line.split(" | ")[0].split(" > ")[0])
    program, *rest = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if program == "make":
        assert set(rest) <= TARGETS, f"{line}: the Makefile has no such target"
    elif program.split("/")[-1] == "unspool":
        if rest[1:] or rest[0] not in app:  # a command's bare name is a way of speaking of it
            app.parse_args(rest, exit_on_error=False, print_error=False)
    else:
        assert program.split("/")[-1] in ("python", "source", "uv"), line
    for word in rest:
        if word.startswith(("examples/", "tests/", "docs/", "src/")):
            assert (ROOT / word.partition(":")[0]).exists(), f"{line}: no {word}"


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_what_a_page_says_to_type_can_be_typed(page, line):
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "make coffee",
        "unspool fly",
        "unspool train a.txt --modell gru",
        "unspool train a.txt --model.hiden 3",
        "python examples/nothing.py",
    ],
)
def test_what_cannot_be_typed_is_noticed(line):
    with pytest.raises(Exception, match=r".") as caught:
        check(line)
    assert "internal" not in str(caught.value).lower()


def test_the_readme_names_two_commands_first():
    made = [line for line in typed(README) if line.startswith("make ")]
    assert made[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        if not re.match(r"https?:", target):
            assert ((ROOT / page).parent / target).exists(), f"{page}: no {target}"


def statements(text, name):
    """The statements of a function, without its docstring, however they are laid out."""
    found = [node for node in ast.parse(text).body if getattr(node, "name", "") == name]
    return [ast.unparse(each) for each in found[0].body if not isinstance(each, ast.Expr)]


def test_the_cell_of_the_readme_is_the_one_in_the_examples():
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    example = (ROOT / "examples" / "my_cell.py").read_text(encoding="utf-8")
    (shown,) = [block for block in blocks if "def keeper" in block]
    assert statements(shown, "keeper") == statements(example, "keeper")
    definition = shown[shown.index("@cell") :].strip().splitlines()
    assert len(definition) == 5


def test_first_run_from_python_trains_writes_and_shows_the_gate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = str(ROOT / "examples" / "first_run.py")
    monkeypatch.setattr(sys, "argv", [example, "2"])
    runpy.run_path(example, run_name="__main__")
    first = capsys.readouterr().out
    runpy.run_path(example, run_name="__main__")
    assert first.endswith(capsys.readouterr().out)
    for told in ("nats/char", "It writes:", "with probability", "█"):
        assert told in first


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_refuses_a_python_that_is_too_old(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.8"
    pretend = "import sys; sys.version_info = (3, 8, 1); exec(sys.argv.pop(1))"
    old.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" -c "{pretend}" "$@"\n')
    old.chmod(0o755)
    made = subprocess.run(
        ["make", "demo", "PYTHON=./python3.8"], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert made.returncode != 0
    assert "Unspool needs Python 3.11 or newer, and ./python3.8 is 3.8" in made.stderr
    assert not (tmp_path / ".venv").exists()
