"""Where tensors live: `--device`, by name."""

from __future__ import annotations

import torch

from unspool.errors import ConfigError, choose


def choose_device(name: str) -> torch.device:
    """The device behind a name of the command line.

    Args:
        name: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: if there is none of that kind here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    available = choose(name, DEVICES, "device")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not available():
        raise ConfigError(f"device: torch {torch.__version__} finds no '{name}' here; use 'cpu'.")
    return torch.device(name)


DEVICES = {
    "auto": lambda: True,
    "cpu": lambda: True,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
}
