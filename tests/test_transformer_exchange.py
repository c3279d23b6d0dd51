"""Weights of torch.nn and of GPT-2 give the numbers that torch.nn and transformers give."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tolerance import assert_close
from unspool.errors import CheckpointError, ConfigError
from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import BlockOptions
from unspool.layers.transformer_exchange import from_torch, to_torch
from unspool.models.gpt2 import from_gpt2, to_gpt2
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import TransformerSettings

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = [
    {"norm_first": norm_first, "activation": activation, "bias": bias}
    for norm_first in (False, True)
    for activation in ("relu", "gelu", nn.GELU(approximate="tanh"))
    for bias in (True, False)
]


def large(module, rng):
    """Numbers large enough for every part to matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return module.double().eval()


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def torch_layer(kind, **options):
    return kind(8, nhead=2, dim_feedforward=12, batch_first=True, dropout=0.0, **options)


@pytest.mark.parametrize("final", [True, False], ids=["final norm", "no final norm"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_encoder_of_torch_gives_the_same_numbers_and_comes_back(options, final, rng):
    layer = torch_layer(nn.TransformerEncoderLayer, **options)
    norm = nn.LayerNorm(8) if final else None
    theirs = large(nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False), rng)
    ours = from_torch(theirs)
    x, lengths = draw(rng, 2, 6, 8), torch.tensor([6, 4])
    padding = torch.arange(6) >= lengths[:, None]
    wanted = theirs(x, src_key_padding_mask=padding).masked_fill(padding[..., None], 0.0)
    assert_close(ours(x, lengths)[0], wanted)
    again = to_torch(ours)
    assert_close(again(x, src_key_padding_mask=padding).masked_fill(padding[..., None], 0), wanted)
    if final:
        assert {k: v.tolist() for k, v in again.state_dict().items()} == {
            k: v.tolist() for k, v in theirs.state_dict().items()
        }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoder_of_torch_gives_the_same_numbers_and_comes_back(options, rng):
    layer = torch_layer(nn.TransformerDecoderLayer, **options)
    theirs = large(nn.TransformerDecoder(layer, 2, nn.LayerNorm(8)), rng)
    ours = from_torch(theirs)
    x, source, lengths = draw(rng, 2, 5, 8), draw(rng, 2, 6, 8), torch.tensor([6, 3])
    padding = torch.arange(6) >= lengths[:, None]
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    wanted = theirs(x, source, tgt_mask=mask, memory_key_padding_mask=padding)
    assert_close(ours(x, None, None, ours.remember(source), lengths)[0], wanted)
    again = to_torch(ours)
    assert_close(again(x, source, tgt_mask=mask, memory_key_padding_mask=padding), wanted)


def test_both_halves_of_a_whole_transformer_of_torch(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own remark on nested tensors
        theirs = nn.Transformer(8, 2, 2, 2, 12, dropout=0.0, batch_first=True)
    theirs = large(theirs, rng)
    encoder, decoder = from_torch(theirs.encoder), from_torch(theirs.decoder)
    source, x = draw(rng, 2, 6, 8), draw(rng, 2, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    memory = decoder.remember(encoder(source)[0])
    assert_close(decoder(x, source=memory)[0], theirs(source, x, tgt_mask=mask))
    with pytest.raises(ConfigError, match="two stacks"):
        from_torch(theirs)


def test_gradients_of_the_encoder_of_torch_are_the_same(rng):
    theirs = large(torch_layer(nn.TransformerEncoderLayer, norm_first=True), rng)
    ours = from_torch(theirs)
    x, weights = draw(rng, 2, 6, 8), draw(rng, 2, 6, 8)
    for module in (theirs, ours):
        result = module(x)
        (weights * (result[0] if module is ours else result)).sum().backward()
    block = ours.blocks[0]
    assert_close(block.attention.project.weight.grad, theirs.self_attn.in_proj_weight.grad)
    assert_close(block.feed_forward.outer.weight.grad, theirs.linear2.weight.grad)
    assert_close(block.attention_norm.weight.grad, theirs.norm1.weight.grad)


@pytest.mark.parametrize(
    ("positions", "inputs", "options", "message"),
    [
        ("rotary", 8, {}, "positions \\('rotary'\\)"),
        ("none", 5, {}, "inputs of another width"),
        ("none", 8, {"activation": "swiglu"}, "the activation 'swiglu'"),
        ("none", 8, {"attention": "linear"}, "'linear' attention"),
        ("none", 8, {"key_heads": 1}, "key heads that queries share"),
    ],
)
def test_what_torch_does_not_have_is_refused(positions, inputs, options, message):
    stack = Transformer(inputs, BlockOptions(width=8, **options), 1, positions)
    with pytest.raises(ConfigError, match=message):
        to_torch(stack)


def test_modules_that_are_no_transformer_are_refused():
    with pytest.raises(ConfigError, match="got Linear; wanted"):
        from_torch(nn.Linear(2, 2))
    layer = nn.TransformerEncoderLayer(8, 2, 12, activation=torch.tanh)
    with pytest.raises(ConfigError, match="wanted ReLU or GELU"):
        from_torch(layer)


@pytest.fixture
def gpt2():
    """What transformers' GPT-2 computed: tests/golden/make_gpt2.py."""
    tensors = load_file(GOLDEN / "gpt2.safetensors")
    shape = json.loads((GOLDEN / "gpt2.json").read_text(encoding="utf-8"))
    weights = {k.removeprefix("weight."): v for k, v in tensors.items() if k.startswith("weight.")}
    return tensors, weights, from_gpt2(weights, shape["n_head"])


def test_weights_of_gpt2_give_its_logits_loss_and_gradients(gpt2):
    tensors, _, model = gpt2
    tokens = tensors["tokens"]
    logits, _ = model(tokens)
    assert_close(logits, tensors["logits"])
    loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert_close(loss, tensors["loss"])
    loss.backward()
    assert_close(model.embedding.weight.grad, tensors["gradient.wte.weight"])
    block = model.encoder.blocks
    project = block[0].attention.project.weight.grad
    assert_close(project.T, tensors["gradient.h.0.attn.c_attn.weight"])
    assert_close(block[1].feed_forward.inner.bias.grad, tensors["gradient.h.1.mlp.c_fc.bias"])


def test_weights_of_gpt2_write_what_its_generate_wrote(gpt2):
    tensors, _, model = gpt2
    prompt, wanted = tensors["greedy"][0, :4].tolist(), tensors["greedy"][0, 4:].tolist()
    likeliest = SamplingSettings(temperature=0.0)
    drawn = continuation(model, prompt, likeliest, torch.Generator())
    assert [next(drawn) for _ in wanted] == wanted


def test_weights_of_gpt2_come_back_bit_for_bit(gpt2):
    _, weights, model = gpt2
    again = to_gpt2(model)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_checkpoint_that_lacks_a_tensor_of_gpt2_is_refused(gpt2):
    _, weights, _ = gpt2
    with pytest.raises(CheckpointError, match=r"there is no 'ln_f.bias'"):
        from_gpt2({k: v for k, v in weights.items() if k != "ln_f.bias"}, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rotary"}, "'rotary' positions"),
        ({"activation": "gelu"}, "the activation 'gelu'"),
        ({"tie": False}, "an output matrix of its own"),
        ({"norm": "post"}, "its norms after the blocks"),
    ],
)
def test_what_gpt2_does_not_have_is_refused(changes, message):
    fitting = {"hidden": 8, "layers": 1, "positions": "learned", "context": 4, "tie": True,
               "activation": "gelu_tanh"}  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        to_gpt2(LanguageModel(5, TransformerSettings(**{**fitting, **changes})))
