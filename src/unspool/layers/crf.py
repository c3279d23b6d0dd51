"""A linear-chain conditional random field: labels that depend on their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.errors import ConfigError
from unspool.layers.pooling import blank
from unspool.shapes import check_lengths, mask_of

# Added to what may not be: its exponential is zero, and no sum of it overflows.
RULED_OUT = -1e4
START = -1
Transition = tuple[int, int]


class ConditionalRandomField(nn.Module):
    """Scores whole sequences of labels instead of each label alone.

        score(y | x) = start[y_1] + Σ_t logits[t, y_t] + Σ_t>1 transitions[y_{t−1}, y_t] + end[y_T]
        log P(y | x) = score(y | x) − log Σ_y' exp score(y' | x)

    Args:
        size: labels, C.
        forbidden: pairs of labels that may not follow each other; `START` and a label for one that
            may not come first.

    Raises:
        ConfigError: for a label that does not exist.

    Source:
        Lafferty, McCallum and Pereira (2001), section 3; Lample et al. (2016), section 2.2.

    Example:
        >>> crf = ConditionalRandomField(3)
        >>> logits = torch.tensor([[[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> crf.decode(logits)
        tensor([[1, 0]])
        >>> crf.log_likelihood(logits, torch.tensor([[1, 0]])).exp()
        tensor([0.7157], grad_fn=<ExpBackward0>)
    """

    def __init__(self, size: int, forbidden: Iterable[Transition] = ()) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"ConditionalRandomField: size is {size}; wanted at least 1.")
        self.size = size
        self.transitions = nn.Parameter(torch.zeros(size, size))
        self.start = nn.Parameter(torch.zeros(size))
        self.end = nn.Parameter(torch.zeros(size))
        ruled_out, first = torch.zeros(size, size), torch.zeros(size)
        for before, label in forbidden:
            if not (START <= before < size and 0 <= label < size):
                raise ConfigError(
                    f"ConditionalRandomField: forbidden has ({before}, {label}); labels are 0 to "
                    f"{size - 1}, and {START} stands for the beginning."
                )
            if before == START:
                first[label] = RULED_OUT
            else:
                ruled_out[before, label] = RULED_OUT
        self.register_buffer("ruled_out", ruled_out, persistent=False)
        self.register_buffer("ruled_out_first", first, persistent=False)

    def log_likelihood(
        self,
        logits: Float[Tensor, "B T C"],
        labels: Int64[Tensor, "B T"],
        lengths: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Log-probability of the labels of every sequence, in nats.

        Args:
            logits: of each step; what stands in the padding is never read.
            labels: 0…C − 1; anything in the padding.
            lengths: true lengths, 1…T; None when all rows are full.
        """
        lengths = self._lengths(logits, lengths)
        log_sums = self._forward(logits, lengths)[-1]
        return self._score(logits, labels, lengths) - torch.logsumexp(log_sums + self.end, 1)

    def decode(
        self, logits: Float[Tensor, "B T C"], lengths: Int64[Tensor, " B"] | None = None
    ) -> Int64[Tensor, "B T"]:
        """The most likely labels of each whole sequence; 0 in the padding.

        Args:
            logits: of each step.
            lengths: true lengths, 1…T; None when all rows are full.

        Source:
            Viterbi (1967).
        """
        lengths = self._lengths(logits, lengths)
        transitions, start = self._allowed()
        best = start + logits[:, 0]  # [B C]
        came_from = []
        stay = torch.arange(self.size, device=logits.device)
        for t in range(1, logits.shape[1]):
            step, origin = (best[:, :, None] + transitions).max(1)
            read = (t < lengths)[:, None]
            best = torch.where(read, step + logits[:, t], best)
            came_from.append(torch.where(read, origin, stay))
        label = (best + self.end).argmax(1)
        path = [label]
        for origin in reversed(came_from):
            label = origin.gather(1, label[:, None])[:, 0]
            path.append(label)
        labels = torch.stack(path[::-1], 1)
        return torch.where(mask_of(lengths, logits.shape[1]), labels, 0)

    def marginals(
        self, logits: Float[Tensor, "B T C"], lengths: Int64[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B T C"]:
        """Probability of each label at each step, all sequences considered; 0 in the padding.

        Args:
            logits: of each step.
            lengths: true lengths, 1…T; None when all rows are full.
        """
        lengths = self._lengths(logits, lengths)
        logits = blank(logits, lengths)
        transitions, _ = self._allowed()
        forward = self._forward(logits, lengths)
        after = self.end.expand(len(logits), -1)  # [B C]
        backward = [after]
        for t in range(logits.shape[1] - 1, 0, -1):
            step = torch.logsumexp(transitions + (logits[:, t] + after)[:, None], 2)
            after = torch.where((t < lengths)[:, None], step, after)
            backward.append(after)
        joint = torch.stack(forward, 1) + torch.stack(backward[::-1], 1)
        return blank(joint.softmax(-1), lengths)

    def _lengths(self, logits: Tensor, lengths: Tensor | None) -> Tensor:
        B, T, _ = logits.shape
        if lengths is None:
            return torch.full((B,), T, device=logits.device)
        check_lengths(lengths, B, T, "ConditionalRandomField")
        return lengths

    def _allowed(self) -> tuple[Tensor, Tensor]:
        """Scores of neighbours and of first labels, with what is ruled out far below all others."""
        return self.transitions + self.ruled_out, self.start + self.ruled_out_first

    def _forward(self, logits: Tensor, lengths: Tensor) -> list[Tensor]:
        """For each step the log-sum over all beginnings that end in each label, ``[B C]``."""
        transitions, start = self._allowed()
        sums = [start + logits[:, 0]]
        for t in range(1, logits.shape[1]):
            step = torch.logsumexp(sums[-1][:, :, None] + transitions, 1) + logits[:, t]
            sums.append(torch.where((t < lengths)[:, None], step, sums[-1]))
        return sums

    def _score(self, logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        transitions, start = self._allowed()
        mask = mask_of(lengths, logits.shape[1])
        labels = torch.where(mask, labels, 0)
        steps = logits.gather(2, labels[..., None])[..., 0]
        between = transitions[labels[:, :-1], labels[:, 1:]]
        last = labels.gather(1, lengths[:, None] - 1)[:, 0]
        return (
            start[labels[:, 0]]
            + torch.where(mask, steps, 0.0).sum(1)
            + torch.where(mask[:, 1:], between, 0.0).sum(1)
            + self.end[last]
        )


def forbidden_transitions(labels: Sequence[str]) -> list[Transition]:
    """What may not follow what in IOB2: ``I-x`` stands only behind ``B-x`` or ``I-x``.

    Labels of another form follow each other freely.

    Args:
        labels: by index.

    Source:
        Ratnaparkhi (1998) for the scheme; Lample et al. (2016), section 4.2, for the constraint.

    Example:
        >>> forbidden_transitions(["O", "B-place", "I-place"])
        [(-1, 2), (0, 2)]
    """
    forbidden = []
    for index, label in enumerate(labels):
        prefix, _, kind = label.partition("-")
        if prefix != "I" or not kind:
            continue
        forbidden += [
            (before, index)
            for before, other in [(START, ""), *enumerate(labels)]
            if other not in (f"B-{kind}", f"I-{kind}")
        ]
    return forbidden
