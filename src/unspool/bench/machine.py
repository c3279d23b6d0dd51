"""What stands beside every figure: the processor, threads, versions and the date."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import torch


def machine(effort: str) -> dict[str, str]:
    """This machine in words, by name.

    Args:
        effort: ``full`` or ``quick``.

    Example:
        >>> machine("quick")["effort"]
        'quick'
    """
    load = (
        "".join(f"{share:.1f} " for share in os.getloadavg()) if hasattr(os, "getloadavg") else ""
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "effort": effort,
        "processor": processor(),
        "vector registers": torch.backends.cpu.get_cpu_capability(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "load at the start": load.strip() or "unknown",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(versions()),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    if "model name" not in named:
        return platform.processor() or platform.machine()
    numbers = f"family {named.get('cpu family', '?')}, model {named.get('model', '?')}"
    return f"{named['model name']} ({numbers})"


def versions() -> list[str]:
    """Every package that computes, with its version; those that are not installed are left out."""
    found = []
    for name in ("unspool", "torch", "llvmlite", "numpy", "onnxruntime", "jax"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
