"""Tables of several runs; used by the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def comparison_table(report: Mapping[str, Any]) -> RenderableType:
    """Models and simple methods, the best first; ± is half of a 95% interval.

    Args:
        report: as `unspool.compare` gives it.
    """
    rows = [*report["models"], *report["baselines"]]
    rows.sort(key=lambda row: row["score"], reverse=report["higher_is_better"])
    table = _table(("parameters", report["measure"], "± seeds", "± rows", "seconds"))
    for row in rows:
        model = "parameters" in row
        table.add_row(
            Text(row["name"]),
            f"{row['parameters']:,}" if model else "",
            f"{row['score']:.3f}",
            _half(row["score"], row.get("over_seeds")),
            _half(row["score"], row["over_rows"] if model else row["interval"]),
            _seconds(row["seconds"]),
        )
    return table


def folds_table(report: Mapping[str, Any]) -> RenderableType:
    """A model and the simple methods on the same folds, the best first.

    Args:
        report: as `unspool.train` gives it with folds.
    """
    rows = [{**report, "name": report["model"]}, *report["baselines"]]
    rows.sort(key=lambda row: row["score"], reverse=report["higher_is_better"])
    table = _table((report["measure"], "95% interval", "folds", "seconds"))
    for row in rows:
        table.add_row(
            Text(row["name"]),
            f"{row['score']:.3f}",
            _ends(row["interval"]),
            _range(row["scores"]),
            _seconds(row["seconds"]),
        )
    return table


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _range(scores: Sequence[float] | None) -> str:
    return f"{min(scores):.3f} … {max(scores):.3f}" if scores else ""


def _ends(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""


def _half(score: float, interval: Sequence[float] | None) -> str:
    """How far an interval reaches, on its longer side."""
    return f"{max(score - interval[0], interval[1] - score):.3f}" if interval else ""


def _seconds(seconds: float | Sequence[float]) -> str:
    """Of all trainings of a line together."""
    whole = seconds if isinstance(seconds, int | float) else sum(seconds)
    return f"{whole:.1f}"
