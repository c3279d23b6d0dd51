"""What a run says of inputs, wherever they come from: arguments, a file, standard input."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unspool.data.examples import Examples
from unspool.data.opening import read_source
from unspool.data.reading import Reading, read
from unspool.data.settings import DataSettings
from unspool.data.text import printable
from unspool.errors import ConfigError, DataError
from unspool.predictor import ExamplePredictor, load
from unspool.record import Record
from unspool.tasks.example_answers import answer_all
from unspool.training import layout
from unspool.training.durable import told, write_file
from unspool.training.run import Run


def answered(
    run: str | Path,
    inputs: Sequence[str] = (),
    file: str | Path | None = None,
    lines: Iterable[str] = (),
    tell: Callable[[str], None] = lambda text: None,
    predictor: ExamplePredictor | None = None,
) -> Iterator[dict[str, Any]]:
    """One answer for each input, in their order.

    Args:
        run: a run, or a model folder, of any task but writing.
        inputs: texts, words with spaces in between, or paths of sounds and images; of a forecast
            the path of a file.
        file: a file like the one that was trained on, read instead and as the run reads; its labels
            are not looked at. A forecast begins at its end; without a file, at the end of the
            run's own data.
        lines: read one input a line, where there is neither.
        tell: called with a sentence on rows of the file that are refused, and so have no answer.
        predictor: of the run; None loads it.

    Yields:
        ``input`` and what the task answers: ``answer``, ``probability`` and others; of a file with
        columns also ``row``, those of the input. Of a forecast, for each step ahead, what
        `unspool.tasks.forecast_answers.ForecastAnswers.ahead` yields.

    Raises:
        ConfigError: for a run that writes, or inputs and a file at once.
        DataError: for an input that cannot be read, with its number or place.
    """
    predictor = predictor or _answering(run)
    if inputs and file is not None:
        raise ConfigError("got inputs and --file; wanted one of the two.")
    if predictor.task == "forecast":
        yield from _ahead(predictor, Path(run), [*inputs, *([] if file is None else [file])], tell)
        return
    if file is not None:
        yield from _of_file(predictor, run, file, tell)
        return
    source = "input" if inputs else "line"
    numbered = enumerate(inputs or (line.rstrip("\r\n") for line in lines), 1)
    number = 0
    for some in _chunks(numbered):
        given = [_parsed(text, predictor, f"{source} {number}") for number, text in some]
        number = some[-1][0]
        names = [f"{source} {each}" for each, _ in some]
        answers = predictor.answers.predict(predictor.model, given, names)
        for each, answer in zip(given, answers, strict=True):
            yield {"input": _plain(each), **answer}
    if not number:
        raise DataError("got no input; wanted arguments, --file, or lines.")


def following(run: str | Path, beam: int) -> ExamplePredictor:
    """A run that transcribes, following so many beginnings of a transcript at once; 1 is greedy.

    Raises:
        ConfigError: for a run that does something else, or fewer than one.
    """
    return _answering(run).with_beam(beam)


def explained(run: str | Path, given: str) -> dict[str, Any]:
    """What of an input its answer hangs on, by leaving out each part of it once.

        difference(i) = p(answer | input) - p(answer | input without part i)

    Positive: the part speaks for the answer. Parts that say the same twice hide each other, since
    one stays when the other is left out; the differences do not add up to the probability. The
    parts of a text are its words; of a sound, `STRETCHES` stretches of time; of an image, fields of
    a grid of `FIELDS` by `FIELDS`. Where those are left out stands the training part's mean.

    Args:
        run: a run, or a model folder, that answers texts, sounds or images with probabilities.
        given: one or more words, or the path of a sound or image.

    Returns:
        ``input``, what the task answers, and ``words`` of a text or ``parts``: of each, in the
        input's order, ``word`` or ``part``, ``difference`` and ``answer``, what is said without it.

    Raises:
        ConfigError: for a run that answers something else, or without probabilities.
        DataError: for a text of which nothing is left to leave out, or a file that cannot be read.

    Source:
        Li, Monroe and Jurafsky (2016), Understanding Neural Networks through Representation
        Erasure, section 2.
    """
    predictor = _answering(run)
    answers, encoder = predictor.answers, predictor.answers.encoder
    reads = getattr(encoder, "reads", "")
    refusal = ConfigError(
        f"--explain: {run} is a run of '{predictor.task}'; wanted one on texts, sounds or images "
        "that answers with probabilities."
    )
    if reads == "text":
        names, encoded = _without_words(encoder, given)
    elif reads in ("sound", "image"):
        names, encoded = _without_places(encoder, encoder.encode(given))
    else:
        raise refusal
    whole, *others = answer_all(predictor.model, answers.rules, encoder, encoded)
    if "probabilities" not in whole:
        raise refusal
    key = _label(whole["answer"])
    many, one = ("words", "word") if reads == "text" else ("parts", "part")
    return {
        "input": given,
        **whole,
        many: [
            {
                one: name,
                "difference": whole["probabilities"][key] - other["probabilities"][key],
                "answer": other["answer"],
            }
            for name, other in zip(names, others, strict=True)
        ],
    }


def _without_words(encoder: Any, text: str) -> tuple[list[str], list[Any]]:
    """The words of a text; it, and it without each of them, as numbers."""
    words = list(re.finditer(r"\S+\s*", text))
    if not words:
        raise DataError("--explain: the text is empty; wanted a word or more.")
    without = [text[: word.start()] + text[word.end() :] for word in words]
    return [word.group().rstrip() for word in words], [encoder.encode(t) for t in (text, *without)]


def _without_places(encoder: Any, encoded: Any) -> tuple[list[str], list[Any]]:
    """Where parts of a sound or image lie; it, and it without each of them, as numbers.

    Both are numbers less the training part's mean, so that nothing is zero.
    """
    names, places = [], []
    if encoder.reads == "sound":
        hop = encoder.settings.hop
        for first, last in _cut(len(encoded), STRETCHES):
            names.append(f"{first * hop:.2f} to {last * hop:.2f} s")
            places.append((slice(first, last),))
    else:
        _, height, width = encoded.shape
        for top, below in _cut(height, FIELDS):
            for left, right in _cut(width, FIELDS):
                names.append(f"rows {top + 1} to {below}, columns {left + 1} to {right}")
                places.append((slice(None), slice(top, below), slice(left, right)))
    without = [encoded.clone() for _ in places]
    for changed, place in zip(without, places, strict=True):
        changed[place] = 0
    return names, [encoded, *without]


def _cut(length: int, most: int) -> list[tuple[int, int]]:
    """Beginnings and ends of equal parts, as many as there can be."""
    count = min(length, most)
    edges = [round(k * length / count) for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def write_table(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Answers as CSV: the columns that were read, then ``answer`` and the probabilities.

    Where a column that was read is called like one of the answer, the latter is called
    ``answer (model)``. Lists are joined by spaces.

    Args:
        path: a file that does not exist yet.
        rows: as `answered` gives them.

    Returns:
        How many rows were written.

    Raises:
        DataError: if there is such a file, or it cannot be written.

    Example:
        >>> row = {"input": "good", "row": {"id": "7", "text": "good"}, "answer": "yes",
        ...        "probability": 0.75, "probabilities": {"no": 0.25, "yes": 0.75}}
        >>> write_table("answers.csv", [row])
        1
        >>> print(Path("answers.csv").read_text().splitlines()[0])
        id,text,answer,probability,probability of no,probability of yes
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"--out: {path} exists; wanted the name of a new file.")
    flat = [_columns(row) for row in rows]
    read_columns = list(dict.fromkeys(name for given, _ in flat for name in given))
    said_columns = list(dict.fromkeys(name for _, said in flat for name in said))
    names = [_free(name, read_columns) for name in said_columns]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*read_columns, *names])
    for given, said in flat:
        table.writerow(
            [*(given.get(name, "") for name in read_columns), *(said[n] for n in said_columns)]
        )
    data = text.getvalue().encode()
    with told(path, "write", DataError, len(data)):
        write_file(path, data)
    return len(flat)


def _answering(run: str | Path) -> ExamplePredictor:
    predictor = load(run)
    if not isinstance(predictor, ExamplePredictor):
        raise ConfigError(f"{run}: is a model that writes; use it with `unspool generate {run}`.")
    return predictor


def _of_file(
    predictor: ExamplePredictor, run: str | Path, file: str | Path, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Answers for the usable rows of a file."""
    settings = _settings(Path(run))
    reading = read([file], settings, predictor.task, labelled=False)
    _tell_refused(reading, tell)
    every = reading.examples
    if every.kind != predictor.answers.encoder.reads:
        raise DataError(
            f"{printable(file)}: holds inputs of kind {every.kind}; wanted "
            f"{predictor.answers.encoder.reads}, as {run} was trained on."
        )
    for some in _chunks(range(len(every))):
        examples = every.take(some)
        answers = predictor.answers.predict_examples(predictor.model, examples)
        for index, answer in enumerate(answers):
            yield {"input": _plain(examples.inputs[index]), **_row(examples, index), **answer}


def _ahead(
    predictor: ExamplePredictor,
    run: Path,
    files: Sequence[str | Path],
    tell: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """What comes behind the end of a file, or of the run's own data as it is now."""
    if len(files) > 1:
        raise ConfigError(f"unspool predict: got {len(files)} files; a forecast wants one.")
    if files:
        reading = read([files[0]], _settings(run), predictor.task, labelled=False)
    else:
        reading = _own_data(run, tell)
    _tell_refused(reading, tell)
    encoder = predictor.answers.encoder
    for row in predictor.answers.ahead(predictor.model, reading.examples.inputs[0], tell):
        given = {encoder.group: row["series"], encoder.date: row["date"]}
        kept = {name: value for name, value in given.items() if name is not None}
        yield {"row": kept or {"step": row["step"]}, **row}


def _own_data(run: Path, tell: Callable[[str], None]) -> Reading:
    """What a run was trained on, or what has become of it."""
    if not (run / layout.HEADER).exists():
        raise DataError(f"{run}: is a model without its data; wanted a file to forecast from.")
    record = Record.read(Run.open(run))
    if record.source.in_memory:
        raise DataError(
            f"{run}: was trained on data in memory, which a run does not keep; wanted a file, or "
            f"`unspool.load({str(run)!r}).predict([data])`."
        )
    try:
        record.source.check()
    except DataError as error:
        if not all(Path(each).exists() for each in record.source.paths):
            raise
        tell(f"{error} The forecast begins where the data ends now.")
    settings = record.settings
    reading = read_source(record.source, settings.data, settings.task, settings.seed)
    assert isinstance(reading, Reading)
    return reading


def _tell_refused(reading: Reading, tell: Callable[[str], None]) -> None:
    if reading.refused:
        tell(reading.refusals)


def _row(examples: Examples, index: int) -> dict[str, Any]:
    return {} if examples.rows is None else {"row": examples.rows[index]}


def _settings(run: Path) -> DataSettings:
    """How a run reads files; a model folder on its own reads as anybody does."""
    if (run / layout.HEADER).exists():
        return Record.read(Run.open(run)).settings.data
    return DataSettings()


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """As many as are answered at once; the last ones may be fewer."""
    some: list[Any] = []
    for each in values:
        some.append(each)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _parsed(text: str, predictor: ExamplePredictor, name: str) -> Any:
    """An argument or line as the kind of input that the model reads."""
    reads = predictor.answers.encoder.reads
    if reads == "numbers":
        raise DataError(f"{name}: sequences of numbers are read from a file; use --file.")
    if not text.strip():
        raise DataError(f"{name}: is empty; wanted {WANTED.get(reads, 'a path')}.")
    if reads == "words":
        return text.split()
    return Path(text) if reads in ("sound", "image") else text


def _plain(value: Any) -> Any:
    if isinstance(value, str | list):
        return value
    return str(value) if isinstance(value, Path) else None


def _columns(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was read and what is said, by column."""
    given = row.get("row") or {"input": _cell(row["input"])}
    if "forecast" in row:
        return dict(given), {
            column if name == "point" else f"{column} {name}": value
            for column, values in row["forecast"].items()
            for name, value in values.items()
        }
    said = {
        name: _cell(value)
        for name, value in row.items()
        if name not in ("input", "row", "probabilities")
    }
    chances = row.get("probabilities") or {}
    return dict(given), said | {f"probability of {name}": each for name, each in chances.items()}


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += " (model)"
    return name


def _label(answer: Any) -> str:
    """What an answer is called among the probabilities."""
    return f"{answer:g}" if isinstance(answer, float) else str(answer)


AT_ONCE = 256
# Parts of a sound, and of each side of an image, that are left out in turn.
STRETCHES, FIELDS = 10, 4
WANTED = {"text": "a text", "words": "words with spaces in between"}
