"""Going on with several runs that were stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unspool.comparing import compare, folds
from unspool.comparing.several import Several
from unspool.errors import ConfigError
from unspool.one_training import use_threads
from unspool.training.loop import Observer


def go_on(
    folder: str | Path, data: Any = None, observers: Sequence[Observer] = (), threads: int = 0
) -> dict[str, Any]:
    """Train what is left of several runs, and judge all; of finished ones only the report.

    Args:
        folder: as `unspool.compare`, or `unspool.train` with ``data.folds``, made it.
        data: the same as was given then, if that was in memory.
        observers: called with every event.
        threads: of torch; 0 takes as many as the runs began with.

    Raises:
        UnspoolError: if the folder is damaged, or its data has changed since.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    several = Several.open(Path(folder))
    kept = several.result
    if kept is not None:
        plot = {"plot": str(several.folder / "compare.svg")} if several.kind == "compare" else {}
        return {"folder": str(several.folder), **kept, **plot}
    if several.source.in_memory and data is None:
        raise ConfigError(
            f"{folder}: was trained on data in memory, which is not kept; pass the same data "
            f"again, as in `unspool.resume({str(folder)!r}, data=...)`."
        )
    several.source.check(data)
    use_threads(threads or several.entries[0].settings.threads)
    finish = compare.finish if several.kind == "compare" else folds.finish
    return finish(several, data, observers)
