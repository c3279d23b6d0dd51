"""The lectures' multiplicative module: one input chooses the matrix that the other goes through."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unspool.layers.dense import start


class Multiplicative(nn.Module):
    """Two inputs multiplied: z makes a matrix, x goes through it.

        w_ij = Σ_k u_ijk z_k,        s_i = Σ_j w_ij x_j

    As an attention of two steps: where x holds two numbers and z chooses w = (w_1, w_2), s is
    w_1 x_1 + w_2 x_2. In a recurrence, z being the state, it is the cell ``multiplicative_rnn``.

    Args:
        x: features of the input that goes through, n.
        z: features of the input that chooses, d.
        outputs: features of what comes out, m.
        generator: of the first weights; None is torch's global one.

    Attributes:
        u: the weights, ``[m n d]``.

    Source:
        SYLLABUS G15; Sutskever, Martens and Hinton (2011), equation 5, for its use in a recurrence.

    Example:
        >>> module = Multiplicative(x=2, z=2, outputs=1)
        >>> _ = module.u.data.copy_(torch.eye(2)[None])  # the matrix is z itself
        >>> x, shares = torch.tensor([10.0, 20.0]), torch.tensor([0.25, 0.75])
        >>> module(x, shares).tolist()
        [17.5]
    """

    def __init__(
        self, x: int, z: int, outputs: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.empty(outputs, x, z))
        start(self.u, x * z, generator, rectified=False)

    def forward(
        self, x: Float[Tensor, "*batch n"], z: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch m"]:
        """s, for every pair of inputs."""
        return torch.einsum("ijk,...k,...j->...i", self.u, z, x)

    def matrix(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch m n"]:
        """w, the matrix that z chooses."""
        return torch.einsum("ijk,...k->...ij", self.u, z)
