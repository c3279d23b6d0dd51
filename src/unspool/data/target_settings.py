"""How texts that are written become tokens: the ``[target]`` table of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unspool.data.settings import TOKENS, DataSettings
from unspool.errors import ConfigError, unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSettings:
    """Tokens of the texts that are learnt, where they differ from those that are read.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> TargetSettings(tokens="char").of(DataSettings(tokens="word")).tokens
        'char'
    """

    tokens: str | None = None
    """char, word or bpe; left out, those of the texts that are read."""
    vocabulary: int = 0
    """Size of a byte-pair vocabulary, or at most so many words; 0 takes that of the inputs."""
    shared: bool = False
    """One vocabulary, and one matrix of vectors, for what is read and what is written."""

    def __post_init__(self) -> None:
        problems = []
        if self.tokens and self.tokens not in TOKENS:
            problems.append(unknown("target.tokens", self.tokens, TOKENS))
        if self.vocabulary < 0:
            problems.append(
                f"target.vocabulary: got {self.vocabulary}; wanted 0 (as data.vocabulary) or more."
            )
        if self.shared and (self.tokens or self.vocabulary):
            problems.append(
                "target.shared: one vocabulary is learnt as [data] says; leave target.tokens and "
                "target.vocabulary out."
            )
        if problems:
            raise ConfigError(" ".join(problems))

    def of(self, data: DataSettings) -> DataSettings:
        """The settings of the target texts.

        Raises:
            ConfigError: if a vocabulary is too small for the tokens.
        """
        tokens = self.tokens or data.tokens
        return replace(data, tokens=tokens, vocabulary=self.vocabulary or data.vocabulary)
