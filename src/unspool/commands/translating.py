"""Writing a text for each input with a run that translates or captions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from unspool.commands.app import Flag, Whole, app, show_json
from unspool.errors import ConfigError


@app.command(sort_key=5)
def translate(
    run: Path,
    /,
    *inputs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Path | None = None,
    nbest: Whole | None = None,
    beam: Whole | None = None,
    length_penalty: float | None = None,
    max_length: Whole | None = None,
    no_repeat: Whole | None = None,
    attention: Flag = False,
    png: Path | None = None,
    svg: Path | None = None,
    json: Flag = False,
) -> None:
    """The text that a run writes for each input: arguments, a file, or standard input by lines.

    Args:
        run: the run folder.
        inputs: texts; of a run that captions, paths of images.
        file: a file like the one that was trained on, or a text on each line.
        nbest: answers for each input, the best first.
        beam: beginnings that are followed at once; 1 always takes the likeliest token.
        length_penalty: power of the length that log probabilities are divided by.
        max_length: tokens of the longest answer.
        no_repeat: so many tokens in a row never come twice.
        attention: show where the model looked while it wrote.
        png: draw that as a picture, of one input.
        svg: the same as SVG.
        json: one JSON object a line for each input.
    """
    from unspool.translating import translated

    drawn = [path for path in (png, svg) if path is not None]
    if drawn and (len(inputs) != 1 or file is not None):
        raise ConfigError("unspool translate: --png and --svg draw one text; wanted one argument.")
    for path in drawn:
        if path.exists():
            raise ConfigError(f"{path}: exists; wanted the name of a new file.")
    asked = {
        "nbest": nbest,
        "beam": beam,
        "length_penalty": length_penalty,
        "max_length": max_length,
        "no_repeat": no_repeat,
    }
    rows = translated(
        run,
        inputs,
        file,
        sys.stdin,
        lambda text: print(text, file=sys.stderr),
        changes={name: value for name, value in asked.items() if value is not None},
        attention=attention or bool(drawn),
    )
    for row in rows:
        _draw(row, png, svg)
        if json:
            show_json({name: value for name, value in row.items() if name != "row"})
        else:
            print("\n".join(_lines(row, attention)))


def _lines(row: Mapping[str, Any], attention: bool) -> Iterator[str]:
    """An answer for a person, below it where the model looked."""
    from shutil import get_terminal_size

    from unspool.attention_shown import attention_text

    for each in row.get("nbest", [row]):
        yield (
            f"{each['answer']}  ({each['log_probability']:.2f})"
            if "nbest" in row
            else (each["answer"])
        )
    if attention:
        yield attention_text(row["attention"], get_terminal_size().columns)


def _draw(row: Mapping[str, Any], png: Path | None, svg: Path | None) -> None:
    if png is None and svg is None:
        return
    from unspool.drawing.attention_map import attention_map
    from unspool.drawing.paint import paint

    picture = attention_map(row["attention"], f"{row['input']}: {row['answer']}")
    if png is not None:
        paint(picture, png)
    if svg is not None:
        svg.write_text(picture.svg(), encoding="utf-8")
