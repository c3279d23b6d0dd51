"""Documentation under test: every page, every docstring example, and the README, by Sybil."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

if "PYTEST_XDIST_WORKER" in os.environ:
    # Set before torch is imported, here and in what the tests start: workers share the cores.
    os.environ["OMP_NUM_THREADS"] = "1"


def of_named(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """Check shapes and types of all functions but those within functions.

    They are made anew at every call, and wrapping them takes longer than what they do.
    """

    def checked(*, typechecker: Any) -> Callable[[Any], Any]:
        check = jaxtyped(typechecker=typechecker)
        return lambda made: made if "<locals>" in getattr(made, "__qualname__", "") else check(made)

    return checked


jaxtyping.jaxtyped = of_named(jaxtyping.jaxtyped)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled code goes to a folder of this run, not the user's cache; workers share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    before = os.environ.get("UNSPOOL_CACHE")
    os.environ["UNSPOOL_CACHE"] = str(folder / "kernels")
    yield
    if before is None:
        del os.environ["UNSPOOL_CACHE"]
    else:
        os.environ["UNSPOOL_CACHE"] = before


def enter_page(namespace: dict[str, Any]) -> None:
    """A page runs in a folder of its own, with the two names every example may use."""
    import torch

    import unspool

    folder = tempfile.TemporaryDirectory()
    namespace.update(torch=torch, unspool=unspool, _page=(folder, Path.cwd()))
    torch.manual_seed(0)
    os.chdir(folder.name)


def leave_page(namespace: dict[str, Any]) -> None:
    """Back to where the tests were started."""
    folder, before = namespace.pop("_page")
    os.chdir(before)
    folder.cleanup()


ROOT = Path(__file__).parent
PAGES = Sybil(
    [PythonCodeBlockParser(), SkipParser()],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    setup=enter_page,
    teardown=leave_page,
)
DOCSTRINGS = Sybil(
    [DocTestParser()],
    path=str(ROOT / "src"),
    patterns=["**/*.py"],
    document_types={".py": PythonDocStringDocument},
    setup=enter_page,
    teardown=leave_page,
)
pytest_collect_file = (PAGES + DOCSTRINGS).pytest()
