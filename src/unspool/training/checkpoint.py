"""Checkpoints and finished models on disk: tensors and JSON only, sealed by a manifest.

    RUN/checkpoints/step-000200/    model.safetensors  optimiser.safetensors  state.safetensors
                                    progress.json      manifest.json
    RUN/model/                      model.safetensors  config.json  tokenizer.json  README.md
                                    manifest.json

Whoever saves holds the run's lock (`Run.locked`); reading needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unspool.errors import CheckpointError, TrainingError
from unspool.training import durable, plain_json
from unspool.training.durable import one_line
from unspool.training.layout import MODEL, checkpoint_folder, list_checkpoints, step_of
from unspool.training.manifest import Format, NewerFormatError, read_sealed, write_sealed
from unspool.training.optimiser_state import join_optimiser, split_optimiser
from unspool.training.tensor_file import decode_tensors, encode_tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Everything training needs to go on from ``step`` as if it had never stopped."""

    folder: Path
    step: int
    model: dict[str, Tensor]
    optimiser: dict[str, Any]  # what the optimiser's load_state_dict takes
    state: dict[str, Tensor]  # the recurrent state carried from window to window
    progress: dict[str, Any]

    @property
    def events_length(self) -> int:
        """Bytes of events.jsonl that belong to this checkpoint."""
        return self.progress["events_length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A checkpoint that cannot be used, and why."""

    folder: Path
    reason: str


def save_checkpoint(
    run_folder: Path | str,
    step: int,
    *,
    model: dict[str, Tensor],
    optimiser: dict[str, Any],
    state: dict[str, Tensor],
    progress: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Save one step durably, read it back, and only then remove checkpoints that are too old.

    Killed or failing at any instant, it leaves the newest readable checkpoint either as it was or
    as it should be. A checkpoint of the same step is replaced.

    Args:
        run_folder: the run.
        step: steps taken so far, >= 0.
        model: the weights.
        optimiser: ``optimiser.state_dict()``.
        state: the carried recurrent state, by name; may be empty.
        progress: plain JSON values. ``"events_length"`` is required: the bytes of events.jsonl
            up to now. The step named by ``"best_step"``, if there, is never removed.
        keep: readable checkpoints to keep, the newest ones; at least 2 are always kept.

    Returns:
        The folder of the checkpoint.

    Raises:
        TrainingError: if a value is not finite (nothing is written), or the disk is full,
            read-only or failing.
        CheckpointError: if ``progress`` or ``optimiser`` holds what JSON cannot give back.
    """
    folder = checkpoint_folder(Path(run_folder), step)
    _check_progress(progress, f"step {step}")
    tensors, record = split_optimiser(optimiser)
    files = {
        "model.safetensors": encode_tensors(model, f"step {step}: model"),
        "optimiser.safetensors": encode_tensors(tensors, f"step {step}: optimiser"),
        "state.safetensors": encode_tensors(state, f"step {step}: carried state"),
        "progress.json": _encode_json({"progress": progress, "optimiser": record}, f"step {step}"),
    }
    _write(folder, CHECKPOINT_FORMAT, files, step)
    with durable.told(folder.parent, "remove old checkpoints", TrainingError):
        _rotate(Path(run_folder), keep, progress.get("best_step"))
    return folder


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read a checkpoint whose every byte is as it was saved.

    Raises:
        CheckpointError: if it is damaged, foreign or from a newer version.
    """
    folder = Path(folder)
    step, files = read_sealed(folder, CHECKPOINT_FORMAT)
    if step is None or step_of(folder) not in (step, None):
        raise CheckpointError(one_line(f"{folder}: the checkpoint inside is of step {step}."))
    record = _decode_json(files["progress.json"], folder / "progress.json")
    if record.keys() != {"progress", "optimiser"} or not isinstance(record["optimiser"], dict):
        raise CheckpointError(one_line(f"{folder}: progress.json has other fields than it should."))
    _check_progress(record["progress"], str(folder))
    tensors = {
        part: decode_tensors(files[f"{part}.safetensors"], str(folder / f"{part}.safetensors"))
        for part in ("model", "optimiser", "state")
    }
    return Checkpoint(
        folder=folder,
        step=step,
        model=tensors["model"],
        optimiser=join_optimiser(tensors["optimiser"], record["optimiser"], str(folder)),
        state=tensors["state"],
        progress=record["progress"],
    )


def newest_checkpoint(run_folder: Path | str) -> tuple[Checkpoint | None, list[Skipped]]:
    """The readable checkpoint of the highest step, and every one that had to be skipped for it.

    The order is by step number; clocks and file times play no part.

    Raises:
        CheckpointError: if one is undamaged but from a newer version: going back past it would
            throw work away.
        RunError: if the folder cannot be listed.
    """
    skipped = []
    for folder in list_checkpoints(Path(run_folder)):
        try:
            return load_checkpoint(folder), skipped
        except NewerFormatError:
            raise
        except CheckpointError as error:
            skipped.append(Skipped(folder=folder, reason=str(error)))
    return None, skipped


def save_model(
    run_folder: Path | str,
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    fitted: Mapping[str, str],
    card: str,
) -> Path:
    """Write ``RUN/model`` at once and durably, replacing an earlier one; the same bytes each time.

    Args:
        run_folder: the run.
        tensors: the weights.
        config: plain JSON values.
        fitted: by file name, JSON objects as text: a tokenizer, labels, scales.
        card: the model card, Markdown.

    Returns:
        The folder of the model.

    Raises:
        TrainingError: if a value is not finite, or the disk is full, read-only or failing.
        CheckpointError: if ``config`` or one of ``fitted`` is not JSON that reads back.
    """
    folder = Path(run_folder) / MODEL
    for name, text in fitted.items():
        _decode_json(text.encode(), name)
    files = {
        "model.safetensors": encode_tensors(tensors, "model"),
        "config.json": _encode_json(config, "config.json"),
        **{name: text.encode() for name, text in fitted.items()},
        "README.md": card.encode(),
    }
    _write(folder, MODEL_FORMAT, files, None)
    return folder


def load_model(
    folder: Path | str,
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """The weights, the config and the fitted files of a folder that `save_model` wrote.

    Raises:
        CheckpointError: if it is damaged, foreign or from a newer version.
    """
    folder = Path(folder)
    _, files = read_sealed(folder, MODEL_FORMAT)
    fitted = {}
    for name in files.keys() & MODEL_FORMAT.optional:
        _decode_json(files[name], folder / name)
        fitted[name] = files[name].decode()
    return (
        decode_tensors(files["model.safetensors"], str(folder / "model.safetensors")),
        _decode_json(files["config.json"], folder / "config.json"),
        fitted,
    )


def _write(folder: Path, kind: Format, files: dict[str, bytes], step: int | None) -> None:
    needed = sum(len(data) for data in files.values())
    with durable.told(folder, "save", TrainingError, needed):
        durable.make_folders(folder.parent)
        durable.sweep(folder.parent)
        with durable.appearing(folder, replace=True) as temporary:
            write_sealed(temporary, kind, files, step)
            _read_back(temporary, kind, folder)
    _read_back(folder, kind, folder)


def _read_back(written: Path, kind: Format, folder: Path) -> None:
    try:
        read_sealed(written, kind)
    except CheckpointError as error:
        raise TrainingError(
            one_line(f"{folder}: saved, but it does not read back; the disk may fail: {error}")
        ) from error


def _rotate(run_folder: Path, keep: int, best_step: object) -> None:
    readable = 0
    for folder in list_checkpoints(run_folder):
        if readable < max(keep, FEWEST_KEPT):
            readable += _is_readable(folder)
        elif step_of(folder) != best_step:
            durable.remove_tree(folder)


def _is_readable(folder: Path) -> bool:
    try:
        read_sealed(folder, CHECKPOINT_FORMAT)
    except CheckpointError:
        return False
    return True


def _check_progress(progress: object, where: str) -> None:
    length = progress.get("events_length") if isinstance(progress, dict) else None
    if type(length) is not int or length < 0:
        raise CheckpointError(
            one_line(f"{where}: progress['events_length'] is {length!r}; wanted a count of bytes.")
        )


def _encode_json(value: dict[str, Any], where: str) -> bytes:
    try:
        return plain_json.dump(value)
    except ValueError as error:
        raise CheckpointError(one_line(f"{where}: {error}.")) from error


def _decode_json(data: bytes, where: Path | str) -> dict[str, Any]:
    try:
        return plain_json.parse(data)
    except ValueError as error:
        raise CheckpointError(one_line(f"{where}: {error}.")) from error


FEWEST_KEPT = 2  # one to fall back to when the newest turns out damaged
CHECKPOINT_FORMAT = Format(
    name="unspool checkpoint",
    version=1,
    files=frozenset(
        {"model.safetensors", "optimiser.safetensors", "state.safetensors", "progress.json"}
    ),
)
MODEL_FORMAT = Format(
    name="unspool model",
    version=1,
    files=frozenset({"model.safetensors", "config.json", "README.md"}),
    optional=frozenset({"tokenizer.json", "encoder.json", "targets.json", "bands.json"}),
)
