"""`State`: what a layer carries from one step to the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree


class State(tuple[Tensor, ...]):
    """Tensors in the cell's own order, the batch axis first in each.

    A `Recurrent` layer's are ``[B, L·directions, H]``. Truncation, streaming, beam search and
    serving use only the methods here.

    Example:
        >>> state = State((torch.zeros(2, 1, 4),))
        >>> state.select_rows(torch.tensor([1, 1, 0]))[0].shape
        torch.Size([3, 1, 4])
    """

    __slots__ = ()

    @classmethod
    def of_layers(cls, states: Sequence[tuple[Float[Tensor, "B H"], ...]]) -> State:
        """The states of every layer and direction as one; that of a single one is only viewed.

        Example:
            >>> State.of_layers([(torch.zeros(3, 4),), (torch.ones(3, 4),)])[0].shape
            torch.Size([3, 2, 4])
        """
        if len(states) == 1:
            return cls([value.unsqueeze(1) for value in states[0]])
        return cls([torch.stack(values, 1) for values in zip(*states, strict=True)])

    def select_rows(self, rows: Int64[Tensor, " N"]) -> State:
        """The state of the chosen sequences, in that order; a row may be chosen twice."""
        return State(value.index_select(0, rows) for value in self)

    def expand(self, times: int) -> State:
        """Each sequence ``times`` times in a row, as a beam wants it."""
        return State(value.repeat_interleave(times, 0) for value in self)

    def detach(self) -> State:
        """The same numbers, through which no gradient flows."""
        return State(value.detach() for value in self)


pytree.register_pytree_node(
    State,
    lambda state: (list(state), None),
    lambda values, _: State(values),
    serialized_type_name="unspool.layers.state.State",  # so that an exported model can be saved
)
