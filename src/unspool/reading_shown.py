"""What was read from somebody's files, for a person: before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 76


def reading_text(report: Mapping[str, Any]) -> str:
    """The report of `unspool.data.reading.Reading`, in lines.

    Example:
        >>> from unspool.data.reading import read
        >>> columns = {"text": ["good", "bad", "fine", "poor"], "label": list("1010")}
        >>> print(reading_text(read(columns).report()).splitlines()[0])
        classify (many to one): text holds texts and label one of 2 labels
    """
    return "\n".join(_lines(report))


def reading_line(report: Mapping[str, Any]) -> str:
    """The same in one line.

    Example:
        >>> from unspool.data.reading import read
        >>> columns = {"text": ["good", "bad", "fine", "poor", ""], "label": list("10101")}
        >>> reading_line(read(columns).report()).partition(": ")[2]
        'text holds texts and label one of 2 labels; 5 rows, 4 used, 1 refused'
    """
    rows = report["rows"]
    return (
        f"{report['task']} ({report['mapping']}): {report['reason']}; {rows['total']:,} "
        f"{rows['unit']}, {rows['used']:,} used, {rows['refused']:,} refused"
    )


def reading_brief(report: Mapping[str, Any]) -> str:
    """The same in one line or, if rows were refused, two: what is said before a training.

    Example:
        >>> from unspool.data.reading import read
        >>> rows = [("good", "1"), ("bad", "0"), ("fine", "1"), ("poor", "0"), ("", "1")]
        >>> print(reading_brief(read(rows).report()).splitlines()[1])
        refused: data, line 5: the text is empty
    """
    lines = [f"recognised as {reading_line(report)}"]
    if report["refused"]:
        more = report["rows"]["refused"] - 1
        lines.append(_refusal(report["refused"][0]) + (f"; and {more:,} more" if more else ""))
    return "\n".join(lines)


def _refusal(each: Mapping[str, Any]) -> str:
    place = f"{each['file']}, line {each['line']}" if each["line"] else each["file"]
    return f"refused: {place}: {each['reason']}"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['task']} ({report['mapping']}): {report['reason']}"
    yield f"read as {report['form']}"
    if report["roles"]:
        yield "columns: " + ", ".join(f"{role} = {name}" for role, name in report["roles"].items())
    rows = report["rows"]
    counts = f"{rows['total']:,}: {rows['used']:,} used, {rows['refused']:,} refused"
    yield f"{rows['unit']} {counts}"
    for each in report["refused"]:
        yield f"  {_refusal(each)}"
    if rows["refused"] > len(report["refused"]):
        yield f"  and {rows['refused'] - len(report['refused']):,} more"
    yield from _classes(report["classes"])
    yield from _lengths(report["lengths"])
    split = report["split"]
    parts = ", ".join(f"{split.get(name, 0):,} {name}" for name in ("train", "validation", "test"))
    yield f"parts: {parts} ({split['how']})"
    for number, example in enumerate(report["examples"], 1):
        line = f"  {number}. {_cut(_joined(example['input']), WIDTH - 20)}"
        wanted = example["target"]
        yield line if wanted is None else f"{line} → {_cut(_joined(wanted), 14)}"
    for warning in report["warnings"]:
        yield f"Warning: {warning}"


def _classes(classes: Mapping[str, int] | None) -> Iterator[str]:
    if not classes:
        return
    shown = [f"{label} {count:,}" for label, count in list(classes.items())[:MOST_CLASSES]]
    more = f", and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    yield f"{len(classes)} labels: {', '.join(shown)}{more}"


def _lengths(lengths: Mapping[str, Any] | None) -> Iterator[str]:
    if not lengths:
        return
    yield (
        f"lengths in {lengths['unit']}: {lengths['min']:,} to {lengths['max']:,}, median "
        f"{lengths['median']:,g}, mean {lengths['mean']:,.1f}"
    )
    bars = lengths["histogram"] if lengths["min"] < lengths["max"] else []
    most = max((each["count"] for each in bars), default=0)
    for each in bars:
        bar = "█" * round(BAR * each["count"] / most) if most else ""
        yield f"  {each['from']:>6,} to {each['to']:>6,}  {bar} {each['count']:,}"


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


MOST_CLASSES = 12
BAR = 40
