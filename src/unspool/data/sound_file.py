"""Sound files: WAV by our own reader, FLAC by soundfile; importable without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unspool.data.table import short
from unspool.data.text import printable
from unspool.data.wav import decode_wav
from unspool.errors import DataError


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """The samples of a WAV or FLAC file, float32 ``[T channels]``, and how many there are a second.

    Raises:
        DataError: if it cannot be read, is damaged, or is FLAC and soundfile is missing.
    """
    name = printable(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({short(str(error))}).") from error
    if data[:4] != b"fLaC":
        return decode_wav(data, name)
    try:
        import soundfile
    except ImportError as error:
        raise DataError(
            f"{name}: FLAC is read by soundfile, which is missing; "
            "pip install 'unspool[audio]', or write WAV."
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"{name}: cannot be read as FLAC ({short(str(error))}).") from error
    if not samples.size:
        raise DataError(f"{name}: holds no samples.")
    return samples, int(rate)
