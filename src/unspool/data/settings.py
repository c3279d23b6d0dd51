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
HEADERS = ("auto", "yes", "no")
TOO_LONG = ("refuse", "truncate")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """How files are read, which column is what, how the rows are split and text becomes tokens.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> DataSettings(tokens="word", vocabulary=5000).split
        0.9
    """

    tokens: str = "char"
    """char, word, or bpe (byte pairs: writes any text)."""
    vocabulary: int = 1024
    """Size of a byte-pair vocabulary; at most so many words; characters: all there are."""
    lower: bool = False
    """Lower-case everything, prompts too."""
    split: float = 0.9
    """Share that is trained on: of a text the front, the rest validates; of rows, the rest is
    halved into validation and test."""
    validation: str | None = None
    """A file, or a pattern of files, to validate on instead."""
    test: str | None = None
    """A file, or a pattern of files, to measure on once, at the end."""
    encoding: str = "utf-8"
    """How bytes become characters; utf-8 also recognises UTF-16 by its byte order mark."""
    text: str | None = None
    """The column that is read; found by name and content if left out."""
    label: str | None = None
    """The column that is learnt; found by name and content if left out."""
    group: str | None = None
    """A column whose equal values stay together in one part, such as a speaker."""
    time: str | None = None
    """The column that orders steps; found by name and content if left out."""
    folds: int = 0
    """Cross-validation in so many parts; 0 splits once."""
    fold: int = 0
    """The one of them that is tested on, counted from 1; 0 tests on each in turn."""
    split_seed: int = -1
    """Another one draws other parts; -1 takes the seed of the run."""
    header: str = "auto"
    """Whether the first line of a table names the columns: auto, yes or no."""
    delimiter: str | None = None
    """What separates columns; found from the content if left out."""
    max_length: int = 0
    """Steps of the longest example that may be read; 0 sets no limit."""
    too_long: str = "refuse"
    """What becomes of longer ones: refuse them, or truncate them; both are counted."""
    vectors: str | None = None
    """A file of word vectors as text (GloVe, word2vec) that embeddings start from."""
    freeze_vectors: bool = False
    """Leave those vectors as they are."""
    word_dropout: float = 0.0
    """Of words to tag: while training, one seen n times is unknown with probability a / (a + n)."""

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
        problems += self._misread()
        if not _is_text_encoding(self.encoding):
            problems.append(
                f"data.encoding: Python knows no text encoding '{self.encoding}'; "
                "common ones are utf-8, utf-16, latin-1, cp1252."
            )
        if problems:
            raise ConfigError(" ".join(problems))

    def _misread(self) -> list[str]:
        """What is wrong with how tables are to be read."""
        problems = []
        if self.header not in HEADERS:
            problems.append(unknown("data.header", self.header, HEADERS))
        if self.too_long not in TOO_LONG:
            problems.append(unknown("data.too_long", self.too_long, TOO_LONG))
        if not 0 <= self.word_dropout < 1e6:
            problems.append(f"data.word_dropout: got {self.word_dropout}; wanted a number ≥ 0.")
        if self.max_length < 0:
            problems.append(f"data.max_length: got {self.max_length}; wanted 0 (no limit) or more.")
        if self.folds < 0 or self.folds == 1:
            problems.append(f"data.folds: got {self.folds}; wanted 0 (one split), or 2 or more.")
        if not 0 <= self.fold <= self.folds:
            problems.append(
                f"data.fold: got {self.fold} of {self.folds} folds; wanted 1 to {self.folds}, or 0."
            )
        if self.split_seed < -1:
            problems.append(
                f"data.split_seed: got {self.split_seed}; wanted -1 (the run's) or 0 and more."
            )
        if self.delimiter is not None and len(self.delimiter) != 1:
            problems.append(f"data.delimiter: got {self.delimiter!r}; wanted one character.")
        return problems


def _is_text_encoding(name: str) -> bool:
    try:
        "a".encode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True
