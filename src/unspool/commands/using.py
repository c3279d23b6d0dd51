"""Using what was trained."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from unspool.commands.app import Flag, Whole, app, show, show_json
from unspool.errors import ConfigError


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
        return show_json({"run": run, "prompt": prompt, "seed": seed, "text": "".join(pieces)})
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
        return show_json({"run": run, "text": text, "next": rows})
    return show(chances_table(chances))


@app.command(sort_key=6)
def predict(
    run: Path,
    /,
    *inputs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Path | None = None,
    out: Path | None = None,
    explain: Flag = False,
    beam: Whole | None = None,
    json: Flag = False,
) -> None:
    """What a run says of each input: of arguments, of a file, or of standard input line by line.

    Args:
        run: the run folder.
        inputs: texts, words with spaces in between, or the paths of sounds and images; of a
            forecast one file, or nothing to go on from the end of what was trained on.
        file: a file like the one that was trained on; its labels, if it has any, are not looked at.
        out: write the answers to this new CSV file, behind the columns that were read.
        explain: of one input, also how much each word of a text, stretch of a sound or field of an
            image speaks for the answer: how much less probable it is without.
        beam: of a run that transcribes: beginnings followed at once; 1 is greedy.
        json: one JSON object a line for each input.
    """
    from unspool.answering import answered, explained, following, write_table

    if explain:
        if len(inputs) != 1 or file is not None or out is not None:
            raise ConfigError(
                "unspool predict: --explain wants one input, and no --file and no --out."
            )
        row = explained(run, inputs[0])
        return show_json(row) if json else print("\n".join(explained_lines(row)))
    if out is not None and json:
        raise ConfigError("unspool predict: got --out and --json; wanted one of the two.")
    predictor = None if beam is None else following(run, beam)
    tell = functools.partial(print, file=sys.stderr)
    rows = answered(run, inputs, file, sys.stdin, tell, predictor)
    if out is not None:
        count = write_table(out, rows)
        return print(f"{count:,} answers are in {out}")
    for row in rows:
        if json:
            show_json({name: value for name, value in row.items() if name != "row"})
        else:
            print(answer_line(row))
    return None


@app.command(sort_key=7)
def report(run: Path, /, *, png: Path | None = None, json: Flag = False) -> None:
    """Write the report of a finished run: one page with its plots, tables and errors.

    Args:
        run: the run folder; `report.html` stands in it afterwards.
        png: also paint every plot as a PNG file into this new folder.
        json: one JSON object on standard output, and nothing else there.
    """
    from unspool.reporting.report import write_plots, write_report

    page = write_report(run)
    plots = [] if png is None else write_plots(run, png)
    if json:
        return show_json({"run": run, "report": page, "plots": plots})
    return print("\n".join(map(str, [page, *plots])))


def answer_line(row: Mapping[str, Any]) -> str:
    """An answer for a person: what was asked, and what comes back.

    Example:
        >>> answer_line({"input": "good", "answer": "positive", "probability": 0.93})
        'good → positive (0.93)'
        >>> answer_line({"input": ["The", "cat"], "answer": ["DET", "NOUN"]})
        'The/DET cat/NOUN'
    """
    if "forecast" in row:
        return forecast_line(row)
    given, answer = row["input"], row["answer"]
    if given is None:  # numbers: the columns they stand in
        given = ", ".join(f"{name} {value}" for name, value in row.get("row", {}).items())[:WIDTH]
    if isinstance(answer, list) and isinstance(given, list):
        return " ".join(f"{word}/{tag}" for word, tag in zip(given, answer, strict=True))
    shown = f"{answer:g}" if isinstance(answer, float) else str(answer)
    sure = row.get("probability")
    return f"{given} → {shown}" + (f" ({sure:.2f})" if isinstance(sure, float) else "")


def forecast_line(row: Mapping[str, Any]) -> str:
    """One step ahead for a person: of which series, when, how much, from where to where.

    Example:
        >>> forecast_line({"series": "", "date": "1961-01", "step": 1, "forecast":
        ...     {"Passengers": {"0.1": 421.0, "point": 447.31, "0.9": 470.2}}})
        '1961-01  Passengers 447.3 (421 to 470.2)'
    """
    said = []
    for name, values in row["forecast"].items():
        bands = [values[level] for level in sorted(set(values) - {"point"}, key=float)]
        around = f" ({_number(bands[0])} to {_number(bands[-1])})" if len(bands) > 1 else ""
        said.append(f"{name} {_number(values['point'])}{around}")
    return "  ".join(part for part in (row["series"], row["date"], "; ".join(said)) if part)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def explained_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """An answer, and below it each part with what it adds to the answer's probability.

    Example:
        >>> words = [{"word": "good", "difference": 0.25}, {"word": "day", "difference": -0.05}]
        >>> for line in explained_lines({"input": "good day", "answer": "yes", "words": words}):
        ...     print(line)
        good day → yes
          +0.250  ++++++++++ good
          -0.050  -- day
    """
    yield answer_line(row)
    parts = row.get("words") or row["parts"]
    most = max(LEAST, *(abs(each["difference"]) for each in parts))
    for each in parts:
        change = each["difference"]
        bar = ("+" if change > 0 else "-") * round(BAR * abs(change) / most)
        yield f"  {change:+.3f}  {bar}{' ' * bool(bar)}{each.get('word') or each['part']}"


BAR = 10
LEAST = 0.01  # difference that has a bar of its whole length
WIDTH = 60  # of an input
