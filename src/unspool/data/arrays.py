"""Arrays as examples: IDX, .npy and .npz files, and arrays in memory."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unspool.data.examples import Examples
from unspool.data.parsing import Parsed
from unspool.data.recognised import Recognised
from unspool.data.table import Place, Refused, decimal, listed, short
from unspool.data.text import printable
from unspool.errors import DataError

INPUTS = ("x", "inputs", "input", "features", "frames", "images", "data", "sequences")
LABELS = ("y", "labels", "label", "targets", "target", "classes", "tags")
LENGTHS = "lengths"
# The types of IDX, by the third byte of the file.
IDX_TYPES = {
    0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8",
}  # fmt: skip
MOST_AXES = 4
# What damaged files make their readers raise; MemoryError: a header that speaks of terabytes.
DAMAGED = (
    OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, OverflowError, MemoryError,
    NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def is_array_file(path: Path) -> bool:
    """Whether a file begins as IDX (also packed by gzip), .npy or .npz files do."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                start = packed.read(4)
            return _is_idx(start)
        if start == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".npy") for name in archive.namelist())
    except DAMAGED:
        return False
    return start == b"\x93NUM" or _is_idx(start)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; where it holds a single one, by the file's own name.

    Raises:
        DataError: if it is cut short or damaged, or holds Python objects.
    """
    name = printable(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                with np.load(file, allow_pickle=False) as archive:
                    return {key: archive[key] for key in archive.files}
            if start == b"\x93NUM":
                return {path.name: np.load(file, allow_pickle=False)}
            data = file.read()
        if start[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except DAMAGED as error:
        raise DataError(
            f"{name}: cannot be read as arrays ({short(str(error))}); write it again with "
            "numpy.save or numpy.savez, without Python objects."
        ) from error
    return {path.name: _idx(data, name)}


def examples_of_arrays(
    inputs: Any, labels: Any, file: str, task: str = "auto"
) -> tuple[Recognised, Parsed]:
    """Examples from an array of inputs and an array of labels.

    ======================  ==========  =============================================
    inputs                  labels      are
    ======================  ==========  =============================================
    uint8 [N H W], [N H W 3]  [N]       images, each with a label (see)
    [N T D], [N T]            [N]       sequences, each with a label (classify)
    [N T D], [N T]            [N T]     sequences with a label for each step (tag)
    [N D]                     [N]       vectors with a text each, if captions are wanted
    [T D]                     [T]       with T times T given: one sequence (tag), if no
                                        task is named that wants rows
    ======================  ==========  =============================================

    [T D] with [T] is the same shape as N sequences [N T] with a label each. The latter is taken,
    unless ``task`` is "tag".

    Args:
        inputs: an array, or a list of arrays [T D] of different T.
        labels: an array or a list; of texts or whole numbers; None to predict.
        file: the name, for the places; the line is the position, counted from 1.
        task: "auto", or the job that is wanted.

    Raises:
        DataError: if the shapes fit no line of the table.

    Example:
        >>> found, parsed = examples_of_arrays(np.zeros((4, 9, 2)), [0, 1, 0, 1], "memory")
        >>> found.task, parsed.examples.inputs[0].shape, parsed.examples.targets
        ('classify', (9, 2), ['0', '1', '0', '1'])
    """
    sequences = _sequences(inputs, file)
    targets = None if labels is None else _as_list(labels)
    if isinstance(sequences, np.ndarray):
        if sequences.ndim == 2 and task == "tag" and targets is not None and _is_flat(targets):
            sequences, targets = sequences[None], [targets]
        images = sequences.dtype == np.uint8 and sequences.ndim >= 3 and _is_flat(targets or [])
        pictures = task == "see" or (task in ("auto", "caption") and images)
        if pictures and sequences.ndim in (3, 4):
            return _as_captions(_images(sequences, targets, file), task)
        if sequences.ndim not in (2, 3):
            raise DataError(
                f"{file}: an array of shape {list(sequences.shape)}; wanted [N T], [N T D], or "
                "uint8 [N H W] or [N H W 3] for images."
            )
        if sequences.ndim == 2:
            sequences = sequences[:, None] if task == "caption" else sequences[:, :, None]
    if targets is not None and len(targets) != len(sequences):
        raise DataError(
            f"{file}: {len(sequences)} inputs and {len(targets)} labels; wanted one for each."
        )
    if task == "caption":
        return _as_captions(_numbers(list(sequences), targets, file, "classify"), task)
    return _numbers(list(sequences), targets, file, task)


def _as_captions(found: tuple[Recognised, Parsed], task: str) -> tuple[Recognised, Parsed]:
    """The same, with what stands beside each input learnt as its caption, where that is wanted."""
    if task != "caption":
        return found
    understood, parsed = found
    roles = {"caption": "captions"} if understood.roles else {}
    what = "images" if understood.kind == "image" else "vectors"
    reason = f"{what}, each with a caption"
    return replace(understood, task=task, roles=roles, reason=reason), parsed


def arrays_of(found: Mapping[str, np.ndarray], file: str) -> tuple[Any, Any]:
    """The inputs and the labels among named arrays.

    Args:
        found: two arrays, called as in `INPUTS` and `LABELS`, or told apart by their axes: labels
            have fewer. A single one is inputs without labels. An array ``lengths`` [N] says how
            many steps of each padded input there are.
        file: the name, for the message.

    Raises:
        DataError: if they cannot be told apart.
    """
    names = {name.lower().rsplit(".", 1)[0]: name for name in found}
    inputs = next((names[each] for each in INPUTS if each in names), None)
    labels = next((names[each] for each in LABELS if each in names), None)
    if len(found) == 1:
        only = next(iter(found))
        return found[inputs or only], None
    if len(found) == 2 and (inputs is None or labels is None):
        one, two = sorted(found, key=lambda name: np.ndim(found[name]))
        if np.ndim(found[one]) < np.ndim(found[two]):
            labels, inputs = one, two
    if inputs is None or labels is None:
        raise DataError(
            f"{file}: holds the arrays {listed(list(found))}; wanted two, called x and y."
        )
    if LENGTHS in names and found[names[LENGTHS]].shape == found[inputs].shape[:1]:
        lengths = found[names[LENGTHS]].astype(int).tolist()
        return [each[:n] for each, n in zip(found[inputs], lengths, strict=True)], found[labels]
    return found[inputs], found[labels]


def _images(images: np.ndarray, targets: Any, file: str) -> tuple[Recognised, Parsed]:
    if images.dtype != np.uint8 or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{file}: images of shape {list(images.shape)} and type {images.dtype}; wanted uint8 "
            "[N H W] or [N H W 3]."
        )
    if targets is not None and len(targets) != len(images):
        raise DataError(
            f"{file}: {len(images)} images and {len(targets)} labels; wanted one for each."
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    size = " x ".join(str(each) for each in images.shape[1:])
    reason = f"images of {size} points" + ("" if targets is None else ", each with a label")
    found = Recognised("see", "image", reason, {} if targets is None else {"label": "labels"})
    return found, _collected("image", list(images), targets, file)


def _numbers(
    sequences: list[np.ndarray], targets: Any, file: str, task: str
) -> tuple[Recognised, Parsed]:
    each = targets is not None and len(targets) > 0 and not _is_flat(targets)
    if task not in ("auto", "classify", "tag", "rate"):
        raise DataError(
            f"{file}: holds sequences of numbers, which are not what --task {task} reads."
        )
    if (task == "tag" and targets is not None and not each) or (
        each and task in ("classify", "rate")
    ):
        wanted = "each step" if task == "tag" else "each sequence"
        raise DataError(f"{file}: the labels are not one for {wanted}, which --task {task} wants.")
    chosen = task if task != "auto" else "tag" if each else "classify"
    reason = "sequences of numbers"
    if targets is not None:
        reason += ", every step with a label" if each else ", each with a label"
    roles = {} if targets is None else {"label": "labels"}
    return Recognised(chosen, "numbers", reason, roles), _collected(
        "numbers", sequences, targets, file, chosen
    )


def _collected(
    kind: str, inputs: Sequence[Any], targets: Any, file: str, task: str = "see"
) -> Parsed:
    """Examples of all inputs that can be used."""
    kept, learnt, places, rows, refused = [], [], [], [], []
    for index, value in enumerate(inputs):
        place = Place(file, index + 1)
        target = None if targets is None else targets[index]
        problem = _problem(kind, value, target, task)
        if problem:
            refused.append(Refused(place, problem))
            continue
        kept.append(np.ascontiguousarray(value, dtype=np.uint8 if kind == "image" else np.float32))
        learnt.append(_target(target, task))
        places.append(place)
        rows.append([index])
    return Parsed(Examples(kind, kept, learnt, places), rows, refused)


def _problem(kind: str, value: Any, target: Any, task: str) -> str:
    if kind == "numbers":
        if value.ndim != 2 or not value.size:
            return f"an array of shape {list(value.shape)}, wanted [T D] with a step or more"
        with np.errstate(over="ignore"):
            finite = np.isfinite(value.astype(np.float32))
        if not finite.all():
            step = int(np.argwhere(~finite)[0][0])
            return f"step {step + 1} holds NaN or an infinite number"
        if isinstance(target, list) and len(target) != len(value):
            return f"{len(value)} steps with {len(target)} labels"
    labels = target if isinstance(target, list) else [target]
    if task == "rate" and target is not None and decimal(str(target).strip()) is None:
        return f"the stars are {short(str(target))}, wanted a number"
    if any(_is_empty(label) for label in labels if label is not None):
        return "the label is empty"
    return ""


def _is_empty(label: Any) -> bool:
    return (isinstance(label, float) and math.isnan(label)) or not str(label).strip()


def _target(target: Any, task: str) -> Any:
    if target is None:
        return None
    if isinstance(target, list):
        return [plain_label(each) for each in target]
    return float(target) if task == "rate" else plain_label(target)


def plain_label(label: Any) -> str:
    """A label as text: 3.0 is "3".

    Example:
        >>> plain_label(3.0), plain_label("cat "), plain_label(True)
        ('3', 'cat', 'True')
    """
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def _sequences(inputs: Any, file: str) -> np.ndarray | list[np.ndarray]:
    """One array of numbers, or a list of arrays [T D] of different T."""
    try:
        whole = np.asarray(inputs)
    except ValueError:
        whole = None
    if whole is not None and whole.dtype.kind in "buif" and whole.ndim <= MOST_AXES:
        if not whole.size:
            raise DataError(f"{file}: the array is empty, of shape {list(whole.shape)}.")
        return whole
    try:
        each = [np.asarray(sequence, dtype=np.float64) for sequence in inputs]
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: holds what are no numbers; wanted arrays of numbers.") from error
    if not each:
        raise DataError(f"{file}: holds no sequences.")
    return [array[:, None] if array.ndim == 1 else array for array in each]


def _as_list(labels: Any) -> list[Any]:
    """Labels as plain values; of a sequence of labels a list."""
    if hasattr(labels, "tolist"):
        return list(labels.tolist())
    plain = [each.tolist() if hasattr(each, "tolist") else each for each in labels]
    return [list(each) if isinstance(each, tuple) else each for each in plain]


def _is_flat(targets: Sequence[Any]) -> bool:
    return not any(isinstance(each, list) for each in targets)


def _is_idx(start: bytes) -> bool:
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES and 0 < start[3] <= 4


def _idx(data: bytes, name: str) -> np.ndarray:
    """An array in the IDX format: magic, axes as big-endian whole numbers, then the values."""
    if not _is_idx(data[:4]):
        raise DataError(f"{name}: does not begin as an IDX file does.")
    axes = data[3]
    header = 4 + 4 * axes
    shape = np.frombuffer(data[4:header][: 4 * axes], dtype=">u4") if len(data) >= header else None
    kind = np.dtype(IDX_TYPES[data[2]])
    wanted = None if shape is None else math.prod(map(int, shape)) * kind.itemsize
    if shape is None or len(data) - header != wanted:
        raise DataError(
            f"{name}: holds {len(data)} bytes and its header speaks of "
            f"{'more' if wanted is None else header + wanted}; the file is damaged or cut short."
        )
    array = np.frombuffer(data, dtype=kind, offset=header).reshape([int(each) for each in shape])
    return array.astype(kind.newbyteorder("="))
