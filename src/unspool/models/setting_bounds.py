"""What the settings of a model may be: tables of names, and the least and the most of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unspool.errors import unknown

POOLINGS = ("last", "mean", "max", "attention")
CHARACTERS = ("none", "rnn", "cnn")
CRFS = ("auto", "yes", "no")
SCORES = ("none", "additive", "dot", "general", "scaled_dot", "multi_head")
ATTENDS = ("late", "feeding", "inside")
POSITIONS = ("rotary", "sinusoidal", "learned", "none")
NORMS = ("pre", "post")
FEED_FORWARD_ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "swiglu")
ATTENTIONS = ("full", "window", "linear")
RECURRENT_TABLES = {
    "score": SCORES,
    "attends": ATTENDS,
    "positions": ("none", "sinusoidal"),
}
TRANSFORMER_TABLES = {
    "positions": POSITIONS,
    "norm": NORMS,
    "activation": FEED_FORWARD_ACTIVATIONS,
    "attention": ATTENTIONS,
}


def misfits(settings: Any, poolings: tuple[str, ...] = POOLINGS) -> Iterator[str]:
    """One sentence for each field whose value cannot be."""
    for name, (least, most) in WHOLE_NUMBERS.items():
        value = getattr(settings, name, least)
        if not least <= value <= most:
            wanted = ZERO[name].format(most=most) if name in ZERO else f"{least} to {most}"
            number = "" if name in ZERO else "a whole number from "
            yield f"model.{name}: got {value}; wanted {number}{wanted}."
    for name in ("dropout", "recurrent_dropout", "token_dropout"):
        value = getattr(settings, name, 0.0)
        if not 0.0 <= value < 1.0:
            yield f"model.{name}: got {value}; wanted 0 ≤ share < 1."
    for name, table in (("pooling", poolings), ("characters", CHARACTERS), ("crf", CRFS)):
        value = getattr(settings, name, table[0])
        if value not in table:
            yield unknown(f"model.{name}", value, table)


def head_misfits(settings: Any) -> Iterator[str]:
    """One sentence for each number of heads that does not divide."""
    heads, keys, hidden = settings.heads, settings.key_heads, settings.hidden
    if heads < 1 or hidden < 1:
        return  # told already
    if hidden % heads:
        yield f"model.heads: {heads} heads of {hidden} features; wanted a divisor of model.hidden."
    elif settings.positions == "rotary" and hidden // heads % 2:
        yield (
            f"model.heads: {heads} heads of {hidden} features have {hidden // heads} each, and "
            "rotary positions turn them in pairs; wanted an even number."
        )
    elif settings.positions == "sinusoidal" and hidden % 2:
        yield f"model.hidden: got {hidden}; sinusoidal positions want an even number."
    if keys and heads % keys:
        yield f"model.key_heads: {keys} for {heads} heads; wanted a divisor of model.heads."


# The least and the most of what is counted, and what a 0 means where it has a meaning.
WHOLE_NUMBERS = {
    "hidden": (1, 65536),
    "layers": (1, 256),
    "embedding": (0, 65536),
    "character_hidden": (1, 65536),
    "kernel": (1, 1024),
    "dilation": (1, 64),
    "pool": (0, 64),
    "pool_every": (1, 256),
    "dense": (0, 65536),
    "first_maps": (1, 65536),
    "second_maps": (1, 65536),
    "first_dense": (1, 65536),
    "second_dense": (1, 65536),
    "heads": (1, 4096),
    "attention_heads": (1, 4096),
    "decoder_hidden": (0, 65536),
    "decoder_layers": (0, 256),
    "image_layers": (1, 16),
    "image_maps": (1, 65536),
    "key_heads": (0, 4096),
    "feed_forward": (0, 1_048_576),
    "context": (0, 16_777_216),
    "window": (1, 16_777_216),
    "convolutions": (0, 16),
}
ZERO = {
    "embedding": "0 (as hidden) to {most}",
    "pool": "0 (2 for images, 1 for sequences) to {most}",
    "dense": "0 (none) to {most}",
    "key_heads": "0 (as heads) to {most}",
    "decoder_hidden": "0 (as hidden) to {most}",
    "decoder_layers": "0 (as layers) to {most}",
    "feed_forward": "0 (4 times hidden) to {most}",
    "context": "0 (as train.length) to {most}",
    "convolutions": "0 (none) to {most}",
}
