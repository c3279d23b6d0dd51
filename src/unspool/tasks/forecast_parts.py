"""The series of a reading, and which steps of each are learnt, validated on and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unspool.data.reading import Reading
from unspool.data.series import Series, SeriesSet, read_series
from unspool.data.series_parts import chosen_sizes
from unspool.data.series_settings import SeriesSettings
from unspool.data.series_windows import SeriesEncoder
from unspool.data.table import listed, short
from unspool.errors import DataError

Ranges = dict[str, range]


@dataclass(frozen=True, slots=True)
class Divided:
    """Series and their parts in the order of time.

    Attributes:
        found: the series that can be learnt from.
        ranges: for each part the steps of every series.
        warnings: what was left out.
    """

    found: SeriesSet
    ranges: dict[str, list[range]]
    warnings: tuple[str, ...]

    @property
    def learnt(self) -> list[int]:
        """Of every series the step before which its training part ends."""
        return [each.stop for each in self.ranges["train"]]


def read_divided(
    reading: Reading, settings: Any, encoder: SeriesEncoder | None = None
) -> tuple[Divided, SeriesSettings]:
    """The series of a reading in parts, and the settings with nothing left open.

    Series that are too short, or whose targets are constant in the training part, are left out.

    Args:
        reading: of a table of series.
        settings: as `unspool.config.Settings`.
        encoder: of a run that goes on, which knows the series it was fitted on.

    Raises:
        DataError: if nothing is left, or the parts are not in the order of time.
    """
    asked = settings.series if encoder is None else encoder.settings
    options = reading.examples.options
    label = reading.roles.get("label")
    if label is not None and not asked.target:
        asked = replace(asked, target=(label,))
    found = read_series(
        reading.examples.inputs[0], asked, options["values"], options["date"], options["group"]
    )
    owners = {row: part for part, rows in reading.parts.items() for row in rows}
    ranges = [_ranges(each, owners) for each in found.series]
    if encoder is None:
        longest = max(ranges, key=lambda each: len(each["train"]))
        judged = min(len(longest["validation"]), len(longest["test"]))
        asked = chosen_sizes(asked, found.frequency, len(longest["train"]), judged)
        reasons = [
            _unfit(each, own, asked, found.columns)
            for each, own in zip(found.series, ranges, strict=True)
        ]
    else:
        reasons = ["" if each.name in encoder.mean else "was left out" for each in found.series]
    return _chosen(found, ranges, reasons), asked


def _ranges(series: Series, owners: dict[int, str]) -> Ranges:
    """The parts of one series; a step without a row is in the part of the step before it."""
    parts = ["train"]
    for row in series.rows.tolist():
        parts.append(owners[row] if row >= 0 else parts[-1])
    places = np.array([PARTS.index(part) for part in parts[1:]])
    if (np.diff(places) < 0).any():
        step = int((np.diff(places) < 0).argmax()) + 1
        label = f"series {short(series.name)}: " if series.name else ""
        raise DataError(
            f"{label}{PARTS[places[step]]} rows begin again at {series.dates[step]}, after those "
            f"of the {PARTS[places[step - 1]]} part; wanted training, validation and test in the "
            "order of time."
        )
    edges = [0, *np.searchsorted(places, [1, 2]).tolist(), len(places)]
    return {part: range(edges[i], edges[i + 1]) for i, part in enumerate(PARTS)}


def _unfit(series: Series, own: Ranges, asked: SeriesSettings, columns: Sequence[str]) -> str:
    """Why a series cannot be learnt from; empty if it can."""
    needed, there = asked.lookback + asked.horizon, len(own["train"])
    if there < needed:
        return (
            f"has {there} steps to learn from, and series.lookback {asked.lookback} with "
            f"series.horizon {asked.horizon} needs {needed}"
        )
    picked = [
        place
        for place, name in enumerate(columns)
        if (name in asked.target if asked.target else name not in asked.known)
    ]
    learnt = series.values[own["train"].start : own["train"].stop, picked]
    if picked and (learnt == learnt[0]).all():
        return "is constant in the training part"
    return ""


def _chosen(found: SeriesSet, ranges: Sequence[Ranges], reasons: Sequence[str]) -> Divided:
    """Those without a reason against them."""
    kept = [place for place, reason in enumerate(reasons) if not reason]
    told = []
    if not kept:
        first = found.series[0]
        label = f"series {short(first.name)}" if first.name else "the series"
        more = f" All {len(reasons)} series are like it or unfit too." if len(reasons) > 1 else ""
        raise DataError(f"{label} {reasons[0]}; wanted a longer one that changes.{more}")
    if len(kept) < len(reasons):
        gone = [place for place, reason in enumerate(reasons) if reason]
        names = listed([short(found.series[place].name) for place in gone])
        first = found.series[gone[0]]
        told.append(
            f"{len(gone)} of {len(reasons)} series are left out ({names}); "
            f"{short(first.name)} {reasons[gone[0]]}."
        )
    picked = replace(found, series=[found.series[place] for place in kept])
    parts = {part: [ranges[place][part] for place in kept] for part in PARTS}
    return Divided(picked, parts, tuple(told))


PARTS = ("train", "validation", "test")
