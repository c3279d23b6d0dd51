"""Word vectors that were learnt elsewhere: GloVe and word2vec files, as text or in binary."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from unspool.errors import DataError


@dataclass(frozen=True, slots=True)
class WordVectors:
    """The vectors of some words.

    Attributes:
        file: they come from.
        width: of each, D.
        by_word: float32 ``[D]`` by word; only words that were asked for and found.
    """

    file: str
    width: int
    by_word: Mapping[str, np.ndarray]

    def of(self, words: Sequence[str]) -> np.ndarray:
        """A row for each word, float32 ``[V D]``; NaN for those that are not known.

        A word is looked up as it is, then in lower case.

        Example:
            >>> known = {"the": np.array([1.0, 2.0], np.float32)}
            >>> WordVectors("glove.txt", 2, known).of(["The", "xyz"]).tolist()
            [[1.0, 2.0], [nan, nan]]
        """
        table = np.full((len(words), self.width), np.nan, np.float32)
        for row, word in enumerate(words):
            found = self.by_word.get(word, self.by_word.get(word.lower()))
            if found is not None:
                table[row] = found
        return table


def read_vectors(path: str | Path, words: Collection[str]) -> WordVectors:
    r"""The vectors of a file for the words that are wanted, and for these in lower case.

    Each line of a text file is a word and its numbers, with spaces between; a first line of two
    whole numbers (word2vec) says how many there are and how wide. ``.bin`` is word2vec's binary
    format; ``.gz`` behind either is unpacked. Of a word that stands there twice the first counts.

    Args:
        path: of the file.
        words: that are wanted; all others are passed over, so that a large file fits into memory.

    Raises:
        DataError: if the file cannot be read, or a line is no word with as many numbers as others.

    Example:
        >>> _ = Path("glove.txt").write_text("the 0.5 1\ncat 2 3\n")
        >>> vectors = read_vectors("glove.txt", ["Cat", "dog"])
        >>> vectors.width, vectors.by_word["cat"].tolist()
        (2, [2.0, 3.0])
    """
    path = Path(path)
    wanted = {*words, *(word.lower() for word in words)}
    packed = path.suffix == ".gz"
    binary = path.with_suffix("").suffix == ".bin" if packed else path.suffix == ".bin"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            rows = _binary(file, path, wanted) if binary else _lines(file, path, wanted)
            width = next(rows)[1].size
            by_word: dict[str, np.ndarray] = {}
            for word, vector in rows:
                by_word.setdefault(word, vector)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({why}).") from error
    return WordVectors(str(path), width, by_word)


def _lines(file: BufferedIOBase, path: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The wanted words of a text file; before them one without a name that shows the width."""
    width = 0
    for number, line in enumerate(file, 1):
        text = line.decode("utf-8", "replace").rstrip("\r\n ")
        if number == 1:
            width = _width(text, path)
            yield "", np.zeros(width, np.float32)
            if _is_heading(text):
                continue
        parts = text.rsplit(" ", width)
        if len(parts) != width + 1:
            got = len(text.split(" ")) - 1
            raise DataError(
                f"{path}:{number}: got {got} numbers behind a word; wanted {width}, as in line 1."
            )
        if parts[0] in wanted:
            yield parts[0], _numbers(parts[1:], f"{path}:{number}")
    if not width:
        raise DataError(f"{path}: is empty; wanted a word and its numbers on every line.")


def _is_heading(text: str) -> bool:
    return len(text.split()) == 2 and all(part.isdecimal() for part in text.split())


def _width(text: str, path: Path) -> int:
    """Numbers of a vector, from the first line."""
    parts = text.split()
    width = int(parts[1]) if _is_heading(text) else len(parts) - 1
    if width < 1:
        raise DataError(f"{path}:1: got '{text[:40]}'; wanted a word and its numbers.")
    if not _is_heading(text):
        _numbers(parts[1:], f"{path}:1")
    return width


def _numbers(parts: Sequence[str], where: str) -> np.ndarray:
    try:
        vector = np.array(parts, np.float32)
    except ValueError as error:
        wrong = next(part for part in parts if not _is_number(part))
        raise DataError(f"{where}: got '{wrong[:40]}'; wanted a number.") from error
    if not np.isfinite(vector).all():
        raise DataError(f"{where}: got NaN or infinity; wanted finite numbers.")
    return vector


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _binary(file: BufferedIOBase, path: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The same of word2vec's binary file: a heading, then word, space, and the numbers' bytes."""
    heading = file.readline(100).decode("latin-1").strip()
    if not _is_heading(heading):
        raise DataError(f"{path}: begins with '{heading[:40]}'; wanted how many words, how wide.")
    count, width = map(int, heading.split())
    yield "", np.zeros(width, np.float32)
    for number in range(1, count + 1):
        word = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            word += letter
        vector = np.frombuffer(file.read(4 * width), "<f4")
        if vector.size != width:
            raise DataError(f"{path}: ends within word {number:,} of {count:,}; it is cut short.")
        name = word.decode("utf-8", "replace").lstrip("\n")
        if name in wanted:
            if not np.isfinite(vector).all():
                raise DataError(f"{path}: word {number:,} has NaN or infinity in its vector.")
            yield name, vector.astype(np.float32)
