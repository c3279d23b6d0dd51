"""All sources of a reading together: the training files, and those to validate and test on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unspool.data.arrays import arrays_of, examples_of_arrays, read_arrays
from unspool.data.contents import Arrays, Content, Running, contents
from unspool.data.delimited import LINE_END
from unspool.data.examples import Examples
from unspool.data.in_memory import NAME, arrays_in, is_in_memory, table_in
from unspool.data.parallel import parallel_table
from unspool.data.parsing import Parsed, parse
from unspool.data.recognise import WANTED, recognise
from unspool.data.recognised import PARTS, Recognised
from unspool.data.roles import is_known_name
from unspool.data.settings import DataSettings
from unspool.data.source import matching
from unspool.data.table import Place, Refused, Table, aligned, joined
from unspool.data.text import read_text
from unspool.errors import DataError


@dataclass(slots=True)
class Gathered:
    """Everything that was read, in one piece.

    Attributes:
        recognised: the job.
        examples: the usable ones.
        fixed: of each the part its file or a column says, or None; of a series, of each row.
        refused: rows that are not used.
        used: rows in examples.
        total: rows there are.
        unit: what a row is.
        form: how the files are written.
        columns: of the table, if there is one.
        warnings: what a person should know.
    """

    recognised: Recognised
    examples: Examples
    fixed: list[str | None]
    refused: list[Refused]
    used: int
    total: int
    unit: str
    form: str
    columns: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


def gather(
    sources: Any, settings: DataSettings, task: str, labelled: bool, whole: bool
) -> Gathered:
    """Read sources and what the settings name beside them.

    Args:
        sources: paths, or data in memory.
        settings: ``validation`` and ``test`` name further files.
        task: "auto" or a key of `unspool.data.recognised.MAPPINGS`.
        labelled: whether targets are wanted.
        whole: leave the further files alone.

    Raises:
        DataError: if something cannot be read, or files do not fit each other.
    """
    if isinstance(sources, Examples):
        return _of_examples(sources, task)
    in_memory = is_in_memory(sources)
    beside = [] if whole else _beside(settings, [] if in_memory else sources)
    if in_memory:
        arrays = arrays_in(sources)
        if arrays is not None and not beside:
            return _of_arrays([(None, (arrays[0], arrays[1] if labelled else None), NAME)], task)
        own: list[Content] = [table_in(sources)]
        warnings: list[str] = []
    else:
        paths = _without(sources, {path.resolve() for _, path in beside})
        if task == "write":
            return _of_text(paths, settings)
        own, warnings = contents(paths, settings, labelled)
    if task == "translate" and labelled and len(own) == 2:
        own = _side_by_side(own)
    pieces = _named_parts(own, whole)
    for part in dict.fromkeys(name for name, _ in beside):
        found, told = contents([path for name, path in beside if name == part], settings)
        pieces += [(part, each) for each in found]
        warnings += told
    texts = [Path(each.file) for _, each in pieces if isinstance(each, Running)]
    if labelled and len(texts) == len(pieces):
        if task != "auto":
            raise DataError(f"{texts[0]}: is running text; wanted {WANTED[task]}.")
        return _of_text(texts, settings)
    if not labelled:
        pieces = [(part, _lines(each, task)) for part, each in pieces]
    gathered = _joined(pieces, settings, task, labelled)
    gathered.warnings[:0] = warnings
    return gathered


def _side_by_side(own: Sequence[Content]) -> list[Content]:
    """Two running texts as one table of parallel lines; all else as it is."""
    source, target = own
    if isinstance(source, Running) and isinstance(target, Running):
        return [parallel_table(source, target)]
    return list(own)


def _lines(content: Content, task: str) -> Content:
    """Of running text a row for each line that is not blank: to predict on."""
    if not isinstance(content, Running) or task in ("auto", "forecast"):
        return content
    lines = list(enumerate(LINE_END.split(content.text), 1))
    if is_known_name(lines[0][1]) and len(lines) > 1:
        del lines[0]
    lines = [(number, line) for number, line in lines if line.strip()]
    column = "tokens" if task == "tag" else "text"
    return Table(
        (column,),
        [[line] for _, line in lines],
        [Place(content.file, number) for number, _ in lines],
        form="a text on each line",
        unit="lines",
        file=content.file,
    )


def _joined(
    pieces: Sequence[tuple[str | None, Content]], settings: DataSettings, task: str, labelled: bool
) -> Gathered:
    """Contents of one kind as one."""
    tables = [(part, each) for part, each in pieces if isinstance(each, Table)]
    if len(tables) == len(pieces):
        return _of_tables(tables, settings, task, labelled)
    if not all(isinstance(each, Arrays) for _, each in pieces):
        one = next(each for _, each in pieces if not isinstance(each, type(pieces[0][1])))
        raise DataError(
            f"{one.file}: holds {_kind(one)}, but {pieces[0][1].file} holds "
            f"{_kind(pieces[0][1])}; read them in separate runs."
        )
    sets = _paired([(part, each) for part, each in pieces if isinstance(each, Arrays)], labelled)
    return _of_arrays(sets, task)


def _of_tables(
    pieces: Sequence[tuple[str | None, Table]], settings: DataSettings, task: str, labelled: bool
) -> Gathered:
    first = pieces[0][1]
    tables = [aligned(table, first) for _, table in pieces]
    table = joined(tables)
    learnt = [
        each for (part, _), each in zip(pieces, tables, strict=True) if part in (None, "train")
    ]
    understood = recognise(joined(learnt), settings, task, labelled)
    owners = [part for (part, _), each in zip(pieces, tables, strict=True) for _ in each.rows]
    parsed = parse(table, understood, settings)
    split = understood.roles.get("split")
    if split is not None:
        said = [PARTS.get(str(cell).strip().lower()) for cell in table.column(split)]
        owners = [owner or part for owner, part in zip(owners, said, strict=True)]
    fixed = _settled(owners)
    per_row = understood.kind == "series"
    kept = parsed.rows[0] if per_row and parsed.rows else [rows[0] for rows in parsed.rows]
    return Gathered(
        understood,
        parsed.examples,
        [fixed[index] for index in kept],
        parsed.refused,
        sum(map(len, parsed.rows)),
        table.total,
        first.unit,
        first.form,
        table.columns,
        [*understood.warnings, *parsed.warnings],
    )


def _settled(owners: Sequence[str | None]) -> list[str | None]:
    """Rows called "train" are shared out where no row is called "validation" or "test"."""
    given = set(owners) - {None}
    if given >= {"validation", "test"}:
        return [owner or "train" for owner in owners]
    return [None if owner == "train" else owner for owner in owners]


def _of_arrays(sets: Sequence[tuple[str | None, tuple[Any, Any], str]], task: str) -> Gathered:
    """Examples of arrays, set by set."""
    owners: list[str | None] = []
    whole: Parsed | None = None
    understood = None
    total = 0
    for part, (inputs, labels), file in sets:
        found, parsed = examples_of_arrays(inputs, labels, file, task)
        understood = understood or found
        if found.task != understood.task:
            raise DataError(
                f"{file}: holds data for {found.task}, the others for {understood.task}."
            )
        total += len(parsed.rows) + len(parsed.refused)
        owners += [part] * len(parsed.rows)
        if whole is None:
            whole = parsed
            continue
        both, more = whole.examples, parsed.examples
        both.inputs += more.inputs
        both.targets += more.targets
        both.places += more.places
        whole.rows += parsed.rows
        whole.refused += parsed.refused
    assert whole is not None and understood is not None
    unit = "images" if understood.kind == "image" else "sequences"
    return Gathered(
        understood, whole.examples, _settled(owners), whole.refused, len(whole.rows), total, unit,
        "arrays",
    )  # fmt: skip


def _of_examples(examples: Examples, task: str) -> Gathered:
    """Examples that are there already, for a task that is known."""
    unit = {"sound": "sounds", "image": "images"}.get(examples.kind, "examples")
    role = {"transcribe": "transcript", "caption": "caption"}.get(task, "label")
    found = Recognised(task, examples.kind, f"{unit}, each with its {role}", {role: role})
    count = len(examples)
    return Gathered(found, examples, [None] * count, [], count, count, unit, "in memory")


def _of_text(paths: Sequence[Path], settings: DataSettings) -> Gathered:
    """Running text, each file one."""
    places = [Place(str(path), 1) for path in paths]
    texts = [read_text(path, settings.encoding) for path in paths]
    found = Recognised("write", "text", "running text", {})
    examples = Examples("text", texts, [None] * len(texts), places)
    fixed: list[str | None] = ["train"] * len(texts)
    return Gathered(found, examples, fixed, [], len(texts), len(texts), "texts", "running text")


def _paired(
    pieces: Sequence[tuple[str | None, Arrays]], labelled: bool
) -> list[tuple[str | None, tuple[Any, Any], str]]:
    """Inputs with their labels, which may stand in a file of their own."""
    sets: list[tuple[str | None, tuple[Any, Any], str]] = []
    waiting = dict(enumerate(pieces))
    for index, (part, piece) in enumerate(pieces):
        if index not in waiting:
            continue
        if len(piece.arrays) > 1 or not labelled:
            sets.append((part, arrays_of(piece.arrays, piece.file), piece.file))
            del waiting[index]
            continue
        other = _partner(piece, part, waiting)
        if other is None:
            raise DataError(
                f"{piece.file}: holds one array; wanted its labels too, in a file beside it such "
                f"as {_label_names(Path(piece.file).name)[0]}."
            )
        del waiting[index]
        waiting.pop(other[0], None)
        sets.append((part, _ordered(piece, other[1]), piece.file))
    return sets


def _partner(
    piece: Arrays, part: str | None, waiting: dict[int, tuple[str | None, Arrays]]
) -> tuple[int, Arrays] | None:
    """The file that belongs to one: by its name, or the only other one of its part."""
    path = Path(piece.file)
    names = {*_label_names(path.name), *_input_names(path.name)}
    others = {i: (p, each) for i, (p, each) in waiting.items() if each is not piece}
    for index, (_, each) in others.items():
        if Path(each.file).name in names and Path(each.file).parent == path.parent:
            return index, each
    same = [(i, each) for i, (p, each) in others.items() if p == part and len(each.arrays) == 1]
    if len(same) == 1 and len([1 for p, _ in waiting.values() if p == part]) == 2:
        return same[0]
    for name in names:
        beside = path.parent / name
        if name != path.name and beside.is_file():
            return -1, Arrays(read_arrays(beside), str(beside))
    return None


def _ordered(one: Arrays, two: Arrays) -> tuple[Any, Any]:
    """Inputs and labels of two files; labels have fewer axes."""
    first, second = next(iter(one.arrays.values())), next(iter(two.arrays.values()))
    if first.ndim == second.ndim:
        raise DataError(
            f"{one.file} and {two.file}: arrays of shape {list(first.shape)} and "
            f"{list(second.shape)}; wanted labels with fewer axes than the inputs."
        )
    return (first, second) if first.ndim > second.ndim else (second, first)


def _label_names(name: str) -> list[str]:
    """What the labels of a file of inputs are called."""
    names = []
    for word, label in (("images", "labels"), ("inputs", "labels"), ("x", "y"), ("X", "y")):
        changed = re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z])", label, name)
        if changed != name:
            names += [changed, re.sub(r"idx[34]", "idx1", changed)]
    stem, dot, ending = name.partition(".")
    return [*names, f"{stem}-labels{dot}{ending}", f"{stem}_labels{dot}{ending}"]


def _input_names(name: str) -> list[str]:
    changed = re.sub(r"(?<![A-Za-z])labels(?![A-Za-z])", "images", name)
    return [changed.replace("idx1", "idx3")] if changed != name else []


def _named_parts(own: Sequence[Content], whole: bool) -> list[tuple[str | None, Content]]:
    """Several files with "train" and "dev" or "test" in their names are these parts."""
    said = [part_of_name(each.file) for each in own]
    if whole or len(own) < 2 or "train" not in said or None in said or set(said) == {"train"}:
        return [(None, each) for each in own]
    return list(zip(said, own, strict=True))


def part_of_name(file: str) -> str | None:
    """The part that a file's name says, if it does.

    Example:
        >>> part_of_name("en_ewt-ud-dev.conllu"), part_of_name("t10k-labels.gz"), part_of_name("a")
        ('validation', 'test', None)
    """
    words = re.split(r"[^a-z0-9]+", Path(file).name.lower())
    return next(
        (PARTS[word] for word in words if word in PARTS), "test" if "t10k" in words else None
    )


def _beside(settings: DataSettings, own: Sequence[Path]) -> list[tuple[str, Path]]:
    return [
        (part, Path(path))
        for part in ("validation", "test")
        for path in matching(getattr(settings, part), f"data.{part}", own)
    ]


def _without(paths: Sequence[Path], taken: set[Path]) -> list[Path]:
    """The paths but for some files; a folder that holds some of those becomes its other files."""
    found: list[Path] = []
    for path in paths:
        inside = path.is_dir() and any(path.resolve() in each.parents for each in taken)
        found += sorted(path.iterdir()) if inside else [path]
    left = [path for path in found if path.resolve() not in taken]
    if not left:
        raise DataError("data.validation and data.test take every file; none is left to train on.")
    return left


def _kind(content: Content) -> str:
    return {Table: "a table", Arrays: "arrays", Running: "running text"}[type(content)]
