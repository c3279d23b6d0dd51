"""The parts of a report, each from what a run has written down; one with nothing to say is None."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unspool.drawing.picture import Picture
from unspool.reporting.page import Markup, drawn, element, listed, section, table
from unspool.reporting.pictures import (
    Event,
    evaluations,
    interval,
    measure_of,
    plots,
    ranked,
    reached,
)

Plots = Mapping[str, Picture]


def parts_of(report: Event, events: Sequence[Event]) -> Iterator[Markup]:
    """All parts that have something to say, in the order in which they are read."""
    found = plots(report, events)
    parts = (
        comparison(report, found),
        by_class(report, found),
        calibration(report, found),
        forecasts(report, found),
        mistakes(report),
        learning(events, found),
        data(events, report, found),
    )
    yield from (part for part in parts if part is not None)


def comparison(report: Event, found: Plots) -> Markup | None:
    """The model beside the simple methods, the best first."""
    if "methods" not in found:
        return None
    simple = report.get("baselines", ())
    beside = [key for key in OTHERS if key in report and any(key in line for line in simple)]
    rows = []
    for line in ranked(report):
        own = line is report
        low, high = interval(line)
        between = "" if low is None else f"{_number(low)} to {_number(high)}"
        seconds = "" if own or "seconds" not in line else f"{line['seconds']:.1f}"
        code = element("code", line["reproduce"]) if line.get("reproduce") else ""
        name = line["model"] if own else line["name"]
        others = [_number(line[key]) if key in line else "" for key in beside]
        rows.append([name, _number(reached(line)), between, *others, seconds, code])
    also = [OTHERS[key] for key in beside]
    heads = ["", measure_of(report), "95% interval", *also, "seconds", "the same by hand"]
    shown = drawn(found["methods"])
    texts = (0, len(heads) - 1)
    return section("Beside the simple methods", shown, table(heads, rows, texts=texts))


def by_class(report: Event, found: Plots) -> Markup | None:
    """Every class by itself, and which is taken for which; kinds of spans where there are any."""
    parts: list[Markup] = []
    classes = report.get("classes")
    if classes:
        ordered = sorted(classes.items(), key=lambda each: (-each[1]["support"], each[0]))
        parts.append(_class_table("class", ordered[:MOST_CLASSES]))
        if len(ordered) > MOST_CLASSES:
            parts.append(_faint(f"The {MOST_CLASSES} most frequent of {len(ordered):,} classes."))
    if "confusion" in found:
        parts.append(drawn(found["confusion"]))
    if report.get("spans"):
        parts.append(_faint("A span counts where its kind and both ends are right."))
        parts.append(_class_table("span", sorted(report["spans"].items())))
    return section("Class by class", *parts) if parts else None


def calibration(report: Event, found: Plots) -> Markup | None:
    """Whether answers are right as often as they are sure."""
    if "reliability" not in found:
        return None
    said = "On average, how often answers are right and how sure they are lie "
    said += f"{report['calibration_error']:.1%} apart"
    if "calibration_error_before" in report:
        said += (
            f"; before the temperature {report['temperature']:.2f}, fitted on the validation "
            f"part, it was {report['calibration_error_before']:.1%}"
        )
    return section("Probabilities", element("p", f"{said}."), drawn(found["reliability"]))


def forecasts(report: Event, found: Plots) -> Markup | None:
    """What was forecast beside what came."""
    shown = [picture for name, picture in found.items() if name.startswith("forecast-")]
    if not shown:
        return None
    if "coverage" not in report:
        return section("Forecasts", drawn(*shown))
    low, high = report["band"]
    said = f"The bands promise {high - low:.0%} and hold {report['coverage']:.1%} of what came"
    if "coverage_before" in report:
        said += (
            f"; before they were corrected on {report['calibration_windows']:,} windows of the "
            f"validation part they held {report['coverage_before']:.1%}"
        )
    return section("Forecasts", element("p", f"{said}."), drawn(*shown))


def learning(events: Sequence[Event], found: Plots) -> Markup | None:
    """How the loss fell, and how large the gradient was."""
    if "loss" not in found:
        return None
    steps = [each for each in events if each["event"] == "step"]
    looks = evaluations(events)
    unit = next((each["unit"] for each in events if each["event"] == "start"), "token")
    spent = sum(float(each["seconds"]) for each in (*steps, *looks))
    seen = sum(each["targets"] for each in steps)
    said = f"{len(steps):,} updates over {seen:,} {unit}s in {_spent(spent)}; the ring is the best."
    return section("Learning", element("p", said), drawn(found["loss"], found["gradient"]))


def headline(report: Event) -> list[Markup]:
    """What came out, in the words that matter."""
    lines = [element("p", report["verdict"], class_="verdict")]
    low, high = interval(report)
    between = "" if low is None else f" (95% interval {_number(low)} to {_number(high)})"
    where = f" on {report['rows']:,} rows" if "rows" in report else ""
    figure = f"{measure_of(report)} {_number(reached(report))}{between}{where}"
    figures = f"{report['model']}: {figure}; "
    others = [f"{name} {_number(report[key])}" for key, name in OTHERS.items() if key in report]
    size = f"{report['parameters']:,} parameters, {report['steps']:,} steps"
    chosen = f", the weights of step {report['best_step']:,}"
    lines.append(element("p", f"{figures}{size}{chosen if 'best_step' in report else ''}."))
    if others:
        lines.append(element("p", "; ".join(others) + ".", class_="faint"))
    return lines


def mistakes(report: Event) -> Markup | None:
    """Errors worth reading, as the task has chosen them."""
    errors = report.get("errors")
    if not errors:
        return None
    keys = [key for key in ERROR_COLUMNS if any(each.get(key) not in (None, "") for each in errors)]
    rows = [[_shown(each.get(key)) for key in keys] for each in errors]
    texts = [place for place, key in enumerate(keys) if key in TEXT_COLUMNS]
    heads = [ERROR_COLUMNS[key] for key in keys]
    return section("Errors worth reading", table(heads, rows, texts=texts))


def data(events: Sequence[Event], report: Event, found: Plots) -> Markup:
    """What was read, refused and split, and what a person should know of it."""
    parts = []
    read = next((each for each in events if each["event"] == "data"), None)
    if read is not None:
        parts.append(element("p", read["text"] + "."))
        roles = [f"{role}: {column}" for role, column in read.get("roles", {}).items()]
        split = read.get("split", {})
        counts = [f"{split[part]:,} {part}" for part in PARTS if part in split]
        how = f" {split['how']}" if split.get("how") else ""
        if counts:
            parts.append(element("p", f"Split into {', '.join(counts)}{how}."))
        if roles:
            parts.append(element("p", f"Columns: {'; '.join(roles)}."))
        if read.get("refused"):
            refused = [_refusal(each) for each in read["refused"]]
            more = read["rows"]["refused"] - len(refused)
            rest = [f"and {more:,} more"] if more > 0 else []
            parts += [element("p", "Refused:"), listed([*refused, *rest])]
    shown = [found[name] for name in ("classes", "lengths") if name in found]
    parts += [drawn(*shown)] if shown else []
    told = [each["text"] for each in events if each["event"] in ("warning", "note")]
    told = list(dict.fromkeys([*report.get("warnings", ()), *told]))
    return section("Data", *parts, *([listed(told)] if told else []))


def settings(config: str, run: str) -> Markup:
    """Everything that was set, and how to use the run."""
    details = element(
        "details", element("summary", "All settings"), element("pre", element("code", config))
    )
    return section("The run", element("p", run, class_="faint"), details)


def _class_table(kind: str, rows: Sequence[tuple[str, Event]]) -> Markup:
    heads = [kind, "precision", "recall", "F1", "examples"]
    cells = [
        [name, *(f"{each[key]:.3f}" for key in ("precision", "recall", "f1")),
         f"{each['support']:,}"]
        for name, each in rows
    ]  # fmt: skip
    return table(heads, cells, texts=(0,))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _refusal(each: Event) -> str:
    place = f"{each['file']}, line {each['line']}" if each["line"] else each["file"]
    return f"{place}: {each['reason']}"


def _faint(text: str) -> Markup:
    return element("p", text, class_="faint")


def _spent(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"


PARTS = ("train", "validation", "test")
# Figures besides the one that counts, and what they are called.
OTHERS = {
    "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "span_f1": "span F1",
    "exact": "exact", "within_one": "within one", "kappa": "kappa",
    "sequences": "whole sequences right", "bits_per_character": "bits per character",
    "perplexity": "perplexity", "mae": "mean absolute error", "rmse": "root mean squared error",
    "mase": "mean absolute scaled error", "coverage": "coverage of the band",
    "word_error_rate": "word error rate", "exact_match": "exact match",
    "character_error_rate": "character error rate",
}  # fmt: skip
ERROR_COLUMNS = {
    "place": "where", "input": "input", "truth": "true", "answer": "answered",
    "probability": "how sure", "off": "off by", "edits": "edits", "count": "times", "of": "of",
}  # fmt: skip
TEXT_COLUMNS = ("place", "input", "truth", "answer")
MOST_CLASSES = 60
