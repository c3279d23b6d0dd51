"""A sealed folder: a fixed set of files and a manifest that tells any change to any of them.

The manifest is written last and holds, besides size and SHA-256 of each file, a digest of itself.
The fields ``format``, ``version``, ``unspool`` and ``digest`` keep their meaning in every later
version, so that an old release can tell a newer file from a damaged one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unspool.errors import CheckpointError
from unspool.training import durable, plain_json
from unspool.training.durable import one_line


class NewerFormatError(CheckpointError):
    """Undamaged, but written by a later release than this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One kind of sealed folder.

    Attributes:
        name: what it is.
        version: of the format.
        files: that each has.
        optional: that some have too.
    """

    name: str
    version: int
    files: frozenset[str]
    optional: frozenset[str] = frozenset()

    def allows(self, names: Collection[str]) -> bool:
        """Whether a folder of this kind may have exactly these files."""
        return self.files <= set(names) <= self.files | self.optional


@cache
def unspool_version() -> str:
    """The release that is running, such as ``"0.1.0"``."""
    return importlib.metadata.version("unspool")


def write_sealed(
    folder: Path, kind: Format, files: dict[str, bytes], step: int | None = None
) -> None:
    """Write ``files`` and, last, their manifest into ``folder``, which is empty.

    Raises:
        OSError: as the system reports it.
    """
    assert kind.allows(files)
    for name, data in files.items():
        durable.write_new(folder / name, data)
    durable.write_new(folder / MANIFEST, seal(kind, files, step))


def seal(kind: Format, files: dict[str, bytes], step: int | None) -> bytes:
    """The manifest of ``files``."""
    body = {
        "format": kind.name,
        "version": kind.version,
        "unspool": unspool_version(),
        "step": step,
        "files": {
            name: {"bytes": len(data), "sha256": durable.sha256(data)}
            for name, data in files.items()
        },
    }
    return plain_json.dump({**body, "digest": _digest(body)})


def read_sealed(folder: Path, kind: Format) -> tuple[int | None, dict[str, bytes]]:
    """The files of ``folder``, each equal to what its manifest says.

    Returns:
        The step in the manifest, and the content of each file.

    Raises:
        CheckpointError: if the folder is damaged, foreign, newer, or cannot be read; or if a file
            is missing or does not belong there.
    """
    with durable.told(folder, "read", CheckpointError):
        manifest = _read_manifest(folder, kind)
        names = set(durable.names_in(folder)) - {MANIFEST}
        listed = manifest["files"].keys()
        for name in sorted(names ^ listed):
            fault = "is missing" if name in listed else "does not belong there"
            raise CheckpointError(one_line(f"{folder}: '{name}' {fault}."))
        files = {}
        for name in sorted(listed):
            entry = manifest["files"][name]
            if durable.size_of(folder / name) == entry["bytes"]:
                files[name] = durable.read_file(folder / name, limit=entry["bytes"])
            if name not in files or durable.sha256(files[name]) != entry["sha256"]:
                raise CheckpointError(
                    one_line(f"{folder}: '{name}' is not the file that was saved; it is damaged.")
                )
    return manifest["step"], files


def _read_manifest(folder: Path, kind: Format) -> dict[str, Any]:
    if not durable.exists(folder):
        raise CheckpointError(one_line(f"{folder}: no such folder."))
    path = folder / MANIFEST
    if not durable.exists(path):
        raise CheckpointError(one_line(f"{folder}: not an {kind.name}: it has no {MANIFEST}."))
    data = durable.read_file(path, limit=LARGEST_MANIFEST)
    try:
        manifest = plain_json.parse(data)
        written_back = plain_json.dump(manifest)
        digest = manifest.pop("digest", None)
        expected = _digest(manifest)
    except ValueError as error:
        raise CheckpointError(one_line(f"{path}: {error}; it is damaged.")) from error
    if manifest.get("format") != kind.name:
        raise CheckpointError(one_line(f"{folder}: not an {kind.name}."))
    if digest != expected or written_back != data:
        raise CheckpointError(
            one_line(f"{path}: it was changed since it was saved; it is damaged.")
        )
    _check_version(folder, kind, manifest)
    _check_fields(path, kind, manifest)
    return manifest


def _check_version(folder: Path, kind: Format, manifest: dict[str, Any]) -> None:
    version = manifest.get("version")
    if type(version) is int and version > kind.version:
        raise NewerFormatError(
            one_line(
                f"{folder}: {kind.name} format {version}, this is unspool {unspool_version()} and "
                f"reads up to {kind.version}; use unspool {manifest.get('unspool')} or later."
            )
        )
    if version != kind.version or type(version) is not int:
        raise CheckpointError(
            one_line(f"{folder}: {kind.name} format {version} is unknown; wanted {kind.version}.")
        )


def _check_fields(path: Path, kind: Format, manifest: dict[str, Any]) -> None:
    step, files = manifest.get("step"), manifest.get("files")
    sound = (
        manifest.keys() == {"format", "version", "unspool", "step", "files"}
        and (step is None or (type(step) is int and step >= 0))
        and isinstance(manifest["unspool"], str)
        and isinstance(files, dict)
        and kind.allows(files)
        and all(
            isinstance(entry, dict)
            and entry.keys() == {"bytes", "sha256"}
            and type(entry["bytes"]) is int
            and entry["bytes"] >= 0
            and isinstance(entry["sha256"], str)
            for entry in files.values()
        )
    )
    if not sound:
        raise CheckpointError(one_line(f"{path}: fields are missing, unknown or of a wrong type."))


def _digest(body: dict[str, Any]) -> str:
    return durable.sha256(plain_json.dump(body))


MANIFEST = "manifest.json"
LARGEST_MANIFEST = 1 << 20  # bytes
