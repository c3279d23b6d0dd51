"""Pairs of an input and a text side by side, and the tokens that a decoder is fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from unspool.tasks.example_batches import NO_TARGET, ExampleBatch


@dataclass(frozen=True, slots=True)
class PairBatch(ExampleBatch):
    """Some pairs side by side, as the training loop wants them.

    Attributes:
        inputs: tensors by name, batch first, padded at the end.
        lengths: true lengths of the inputs, int64 ``[B]``.
        targets: tokens to be written, the end last, padded with `NO_TARGET`, ``[B T]``.
        fed: tokens that the decoder reads, the beginning first, ``[B T]``.
        true: whether the token read at a step is that of the target, or the model's own, ``[B T]``;
            None where all are the target's.
    """

    fed: Tensor
    true: Tensor | None = None

    def rows(self, start: int, stop: int) -> PairBatch:
        """Some of the pairs."""
        inputs = {name: value[start:stop] for name, value in self.inputs.items()}
        fed, targets = self.fed[start:stop], self.targets[start:stop]
        true = None if self.true is None else self.true[start:stop]
        return PairBatch(inputs, self.lengths[start:stop], targets, fed, true)

    def to(self, device: torch.device) -> PairBatch:
        """The same elsewhere."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        true = None if self.true is None else self.true.to(device)
        return PairBatch(inputs, self.lengths, self.targets.to(device), self.fed.to(device), true)


def pair_batch(
    encoder: Any, begin: int, inputs: Sequence[Any], targets: Sequence[Tensor]
) -> PairBatch:
    """Encoded inputs and the texts that belong to them.

    Args:
        encoder: puts inputs side by side.
        begin: the id before every text.
        inputs: as the encoder gave them.
        targets: ids of every text, the end last.

    Example:
        >>> from unspool.data.text_encoders import TextEncoder
        >>> from unspool.data.settings import DataSettings
        >>> encoder = TextEncoder.fit(["ab"], DataSettings())
        >>> batch = pair_batch(encoder, 7, [encoder.encode("ab")], [torch.tensor([3, 4, 8])])
        >>> batch.fed.tolist(), batch.targets.tolist()
        ([[7, 3, 4]], [[3, 4, 8]])
    """
    collated, lengths = encoder.collate(list(inputs))
    wanted = nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=NO_TARGET)
    fed = torch.cat([torch.full((len(wanted), 1), begin), wanted[:, :-1]], 1)
    return PairBatch(collated, lengths, wanted, fed.where(fed != NO_TARGET, begin))


def truths(
    shape: tuple[int, int], share: float, generator: torch.Generator
) -> Bool[Tensor, "B T"] | None:
    """At which steps a decoder is fed the target's token; at the others it is fed its own.

    Args:
        shape: pairs and steps.
        share: of steps at which it is the target's, 0 … 1; the first step always is.
        generator: of the draws.

    Returns:
        None where every step is the target's.

    Source:
        Bengio, Vinyals, Jaitly and Shazeer (2015), section 2.4.

    Example:
        >>> truths((1, 3), 0.0, torch.Generator()).tolist()
        [[True, False, False]]
    """
    if share >= 1:
        return None
    drawn = torch.rand(shape, generator=generator) < share
    drawn[:, 0] = True
    return drawn


@torch.no_grad()
def own_tokens(model: Any, batch: PairBatch) -> Int64[Tensor, "B T"]:
    """What a decoder is fed where it goes on from its own likeliest tokens.

    No gradient flows through the choice of a token, so the tokens can be found first, step by
    step, and the loss computed on them afterwards, all steps at once.

    Args:
        model: an encoder-decoder; its dropout is off while the tokens are found.
        batch: with ``true``.
    """
    assert batch.true is not None
    was_training = model.training
    model.eval()
    memory = model.encode(batch.inputs, batch.lengths)
    state, tokens = model.start(memory), batch.fed[:, 0]
    fed = [tokens]
    for step in range(1, batch.fed.shape[1]):
        logits, state = model.step(tokens, state, memory)[:2]
        tokens = torch.where(batch.true[:, step], batch.fed[:, step], logits.argmax(-1))
        fed.append(tokens)
    model.train(was_training)
    return torch.stack(fed, 1)
