"""What there is to look at before and beside training: cells, samples, speed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from unspool.commands.app import Flag, Whole, app, show, show_json
from unspool.errors import ConfigError, unknown
from unspool.flags import SettingsFlags
from unspool.usage import program


@app.command(sort_key=6)
def cells(
    name: str | None = None,
    /,
    *,
    features: Whole = 64,
    hidden: Whole = 256,
    latex: Flag = False,
    schedule: Flag = False,
    llvm: Flag = False,
    json: Flag = False,
) -> None:
    """The cells, their equations and how many numbers each learns.

    Args:
        name: a cell, or FILE.py:NAME; all of them if left out.
        features: width of the input, D.
        hidden: units, H.
        latex: the equations as mathematics.
        schedule: what one cell computes when: before the loop, inside, kept, computed again.
        llvm: the code that one cell is compiled to on this processor.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.cell_listing import cell_record, cell_text
    from unspool.cells import CELLS
    from unspool.cells.find import find_cell

    if min(features, hidden) < 1:
        raise ConfigError(f"unspool cells: got D = {features}, H = {hidden}; wanted 1 or more.")
    if name is None and (schedule or llvm):
        raise ConfigError("unspool cells: --schedule and --llvm want the NAME of one cell.")
    names = list(CELLS) if name is None else [name]
    records = [
        cell_record(each, find_cell(each, "unspool cells"), features, hidden, latex)
        for each in names
    ]
    if name is not None and (schedule or llvm):
        from unspool.cell_listing import machine_record

        records[0] |= machine_record(find_cell(name, "unspool cells"), schedule, llvm)
    if json:
        return show_json({"cells": records} if name is None else records[0])
    return print("\n\n".join(map(cell_text, records)))


@app.command(sort_key=8)
def count(
    model: str,
    /,
    *,
    input: str | None = None,
    features: Whole = 100,
    steps: Whole = 0,
    hidden: Whole = 64,
    layers: Whole = 1,
    bidirectional: Flag = False,
    dense: list[Whole] | None = None,
    pooling: Literal["", "last", "mean", "max"] = "",
    convention: Literal["unspool", "keras", "torch"] | None = None,
    json: Flag = False,
) -> None:
    """Shapes, parameters, memory and cost of a network, derived line by line.

    Args:
        model: a network of the lectures (cnn-exercise, dense-on-image, lenet, max-pooling,
            edge-filter, simple-rnn, bi-lstm); a cell, with the flags below; or layers, as in
            "conv 6 5x5 > relu > maxpool 2x2 > flatten > dense 10".
        input: shape of an example: 28x28x1, 50x100 or Tx100, "T of 30000", or 784.
        features: of a step, for a cell.
        steps: of a sequence, for a cell; 0 leaves them open.
        hidden: units, for a cell.
        layers: recurrent layers, for a cell.
        bidirectional: for a cell.
        dense: units of a dense layer behind a cell; may be given several times.
        pooling: behind a cell; empty keeps every step.
        convention: whose biases are counted.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.cells import CELLS
    from unspool.models.count import count as derive
    from unspool.models.count import recurrent_network
    from unspool.models.exercises import EXERCISES
    from unspool.models.layer_counts import LAYERS

    exercise = EXERCISES.get(model)
    if exercise is not None:
        derivation = exercise.derive(input, convention)
    elif ">" in model or model.partition(" ")[0] in LAYERS:
        if input is None:
            raise ConfigError("unspool count: wanted --input, the shape of an example: 28x28x1.")
        derivation = derive(model, input, convention or "unspool")
    elif model not in CELLS:
        raise ConfigError(unknown("unspool count", model, [*EXERCISES, *CELLS, *LAYERS]))
    else:
        network = recurrent_network(model, hidden, layers, bidirectional, dense or [], pooling)
        derivation = derive(network, input or f"{steps or 'T'}x{features}", convention or "unspool")
    if json:
        return show_json(derivation.to_dict())
    from unspool.display import derivation_table

    if exercise is not None:
        print(exercise.about)
    show(derivation_table(derivation))
    for letter, choice in exercise.choices if exercise is not None else ():
        right = " (right)" if letter == exercise.answer else ""
        print(f"{letter}) {choice.value:,} = {choice.how}: {choice.why}{right}")
    return None


@app.command(sort_key=7)
def samples(name: str | None = None, /, *, json: Flag = False) -> None:
    """The data that comes with Unspool, one for each of some tasks.

    Args:
        name: the sample to print; a list of all if left out.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.data.samples import SAMPLES, sample_text

    if name is not None:
        text = sample_text(name)
        return show_json({"name": name, "text": text}) if json else print(text, end="")
    if json:
        rows = [
            {"name": each, "task": task, **size_of(make())}
            for each, (task, make) in SAMPLES.items()
        ]
        return show_json({"samples": rows})
    for each, (task, _) in SAMPLES.items():
        print(f"{each} ({task}): `{program()} train --sample {each}`")
    return None


def size_of(sample: Any) -> dict[str, int]:
    """How large a sample is, and of what.

    Example:
        >>> size_of("four")
        {'characters': 4}
    """
    if isinstance(sample, str):
        return {"characters": len(sample)}
    return {f"{sample.kind}s": len(sample)}


@app.command(sort_key=7)
def data(
    *files: Path,
    sample: str | None = None,
    settings: Annotated[SettingsFlags | None, Parameter(name="*")] = None,
    json: Flag = False,
) -> None:
    """What would be trained on: the task, columns, rows used and refused, lengths, parts.

    Args:
        files: what to read: files, or a folder.
        sample: instead of a file, embedded data (see `unspool samples`).
        settings: as `unspool train` takes them.
        json: one JSON object on standard output, and nothing else there.
    """
    if bool(files) == (sample is not None):
        raise ConfigError(
            f"unspool data: got {'both' if files else 'neither'}; wanted a FILE or --sample NAME."
        )
    wish = (settings or SettingsFlags()).wish()
    asked = wish.settings()
    from unspool.data.opening import open_source, report_source
    from unspool.reading_shown import reading_text

    source = open_source(files, sample, asked.data)
    report = report_source(source, asked.data, asked.task, asked.seed)
    if asked.task == "auto":
        # The task has defaults of its own, such as how much is trained on.
        asked = wish.settings(report["task"])
        report = report_source(source, asked.data, asked.task, asked.seed)
    if json:
        return show_json(report)
    print(reading_text(report))
    given = ["--sample", sample] if sample is not None else list(map(str, files))
    flags = settings.written() if settings is not None else []
    return print(f"Train on it: `{program()} train {shlex.join([*given, *flags])}`")


@app.command(sort_key=9)
def bench(
    *,
    only: str = "",
    quick: Flag = False,
    threads: Whole = 0,
    out: Path | None = None,
    page: Path | None = None,
    stored: Annotated[Path | None, Parameter(name="--from")] = None,
    json: Flag = False,
) -> None:
    """Measure speed and memory beside the peers, on this machine.

    Args:
        only: some figures, as in P1,P3; all of them, some minutes, if left out.
        quick: fewer sizes and rounds: to see that it works, not to quote.
        threads: of every contender; 0 takes torch's number.
        out: folder for the results; bench/results if left out.
        page: also put the tables into this page, between its two marks.
        stored: show these results again and measure nothing.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.bench.results import Results
    from unspool.bench.run import keep, publish, run_bench
    from unspool.bench.table import screen

    if stored is not None:
        results = Results.read(stored)
    else:
        tell = (
            (lambda line: None) if json else lambda line: print(line, file=sys.stderr, flush=True)
        )
        names = [name.strip() for name in only.split(",") if name.strip()]
        results = run_bench(names, quick=quick, threads=threads, tell=tell)
        stored = keep(results, out)
    if page is not None:
        publish(stored, page)
    if json:
        return show_json({"results": stored, **results.record()})
    show(screen(results))
    return print(f"\nThe results are {stored}")


@app.command(sort_key=10)
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """The script that teaches a shell to complete this command.

    Bash: eval "$(unspool completion bash)" in ~/.bashrc. Zsh: the same, after compinit. Fish:
    unspool completion fish > ~/.config/fish/completions/unspool.fish

    Args:
        shell: the shell you use.
    """
    print(app.generate_completion(prog_name="unspool", shell=shell))
