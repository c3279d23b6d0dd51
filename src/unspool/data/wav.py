"""WAV files, read from their bytes: RIFF chunks with PCM or floating-point samples."""

from __future__ import annotations

import struct

import numpy as np

from unspool.data.sound_settings import HIGHEST_RATE, LOWEST_RATE
from unspool.errors import DataError


def decode_wav(data: bytes, where: str) -> tuple[np.ndarray, int]:
    """The samples of a WAV file, and how many there are a second.

    PCM of 8, 16, 24 or 32 bits and floating point of 32 or 64 bits are read, also in the
    extensible form; so is a file whose writer left its sizes open, as a pipe does.

    Args:
        data: the whole file.
        where: its name, for messages.

    Returns:
        float32 ``[T channels]``; PCM lies in [-1, 1).

    Raises:
        DataError: if it is no such file, cut short, holds no samples, or some are not finite.

    Source:
        Microsoft and IBM (1991), Multimedia Programming Interface and Data Specifications 1.0,
        chapter 3; Microsoft (2002), Multiple Channel Audio Data and WAVE Files.

    Example:
        >>> sound, rate = decode_wav(encode_wav(np.array([0.0, 0.5, -1.0]), 8000), "three.wav")
        >>> sound[:, 0].tolist(), rate
        ([0.0, 0.5, -1.0], 8000)
    """
    if len(data) < RIFF or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"{where}: does not begin as a WAV file does (RIFF … WAVE).")
    form: tuple[int, int, int, int] | None = None
    at = RIFF
    while at + CHUNK <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start = at + CHUNK
        if name == b"fmt ":
            form = _form(data[start : start + size], where)
        elif name == b"data":
            if form is None:
                raise DataError(f"{where}: its samples stand before the chunk that describes them.")
            if size == OPEN_SIZE:
                size = len(data) - start
            if size > len(data) - start:
                raise DataError(
                    f"{where}: is cut short, {len(data) - start} bytes of samples where its header "
                    f"speaks of {size}."
                )
            return _samples(data[start : start + size], form, where), form[2]
        at = start + size + size % 2
    raise DataError(f"{where}: holds no samples (no 'data' chunk).")


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16 bits with one channel.

    Args:
        samples: ``[T]``; what lies outside [-1, 1) is clipped.
        rate: samples a second.
    """
    whole = np.clip(np.round(np.asarray(samples, np.float64) * 32768), -32768, 32767)
    body = whole.astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", PCM, 1, rate, 2 * rate, 2, 16)
    head = (
        b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body))
    )
    return b"RIFF" + struct.pack("<I", len(head) + len(body)) + head + body


def _form(chunk: bytes, where: str) -> tuple[int, int, int, int]:
    """Code, channels, rate and bits of the samples."""
    if len(chunk) < FORM:
        raise DataError(f"{where}: its 'fmt ' chunk has {len(chunk)} bytes; wanted {FORM}.")
    code, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunk[:FORM])
    if code == EXTENSIBLE:
        if len(chunk) < EXTENSIBLE_FORM:
            raise DataError(f"{where}: its extensible 'fmt ' chunk is cut short.")
        code = int.from_bytes(chunk[24:26], "little")
    if (code, bits) not in TYPES:
        raise DataError(
            f"{where}: its samples have code {code} and {bits} bits; wanted PCM of 8, 16, 24 or 32 "
            "bits, or floating point of 32 or 64."
        )
    if not channels or block != channels * (bits // 8):
        raise DataError(f"{where}: {channels} channels of {bits} bits in {block} bytes do not fit.")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(
            f"{where}: {rate} samples a second; wanted {LOWEST_RATE} to {HIGHEST_RATE}."
        )
    return code, channels, rate, bits


def _samples(body: bytes, form: tuple[int, int, int, int], where: str) -> np.ndarray:
    code, channels, _, bits = form
    block = channels * bits // 8
    if len(body) % block:
        raise DataError(f"{where}: is cut short, in the middle of a sample.")
    if not body:
        raise DataError(f"{where}: holds no samples.")
    if bits == 24:
        # The three bytes become the upper ones of four.
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0] / 2.0**31
    else:
        values = np.frombuffer(body, TYPES[code, bits])
        if code == PCM:
            values = (values - 128.0) / 128.0 if bits == 8 else values / 2.0 ** (bits - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        samples = np.asarray(values, dtype=np.float32).reshape(-1, channels)
    if not np.isfinite(samples).all():
        step = int(np.argwhere(~np.isfinite(samples))[0][0])
        raise DataError(f"{where}: sample {step + 1} is not a finite number.")
    return samples


RIFF, CHUNK, FORM, EXTENSIBLE_FORM = 12, 8, 16, 40
OPEN_SIZE = 0xFFFFFFFF
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TYPES = {
    (PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "", (PCM, 32): "<i4",
    (FLOAT, 32): "<f4", (FLOAT, 64): "<f8",
}  # fmt: skip
