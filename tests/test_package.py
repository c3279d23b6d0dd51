"""The package as others get it: built, installed away from the checkout, and used there."""

import os
import re
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import unspool

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "docs", "examples", "bench", ".ci")
# Put together here so that this file is not among those it finds.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(wor[k]|tm[p]|roo[t]|op[t]/\w+|(hom[e]|User[s])/\w+)/",
    "a package registry's host": r"pyp[i]\.org|pythonhoste[d]|download\.pytorc[h]|/simpl[e]/",
    "something left undone": r"\bTOD[O]\b|\bFIXM[E]\b",
}

pytestmark = pytest.mark.xdist_group("package")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source archive as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of a fresh environment that holds the wheel.

    What the package depends on is borrowed from the environment of the tests, without the links
    in there: the checkout cannot be reached.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "env")], check=True)
    python = home / "env" / BIN / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check",
         "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    (packages,) = (home / "env").rglob("site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return python.parent


@pytest.fixture
def call(installed, tmp_path):
    """Run a command of the environment in an empty folder, with an empty home and no compiler."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    alone = {**kept, "HOME": str(home), "PATH": "", "PYTHONUTF8": "1"}

    def run(command, *words):
        ended = subprocess.run(
            [installed / command, *map(str, words)],
            capture_output=True, encoding="utf-8", cwd=tmp_path, env=alone,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_wheel_holds_every_module_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    assert names == {
        path.relative_to(source).as_posix()
        for path in (source / "unspool").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "unspool/py.typed" in names


def test_wheel_carries_licence_readme_and_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    texts = {
        Path(name).name: archive.read(name).decode()
        for name in archive.namelist()
        if ".dist-info/" in name
    }
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "README.md").read_text(encoding="utf-8") in texts["METADATA"]
    assert "unspool = unspool.cli:main" in texts["entry_points.txt"]


def test_version_is_the_same_everywhere(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changes, flags=re.MULTILINE)
    assert newest is not None
    assert unspool.__version__ == project["version"] == newest[1]
    assert wheel.name.startswith(f"unspool-{unspool.__version__}-py3-none-any")


def test_installed_package_is_not_the_checkout(call):
    where = call("python", "-c", "import unspool; print(unspool.__file__)").strip()
    assert ROOT not in Path(where).parents
    assert call("unspool", "--version").strip() == unspool.__version__


def test_demo_runs_where_it_is_installed_and_harms_nothing_when_run_again(call, tmp_path):
    first = call("unspool", "demo", "--seconds", 1)
    before = contents(tmp_path / "runs")
    second = call("unspool", "demo", "--seconds", 1)
    assert contents(tmp_path / "runs") == before
    assert "The run is runs" in second
    assert first.endswith(second)


def test_a_text_and_a_cell_of_ones_own_are_trained_where_it_is_installed(call, tmp_path):
    (tmp_path / "own.txt").write_text("the cat sat on the mat. " * 200, encoding="utf-8")
    (tmp_path / "own.py").write_text(
        (ROOT / "examples" / "my_cell.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    size = ["--model.hidden", 16, "--train.length", 16, "--train.batch", 8]
    call("unspool", "train", "own.txt", "--out", "run", "--model", "own.py:keeper",
         "--steps", 2, *size)  # fmt: skip
    (tmp_path / "own.py").unlink()
    written = call("unspool", "generate", "run", "--prompt", "the ", "--length", 5, "--seed", 1)
    assert written.startswith("the ") and len(written) == len("the ") + 5 + len("\n")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_a_machine_or_unfinished_is_in_the_repository(what):
    pattern = re.compile(FORBIDDEN[what])
    for path in repository():
        for number, line in enumerate(read(path).splitlines(), 1):
            found = pattern.search(line)
            assert not found, f"{path.relative_to(ROOT)}:{number}: {what}: {line.strip()}"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", "see /wor" + "k/main"),
        ("a path of one machine", "/hom" + "e/anna/data"),
        ("a package registry's host", "pip install -i https://pyp" + "i.org/simple"),
        ("something left undone", "# TOD" + "O: later"),
    ],
)
def test_what_must_not_be_there_would_be_found(what, line):
    assert re.search(FORBIDDEN[what], line)


def repository():
    """Every text file that is part of the repository."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in paths if "__pycache__" not in path.parts)


def read(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # weights and pictures


# Of the surroundings: how many threads the tests may use, and what Windows cannot do without.
KEPT = ("OMP_NUM_THREADS", "SYSTEMROOT")
BIN = "Scripts" if os.name == "nt" else "bin"
