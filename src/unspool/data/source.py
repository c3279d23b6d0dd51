"""Where a text came from, and whether it is still the one that training began with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unspool.data.samples import sample_text
from unspool.data.settings import TextSettings
from unspool.data.text import printable, read_text
from unspool.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A text by its place and its content, and the same of a validation text.

    Attributes:
        name: the path as the user wrote it, or ``sample:english``.
        path: absolute; None for a sample.
        sha256: of the text as read, in UTF-8.
        validation: absolute path of the file to validate on; None where the text is split.
        validation_sha256: of that text.
    """

    name: str
    path: str | None
    sha256: str
    validation: str | None = None
    validation_sha256: str | None = None

    @classmethod
    def of_file(cls, path: str | Path, settings: TextSettings) -> tuple[Source, str, str | None]:
        """A file's source, its text, and the text to validate on.

        Raises:
            DataError: if a file cannot be read.
        """
        text = read_text(path, settings.encoding)
        return cls._found(str(path), str(Path(path).absolute()), text, settings)

    @classmethod
    def of_sample(cls, name: str, settings: TextSettings) -> tuple[Source, str, str | None]:
        """The same of an embedded sample.

        Raises:
            ConfigError: if there is no such sample.

        Example:
            >>> Source.of_sample("english", TextSettings())[0].name
            'sample:english'
        """
        return cls._found(f"{SAMPLE}{name}", None, sample_text(name), settings)

    def read(self, settings: TextSettings) -> tuple[str, str | None]:
        """The text and the validation text, which are what they were.

        Raises:
            DataError: if a file cannot be read, or has changed.
        """
        if self.path is None:
            text = sample_text(self.name.removeprefix(SAMPLE))
        else:
            text = read_text(self.path, settings.encoding)
        _check(text, self.sha256, self.path or self.name)
        if self.validation is None:
            return text, None
        validation = read_text(self.validation, settings.encoding)
        _check(validation, self.validation_sha256, self.validation)
        return text, validation

    def record(self) -> dict[str, Any]:
        """As plain JSON values; ``Source(**record)`` brings it back."""
        return asdict(self)

    @classmethod
    def _found(
        cls, name: str, path: str | None, text: str, settings: TextSettings
    ) -> tuple[Source, str, str | None]:
        if settings.validation is None:
            return cls(name=name, path=path, sha256=_digest(text)), text, None
        validation = read_text(settings.validation, settings.encoding)
        source = cls(
            name=name,
            path=path,
            sha256=_digest(text),
            validation=str(Path(settings.validation).absolute()),
            validation_sha256=_digest(validation),
        )
        return source, text, validation


def _check(text: str, expected: str | None, where: str) -> None:
    digest = _digest(text)
    if digest != expected:
        raise DataError(
            f"{printable(where)}: has changed since the run began (SHA-256 {digest[:12]}…, was "
            f"{str(expected)[:12]}…); bring the old text back, or train a new run."
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


SAMPLE = "sample:"
