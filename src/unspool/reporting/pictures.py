"""The plots of a report, each from what a run has written down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unspool.drawing.class_plots import counts_table, reliability_plot
from unspool.drawing.picture import Picture
from unspool.drawing.plots import Figure, bars, curves, dot_plot

Event = Mapping[str, Any]


def plots(report: Event, events: Sequence[Event]) -> dict[str, Picture]:
    """All plots that a run has something for, by name.

    Args:
        report: as `unspool.train` gives it.
        events: of the run.

    Example:
        >>> report = {"task": "write", "model": "lstm", "loss": 1.5, "unit": "char",
        ...           "baselines": [{"name": "Kneser-Ney", "loss": 1.7}]}
        >>> list(plots(report, []))
        ['methods']
    """
    found: dict[str, Picture] = {}
    if report.get("baselines"):
        found["methods"] = methods(report)
    if len(report.get("confusion", {}).get("labels", ())) > 1:
        found["confusion"] = confusion(report["confusion"])
    if report.get("reliability"):
        found["reliability"] = reliability(report)
    for number, picture in enumerate(forecast_pictures(report), 1):
        found[f"forecast-{number}"] = picture
    read = next((each for each in events if each["event"] == "data"), {})
    if len(read.get("classes", {})) > 1:
        found["classes"] = bars(list(read["classes"]), list(read["classes"].values()), "Classes")
    if len(read.get("lengths", {}).get("histogram", ())) > 1:
        found["lengths"] = lengths(read["lengths"])
    steps = [each for each in events if each["event"] == "step"]
    if steps:
        start = next((each for each in events if each["event"] == "start"), {})
        scale = start.get("scale", "")
        measured = f"loss {scale}" if scale else f"nats per {start.get('unit', 'token')}"
        found["loss"] = loss(steps, evaluations(events), measured)
        points = thinned([(each["step"], float(each["gradient_norm"])) for each in steps])
        found["gradient"] = curves({"norm": points}, "Gradient before clipping", y="joint norm")
    return found


def methods(report: Event) -> Picture:
    """The model and the simple methods with their intervals, the best first."""
    figures = []
    for line in ranked(report):
        low, high = interval(line)
        own = line is report
        name, value = line["model" if own else "name"], reached(line)
        figures.append(Figure(name=name, value=value, low=low, high=high, own=own))
    better = "more is better" if report.get("higher_is_better") else "less is better"
    measure = measure_of(report)
    return dot_plot(figures, measure, f"{measure}, {better}")


def confusion(found: Event) -> Picture:
    """Which class is taken for which; of very many the most frequent ones."""
    labels, counts = _largest(found["labels"], found["counts"])
    return counts_table(labels, counts, "True class down, answer across")


def reliability(report: Event) -> Picture:
    """How often answers are right, by how sure they were."""
    bins = [
        (each["low"], each["high"], each["rows"], each.get("confidence", 0.0),
         each.get("accuracy", 0.0))
        for each in report["reliability"]
    ]  # fmt: skip
    return reliability_plot(bins, "Right as often as sure?", report["calibration_error"])


def forecast_pictures(report: Event) -> list[Picture]:
    """Forecasts with their bands beside what came."""
    if not report.get("forecasts"):
        return []
    from unspool.tasks.forecast_shown import forecast_picture

    return [forecast_picture(each) for each in report["forecasts"][:MOST_FORECASTS]]


def loss(steps: Sequence[Event], looks: Sequence[Event], measured: str) -> Picture:
    """How the loss fell, in training and on the validation part, with its best."""
    lines = {"training": thinned([(each["step"], float(each["loss"])) for each in steps])}
    if looks:
        lines["validation"] = [(each["step"], float(each["loss"])) for each in looks]
    known = [point for point in lines.get("validation", ()) if math.isfinite(point[1])]
    mark = None
    if known:
        step, value = min(known, key=lambda point: point[1])
        mark = (step, value, f"the best: {value:.4g} at step {step:,}")
    return curves(lines, "Loss", y=measured, faint=("training",), mark=mark)


def lengths(found: Event) -> Picture:
    """How many inputs are how long."""
    shown = [f"{bar['from']:,}" for bar in found["histogram"]]
    title = f"Lengths in {found['unit']}, each bar from"
    return bars(shown, [bar["count"] for bar in found["histogram"]], title)


def evaluations(events: Sequence[Event]) -> list[Event]:
    """The looks at the validation part."""
    return [each for each in events if each["event"] == "evaluation"]


def ranked(report: Event) -> list[Event]:
    """The report and the simple methods in it, the best first."""
    lines = [report, *report["baselines"]]
    return sorted(lines, key=reached, reverse=report.get("higher_is_better", False))


def reached(line: Event) -> float:
    """What a method came to: the score of a task, or a loss."""
    return float(line["score"] if "score" in line else line["loss"])


def measure_of(report: Event) -> str:
    """What that is a figure of."""
    return report["measure"] if "score" in report else f"nats per {report.get('unit', 'token')}"


def interval(line: Event) -> tuple[float | None, float | None]:
    """Where the interval of a figure begins and ends, if it has any."""
    ends = line.get("interval")
    if not ends or not all(math.isfinite(float(end)) for end in ends):
        return None, None
    return float(ends[0]), float(ends[1])


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means over stretches, so that a long training stays a small file and a line to look at.

    Example:
        >>> len(thinned([(step, 1.0) for step in range(1000)]))
        100
    """
    each = math.ceil(len(points) / MOST_POINTS)
    if each <= 1:
        return [(float(x), y) for x, y in points]
    means = []
    for start in range(0, len(points), each):
        part = points[start : start + each]
        means.append((float(part[-1][0]), math.fsum(y for _, y in part) / len(part)))
    return means


def _largest(
    labels: Sequence[str], counts: Sequence[Sequence[int]]
) -> tuple[list[str], list[list[int]]]:
    """The classes that are most frequent; all others in one row and column behind them."""
    if len(labels) <= MOST_SQUARES:
        return list(labels), [list(row) for row in counts]
    order = sorted(range(len(labels)), key=lambda place: -sum(counts[place]))
    kept, rest = sorted(order[: MOST_SQUARES - 1]), order[MOST_SQUARES - 1 :]
    rows = [[*(counts[a][b] for b in kept), sum(counts[a][b] for b in rest)] for a in kept]
    last = [sum(counts[a][b] for a in rest) for b in kept]
    right = sum(counts[a][b] for a in rest for b in rest)
    return [*(labels[place] for place in kept), "others"], [*rows, [*last, right]]


MOST_SQUARES, MOST_FORECASTS, MOST_POINTS = 30, 12, 100
