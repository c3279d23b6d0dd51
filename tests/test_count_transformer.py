"""Counts of transformers, line by line, against the models themselves."""

import pytest

from unspool.errors import ConfigError, ShapeError
from unspool.layers.transformer import Transformer
from unspool.layers.transformer_block import BlockOptions
from unspool.models.count import count
from unspool.models.language_model import LanguageModel
from unspool.models.settings import TransformerSettings


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("units", [0, 10])
def test_block_has_as_many_parameters_as_the_layer(units, biases):
    options = BlockOptions(width=8, heads=2, units=units, biases=biases)
    stack = Transformer(8, options, layers=1)
    text = "transformer 2" + f" units {units}" * bool(units) + " unbiased" * (not biases)
    derivation = count(f"{text} > norm{' unbiased' * (not biases)}", "Tx8")
    assert derivation.parameters == sum(p.numel() for p in stack.parameters())
    for line in derivation.lines:
        assert eval(line.how.replace("·", "*")) == line.parameters


def test_language_model_is_counted_line_by_line():
    settings = TransformerSettings(
        hidden=12, layers=2, heads=3, positions="learned", context=16, dropout=0.0
    )
    model = LanguageModel(13, settings)
    text = "embedding 12 > positions 16 > transformer 3 > transformer 3 > norm > dense 13"
    derivation = count(text, "T of 13")
    assert derivation.parameters == sum(p.numel() for p in model.parameters())


def test_gpt2_has_the_parameters_that_are_quoted():
    blocks = " > ".join(["transformer 12"] * 12)
    derivation = count(f"embedding 768 > positions 1024 > {blocks} > norm", "1024 of 50257")
    assert derivation.parameters == 124_439_808


def test_cost_of_attention_grows_with_the_square_of_the_steps():
    short, long = (count("transformer 2", f"{steps}x8").cost for steps in (10, 20))
    assert long - 2 * short == 2 * 8 * (20 * 20 - 2 * 10 * 10)
    for line in count("transformer 2", "10x8").lines:
        assert eval(line.cost_how.replace("·", "*")) == line.cost


def test_what_cannot_be_counted_is_said():
    with pytest.raises(ShapeError, match="3 heads of 8 features"):
        count("transformer 3", "Tx8")
    with pytest.raises(ShapeError, match="reads steps"):
        count("transformer 2", "5 of 9")
    with pytest.raises(ConfigError, match="as word 2"):
        count("transformer", "Tx8")
