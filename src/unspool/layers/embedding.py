"""Vectors for tokens, for the characters of words, and for categories."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.errors import ConfigError, ShapeError
from unspool.layers.convolution import Convolution
from unspool.layers.pooling import blank, largest_step, last_step
from unspool.layers.recurrent import Recurrent

# What stands behind the characters of a word that is shorter than others.
NO_CHARACTER = 0


def table(
    size: int, width: int, generator: torch.Generator | None, scale: float = 1.0
) -> nn.Parameter:
    """A vector for each of ``size`` things, drawn from a normal distribution.

    Example:
        >>> table(5, 3, None).shape
        torch.Size([5, 3])
    """
    return nn.Parameter(torch.empty(size, width).normal_(0.0, scale, generator=generator))


@torch.no_grad()
def fill_table(weight: Tensor, vectors: Float[Tensor, "V D"]) -> int:
    """Start a table from vectors that were learnt elsewhere.

    Args:
        weight: the table, filled in place.
        vectors: as many, as wide; rows that hold a NaN are not known and stay as they are.

    Returns:
        How many rows were filled.

    Raises:
        ShapeError: if there are more or fewer vectors, or they are wider or narrower.

    Example:
        >>> weight = torch.zeros(3, 2)
        >>> fill_table(weight, torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 4.0]]))
        2
    """
    if vectors.shape != weight.shape:
        raise ShapeError(
            f"fill_table: the vectors are {list(vectors.shape)}; wanted {list(weight.shape)}, "
            "one for each token and as wide as the embedding."
        )
    known = ~vectors.isnan().any(1)
    weight[known] = vectors[known].to(weight)
    return int(known.sum())


def category_width(size: int) -> int:
    """Width of the vectors of a column of ``size`` categories: its square root, 2…50.

    Example:
        >>> category_width(7), category_width(100), category_width(10**6)
        (3, 10, 50)
    """
    return min(50, max(2, math.ceil(math.sqrt(size))))


class CharacterEncoder(nn.Module):
    """A vector for a word, from its characters; each different word of a batch is read once.

    ``rnn`` reads in both directions and gives both final states, ``cnn`` the largest value of each
    filter at any character.

    Args:
        characters: how many there are, the filler `NO_CHARACTER` included.
        hidden: units of each direction, or filters.
        kind: rnn or cnn.
        cell: for ``rnn``, its equations.
        generator: of the first weights; None is torch's global one.

    Attributes:
        width: of the vectors.

    Raises:
        ConfigError: if an rnn has no cell.

    Source:
        Ling et al. (2015), section 3 (rnn); Ma and Hovy (2016), section 2.1 (cnn).

    Example:
        >>> from unspool.cells import CELLS
        >>> encoder = CharacterEncoder(30, 8, "rnn", CELLS["gru"])
        >>> encoder(torch.ones(2, 5, 12, dtype=torch.int64)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        characters: int,
        hidden: int,
        kind: str = "rnn",
        cell: Cell | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weight = table(characters, hidden, generator)
        self.kind = kind
        self.encoder: nn.Module
        if kind == "cnn":
            self.width = hidden
            self.encoder = Convolution(hidden, hidden, 3, axes=1, generator=generator)
        elif cell is None:
            raise ConfigError(
                "model.characters: 'rnn' needs a recurrent model; use 'cnn' or 'none' with others."
            )
        else:
            self.width = 2 * hidden
            self.encoder = Recurrent(
                cell, hidden, hidden, bidirectional=True, generator=generator
            )  # fmt: skip

    def forward(
        self,
        characters: Int64[Tensor, "B T K"],
        lengths: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B T W"]:
        """Read every word.

        Args:
            characters: of each word, `NO_CHARACTER` behind its end.
            lengths: words of each row; None when all rows are full.

        Returns:
            A vector a word, zero in the padding.
        """
        B, T = characters.shape[:2]
        valid = torch.ones(B, T, dtype=torch.bool, device=characters.device)
        if lengths is not None:
            valid = torch.arange(T, device=characters.device) < lengths[:, None]
        words, place = torch.unique(characters[valid], dim=0, return_inverse=True)  # [N K], [M]
        read = self._read(words)
        vectors = read.new_zeros(B, T, self.width)
        return vectors.masked_scatter(valid[..., None], read[place])

    def _read(self, words: Tensor) -> Tensor:
        """A vector for each row of characters."""
        sizes = (words != NO_CHARACTER).sum(1).clamp(min=1)
        words = words[:, : int(sizes.max())]
        x = nn.functional.embedding(words, self.weight)  # [N K W]
        if isinstance(self.encoder, Recurrent):
            outputs, _ = self.encoder(x, sizes)
            return last_step(outputs, sizes, directions=2)
        y = self.encoder(blank(x, sizes).transpose(1, 2)).transpose(1, 2)
        return largest_step(y.relu(), sizes)
