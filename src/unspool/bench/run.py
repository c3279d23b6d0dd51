"""`run_bench`: every figure, or some, at full length or quickly; and where the results are kept.

The one command that renews everything that is published: ``unspool bench --page
docs/performance.md`` measures for about seven minutes on two cores, writes bench/results/DATE.json
and DATE.svg, and puts the tables into the page. ``--from FILE.json --page …`` does it without
measuring.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unspool.bench.approximations import Lengths, approximations
from unspool.bench.batches import Scale, Told, full_batches, ragged_batches, traces
from unspool.bench.custom import beside_lstm, custom_cells
from unspool.bench.harness import Effort
from unspool.bench.language import forget, language
from unspool.bench.language_contenders import LanguageScale
from unspool.bench.machine import machine
from unspool.bench.peers import LOOPS
from unspool.bench.plot import growth_plot
from unspool.bench.processes import first_gradients, growth, training_memory
from unspool.bench.results import Figure, Results
from unspool.bench.streaming import Pace, streamed
from unspool.bench.table import markdown, plot_paths, renew_page
from unspool.bench.transformer import TransformerScale, transformer
from unspool.bench.transformer_text import Recipe, recipe
from unspool.bench.translation import TranslationScale, translated
from unspool.errors import ConfigError, choose

RESULTS = Path("bench") / "results"
SEEDS = RESULTS / "P9"  # finished seeds of a figure that is not
OWN = tuple(LOOPS)


def run_bench(
    only: Sequence[str] = (),
    *,
    quick: bool = False,
    threads: int = 0,
    tell: Told = lambda line: None,
) -> Results:
    """Measure.

    Args:
        only: keys of `FIGURES`; all but those of `ONLY_WHEN_NAMED` if empty.
        quick: fewer sizes and rounds: to see that it works, not to quote.
        threads: of every contender; 0 takes torch's number.
        tell: called with a line for every case that is done.

    Raises:
        ConfigError: for a figure that there is not.
        Disagreement: if two contenders do not compute the same.
    """
    wanted = {choose(name, FIGURES, "bench --only") for name in only}
    if not only:
        wanted = {make for name, make in FIGURES.items() if name not in ONLY_WHEN_NAMED}
    chosen = [make for make in FIGURES.values() if make in wanted]
    if threads < 0:
        raise ConfigError(f"bench: got {threads} threads; wanted 0 or more.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        described = machine("quick" if quick else "full")
        return Results(machine=described, figures=tuple(make(quick, tell) for make in chosen))
    finally:
        torch.set_num_threads(before)


def keep(results: Results, out: Path | None = None) -> Path:
    """Write results as JSON, and the plots beside it.

    Args:
        results: of one run.
        out: folder; ``bench/results`` if left out.

    Returns:
        The JSON file.
    """
    quick = "-quick" if results.machine["effort"] == "quick" else ""
    path = (out or RESULTS) / f"{results.machine['date']}{quick}.json"
    results.write(path)
    plots = plot_paths(results.figures, path.with_suffix(".svg"))
    for figure in results.figures:
        if figure.name == "P9":
            forget(SEEDS)
        if figure.curves:
            plots[figure.name].write_text(growth_plot(figure.curves), encoding="utf-8")
    return path


def publish(stored: Path, page: Path) -> None:
    """Put the tables of stored results into a page.

    Args:
        stored: JSON, as `keep` wrote it, with the plot beside it.
        page: Markdown with the two marks.
    """
    folder = os.path.relpath(stored.parent, page.parent)
    plot = (Path(folder) / stored.with_suffix(".svg").name).as_posix()
    renew_page(page, markdown(Results.read(stored), plot))


def _scale(quick: bool, full: Scale, seconds: float = 0.3) -> Scale:
    """The scale, or a shorter one: the two smallest sizes, few rounds, no slow peers."""
    if not quick:
        return full
    effort = replace(full.effort, seconds=seconds, least=3, most=7)
    return replace(
        full, hidden=full.hidden[:2], batches=full.batches[:1], effort=effort, slow=False
    )


def _p1(quick: bool, tell: Told) -> Figure:
    full = Scale(hidden=(64, 128, 256, 512), batches=(8, 32, 64), effort=Effort(seconds=1.0))
    return full_batches(_scale(quick, full), tell)


def _p2(quick: bool, tell: Told) -> Figure:
    return ragged_batches(_scale(quick, Scale(hidden=(64, 128, 256))), tell)


def _p3(quick: bool, tell: Told) -> Figure:
    scale = _scale(quick, Scale(hidden=(64, 128, 144, 256, 512)))
    return streamed(scale, Pace(rounds=4, steps=50) if quick else Pace(), tell)


def _p4(quick: bool, tell: Told) -> Figure:
    effort = Effort(seconds=2.0, pause=0.02)  # JAX has threads of its own
    return custom_cells(
        _scale(quick, Scale(hidden=(64, 128, 256), cells=OWN, effort=effort, slow=True)), tell
    )


def _p5(quick: bool, tell: Told) -> Figure:
    return beside_lstm(_scale(quick, Scale(hidden=(64, 128, 256), cells=OWN)), tell)


def _p6(quick: bool, tell: Told) -> Figure:
    return first_gradients(_scale(quick, Scale(hidden=(128,), slow=True)), 1 if quick else 3, tell)


def _p7(quick: bool, tell: Told) -> Figure:
    return traces(_scale(quick, Scale(hidden=(64, 256))), tell)


def _p8(quick: bool, tell: Told) -> Figure:
    scale = Scale(hidden=(256,), batches=(64,), steps=200)
    return training_memory(_scale(quick, scale), 1 if quick else 2, tell)


def _p9(quick: bool, tell: Told) -> Figure:
    scale = LanguageScale(folder=SEEDS)
    return language(replace(scale, seeds=scale.seeds[:1]) if quick else scale, tell)


def _p10(quick: bool, tell: Told) -> Figure:
    scale = TransformerScale()
    if quick:
        effort = replace(scale.effort, seconds=0.5, least=2, most=3)
        sizes = {"trained": scale.trained[:1], "written": scale.written[:1]}
        scale = replace(scale, **sizes, length=40, effort=effort)
    return transformer(scale, tell)


def _recipe(quick: bool, tell: Told) -> Figure:
    chosen = Recipe()
    return recipe(replace(chosen, train=replace(chosen.train, steps=40)) if quick else chosen, tell)


def _approximations(quick: bool, tell: Told) -> Figure:
    lengths = Lengths()
    return approximations(replace(lengths, steps=lengths.steps[:4]) if quick else lengths, tell)


def _p11(quick: bool, tell: Told) -> Figure:
    scale = TranslationScale()
    if quick:
        effort = replace(scale.effort, seconds=1.0, least=3, most=5)
        scale = replace(scale, hidden=(64,), batches=(1, 8), vocabulary=500, effort=effort)
    return translated(scale, tell)


def _growth(quick: bool, tell: Told) -> Figure:
    lengths = [2**power for power in range(6, 13 if quick else 17)]
    scale = Scale(hidden=(64,), batches=(1,), cells=("rnn", "lstm", "gru_reset_after"))
    return growth(scale, lengths, tell)


FIGURES: dict[str, Callable[[bool, Told], Figure]] = {
    "P1": _p1,
    "P2": _p2,
    "P3": _p3,
    "P4": _p4,
    "P5": _p5,
    "P6": _p6,
    "P7": _p7,
    "P8": _p8,
    "P9": _p9,
    "P10": _p10,
    "P11": _p11,
    "growth": _growth,
    "approximations": _approximations,
    "recipe": _recipe,
}
ONLY_WHEN_NAMED = ("P9", "recipe")  # train for minutes
