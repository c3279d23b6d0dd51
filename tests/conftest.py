import os
from pathlib import Path

import jaxtyping
import pytest
import torch

import faults

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture
def rng():
    """The one seed."""
    return torch.Generator().manual_seed(20240229)


@pytest.fixture(scope="module")
def quick_training():
    """One thread, and files that are not forced to the disk."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with faults.through(faults.without_sync):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def shared_data():
    """The path of a file of the shared data folder, or a skip that says what is missing."""

    def find(name):
        root = Path(__file__).resolve().parents[1]
        for folder in (root / "shared" / "data", root.parent / "shared" / "data"):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"there is no shared/data/{name} in or beside the checkout")

    return find


@pytest.fixture
def unchecked():
    """Calls as a user makes them: without the shape checks of the test run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
