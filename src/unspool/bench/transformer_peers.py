"""Peers of a transformer that writes: the plain way in torch, nanoGPT's file, and transformers.

The plain peer has the operations of nanoGPT's model in the order of its blocks, written by hand.
nanoGPT itself is not part of this library: `UNSPOOL_NANOGPT` names its ``model.py`` where it is to
be asked as well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.errors import ConfigError
from unspool.models.language_model import LanguageModel

NANOGPT = "UNSPOOL_NANOGPT"


class PlainTransformer(nn.Module):
    """A decoder as one writes it with modules of torch: learned positions, pre-norm, tied weights.

    Args:
        vocabulary: V.
        width: D.
        layers: blocks.
        heads: a divisor of the width.
        context: steps of its positions.

    Example:
        >>> PlainTransformer(7, 8, 1, 2, 5)(torch.zeros(2, 5, dtype=torch.int64))[0].shape
        torch.Size([2, 5, 7])
    """

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(_PlainBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                ends = name.endswith(("output.weight", "outer.weight"))
                nn.init.normal_(parameter, 0.0, SIZE / math.sqrt(2 * layers) if ends else SIZE)

    def forward(self, tokens: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Logits ``[B T V]``, and no state: it starts afresh every time."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)), None


class _PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width, bias=False)
        self.inner = nn.Linear(width, 4 * width, bias=False)
        self.outer = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        parts = self.project(self.attention_norm(x)).split(D, dim=2)
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).contiguous().view(B, T, D))
        return x + self.outer(F.gelu(self.inner(self.feed_forward_norm(x))))


def plain_peer(model: LanguageModel) -> PlainTransformer:
    """The plain peer with the weights of one of ours, which has no biases but the output's."""
    options = model.encoder.options
    peer = PlainTransformer(
        len(model.embedding.weight), options.width, len(model.encoder.blocks), options.heads,
        model.encoder.context,
    )  # fmt: skip
    names = ["tokens", "places", "norm"]
    names += [
        f"blocks.{number}.{part}" for number in range(len(model.encoder.blocks)) for part in PARTS
    ]
    return _filled(peer, dict(zip(names, _weights(model), strict=True)))


class NanoGPT(nn.Module):
    """A model of nanoGPT's file, called as ours is."""

    def __init__(self, model: Any, context: int) -> None:
        super().__init__()
        self.model, self.context = model, context

    def forward(self, tokens: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Logits of every step, and no state."""
        # Without targets it scores the last step only.
        tokens = tokens.contiguous()
        return self.model(tokens, tokens)[0], None

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, as its own training asks for it."""
        loss: Tensor = self.model(inputs.contiguous(), targets.contiguous())[1]
        return loss


def nanogpt(vocabulary: int, width: int, layers: int, heads: int, context: int) -> NanoGPT:
    """A fresh model of nanoGPT's file.

    Raises:
        ConfigError: if the file is not there.
    """
    path = Path(os.environ[NANOGPT])
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{NANOGPT}: there is no {path}; wanted nanoGPT's model.py.")
    module = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(io.StringIO()):
        spec.loader.exec_module(module)
        made = module.GPT(
            module.GPTConfig(
                block_size=context, vocab_size=vocabulary, n_layer=layers, n_head=heads,
                n_embd=width, dropout=0.0, bias=False,
            )
        )  # fmt: skip
    return NanoGPT(made, context)


def nanogpt_peer(model: LanguageModel) -> NanoGPT:
    """The same with the weights of one of ours."""
    options, context = model.encoder.options, model.encoder.context
    peer = nanogpt(
        len(model.embedding.weight), options.width, len(model.encoder.blocks), options.heads,
        context,
    )  # fmt: skip
    names = ["transformer.wte", "transformer.wpe", "transformer.ln_f"]
    names += [
        f"transformer.h.{number}.{part}"
        for number in range(len(model.encoder.blocks))
        for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    ]
    _filled(peer.model, dict(zip(names, _weights(model), strict=True)))
    return peer


def peers_of(model: LanguageModel) -> tuple[dict[str, nn.Module], tuple[str, ...]]:
    """Every peer that can be asked here, and why one cannot."""
    found: dict[str, nn.Module] = {"plain torch": plain_peer(model)}
    if NANOGPT in os.environ:
        return found | {"nanoGPT": nanogpt_peer(model)}, ()
    return found, (f"nanoGPT: {NANOGPT} does not name its model.py",)


def _weights(model: LanguageModel) -> Iterator[Tensor]:
    encoder = model.encoder
    yield from (model.embedding.weight, encoder.positions.table, encoder.norm.weight)
    for block in encoder.blocks:
        for part in (
            block.attention_norm, block.attention.project, block.attention.output,
            block.feed_forward_norm, block.feed_forward.inner, block.feed_forward.outer,
        ):  # fmt: skip
            yield part.weight


def _filled(peer: Any, weights: Mapping[str, Tensor]) -> Any:
    with torch.no_grad():
        for name, value in weights.items():
            peer.get_submodule(name).weight.copy_(value)
    return peer


SIZE = 0.02  # of first weights
PARTS = ("attention_norm", "project", "output", "feed_forward_norm", "inner", "outer")
