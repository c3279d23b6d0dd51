"""What is read and how it becomes tokens: the ``[data]`` table of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import ConfigError, unknown

# The names of `unspool.data.tokens.TOKENIZERS`, here without what those need to run.
TOKENS = ("char", "word", "bpe")
# A byte-pair vocabulary starts from every byte.
SMALLEST_BYTE_PAIR_VOCABULARY = 256
# One word and the stand-in for all others.
SMALLEST_WORD_VOCABULARY = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSettings:
    """How running text is read, split and cut into tokens.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> TextSettings(tokens="word", vocabulary=5000).split
        0.9
    """

    tokens: str = "char"
    """char, word, or bpe (byte pairs: writes any text)."""
    vocabulary: int = 1024
    """Size of a byte-pair vocabulary; at most so many words; characters: all there are."""
    lower: bool = False
    """Lower-case everything, prompts too."""
    split: float = 0.9
    """Share of the text, from the front, that is trained on; the rest validates."""
    validation: str | None = None
    """A file to validate on instead; then all of the text is trained on."""
    encoding: str = "utf-8"
    """How bytes become characters; utf-8 also recognises UTF-16 by its byte order mark."""

    def __post_init__(self) -> None:
        problems = []
        if self.tokens not in TOKENS:
            problems.append(unknown("data.tokens", self.tokens, TOKENS))
        elif self.tokens == "bpe" and self.vocabulary < SMALLEST_BYTE_PAIR_VOCABULARY:
            problems.append(
                f"data.vocabulary: {self.vocabulary} byte pairs; "
                f"wanted {SMALLEST_BYTE_PAIR_VOCABULARY} or more, one for each byte."
            )
        elif self.tokens == "word" and self.vocabulary < SMALLEST_WORD_VOCABULARY:
            problems.append(
                f"data.vocabulary: {self.vocabulary} words; "
                f"wanted {SMALLEST_WORD_VOCABULARY} or more."
            )
        if not 0 < self.split < 1:
            problems.append(f"data.split: got {self.split}; wanted a share between 0 and 1.")
        if not _is_text_encoding(self.encoding):
            problems.append(
                f"data.encoding: Python knows no text encoding '{self.encoding}'; "
                "common ones are utf-8, utf-16, latin-1, cp1252."
            )
        if problems:
            raise ConfigError(" ".join(problems))


def _is_text_encoding(name: str) -> bool:
    try:
        "a".encode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True
