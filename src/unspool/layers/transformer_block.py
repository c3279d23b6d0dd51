"""One block of a transformer: attention, and a small network at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError, ShapeError, unknown
from unspool.layers.attention import MultiHeadAttention
from unspool.layers.dropout import Dropout
from unspool.layers.self_attention import Memory, SelfAttention, Sight, linear

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockOptions:
    """What the blocks of a stack have in common.

    Attributes:
        width: features of a step, D.
        heads: of attention, N, a divisor of the width.
        key_heads: of keys and values, a divisor of ``heads``; 0 has as many.
        units: of the network at every step; 0 takes 4·D.
        activation: a key of `ACTIVATIONS`, or swiglu.
        norm: ``pre`` normalises what a part reads, ``post`` what it gives.
        attention: full, window or linear.
        window: steps seen, for window.
        causal: see none after the own step.
        dropout: share of values and of attention weights zeroed.
        biases: add one after every product, and shift in every norm.
        epsilon: of the normalisation.
        final_norm: normalise what the last block gives; None does where ``norm`` is pre.

    Raises:
        ConfigError: for a name that is not in a table, or numbers that do not divide.
    """

    width: int
    heads: int = 4
    key_heads: int = 0
    units: int = 0
    activation: str = "gelu"
    norm: str = "pre"
    attention: str = "full"
    window: int = 0
    causal: bool = False
    dropout: float = 0.0
    biases: bool = True
    epsilon: float = 1e-5
    final_norm: bool | None = None

    def __post_init__(self) -> None:
        _named("norm", self.norm, ("pre", "post"))
        _named("attention", self.attention, ("full", "window", "linear"))
        _named("activation", self.activation, (*ACTIVATIONS, SWIGLU))
        if self.width % self.heads or self.heads % (self.key_heads or self.heads):
            raise ConfigError(
                f"model.heads: {self.heads} heads and {self.key_heads} key heads of {self.width} "
                "features; wanted divisors, of the width and of the heads."
            )
        if self.attention == "window" and self.window < 1:
            raise ConfigError(f"model.window: got {self.window}; wanted at least 1.")


class FeedForward(nn.Module):
    """The small network at every step.

        gelu, relu:  y = W_2 a(W_1 x + b_1) + b_2
        swiglu:      y = W_2 (silu(W_g x + b_g) * (W_1 x + b_1)) + b_2

    Args:
        width: D.
        units: of the middle.
        activation: a key of `ACTIVATIONS`, or swiglu.
        biases: add b_1, b_2 and b_g.

    Source:
        Vaswani et al. (2017), equation 2; GELU: Hendrycks and Gimpel (2016); SwiGLU: Shazeer
        (2020), equation 6; SYLLABUS I6.

    Example:
        >>> FeedForward(4, 16, "swiglu")(torch.zeros(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self, width: int, units: int, activation: str = "gelu", biases: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        # The gate's rows stand above the others.
        self.inner = linear(width, units * (2 if activation == SWIGLU else 1), biases)
        self.outer = linear(units, width, biases)

    def forward(self, x: Float[Tensor, "*axes D"]) -> Float[Tensor, "*axes D"]:
        """The same at every step."""
        h = self.inner(x)
        if self.activation == SWIGLU:
            gate, h = h.chunk(2, -1)
            return self.outer(F.silu(gate) * h)
        return self.outer(ACTIVATIONS[self.activation](h))


class Block(nn.Module):
    """Attention to the own sequence, maybe to another one, and the network at every step.

        pre:   x <- x + part(norm(x))        post:  x <- norm(x + part(x))

    Args:
        options: of the stack.
        source: features of the other sequence's steps; 0 for none.

    Source:
        Vaswani et al. (2017), figure 1; pre-norm: Xiong et al. (2020), figure 1; SYLLABUS I6.
    """

    def __init__(self, options: BlockOptions, source: int = 0) -> None:
        super().__init__()
        width, rate, biases = options.width, options.dropout, options.biases
        self.pre = options.norm == "pre"
        self.attention = SelfAttention(
            width,
            options.heads,
            options.key_heads,
            options.attention,
            options.window,
            options.causal,
            rate,
            biases,
        )
        self.attention_norm = norm(options)
        self.cross = self.cross_norm = None
        if source:
            self.cross = MultiHeadAttention(width, source, options.heads, rate, biases)
            self.cross_norm = norm(options)
        units = options.units or 4 * width
        self.feed_forward = FeedForward(width, units, options.activation, biases)
        self.feed_forward_norm = norm(options)
        self.dropout = Dropout(options.dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        sight: Sight,
        memory: Memory | None = None,
        source: Memory | None = None,
        source_mask: Bool[Tensor, "A S"] | None = None,
        explicit: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], Memory, Weights]:
        """Read steps.

        Args:
            x: a vector a step.
            sight: where the steps stand.
            memory: of the block's attention, for steps before.
            source: keys and values of the other sequence, of A rows: as many, or a part of it.
            source_mask: True where they may be used.
            explicit: make the weights, and from them the sums.

        Returns:
            A vector a step, the memory of all steps, and the weights ``self`` and ``cross``.
        """
        pre, drop = self.pre, self.dropout
        found: Weights = {}
        y, memory, weights = self.attention(
            self.attention_norm(x) if pre else x, sight, memory, explicit
        )
        x = x + drop(y) if pre else self.attention_norm(x + drop(y))
        if weights is not None:
            found["self"] = weights
        if self.cross is not None and self.cross_norm is not None:
            if source is None:
                raise ShapeError("Transformer: it reads a second sequence, and none was given.")
            read = self.cross_norm(x) if pre else x
            y, weights = self._ask(read, source, source_mask, explicit)
            x = x + drop(y) if pre else self.cross_norm(x + drop(y))
            if weights is not None:
                found["cross"] = weights
        y = self.feed_forward(self.feed_forward_norm(x) if pre else x)
        x = x + drop(y) if pre else self.feed_forward_norm(x + drop(y))
        return x, memory, found

    def _ask(
        self, x: Tensor, source: Memory, mask: Tensor | None, explicit: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What the other sequence says; several rows of ours may ask one row of it."""
        rows, steps, width = x.shape
        together = x.reshape(len(source[0]), -1, width)
        y, weights = self.cross(together, source, mask, explicit)
        if weights is not None:
            weights = weights.transpose(1, 2).reshape(rows, steps, *weights.shape[1::2])
            weights = weights.transpose(1, 2)
        return y.reshape(rows, steps, width), weights


def norm(options: BlockOptions) -> nn.LayerNorm:
    """What stands before or after each part of a block."""
    return nn.LayerNorm(options.width, options.epsilon, bias=options.biases)


def _named(field: str, name: str, table: Sequence[str]) -> None:
    if name not in table:
        raise ConfigError(unknown(f"model.{field}", name, table))


SWIGLU = "swiglu"
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
