"""Reading what a model says frame by frame as labels without frames (CTC).

A path gives each frame a label or the blank; taking together equal neighbours and dropping blanks
makes it the labels it spells. `torch.nn.functional.ctc_loss` sums over all paths in training; here
the labels are found again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unspool.errors import ShapeError
from unspool.shapes import check_lengths

Labels = tuple[int, ...]


def collapse(path: Sequence[int], blank: int = 0) -> Labels:
    """The labels that a path spells.

    Source:
        Graves et al. (2006), section 3.1, the map B.

    Example:
        >>> collapse([0, 3, 3, 0, 3, 5])
        (3, 3, 5)
    """
    return tuple(label for label, _ in groupby(path) if label != blank)


def greedy_decode(
    logits: Float[Tensor, "B T C"], lengths: Int64[Tensor, " B"], blank: int = 0
) -> list[Labels]:
    """What the most likely path of each sequence spells.

    Args:
        logits: before or after the softmax.
        lengths: frames of each sequence.
        blank: the class that is no label.

    Source:
        Graves et al. (2006), section 3.2, best path decoding.

    Example:
        >>> logits = torch.eye(3)[[1, 1, 0, 1, 2]][None]
        >>> greedy_decode(logits, torch.tensor([5]))
        [(1, 1, 2)]
    """
    B, T, C = logits.shape
    check_lengths(lengths, B, T, "greedy_decode")
    _check_blank(blank, C)
    best = logits.argmax(2).tolist()
    return [collapse(p[:n], blank) for p, n in zip(best, lengths.tolist(), strict=True)]


def prefix_beam_decode(
    logits: Float[Tensor, "B T C"],
    lengths: Int64[Tensor, " B"],
    width: int = 16,
    blank: int = 0,
) -> list[list[tuple[Labels, float]]]:
    """The most likely labels of each sequence, all their paths taken together.

    Args:
        logits: before or after the softmax.
        lengths: frames of each sequence.
        width: prefixes that are followed; wide enough, the answer is exact.
        blank: the class that is no label.

    Returns:
        For each sequence at most ``width`` labels with the logarithm of their probability, the
        most likely first.

    Source:
        Hannun et al. (2014), First-Pass Large Vocabulary Continuous Speech Recognition, algorithm
        1, without a language model.

    Example:
        >>> logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
        >>> two = torch.tensor([2])
        >>> greedy_decode(logits, two), prefix_beam_decode(logits, two)[0][0][0]
        ([()], (1,))
    """
    B, T, C = logits.shape
    check_lengths(lengths, B, T, "prefix_beam_decode")
    _check_blank(blank, C)
    rows = []
    for frames, length in zip(logits, lengths.tolist(), strict=True):
        beam = PrefixBeam(width, blank)
        beam.read(frames[:length])
        rows.append(beam.best())
    return rows


@dataclass(slots=True)
class PrefixBeam:
    """The prefixes that are followed while frames come in, so that sound is read as it is heard.

    Attributes:
        width: prefixes kept after each frame.
        blank: the class that is no label.
        prefixes: of each the log probability of its paths that end in a blank, and of those that
            end in its last label.
    """

    width: int = 16
    blank: int = 0
    prefixes: dict[Labels, tuple[float, float]] = field(
        default_factory=lambda: {(): (0.0, -math.inf)}
    )

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ShapeError(f"prefix beam: got width {self.width}; wanted 1 or more.")

    def read(self, logits: Float[Tensor, "T C"]) -> None:
        """Go on by some frames.

        Reading all frames at once, or some now and some later, comes to the same.

        Example:
            >>> beam = PrefixBeam(); beam.read(torch.eye(3)[[1, 0]]); beam.read(torch.eye(3)[[1]])
            >>> len(beam.best()) > 1
            True
        """
        _check_blank(self.blank, logits.shape[1])
        for frame in torch.log_softmax(logits.detach().double(), 1).tolist():
            self._step(frame)

    def best(self) -> list[tuple[Labels, float]]:
        """The prefixes and the logarithm of their probability, the most likely first."""
        scored = [(labels, _add(*parts)) for labels, parts in self.prefixes.items()]
        return sorted(scored, key=lambda each: (-each[1], each[0]))

    def _step(self, frame: Sequence[float]) -> None:
        following: dict[Labels, tuple[float, float]] = {}
        for prefix, (in_blank, in_label) in self.prefixes.items():
            both = _add(in_blank, in_label)
            self._give(following, prefix, both + frame[self.blank], -math.inf)
            for label, chance in enumerate(frame):
                if label == self.blank:
                    continue
                if prefix and label == prefix[-1]:
                    # The same label again: one label goes on, or after a blank a second begins.
                    self._give(following, prefix, -math.inf, in_label + chance)
                    self._give(following, (*prefix, label), -math.inf, in_blank + chance)
                else:
                    self._give(following, (*prefix, label), -math.inf, both + chance)
        kept = sorted(following, key=lambda each: (-_add(*following[each]), each))[: self.width]
        self.prefixes = {prefix: following[prefix] for prefix in kept}

    @staticmethod
    def _give(
        following: dict[Labels, tuple[float, float]], prefix: Labels, blank: float, label: float
    ) -> None:
        before = following.get(prefix, (-math.inf, -math.inf))
        following[prefix] = _add(before[0], blank), _add(before[1], label)


def _add(one: float, other: float) -> float:
    """log(e^one + e^other)."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _check_blank(blank: int, classes: int) -> None:
    if not 0 <= blank < classes:
        raise ShapeError(f"ctc: blank is class {blank} of {classes}; wanted 0 to {classes - 1}.")
