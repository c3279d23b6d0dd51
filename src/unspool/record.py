"""What a run keeps besides its settings: cell, tokenizer, the place of its data, and versions.

With these a run goes on, and is loaded, without anybody's Python file.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unspool import __version__
from unspool.config import Settings, from_toml
from unspool.data.source import Source
from unspool.engine.language import Cell
from unspool.errors import RunError, UnspoolError
from unspool.layers.recurrent import Recurrent
from unspool.training import layout
from unspool.training.checkpoint import MODEL_FORMAT
from unspool.training.durable import one_line
from unspool.training.plain_json import parse
from unspool.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Everything about a run that training does not change.

    Attributes:
        settings: resolved.
        shape: what of the data the model depends on.
        cell: the equations; None for a model without a recurrent cell.
        files: what was fitted on the training part, by name.
        source: where the data is.
        made_with: as `made_with` gave it when the run began.
    """

    settings: Settings
    shape: dict[str, Any]
    cell: Cell | None
    files: dict[str, str]
    source: Source
    made_with: dict[str, str]

    def written(self) -> dict[str, str]:
        """Contents by name, for `Run.create`; config.toml apart."""
        rest = {
            "source": self.source.record(),
            "shape": self.shape,
            "files": sorted(self.files),
            "made_with": self.made_with,
        }
        cell = {} if self.cell is None else {CELL_FILE: json.dumps(self.cell.to_dict()) + "\n"}
        return {**self.files, **cell, RECORD_FILE: json.dumps(rest, indent=2) + "\n"}

    @classmethod
    def read(cls, run: Run) -> Record:
        """The record of a run, from its own files: no other code is executed.

        Raises:
            RunError: if a file is missing or damaged.
        """
        try:
            rest = parse(_read(run, RECORD_FILE).encode())
            files = {name: _read(run, name) for name in rest["files"] if name in FITTED}
            settings = from_toml(run.config_toml, str(run.folder / layout.CONFIG))
            cell = None
            if hasattr(settings.model, "options"):
                cell = Cell.from_dict(parse(_read(run, CELL_FILE).encode()))
            return cls(
                settings=settings,
                shape=dict(rest["shape"]),
                cell=cell,
                files=files,
                source=Source.from_record(rest["source"]),
                made_with=dict(rest["made_with"]),
            )
        except RunError:
            raise
        except (UnspoolError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                one_line(f"{run.folder}: the record of the run is damaged: {error}")
            ) from error


def _read(run: Run, name: str) -> str:
    try:
        return (run.folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{run.folder / name}: cannot be read ({error}).") from error


def made_with(model: nn.Module) -> dict[str, str]:
    """Everything on which the last bits of a training depend, besides settings and data."""
    return {
        "unspool": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": next(model.parameters()).device.type,
        "backend": backend_of(model),
        "threads": str(torch.get_num_threads()),
    }


def backend_of(model: nn.Module) -> str:
    """What runs the recurrent layers of a model; ``torch`` where there are none.

    Example:
        >>> backend_of(nn.Linear(2, 2))
        'torch'
    """
    layers = [each for each in model.modules() if isinstance(each, Recurrent)]
    return ", ".join(sorted({layer.backend for layer in layers})) or "torch"


def difference(before: dict[str, str], now: dict[str, str]) -> str | None:
    """A warning, if a run goes on with something else than it began with.

    Example:
        >>> difference({"threads": "2"}, {"threads": "4"})
        'the run began with threads 2 (now 4); its last bits may come out otherwise.'
    """
    changed = [
        f"{name} {before.get(name)} (now {value})"
        for name, value in now.items()
        if before.get(name) != value
    ]
    if not changed:
        return None
    return f"the run began with {', '.join(changed)}; its last bits may come out otherwise."


CELL_FILE = "cell.json"
RECORD_FILE = "record.json"
# Files of what was fitted that a task may leave in a run; no other name is opened.
FITTED = MODEL_FORMAT.optional
