"""Weights of GPT-2, as the transformers library names them, to and from a `LanguageModel`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from unspool.errors import CheckpointError, ConfigError
from unspool.models.language_model import LanguageModel
from unspool.models.settings import TransformerSettings


def from_gpt2(tensors: Mapping[str, Tensor], heads: int) -> LanguageModel:
    """The language model of a GPT-2 checkpoint.

    Args:
        tensors: by the names of ``GPT2LMHeadModel.state_dict()``, with or without
            ``transformer.`` in front.
        heads: of attention, which the weights do not say.

    Raises:
        CheckpointError: naming what is missing.

    Example:
        >>> settings = TransformerSettings(
        ...     hidden=8, layers=1, heads=2, positions="learned", context=5, tie=True,
        ...     activation="gelu_tanh", dropout=0.0)
        >>> tensors = to_gpt2(LanguageModel(7, settings))
        >>> sorted(tensors)[:3]
        ['h.0.attn.c_attn.bias', 'h.0.attn.c_attn.weight', 'h.0.attn.c_proj.bias']
        >>> from_gpt2(tensors, heads=2).limit
        5

    Source:
        Radford et al. (2019), section 2.3; the layout is that of transformers' GPT2LMHeadModel.
    """
    found = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    for name in ("wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight"):
        if name not in found:
            raise CheckpointError(f"from_gpt2: there is no '{name}'; it is of another model.")
    (V, D), (context, _) = found["wte.weight"].shape, found["wpe.weight"].shape
    layers = {int(each[1]) for name in found if (each := re.match(r"h\.(\d+)\.", name))}
    settings = TransformerSettings(
        hidden=D, layers=len(layers), heads=heads, positions="learned", context=context, tie=True,
        feed_forward=found["h.0.mlp.c_fc.weight"].shape[1], activation="gelu_tanh", dropout=0.0,
    )  # fmt: skip
    model = LanguageModel(V, settings, generator=torch.Generator()).to(found["wte.weight"])
    with torch.no_grad():
        for name, parameter, turned in _named(model):
            if name not in found:
                raise CheckpointError(f"from_gpt2: there is no '{name}'; it is of another model.")
            parameter.copy_(found[name].T if turned else found[name])
        model.head.bias.zero_()
    return model.eval()


def to_gpt2(model: LanguageModel) -> dict[str, Tensor]:
    """The tensors of a ``GPT2LMHeadModel`` that computes the same, without their prefix.

    Args:
        model: a transformer with learned positions, pre-norm, gelu_tanh, tied weights and a bias
            of the output that is zero.

    Raises:
        ConfigError: naming what GPT-2 does not have.
    """
    encoder = model.encoder
    options = getattr(encoder, "options", None)
    if options is None:
        raise ConfigError("to_gpt2: the model is recurrent; wanted a transformer.")
    for has, what in (
        (encoder.positions.name != "learned", f"'{encoder.positions.name}' positions"),
        (options.norm != "pre", "its norms after the blocks"),
        (options.activation != "gelu_tanh", f"the activation '{options.activation}'"),
        (options.attention != "full", f"'{options.attention}' attention"),
        (options.key_heads not in (0, options.heads), "key heads that queries share"),
        (not options.biases, "no biases in its blocks"),
        (model.head.weight is not model.embedding.weight, "an output matrix of its own"),
        (bool(model.head.bias.any()), "biases of the output"),
    ):
        if has:
            raise ConfigError(f"to_gpt2: the model has {what}, which GPT-2 has not.")
    return {
        name: (value.T if turned else value).detach().clone().contiguous()
        for name, value, turned in _named(model)
    }


def _named(model: LanguageModel) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """GPT-2's name of every parameter, and whether its matrix stands the other way round there."""
    encoder = model.encoder
    yield "wte.weight", model.embedding.weight, False
    yield "wpe.weight", encoder.positions.table, False
    for number, block in enumerate(encoder.blocks):
        for name, part in (
            ("ln_1", block.attention_norm),
            ("attn.c_attn", block.attention.project),
            ("attn.c_proj", block.attention.output),
            ("ln_2", block.feed_forward_norm),
            ("mlp.c_fc", block.feed_forward.inner),
            ("mlp.c_proj", block.feed_forward.outer),
        ):
            yield f"h.{number}.{name}.weight", part.weight, isinstance(part, nn.Linear)
            yield f"h.{number}.{name}.bias", part.bias, False
    yield "ln_f.weight", encoder.norm.weight, False
    yield "ln_f.bias", encoder.norm.bias, False
