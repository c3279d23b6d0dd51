"""What weights learn: sums of outer products over all entries, as one product."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from unspool.engine.packing import transposed

# Libraries multiply with more threads along the rows of what comes out. Where it has more columns
# than rows of many entries, the other way round and a copy are faster: docs/decisions/0011.
ENTRIES, TIMES_WIDER = 1000, 2


def sum_of_outer(*pairs: tuple[Tensor, Tensor]) -> Float[Tensor, "H D"]:
    """Σ a bᵀ over the entries of all pairs; not for autograd.

    Args:
        pairs: each ``[N H]`` and ``[N D]``, of its own N.

    Example:
        >>> a, b = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0], [3.0]])
        >>> sum_of_outer((a, b))
        tensor([[1.],
                [5.]])
    """
    (a, b), *_ = pairs
    entries = sum(len(left) for left, _ in pairs)
    turned = entries >= ENTRIES and a.shape[1] >= TIMES_WIDER * b.shape[1]
    total = None
    for left, right in pairs:
        if turned:
            left, right = right, left
        total = left.t() @ right if total is None else total.addmm_(left.t(), right)
    assert total is not None
    return transposed(total) if turned else total
