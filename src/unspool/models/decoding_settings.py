"""How a text is written token by token: the ``[decoding]`` table of a configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unspool.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingSettings:
    """How the likeliest answer of an encoder-decoder is searched for.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> DecodingSettings(beam=1).length_penalty
        1.0
    """

    beam: int = 5
    """Beginnings that are followed at once; 1 always takes the likeliest token (greedy)."""
    length_penalty: float = 1.0
    """Power of the length that a finished answer's log probability is divided by; 0 favours short
    answers, larger ones favour long answers."""
    nbest: int = 1
    """Answers for each input, the best first; at most as many as the beam is wide."""
    max_length: int = 0
    """Tokens of the longest answer; 0 takes the longest target of the training part, or twice the
    input if that is longer."""
    no_repeat: int = 0
    """So many tokens in a row never come twice in an answer; 0 allows it."""

    def __post_init__(self) -> None:
        problems = []
        for name, least in (("beam", 1), ("nbest", 1), ("max_length", 0), ("no_repeat", 0)):
            if getattr(self, name) < least:
                problems.append(
                    f"decoding.{name}: got {getattr(self, name)}; wanted {least} or more."
                )
        if self.nbest > self.beam >= 1:
            problems.append(
                f"decoding.nbest: {self.nbest} answers of a beam of {self.beam}; wanted at most as "
                "many answers as the beam is wide."
            )
        if not (math.isfinite(self.length_penalty) and self.length_penalty >= 0):
            problems.append(
                f"decoding.length_penalty: got {self.length_penalty}; wanted a number ≥ 0."
            )
        if problems:
            raise ConfigError(" ".join(problems))
