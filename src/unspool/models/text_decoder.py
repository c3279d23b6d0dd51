"""A recurrent decoder: it writes a text token by token, and looks at a memory while it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.errors import ConfigError, ShapeError
from unspool.layers.attention import Attention, MultiHeadAttention
from unspool.layers.dense import dense
from unspool.layers.dropout import Dropout
from unspool.layers.embedding import table
from unspool.layers.positions import Positions
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.bridge import Bridge
from unspool.models.settings import RecurrentSettings

# A step of a recurrent stack: inputs and state before, outputs and state after.
Reads = Callable[[Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True, slots=True)
class Memory:
    """What has been read, as a decoder wants it; the batch axis stands first in every tensor.

    Attributes:
        keys: what attention asks, made once; empty where there is nothing to look at.
        mask: True where a step of it may be used; None where all may.
        start: the decoder's state before its first token.
    """

    keys: State
    mask: Bool[Tensor, "B S"] | None
    start: State

    def __len__(self) -> int:
        """Rows, B."""
        return len(self.start[0])

    def select_rows(self, rows: Int64[Tensor, " N"]) -> Memory:
        """The memory of the chosen rows, in that order."""
        mask = None if self.mask is None else self.mask.index_select(0, rows)
        return Memory(self.keys.select_rows(rows), mask, self.start.select_rows(rows))

    def expand(self, times: int) -> Memory:
        """Each row ``times`` times in a row."""
        mask = None if self.mask is None else self.mask.repeat_interleave(times, 0)
        return Memory(self.keys.expand(times), mask, self.start.expand(times))


class RecurrentDecoder(nn.Module):
    """Embedding, recurrent stack, attention to a memory, linear head.

        late:     h_t = cell(y_{t-1}, h_{t-1}),             c_t = attention(h_t)
        feeding:  h_t = cell([y_{t-1}; z_{t-1}], h_{t-1}),  c_t = attention(h_t)
        inside:   h_t = cell([y_{t-1}; c_t], h_{t-1}),      c_t = attention(h_{t-1})

    and then z_t = tanh(W_z [h_t; c_t] + b_z), logits_t = W_o z_t + b_o. With attention late,
    nothing that a step reads depends on what was found before: all steps of a given text are one
    scan, and one product with the memory. Without attention z_t is h_t. With ``positions``, y_{t-1}
    is its vector plus the wave of step t - 1, and a state ends in the number of tokens read.

    Args:
        target: ``size``, V; ``begin`` and ``end``, tokens before and behind every text.
        settings: of the model.
        cell: the equations of this stack.
        reads: the stack whose last state it starts from, or the features of one vector.
        memory: features of a step of the memory; 0 if there is none.
        generator: of the first weights; None is torch's global one.

    Raises:
        ConfigError: for settings that do not go together.

    Source:
        late and feeding: Luong, Pham and Manning (2015), equation 5 and section 3.3; inside:
        Bahdanau, Cho and Bengio (2015), section 3.1.
    """

    def __init__(
        self,
        target: Mapping[str, Any],
        settings: RecurrentSettings,
        cell: Cell,
        reads: Recurrent | int,
        memory: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        units = settings.decoder_hidden or settings.hidden
        looks = bool(memory) and settings.score != "none"
        self.attends = settings.attends if looks else "late"
        _check(settings, units, self.attends)
        self.begin, self.end, self.units = target["begin"], target["end"], units
        scale = 1.0 / math.sqrt(settings.width) if settings.tie else 1.0
        self.weight = table(target["size"], settings.width, generator, scale)
        self.dropout = Dropout(settings.dropout)
        self.places = None
        if settings.positions != "none":
            self.places = Positions(settings.positions, settings.width)
        found = units if settings.score == "multi_head" else memory
        read = {"late": 0, "feeding": units, "inside": found}[self.attends]
        self.recurrent = Recurrent(
            cell,
            settings.width + read,
            units,
            settings.decoder_layers or settings.layers,
            residual=settings.residual,
            dropout=settings.dropout,
            recurrent_dropout=settings.recurrent_dropout,
            initialisation=settings.initialisation,
            forget_bias=settings.forget_bias,
            generator=generator,
        )
        self.bridge = Bridge(reads, self.recurrent, generator)
        self.attention = self.combine = None
        if looks:
            self.attention = _attention(settings, units, memory, generator)
            self.combine = dense(units + self.attention.width, units, generator)
        self.head = dense(units, target["size"], generator)
        if settings.tie:
            self.head.weight = self.weight

    def remember(
        self,
        outputs: Float[Tensor, "B S E"] | None,
        mask: Bool[Tensor, "B S"] | None,
        final: tuple[Tensor, ...] | Tensor,
    ) -> Memory:
        """Make ready what was read.

        Args:
            outputs: a vector a step, zero in the padding, as encoders give it; None if there are
                none.
            mask: True where a step is no padding; None where all are.
            final: the encoder's last state, or one vector a row.
        """
        start, keys = self.bridge(final), State()
        if self.attention is not None:
            assert outputs is not None
            keys = self.attention.prepare(outputs)
        if self.attends == "feeding":
            start = State([*start, start[0].new_zeros(len(start[0]), self.units)])
        if self.places is not None:
            count = torch.zeros(len(start[0]), 1, dtype=torch.int64, device=start[0].device)
            start = State([*start, count])
        return Memory(keys, mask, start)

    def forward(
        self,
        tokens: Int64[Tensor, "B U"],
        memory: Memory,
        lengths: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B U V"]:
        """Scores of what follows each token of given texts (teacher forcing).

        Args:
            tokens: the beginning and all before the last, 0…V − 1.
            memory: of `remember`, a row for each text.
            lengths: true lengths; None reads the padding too, which comes later and so changes no
                score before it.
        """
        if len(memory) != len(tokens):
            raise ShapeError(
                f"RecurrentDecoder: {len(tokens)} texts for a memory of {len(memory)} rows; wanted "
                "a text for each."
            )
        look, start = Lookup(self.weight, tokens), memory.start
        x: Tensor | Lookup = look
        if self.places is not None:
            steps = torch.arange(tokens.shape[1], device=tokens.device)
            x, start = self.places(look.rows(), steps), State(start[:-1])
        if self.dropout.active or self.attends != "late":
            x = self.dropout(x.rows() if isinstance(x, Lookup) else x)
        if isinstance(x, Lookup) or self.attends == "late":
            h, _ = self.recurrent(x, lengths, start)
            return self._logits(self._combined(h, self._look(h, memory)[0]))
        return self._logits(self._step_by_step(x, start, memory))

    def step(
        self,
        tokens: Int64[Tensor, " R"],
        state: State,
        memory: Memory,
        weights: bool = False,
        read: Reads | None = None,
    ) -> tuple[Float[Tensor, "R V"], State, Float[Tensor, "R S"] | None]:
        """Read one more token of every text.

        Args:
            tokens: the last token of each.
            state: after those before.
            memory: a row for each text, or for each run of equally many, as a beam has them.
            weights: also return where each looked.
            read: takes the place of a step of the stack; it computes the same.

        Returns:
            Scores of what follows, the new state, and the weights over the memory, of several
            heads their mean; None where they are not wanted, or there is nothing to look at.
        """
        x, place = nn.functional.embedding(tokens, self.weight), None
        if self.places is not None:
            *before, place = state
            x, state = self.places(x[:, None], place)[:, 0], State(before)
        x, read = self.dropout(x), read or self.recurrent.step
        z, state, shares = self._next(x, state, memory, weights, read)
        if place is not None:
            state = State([*state, place + 1])
        return self._logits(z), state, shares

    def _step_by_step(
        self, x: Float[Tensor, "B U D"], state: State, memory: Memory
    ) -> Float[Tensor, "B U H"]:
        """Where a step reads what the one before has found."""
        found = []
        for step in range(x.shape[1]):
            z, state, _ = self._next(x[:, step], state, memory, False, self.recurrent.step)
            found.append(z)
        return torch.stack(found, 1)

    def _next(
        self, x: Tensor, state: State, memory: Memory, weights: bool, read: Reads
    ) -> tuple[Tensor, State, Tensor | None]:
        """What comes of one more step, z."""
        if self.attends == "inside":
            context, shares = self._look(state[0][:, -1:], memory, weights)
            h, state = read(torch.cat([x, context[:, 0]], 1), state)
            return self._combined(h, context[:, 0]), state, shares
        if self.attends == "feeding":
            *before, fed = state
            h, after = read(torch.cat([x, fed], 1), State(before))
            context, shares = self._look(h[:, None], memory, weights)
            z = self._combined(h, context[:, 0])
            return z, State([*after, z]), shares
        h, after = read(x, state)
        context, shares = self._look(h[:, None], memory, weights)
        return self._combined(h, None if context is None else context[:, 0]), after, shares

    def _look(
        self, query: Float[Tensor, "R T H"], memory: Memory, weights: bool = False
    ) -> tuple[Any, Tensor | None]:
        """What queries find; several rows of them may share a row of the memory."""
        if self.attention is None:
            return None, None
        R, T, _ = query.shape
        together = query.reshape(len(memory), -1, query.shape[-1])
        context, shares = self.attention(together, memory.keys, memory.mask, weights)
        if shares is not None:
            shares = shares.mean(1) if shares.dim() == 4 else shares
            shares = shares.reshape(R, -1)
        return context.reshape(R, T, -1), shares

    def _combined(self, h: Tensor, context: Tensor | None) -> Tensor:
        if self.combine is None or context is None:
            return h
        return self.combine(torch.cat([h, context], -1)).tanh()

    def _logits(self, z: Tensor) -> Tensor:
        return self.head(self.dropout(z))


def _attention(
    settings: RecurrentSettings, units: int, memory: int, generator: torch.Generator | None
) -> Attention | MultiHeadAttention:
    if settings.score == "multi_head":
        if units % settings.attention_heads:
            raise ConfigError(
                f"model.attention_heads: {settings.attention_heads} heads of {units} units of what "
                "writes; wanted a divisor of them."
            )
        return MultiHeadAttention(units, memory, settings.attention_heads, generator=generator)
    return Attention(settings.score, units, memory, generator=generator)


def _check(settings: RecurrentSettings, units: int, attends: str) -> None:
    """Refuse settings that do not go together."""
    problems = []
    if settings.tie and settings.width != units:
        problems.append(
            f"model.tie: token vectors are {settings.width} wide and what writes has {units} "
            "units; tied weights need both the same."
        )
    if settings.recurrent_dropout and attends != "late":
        problems.append(
            "model.recurrent_dropout: is drawn once a text, and with model.attends "
            f"'{attends}' a text is read step by step; use late, or leave it out."
        )
    if problems:
        raise ConfigError(" ".join(problems))
