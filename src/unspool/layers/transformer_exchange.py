"""Weights of transformers to and from `torch.nn`, exact both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unspool.errors import ConfigError
from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import BlockOptions

Pair = tuple[nn.Module, nn.Module]  # ours, torch's


def from_torch(module: nn.Module, *, causal: bool | None = None) -> Transformer:
    """The same stack as a module of torch, with its weights, on its device.

    torch's modules have no positions, so ours are ``none``: add them to the inputs as before, or
    build a stack of your own and load these weights into its blocks.

    Args:
        module: `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`, a stack of either, or
            the ``encoder`` or ``decoder`` of an `nn.Transformer`.
        causal: whether a step sees none after it, which torch is told by a mask in every call;
            None is True for a decoder.

    Raises:
        ConfigError: if it is another module, or has an activation other than ReLU or GELU.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=12)
        >>> from_torch(layer).options.units
        12
    """
    layers, final = _layers_of(module)
    first = layers[0]
    biases = first.linear1.bias is not None
    decodes = isinstance(first, nn.TransformerDecoderLayer)
    attention = first.self_attn
    weight = attention.in_proj_weight
    options = BlockOptions(
        width=attention.embed_dim,
        heads=attention.num_heads,
        units=first.linear1.out_features,
        activation=_activation_of(first),
        norm="pre" if first.norm_first else "post",
        causal=decodes if causal is None else causal,
        dropout=first.dropout1.p,
        biases=biases,
        epsilon=first.norm1.eps,
        final_norm=final is not None,
    )
    width = attention.embed_dim
    stack = Transformer(
        width, options, len(layers), "none", source=width * decodes, generator=torch.Generator()
    ).to(device=weight.device, dtype=weight.dtype)
    if final is not None:
        # It may have a bias where the layers have none.
        stack.norm = nn.LayerNorm(width, final.eps, bias=final.bias is not None).to(weight)
    with torch.no_grad():
        for ours, theirs in _pairs(stack, layers, final):
            _copy(theirs, ours)
    return stack.train(module.training)


def to_torch(stack: Transformer) -> nn.TransformerEncoder | nn.TransformerDecoder:
    """The module of torch that computes the same, batch first.

    A causal stack is the same with ``is_causal`` and its mask in every call.

    Args:
        stack: with full attention, as many key heads as heads, and no positions of its own.

    Raises:
        ConfigError: naming what torch's modules do not have.

    Example:
        >>> from unspool.layers.transformer_block import BlockOptions
        >>> to_torch(Transformer(8, BlockOptions(width=8), 3, "none")).num_layers
        3
    """
    options = stack.options
    for has, what in (
        (stack.positions.name != "none", f"positions ('{stack.positions.name}')"),
        (options.attention != "full", f"'{options.attention}' attention"),
        (options.key_heads not in (0, options.heads), "key heads that queries share"),
        (options.activation not in TORCH, f"the activation '{options.activation}'"),
        (stack.project is not None, "inputs of another width"),
    ):
        if has:
            raise ConfigError(f"to_torch: the stack has {what}, which torch.nn has not.")
    weight = stack.blocks[0].attention.output.weight
    common: dict[str, Any] = {
        "d_model": options.width, "nhead": options.heads,
        "dim_feedforward": options.units or 4 * options.width, "dropout": options.dropout,
        "activation": TORCH[options.activation], "layer_norm_eps": options.epsilon,
        "batch_first": True, "bias": options.biases, "norm_first": options.norm == "pre",
        "device": weight.device, "dtype": weight.dtype,
    }  # fmt: skip
    final = None
    if stack.norm is not None:
        shifts = stack.norm.bias is not None
        final = nn.LayerNorm(options.width, stack.norm.eps, bias=shifts).to(weight)
    made: nn.TransformerEncoder | nn.TransformerDecoder
    if stack.reads_source:
        made = nn.TransformerDecoder(nn.TransformerDecoderLayer(**common), len(stack.blocks), final)
    else:
        made = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**common), len(stack.blocks), final,
            enable_nested_tensor=False,
        )  # fmt: skip
    with torch.no_grad():
        for ours, theirs in _pairs(stack, list(made.layers), made.norm):
            _copy(ours, theirs)
    return made.train(stack.training)


def _layers_of(module: nn.Module) -> tuple[list[Any], nn.Module | None]:
    """The layers of a stack, and the norm behind them."""
    single = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    if isinstance(module, single):
        return [module], None
    if isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
        return list(module.layers), module.norm
    if isinstance(module, nn.Transformer):
        raise ConfigError(
            "from_torch: an nn.Transformer is two stacks; give its encoder and its decoder, one "
            "after the other."
        )
    raise ConfigError(
        f"from_torch: got {type(module).__name__}; wanted torch.nn.TransformerEncoder, "
        "TransformerDecoder, or a layer of either."
    )


def _activation_of(layer: Any) -> str:
    names = {F.relu: "relu", torch.relu: "relu", F.gelu: "gelu"}
    found = names.get(layer.activation)
    if found is None and isinstance(layer.activation, nn.ReLU):
        found = "relu"
    if found is None and isinstance(layer.activation, nn.GELU):
        found = "gelu" if layer.activation.approximate == "none" else "gelu_tanh"
    if found is None:
        raise ConfigError(f"from_torch: activation {layer.activation!r}; wanted ReLU or GELU.")
    return found


def _pairs(stack: Transformer, layers: list[Any], final: nn.Module | None) -> Iterator[Pair]:
    """Every part of ours beside torch's."""
    for block, layer in zip(stack.blocks, layers, strict=True):
        norms = [block.attention_norm, block.feed_forward_norm]
        yield block.attention.project, _InProjection(layer.self_attn, slice(None))
        yield block.attention.output, layer.self_attn.out_proj
        if block.cross is not None:
            norms.insert(1, block.cross_norm)
            width, cross = block.cross.query.out_features, layer.multihead_attn
            yield block.cross.query, _InProjection(cross, slice(0, width))
            yield block.cross.source, _InProjection(cross, slice(width, None))
            yield block.cross.output, cross.out_proj
        for number, norm in enumerate(norms, 1):
            yield norm, getattr(layer, f"norm{number}")
        yield block.feed_forward.inner, layer.linear1
        yield block.feed_forward.outer, layer.linear2
    if stack.norm is not None and final is not None:
        yield stack.norm, final


class _InProjection:
    """Some rows of the projections that torch keeps in one matrix."""

    def __init__(self, attention: nn.MultiheadAttention, rows: slice) -> None:
        bias = attention.in_proj_bias
        self.weight = attention.in_proj_weight[rows]
        self.bias = None if bias is None else bias[rows]


def _copy(source: Any, target: Any) -> None:
    target.weight.copy_(source.weight)
    if target.bias is not None:
        target.bias.copy_(source.bias)


TORCH = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": nn.GELU(approximate="tanh")}
