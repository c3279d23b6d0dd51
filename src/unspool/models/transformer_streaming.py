"""A transformer language model one token at a time: memory that stays, and few operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError, ShapeError
from unspool.layers.linear_attention import LEAST, feature
from unspool.layers.positions import beyond, rotation, sinusoidal
from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import ACTIVATIONS, SWIGLU, Block
from unspool.models.language_model import LanguageModel


class TransformerStream:
    """Reads tokens and scores the next, for one sequence, without gradients.

    Keys and values lie in memory that is made once and grows by doubling; of a window it is a ring.
    The numbers are those of `LanguageModel.forward` up to rounding. Weights are read where they
    lie: what changes them changes what is read, so a stream is made anew after training.

    Args:
        model: on any device.

    Attributes:
        steps: tokens read since the start.

    Example:
        >>> from unspool.models.settings import TransformerSettings
        >>> model = LanguageModel(7, TransformerSettings(hidden=8, layers=1, heads=2)).eval()
        >>> stream = TransformerStream(model)
        >>> whole, _ = model(torch.tensor([[3, 5]]))
        >>> np.allclose([stream.read(3), stream.read(5)][-1], whole[0, -1].detach(), atol=1e-6)
        True
    """

    def __init__(self, model: LanguageModel) -> None:
        encoder = model.encoder
        if not streams_attention(model):
            raise ConfigError("TransformerStream: wanted a transformer that reads one way.")
        self.model, self.stack = model, encoder
        self.table = model.embedding.weight.detach()
        self.layers = [_Layer(block, encoder) for block in encoder.blocks]
        self.norm = None if encoder.norm is None else _normal(encoder.norm)
        self.head, self.limit = _product(model.head), model.limit
        self.reset()

    def reset(self) -> None:
        """Start a new sequence."""
        self.steps = 0
        self._turns: tuple[Tensor, Tensor] | None = None
        for layer in self.layers:
            layer.reset()

    @torch.inference_mode()
    def read_all(self, tokens: Sequence[int]) -> None:
        """Read the beginning of a sequence at once.

        Args:
            tokens: 0…V − 1.

        Raises:
            ShapeError: beyond learned positions.
        """
        if self.steps or len(tokens) < 2:
            for token in tokens:
                self.score(token)
            return
        ids = torch.tensor([list(tokens)], device=self.table.device)
        _, state = self.stack(F.embedding(ids, self.table))
        for number, layer in enumerate(self.layers):
            layer.take(state[2 * number], state[2 * number + 1], len(tokens))
        self.steps = len(tokens)

    def read(self, token: int) -> np.ndarray:
        """Read one token.

        Args:
            token: 0…V − 1.

        Returns:
            Logits of the next token, ``[V]``, fresh memory.

        Raises:
            ShapeError: beyond learned positions.
        """
        return self.score(token).cpu().numpy().copy()

    @torch.inference_mode()
    def score(self, token: int) -> Float[Tensor, " V"]:
        """The same as a tensor."""
        stack, step = self.stack, self.steps
        if 0 < self.limit <= step:
            raise ShapeError(beyond(step + 1, self.limit))
        x = self.table[token]
        if stack.project is not None:
            x = stack.project(x)
        x = self._placed(x, step)
        turn = self._turn(step)
        for layer in self.layers:
            x = layer.step(x, step, turn)
        if self.norm is not None:
            x = self.norm(x)
        self.steps = step + 1
        return self.head(x)

    def _placed(self, x: Tensor, step: int) -> Tensor:
        """With its position added, where positions are added."""
        positions = self.stack.positions
        if positions.table is not None:
            return x + positions.table[step]
        if positions.name == "sinusoidal":
            here = torch.tensor(step, device=x.device)
            return x + sinusoidal(here, positions.width).to(x.dtype)
        return x

    def _turn(self, step: int) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of one step, from tables made for some hundred at once."""
        positions = self.stack.positions
        if positions.name != "rotary":
            return None
        place = step % TURNS
        if self._turns is None or place == 0:
            start = step - place
            steps = torch.arange(start, start + TURNS, device=self.table.device)
            made = rotation(steps, positions.head, self.table.dtype)
            self._turns = made.cosine, made.sine
        return self._turns[0][place], self._turns[1][place]


def streams_attention(model: LanguageModel) -> bool:
    """Whether a `TransformerStream` can be made of a model."""
    encoder = model.encoder
    return isinstance(encoder, Transformer) and encoder.options.causal


class _Layer:
    """One block with what it remembers: its functions called directly, on vectors."""

    def __init__(self, block: Block, stack: Transformer) -> None:
        options, attention, forward = stack.options, block.attention, block.feed_forward
        self.pre, self.linear = options.norm == "pre", options.attention == "linear"
        self.ring = options.window if options.attention == "window" else 0
        self.heads = (attention.heads, attention.key_heads, attention.head)
        self.project, self.output = _product(attention.project), _product(attention.output)
        self.inner, self.outer = _product(forward.inner), _product(forward.outer)
        self.gated = options.activation == SWIGLU
        self.activation = F.silu if self.gated else ACTIVATIONS[options.activation]
        self.attention_norm = _normal(block.attention_norm)
        self.feed_forward_norm = _normal(block.feed_forward_norm)
        self.like = attention.project.weight.detach()
        self.reset()

    def reset(self) -> None:
        """Forget."""
        N, M, K = self.heads
        if self.linear:
            self.sums, self.total = self.like.new_zeros(N, K, K), self.like.new_zeros(N, K)
            return
        # Heads of keys and then those of values, so that a step is written at once.
        self.cache = self.like.new_zeros(2 * M, min(self.ring or ROOM, ROOM), K)

    def take(self, first: Tensor, second: Tensor, steps: int) -> None:
        """What a whole pass over so many steps remembers."""
        if self.linear:
            self.sums, self.total = first[0].clone(), second[0].clone()
            return
        self._make_room(steps)
        slots = torch.arange(steps - first.shape[2], steps, device=first.device)
        self.cache[:, slots % self.cache.shape[1]] = torch.cat([first[0], second[0]])

    def step(self, x: Tensor, step: int, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """A vector further up."""
        if self.pre:
            x = x + self._attend(self.attention_norm(x), step, turn)
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self._attend(x, step, turn))
        return self.feed_forward_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        if self.gated:
            gate, h = h.chunk(2)
            return self.outer(F.silu(gate) * h)
        return self.outer(self.activation(h))

    def _attend(self, x: Tensor, step: int, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        N, M, K = self.heads
        parts = self.project(x).view(N + 2 * M, K)
        if turn is not None:
            both = parts[: N + M]
            both.copy_(both * turn[0] + both.roll(K // 2, -1) * turn[1])
        if self.linear:
            return self.output(self._sum(parts).view(-1))
        if step >= self.cache.shape[1]:
            self._make_room(step + 1)
        cache = self.cache
        size = cache.shape[1]
        cache.select(1, step % size).copy_(parts[N:])
        seen = cache if step + 1 >= size else cache.narrow(1, 0, step + 1)
        q, seen = parts[:N].view(1, N, 1, K), seen.unsqueeze(0)
        y = F.scaled_dot_product_attention(q, seen[:, :M], seen[:, M:], enable_gqa=N != M)
        return self.output(y.view(-1))

    def _sum(self, parts: Tensor) -> Tensor:
        """Linear attention: one more step in the sums, and what the query finds in them."""
        N, M, _ = self.heads
        q, k, v = parts.split((N, M, M))
        if N != M:
            k, v = k.repeat_interleave(N // M, 0), v.repeat_interleave(N // M, 0)
        q, k = feature(q), feature(k)
        self.sums.baddbmm_(k.unsqueeze(2), v.unsqueeze(1))
        self.total += k
        above = torch.bmm(q.unsqueeze(1), self.sums).squeeze(1)
        return above / (q * self.total).sum(-1, keepdim=True).clamp(min=LEAST)

    def _make_room(self, steps: int) -> None:
        """Memory for so many steps; a window never needs more than itself."""
        size = self.cache.shape[1]
        wanted = min(steps, self.ring or steps)
        if wanted <= size:
            return
        while size < wanted:
            size *= 2
        size = min(size, self.ring or size)
        self.cache = F.pad(self.cache, (0, 0, 0, size - self.cache.shape[1]))


def _product(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """A linear layer on one vector, with less on the way than a module's call."""
    weight = layer.weight.detach()
    if layer.bias is None:
        return weight.mv
    bias = layer.bias.detach()
    return lambda x: torch.addmv(bias, weight, x)


def _normal(layer: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    shape, epsilon = layer.normalized_shape, layer.eps
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    return lambda x: torch.native_layer_norm(x, shape, weight, bias, epsilon)[0]


ROOM = 256  # steps that are remembered before memory grows for the first time
TURNS = 256
