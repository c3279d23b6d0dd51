"""What a run says of inputs, wherever they come from: arguments, a file, standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unspool.data.reading import read
from unspool.errors import ConfigError, DataError
from unspool.predictor import ExamplePredictor, load


def answered(
    run: str | Path,
    inputs: Sequence[str] = (),
    file: str | Path | None = None,
    lines: Iterable[str] = (),
) -> Iterator[dict[str, Any]]:
    """One answer for each input, in their order.

    Args:
        run: a run, or a model folder, of any task but writing.
        inputs: texts, words with spaces in between, or paths of sounds and images.
        file: a file like the one that was trained on, read instead; its labels are not looked at.
        lines: read one input a line, where there is neither.

    Yields:
        ``input`` and what the task answers: ``answer``, ``probability`` and others.

    Raises:
        ConfigError: for a run that writes, or inputs and a file at once.
        DataError: for an input that cannot be read, with its number or place.
    """
    predictor = load(run)
    if not isinstance(predictor, ExamplePredictor):
        raise ConfigError(f"{run}: is a model that writes; use it with `unspool generate {run}`.")
    if inputs and file is not None:
        raise ConfigError("unspool predict: got inputs and --file; wanted one of the two.")
    reads = predictor.answers.encoder.reads
    if file is not None:
        examples = read([file], task=predictor.task, labelled=False).examples
        given: Sequence[Any] = examples.inputs
    else:
        texts = list(inputs) or [line.rstrip("\r\n") for line in lines]
        given = [_parsed(text, reads, number) for number, text in enumerate(texts, 1)]
    if not given:
        raise DataError("unspool predict: got no input; wanted arguments, --file, or lines.")
    for start in range(0, len(given), AT_ONCE):
        some = given[start : start + AT_ONCE]
        for each, answer in zip(some, predictor.predict(some), strict=True):
            yield {"input": _plain(each), **answer}


def _parsed(text: str, reads: str, number: int) -> Any:
    """An argument as the kind of input that the model reads."""
    if reads == "words":
        return text.split()
    if reads in ("sound", "image"):
        return Path(text)
    if reads == "numbers":
        raise DataError(f"input {number}: sequences of numbers are read from a file; use --file.")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, str | list):
        return value
    return str(value) if isinstance(value, Path) else None


AT_ONCE = 256
