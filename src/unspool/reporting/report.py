"""The report of a run: written at its end, and again when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unspool.drawing.paint import paint
from unspool.errors import ConfigError, RunError
from unspool.reporting.page import element, page
from unspool.reporting.pictures import Event, plots
from unspool.reporting.sections import headline, parts_of, settings
from unspool.training import durable, layout
from unspool.training.run import Run


def report_page(report: Event, events: Sequence[Event], config: str = "") -> str:
    """One page of HTML that needs nothing else.

    Args:
        report: as `unspool.train` gives it.
        events: of the run.
        config: its settings as TOML.

    Example:
        >>> page = report_page({"task": "classify", "model": "lstm", "measure": "accuracy",
        ...     "score": 0.9, "rows": 50, "steps": 3, "best_step": 3, "parameters": 8,
        ...     "verdict": "lstm beats majority.", "baselines": [], "run": "r"}, [])
        >>> "lstm beats majority." in page
        True
    """
    name = Path(report["run"]).name
    title = f"{report['task']}: {report['model']}, {name}"
    parts = [element("h1", title), *headline(report), *parts_of(report, events)]
    return page(title, *parts, settings(config, _use(report)))


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run that is finished.

    Args:
        path: the run folder.

    Returns:
        Where the page is.

    Raises:
        RunError: if there is no such run, it is not finished, or the page cannot be written.
    """
    run, events, report = _finished(path)
    file = run.folder / layout.REPORT
    text = report_page(report, events, run.config_toml)
    with durable.told(file, "write the report", RunError):
        durable.write_file(file, text.encode("utf-8"))
    return file


def write_plots(path: str | Path, folder: str | Path) -> list[Path]:
    """Paint the plots of a finished run as PNG files, each by its name, into a new folder.

    Args:
        path: the run folder.
        folder: for the files; must not exist.

    Raises:
        RunError: if there is no such run, or it is not finished.
        ConfigError: if Pillow is missing, or the folder is there or cannot be made.
    """
    _, events, report = _finished(path)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror or error}).") from error
    files = []
    for name, picture in plots(report, events).items():
        files.append(folder / f"{name}.png")
        paint(picture, files[-1])
    return files


def _finished(path: str | Path) -> tuple[Run, list[Event], Event]:
    """A run with what happened until its end, and the report that it ended with."""
    run = Run.open(path)
    events = list(run.events())
    place = next((n for n, each in enumerate(events) if each["event"] == "end"), None)
    if place is None:
        raise RunError(
            f"{run.folder}: the run is not finished, so there is nothing to report yet; "
            f"`unspool resume {run.folder}` goes on."
        )
    return run, events[:place], {**events[place], "run": str(run.folder)}


def _use(report: Event) -> str:
    verb = VERBS.get(report["task"], "predict")
    return f"In the folder {report['run']}; `unspool {verb} {report['run']}` uses it."


# What uses a run, where it is another command than predict.
VERBS = {"write": "generate", "translate": "translate", "caption": "translate"}
