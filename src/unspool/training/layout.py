"""What lies where in a run folder."""

from __future__ import annotations

import re
from pathlib import Path

from unspool.errors import RunError
from unspool.training import durable

CHECKPOINTS = "checkpoints"
MODEL = "model"
HEADER = "run.json"
CONFIG = "config.toml"
EVENTS = "events.jsonl"
REPORT = "report.html"
LOCK = "lock"
STEP_FOLDER = re.compile(r"step-(?P<step>\d{6,18})(?P<aside>\.[0-9a-f]{8}\.replaced)?", re.ASCII)


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is.

    Example:
        >>> from pathlib import Path
        >>> from unspool.training.layout import checkpoint_folder
        >>> checkpoint_folder(Path("lm"), 200).as_posix()
        'lm/checkpoints/step-000200'
    """
    return run_folder / CHECKPOINTS / f"step-{step:06d}"


def step_of(folder: Path) -> int | None:
    """The step in the name of a checkpoint folder, or None when it is named otherwise."""
    match = STEP_FOLDER.fullmatch(folder.name)
    return int(match["step"]) if match else None


def list_checkpoints(run_folder: Path) -> list[Path]:
    """The folders of all checkpoints, newest first by step number, whether readable or not.

    Raises:
        RunError: if the folder cannot be listed.
    """
    folder = run_folder / CHECKPOINTS
    with durable.told(folder, "list the checkpoints", RunError):
        names = durable.names_in(folder) if durable.exists(folder) else []
    found = [match for name in names if (match := STEP_FOLDER.fullmatch(name))]
    # One set aside by a replacement that was cut short comes after the one that replaces it.
    found.sort(key=lambda match: (int(match["step"]), match["aside"] is None), reverse=True)
    return [folder / match[0] for match in found]
