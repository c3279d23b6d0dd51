"""Results as tables: on the screen, and in Markdown between two marks of a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from unspool.bench.results import Figure, Results, Row, Verdict
from unspool.errors import DataError

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
Cells = tuple[list[str], list[list[str]]]


def screen(results: Results) -> RenderableType:
    """All figures, one table each, with the verdicts last."""
    parts: list[RenderableType] = []
    for figure in results.figures:
        if figure.rows:
            parts.append(_rich(f"{figure.name}  {figure.title}", row_cells(figure)))
        parts += [f"not asked: {reason}" for reason in figure.skipped]
    parts.append(_rich("Floors", verdict_cells(results.figures)))
    parts += [f"{name}: {value}" for name, value in results.machine.items()]
    return Group(*parts)


def markdown(results: Results, plot: str | None = None) -> str:
    """The same for a page.

    Args:
        results: of one run.
        plot: path of the first plot, as the page refers to it (`plot_paths`).
    """
    lines = [*_lines((["", ""], [[name, value] for name, value in results.machine.items()])), ""]
    lines += ["### Floors", "", *_lines(verdict_cells(results.figures)), ""]
    for figure in results.figures:
        lines += [f"### {figure.name}: {figure.title}", "", figure.how, ""]
        lines += [f"Not asked: {reason}.\n" for reason in figure.skipped]
        if figure.rows:
            lines += [*_lines(row_cells(figure)), ""]
        if figure.curves and plot:
            path = plot_paths(results.figures, Path(plot))[figure.name].as_posix()
            lines += [f"![{figure.title}]({path})", ""]
    return "\n".join(lines)


def plot_paths(figures: Sequence[Figure], first: Path) -> dict[str, Path]:
    """Where the plot of each figure with curves stands, by the figure's name.

    Args:
        figures: of one run.
        first: of the first of them; others have their name in it.

    Example:
        >>> drawn = [Figure(name=name, title="", how="", rows=(), curves={"seconds: x": []})
        ...     for name in ("growth", "other")]
        >>> [path.name for path in plot_paths(drawn, Path("day.svg")).values()]
        ['day.svg', 'day-other.svg']
    """
    names = [figure.name for figure in figures if figure.curves]
    others = {name: first.with_stem(f"{first.stem}-{name}") for name in names[1:]}
    return {**dict.fromkeys(names[:1], first), **others}


def renew_page(page: Path, text: str) -> None:
    """Put measured tables between the two marks of a page.

    Raises:
        DataError: if the page is missing or has no marks.
    """
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{page}: cannot be read ({error.strerror}).") from error
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError(f"{page}: wanted the lines '{BEGIN}' and '{END}' to write between.")
    page.write_text(f"{before}{BEGIN}\n\n{text.rstrip()}\n\n{END}{after}", encoding="utf-8")


def row_cells(figure: Figure) -> Cells:
    """Heads and cells of a figure's cases; amounts are left out, for ratios alone can be kept."""
    peers = list(dict.fromkeys(name for row in figure.rows for name in row.ratios))
    more = list(dict.fromkeys(name for row in figure.rows for name in row.more))
    first = next(iter(figure.rows[0].amounts))
    heads = ["case", *(f"{peer} / {first}" for peer in peers), "quartiles", "rounds", *more]
    return heads, [_row(row, peers, more, figure.digits) for row in figure.rows]


def _row(row: Row, peers: Sequence[str], more: Sequence[str], digits: int) -> list[str]:
    ratios = [f"{row.ratios[peer].median:.2f}" if peer in row.ratios else "" for peer in peers]
    further = [f"{row.more[name]:.{digits}f}" if name in row.more else "" for name in more]
    quartiles, rounds = "", ""
    if row.ratios:
        quartiles = f"{row.ratio.low:.2f}–{row.ratio.high:.2f}"
        rounds = str(row.ratio.count)
    return [row.case, *ratios, quartiles, rounds, *further]


def verdict_cells(figures: Sequence[Figure]) -> Cells:
    """Heads and cells of every verdict."""
    heads = ["figure", "what", "measured", "floor", "reach", "floor holds"]
    return heads, [_verdict(each, verdict) for each in figures for verdict in each.verdicts]


def _verdict(figure: Figure, verdict: Verdict) -> list[str]:
    sign = "≤ " if verdict.at_most else ""
    limits = [
        "" if limit is None else f"{sign}{limit:g}" for limit in (verdict.floor, verdict.reach)
    ]
    value = "not measured" if verdict.value is None else f"{verdict.value:.{figure.digits}f}"
    return [
        figure.name,
        verdict.what,
        value,
        *limits,
        {True: "yes", False: "**missed**"}.get(verdict.holds, ""),
    ]


def _rich(title: str, cells: Cells) -> Table:
    heads, rows = cells
    table = Table(title=title, title_justify="left", header_style="bold")
    for position, head in enumerate(heads):
        table.add_column(head, justify="right" if position else "left")
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in row))
    return table


def _lines(cells: Cells) -> list[str]:
    heads, rows = cells
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return ["| " + " | ".join(each) + " |" for each in (heads, rule, *rows)]
