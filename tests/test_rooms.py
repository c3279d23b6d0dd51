"""The rooms of the package: who may import whom, what must not import torch, names and sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unspool"
# Each room imports only itself and what stands before it.
ROOMS = [
    "errors", "shapes", "devices", "drawing", "engine", "cells", "layers", "data", "models",
    "tasks", "training", "config_file", "config", "record", "predictor", "answering",
    "translating", "asked",
    "reading_shown", "reporting", "one_training", "comparing", "jobs", "estimators",
    "inspection", "export", "serving",
    "studio", "lab", "bench", "cell_listing", "display", "attention_shown", "several_shown",
    "usage", "flags", "commands", "cli",
]  # fmt: skip
APART = {
    "layers": {"data"},
    "models": {"data"},
    "tasks": {"training"},
    "training": {"tasks"},
    "data": {"layers", "models"},
    "serving": {"export"},
    "studio": {"export", "serving"},
}
TORCH_FREE = [
    "errors", "config", "cli", "cells", "engine.language", "engine.graph", "engine.gradient",
    "engine.latex", "data.settings", "models.settings", "training.settings", "tasks.table",
    "layers.sizes", "config_file", "drawing", "models.count", "models.layer_counts",
    "models.exercises",
]  # fmt: skip
HEAVY = {"torch", "numpy", "tokenizers", "safetensors", "jaxtyping"}
BANNED = ("utils", "helpers", "common", "misc", "manager", "handler")

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def room_of(module):
    """The second part of a dotted name that is a file or folder of the package, or nothing."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and f"unspool.{parts[1]}" in MODULES else ""


def imported(path, at_import_only=False):
    """Modules that a file names in its imports; of packages the submodules that it takes."""
    found = []
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes.extend(node.orelse)
            continue
        if at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = whole in MODULES or node.module == "unspool"
                found.append((whole if is_module else node.module, node.lineno))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_room_imports_only_rooms_before_it(module):
    room = room_of(module)
    if not room or room == "__main__":
        return
    assert room in ROOMS, f"{room} is not in the list of rooms"
    for name, line in imported(MODULES[module]):
        if name.split(".")[0] != "unspool":
            continue
        other = room_of(name)
        place = f"{module.replace('.', '/')}.py:{line} imports {name}"
        if not other:
            assert name == "unspool.__version__", f"{place}: import from where it is defined"
            continue
        assert ROOMS.index(other) <= ROOMS.index(room), f"{place}, a later room"
        assert other not in APART.get(room, ()), f"{place}; the two are kept apart"


def is_torch_free(module):
    is_package = MODULES[module].name == "__init__.py"
    return is_package or any(
        module == f"unspool.{free}" or module.startswith(f"unspool.{free}.") for free in TORCH_FREE
    )


def reached_on_import(module):
    """Every module that importing one brings along, with the chain that leads to it."""
    chains, waiting = {}, [(module,)]
    while waiting:
        chain = waiting.pop()
        if chain[-1] in chains:
            continue
        chains[chain[-1]] = chain
        if chain[-1] in MODULES:
            waiting += [(*chain, name) for name, _ in imported(MODULES[chain[-1]], True)]
            parents = chain[-1].split(".")
            waiting += [(*chain, ".".join(parents[:n])) for n in range(1, len(parents))]
    return chains


@pytest.mark.parametrize("module", [name for name in MODULES if is_torch_free(name)])
def test_torch_free_module_reaches_no_heavy_package(module):
    for name, chain in reached_on_import(module).items():
        assert name.split(".")[0] not in HEAVY, " -> ".join(chain)


def test_torch_is_not_loaded_with_the_torch_free_modules():
    names = [name for name in MODULES if is_torch_free(name)]
    code = f"import sys, {', '.join(names)}; print(*(set(sys.modules) & {HEAVY}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == []


def test_file_and_class_names_say_what_is_inside():
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        assert path.stem.lower() not in BANNED, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert not node.name.lower().endswith(BANNED), f"{path}: class {node.name}"


@pytest.mark.parametrize("folder", ["src", "tests", "examples", "bench"])
def test_no_file_is_longer_than_450_lines(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 450, f"{path.relative_to(ROOT)} has {lines} lines; look for two concepts"
