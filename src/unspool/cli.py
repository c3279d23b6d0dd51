"""The command line: each command reads its arguments, calls the library and shows what it gave.

Torch, rich and everything heavy are imported inside the command that needs them, so that help,
completion and mistakes in a configuration answer at once.
"""

from __future__ import annotations

import itertools
import json as json_format
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from unspool.errors import ConfigError, UnspoolError
from unspool.flags import SettingsFlags
from unspool.training.interruption import Interrupted
from unspool.usage import complaint, one_line, program, whole_number


def _version() -> str:
    from importlib.metadata import version

    return version("unspool")


app = App(
    name="unspool",
    help="Sequence models you can train fast and see through.",
    version=_version,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
Whole = Annotated[int, Parameter(converter=whole_number)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
# Turns of OpenMP's waiting loop, some microseconds.
SPINS = "1000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as typed after ``unspool``; None takes those of the process.

    Returns:
        The exit code: 0; 2 for anything the user can mend, told in one line; 128 and the signal's
        number after a signal. Anything unexpected keeps its traceback.
    """
    # OpenMP's threads spin while they wait. Where another program keeps a core busy that costs many
    # times what it saves; a short spin is a little slower alone. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        app(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(complaint(error))
    except UnspoolError as error:
        return _refuse(str(error))
    except Interrupted as stop:
        command = f"{program()} resume {shlex.quote(str(stop.run))}"
        print(f"Stopped at step {stop.step}; go on with: {command}", file=sys.stderr)
        return 128 + stop.signal
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away; without this Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


@app.command(sort_key=1)
def train(
    *files: Path,
    sample: str | None = None,
    out: Path | None = None,
    minutes: float | None = None,
    settings: Annotated[SettingsFlags | None, Parameter(name="*")] = None,
    json: Flag = False,
) -> None:
    """Recognise what a file asks for, learn it, and say how well it went.

    Args:
        files: what to learn: files, or a folder.
        sample: instead of a file, an embedded text (see `unspool samples`).
        out: the run folder to make; runs/ and the file's name if left out.
        minutes: train for about so long, however many steps that is.
        settings: everything else that can be set.
        json: one JSON object on standard output, and nothing else there.
    """
    wish = (settings or SettingsFlags()).wish()
    wish.settings()  # what is wrong with them is said at once
    if bool(files) == (sample is not None):
        raise ConfigError(
            f"unspool train: got {'both' if files else 'neither'}; wanted a FILE or --sample NAME, "
            "as in `unspool train --sample english`."
        )
    from unspool import jobs
    from unspool.display import observing

    with observing(json) as observer:
        report = jobs.train(
            *files, settings=wish, sample=sample, out=out, minutes=minutes, observers=[observer]
        )
    _show_report(report, json)


@app.command(sort_key=2)
def resume(run: Path, /, *, threads: Whole = 0, json: Flag = False) -> None:
    """Go on with a run where it stopped, bit for bit.

    Args:
        run: the run folder.
        threads: processor threads; 0 takes as many as the run began with.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import observing

    with observing(json) as observer:
        report = jobs.resume(run, observers=[observer], threads=threads)
    _show_report(report, json)


@app.command(sort_key=3)
def evaluate(run: Path, file: Path | None = None, /, *, json: Flag = False) -> None:
    """Measure a run on its validation part, or on another text.

    Args:
        run: the run folder.
        file: a text to measure on instead.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import both, observing, report_table

    with observing(json) as observer:
        measured = jobs.evaluate(run, file, observers=[observer])
    if json:
        return _print_json(measured)
    print(
        f"{measured['file']}: {both(measured['loss'], measured['unit'])} over "
        f"{measured['tokens']:,} {measured['unit']}s; perplexity {measured['perplexity']:.3f}"
    )
    return _print(report_table(measured))


@app.command(sort_key=4)
def generate(
    run: Path,
    /,
    *,
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    length: Whole | None = None,
    temperature: float | None = None,
    top_k: Whole | None = None,
    top_p: float | None = None,
    seed: Whole = 0,
    json: Flag = False,
) -> None:
    """Let a run write, character by character.

    Args:
        run: the run folder.
        prompt: how the text begins.
        length: characters, words or tokens to write.
        temperature: above 1 livelier, below 1 safer; 0 always takes the likeliest.
        top_k: draw from the k likeliest only; 0 from all.
        top_p: draw from the likeliest that together have this probability.
        seed: the same seed writes the same text.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import predictor
    from unspool.display import is_terminal, visible

    options = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    given = {name: value for name, value in options.items() if value is not None}
    pieces = predictor.load_writer(run).stream(prompt, seed=seed, **given)
    if json:
        return _print_json({"run": run, "prompt": prompt, "seed": seed, "text": "".join(pieces)})
    safe = visible if is_terminal(sys.stdout) else str
    first = next(pieces, "")  # a prompt that cannot be read fails here, before anything is shown
    sys.stdout.write(safe(prompt))
    for piece in itertools.chain([first], pieces):
        sys.stdout.write(safe(piece))
        sys.stdout.flush()
    return print()


@app.command(name="next", sort_key=5)
def next_token(run: Path, text: str, /, *, top: Whole = 10, json: Flag = False) -> None:
    """What comes after a text, with probabilities.

    Args:
        run: the run folder.
        text: what came before.
        top: how many of the likeliest.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import predictor
    from unspool.display import chances_table

    chances = predictor.load_writer(run).next(text, top)
    if json:
        rows = [{"token": token, "probability": chance} for token, chance in chances]
        return _print_json({"run": run, "text": text, "next": rows})
    return _print(chances_table(chances))


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
    from unspool.cells import CELLS
    from unspool.cells.find import find_cell
    from unspool.cell_listing import cell_record, cell_text

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
        return _print_json({"cells": records} if name is None else records[0])
    return print("\n\n".join(map(cell_text, records)))


@app.command(sort_key=7)
def samples(name: str | None = None, /, *, json: Flag = False) -> None:
    """The texts that come with Unspool.

    Args:
        name: the sample to print; a list of all if left out.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.data.samples import SAMPLES, sample_text

    if name is not None:
        text = sample_text(name)
        return _print_json({"name": name, "text": text}) if json else print(text, end="")
    sizes = {each: len(sample_text(each)) for each in SAMPLES}
    if json:
        rows = [{"name": each, "characters": size} for each, size in sizes.items()]
        return _print_json({"samples": rows})
    for each, size in sizes.items():
        print(f"{each}: {size:,} characters; `{program()} train --sample {each}` learns it")
    return None


@app.command(sort_key=8)
def demo(*, out: Path | None = None, seconds: float = 60.0, json: Flag = False) -> None:
    """The tour: a small LSTM learns English in about a minute.

    Args:
        out: the run folder; runs/demo if left out. One that is there is gone on with, or reported.
        seconds: about how long to train.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool import jobs
    from unspool.display import is_terminal, observing, visible

    events: list[Mapping[str, Any]] = []
    with observing(json) as observer:
        report = jobs.demo(observers=[observer, events.append], out=out, seconds=seconds)
    written = [event for event in events if event["event"] == "sample"]
    if not json and not is_terminal(sys.stderr):
        for event in written[:1] + written[1:][-1:]:
            print(f"— step {event['step']} writes:\n{visible(event['text'].strip())}\n")
    _show_report(report, json)


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
        return _print_json({"results": stored, **results.record()})
    _print(screen(results))
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


def _show_report(report: Mapping[str, Any], json: bool) -> None:
    if json:
        return _print_json(report)
    from unspool.display import report_table

    run = shlex.quote(str(report["run"]))
    print(f"\n{report['steps']:,} steps; validation loss")
    _print(report_table(report))
    print(f"\n{report['verdict']}\nThe run is {run}. Next:")
    print(f'  {program()} generate {run} --prompt "The "')
    print(f'  {program()} next {run} "The "')
    return print(f"  {program()} evaluate {run} FILE")


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(renderable)


def _print_json(value: Mapping[str, Any]) -> None:
    """One object on one line, in ASCII, so that no encoding can refuse it."""
    print(json_format.dumps(_plain(value), allow_nan=False))


def _plain(value: Any) -> Any:
    """A value as JSON has it: paths as text; null for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _refuse(sentence: str) -> int:
    print(f"Error: {one_line(sentence)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
