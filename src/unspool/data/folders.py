"""Folders of sounds or images: what each is, from the folder or the name of its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unspool.data.recognised import PARTS
from unspool.data.roles import IMAGES, SOUNDS
from unspool.data.table import Cell, Place, Refused, Table, listed
from unspool.data.text import printable
from unspool.errors import DataError

SEPARATORS = ("_", "-", ".")


def folder_table(folder: Path, labelled: bool = True) -> Table | None:
    """Sounds or images with their labels; None if there are none in the folder.

    The label is the name of the folder a file stands in. If all stand in one, it is what comes
    before the first ``_`` (or ``-``, ``.``) of the name: ``7_george_3.wav`` is a 7; the other
    fields become columns too, for ``--data.group "field 2"``. Folders called train, validation
    and test say the part.

    Args:
        folder: looked through with all that is in it, without hidden files.
        labelled: False if the paths are all that is wanted.

    Returns:
        Columns ``path``, ``label``, perhaps ``split`` and ``field 2``, … . Files beside the
        labelled folders are refused.

    Raises:
        DataError: if there are sounds and images, or nothing says what they are.
    """
    files = [path for path in sorted(folder.rglob("*")) if _is_visible(path, folder)]
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    images = [path for path in files if path.suffix.lower() in IMAGES]
    if sounds and images:
        raise DataError(
            f"{printable(folder)}: holds {len(sounds)} sounds and {len(images)} images; wanted "
            "one kind, so name a folder inside it."
        )
    found = sounds or images
    if not found:
        return None
    what = "sounds" if sounds else "images"
    if not labelled:
        return path_table(found, what)
    parents = {path.parent for path in found}
    if parents == {folder}:
        return name_table(found, what, printable(folder))
    return _by_folder(found, folder, what)


def path_table(files: Sequence[Path], what: str) -> Table:
    """Sounds or images of which nothing is known but their paths.

    Example:
        >>> path_table([Path("a.wav")], "sounds").columns
        ('path',)
    """
    places = [Place(str(path), 0) for path in files]
    rows: list[list[Cell]] = [[str(path)] for path in files]
    return Table(
        ("path",),
        rows,
        places,
        form=what,
        unit="files",
        file=printable(files[0].parent),
        beside=False,
    )


def name_table(files: Sequence[Path], what: str, where: str) -> Table:
    """Sounds or images whose label is the first field of the name.

    Raises:
        DataError: if the names do not begin with fields that recur.

    Example:
        >>> files = [Path(f"{label}_ann_{i}.wav") for label in "07" for i in range(3)]
        >>> name_table(files, "sounds", "here").rows[3]
        ['7_ann_0.wav', '7', 'ann', '0']
    """
    for separator in SEPARATORS:
        fields = [path.stem.split(separator) for path in files]
        first = Counter(each[0] for each in fields)
        if min(map(len, fields)) > 1 and len(first) > 1 and 2 * len(first) <= len(files):
            break
    else:
        raise DataError(
            f"{where}: {len(files)} {what} without labels; wanted a folder for each label, a table "
            "of paths and labels, or names such as 7_george_3.wav."
        )
    width = min(map(len, fields))
    columns = ("path", "label", *(f"field {i + 1}" for i in range(1, width)))
    rows = [
        [str(path), *each[: width - 1], separator.join(each[width - 1 :])]
        for path, each in zip(files, fields, strict=True)
    ]
    places = [Place(str(path), 0) for path in files]
    form = f"{what} in one folder, the label is what comes before the first {separator!r} of a name"
    return Table(
        columns,
        [list(row) for row in rows],
        places,
        form=form,
        unit="files",
        file=where,
        beside=False,
    )


def _by_folder(files: Sequence[Path], folder: Path, what: str) -> Table:
    """Sounds or images whose label is the name of their folder."""
    inside = [path.relative_to(folder).parts for path in files]
    tops = {parts[0].lower() for parts in inside if len(parts) > 1}
    parted = tops <= set(PARTS) and len(tops) > 1
    columns = ("path", "label", "split") if parted else ("path", "label")
    form = f"{what} in folders named by their label"
    where = printable(folder)
    table = Table(columns, [], [], form=form, unit="files", file=where, beside=False)
    for path, parts in zip(files, inside, strict=True):
        place = Place(str(path), 0)
        if len(parts) < (3 if parted else 2):
            table.refused.append(Refused(place, "stands in no folder that is named by a label"))
            continue
        row = [str(path), parts[-2], parts[0].lower()] if parted else [str(path), parts[-2]]
        table.rows.append(list(row))
        table.places.append(place)
    return table


def other_files(folder: Path, read: str = "") -> str:
    """A sentence on the visible files of a folder that are neither sounds nor images, or "".

    Args:
        folder: looked through with all that is in it.
        read: the table that names its sounds or images, if there is one.
    """
    others = [
        path.name
        for path in sorted(folder.rglob("*"))
        if _is_visible(path, folder)
        and path.suffix.lower() not in SOUNDS + IMAGES
        and printable(path) != read
    ]
    return f"left out of {printable(folder)}: {listed(others, 5)}." if others else ""


def _is_visible(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder).parts
    return path.is_file() and not any(part.startswith(".") for part in inside)
