"""From what has been read to the state in which a decoder starts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.layers.dense import dense
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State


class Bridge(nn.Module):
    """The first state of one recurrent stack from the last one of another, or from a vector.

        h'_l = tanh(W_l s_k + b_l),     s_k  h (and c) of both directions of a layer of the encoder

    Where both are the same layers, of the same cell and as wide, in one direction, the state is
    handed on as it is. Else each layer of the decoder is filled from the encoder's as far from the
    top, the lowest serving those below it too. Learnt are h, and c of a cell that has these two;
    whatever else a cell has starts as its layer starts.

    Args:
        encoder: the stack that reads, or the features of one vector.
        decoder: the stack that starts.
        generator: of the first weights; None is torch's global one.

    Source:
        Sutskever, Vinyals and Le (2014), section 2, as it is; Bahdanau et al. (2015), appendix
        A.2.2, learnt.

    Example:
        >>> encoder = Recurrent("gru", 3, 4, bidirectional=True)
        >>> bridge = Bridge(encoder, Recurrent("lstm", 5, 6, num_layers=2))
        >>> [value.shape for value in bridge(encoder(torch.zeros(7, 2, 3))[1])]
        [torch.Size([7, 2, 6]), torch.Size([7, 2, 6])]
    """

    def __init__(
        self,
        encoder: Recurrent | int,
        decoder: Recurrent,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.units = decoder.num_layers, decoder.hidden_size
        self.others = len(decoder.cell.states)
        self.same = isinstance(encoder, Recurrent) and _same(encoder, decoder)
        self.learnt = nn.ModuleList()
        self.read, self.directions = 1, 1
        if self.same:
            return
        features = encoder
        if isinstance(encoder, Recurrent):
            self.read, self.directions = _bridged(encoder.cell), encoder.directions
            features = self.read * encoder.hidden_size * encoder.directions
        self.filled = _bridged(decoder.cell)
        self.learnt.extend(
            dense(features, self.filled * self.units, generator) for _ in range(self.layers)
        )

    def forward(self, final: tuple[Tensor, ...] | Float[Tensor, "B E"]) -> State:
        """The decoder's first state.

        Args:
            final: the encoder's last state, or one vector a row.
        """
        if isinstance(final, Tensor):
            final = (final[:, None],)
        if self.same:
            return State(final)
        B = len(final[0])
        parts = [value.unflatten(1, (-1, self.directions)) for value in final[: self.read]]
        summary = torch.stack(parts, 3).flatten(2)  # [B L E]
        found = []
        for index, layer in enumerate(self.learnt):
            source = max(0, index + summary.shape[1] - self.layers)
            found.append(layer(summary[:, source]).tanh().view(B, self.filled, self.units))
        filled = list(torch.stack(found, 1).unbind(2))  # each [B L H]
        rest = filled[0].new_zeros(filled[0].shape)
        return State([*filled, *[rest] * (self.others - self.filled)])


def _bridged(cell: Cell) -> int:
    """How many of a cell's states, from the first on, say what it knows."""
    return 2 if cell.states == ("h", "c") else 1


def _same(encoder: Recurrent, decoder: Recurrent) -> bool:
    """Whether a state of one can be that of the other."""
    one, other = encoder.cell, decoder.cell
    return (
        not encoder.bidirectional
        and encoder.hidden_size == decoder.hidden_size
        and encoder.num_layers == decoder.num_layers
        and (one.name, one.states, one.options) == (other.name, other.states, other.options)
    )
