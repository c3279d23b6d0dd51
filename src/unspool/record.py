"""What a run keeps besides its settings: tokenizer, cell, the place of its text, and versions.

With these a run goes on, and is loaded, without anybody's Python file.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass

import torch

from unspool import __version__
from unspool.config import Settings, from_toml
from unspool.data.source import Source
from unspool.data.tokenizer import Tokenizer
from unspool.data.tokens import load_tokenizer
from unspool.engine.language import Cell
from unspool.errors import RunError, UnspoolError
from unspool.models.language_model import LanguageModel
from unspool.training import layout
from unspool.training.durable import one_line
from unspool.training.plain_json import parse
from unspool.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Everything about a run that training does not change.

    Attributes:
        settings: resolved.
        tokenizer: learnt on the training part.
        cell: the equations.
        source: where the text is.
        made_with: as `made_with` gave it when the run began.
    """

    settings: Settings
    tokenizer: Tokenizer
    cell: Cell
    source: Source
    made_with: dict[str, str]

    def files(self) -> dict[str, str]:
        """Contents by name, for `Run.create`; config.toml apart."""
        rest = {"source": self.source.record(), "made_with": self.made_with}
        return {
            TOKENIZER_FILE: self.tokenizer.to_json(),
            CELL_FILE: json.dumps(self.cell.to_dict()) + "\n",
            RECORD_FILE: json.dumps(rest, indent=2) + "\n",
        }

    @classmethod
    def read(cls, run: Run) -> Record:
        """The record of a run, from its own files: no other code is executed.

        Raises:
            RunError: if a file is missing or damaged.
        """
        contents = {}
        for name in (TOKENIZER_FILE, CELL_FILE, RECORD_FILE):
            try:
                contents[name] = (run.folder / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RunError(f"{run.folder / name}: cannot be read ({error}).") from error
        try:
            rest = parse(contents[RECORD_FILE].encode())
            return cls(
                settings=from_toml(run.config_toml, str(run.folder / layout.CONFIG)),
                tokenizer=load_tokenizer(contents[TOKENIZER_FILE], str(run.folder)),
                cell=Cell.from_dict(parse(contents[CELL_FILE].encode())),
                source=Source(**rest["source"]),
                made_with=dict(rest["made_with"]),
            )
        except (UnspoolError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                one_line(f"{run.folder}: the record of the run is damaged: {error}")
            ) from error


def made_with(model: LanguageModel) -> dict[str, str]:
    """Everything on which the last bits of a training depend, besides settings and text."""
    return {
        "unspool": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": model.device.type,
        "backend": model.encoder.backend,
        "threads": str(torch.get_num_threads()),
    }


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


TOKENIZER_FILE = "tokenizer.json"
CELL_FILE = "cell.json"
RECORD_FILE = "record.json"
