"""The five mappings are masks over one core; and what settings of models may be."""

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.errors import ConfigError
from unspool.layers.recurrent import Recurrent
from unspool.models.language_model import LanguageModel
from unspool.models.mappings import apply_mapping, masks
from unspool.models.settings import RecurrentSettings, settings_class


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "reads", "gives"),
    [
        ("one to one", 1, 1, "x", "y"),
        ("one to many", 1, 4, "x...", "yyyy"),
        ("many to one", 4, 1, "xxxx", "...y"),
        ("many to many, synced", 4, 4, "xxxx", "yyyy"),
        ("many to many", 3, 3, "xxx..", "..yyy"),
    ],
)
def test_mapping_is_a_mask_over_inputs_and_outputs(name, inputs, outputs, reads, gives, rng):
    mapping = masks(name, inputs, outputs)
    assert "".join(".x"[there] for there in mapping.reads) == reads
    assert "".join(".y"[used] for used in mapping.gives) == gives
    core = Recurrent("gru", 3, 4, generator=rng).double()
    x = torch.randn(2, inputs, 3, generator=rng, dtype=torch.float64)
    everything, _ = core(F.pad(x, (0, 0, 0, len(reads) - inputs)))
    expected = everything[:, [place for place, sign in enumerate(gives) if sign == "y"]]
    assert_close(apply_mapping(core, x, name, outputs), expected)


def test_mapping_that_does_not_go_with_its_numbers_is_refused():
    with pytest.raises(ConfigError, match="'many to one' does not go with 4 inputs, 2 outputs"):
        masks("many to one", 4, 2)
    with pytest.raises(ConfigError, match="Did you mean 'many to one'"):
        masks("many to on", 4, 1)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("lstm", "pooling", "flatten"),
        ("lstm", "characters", "gru"),
        ("cnn", "kernel", 0),
        ("cnn", "pool", 65),
        ("cnn", "dense", -1),
        ("mlp", "dropout", 1.0),
        ("mlp", "pooling", "first"),
        ("lenet", "first_maps", 0),
    ],
)
def test_setting_that_cannot_be_is_refused_by_its_name(name, option, value):
    with pytest.raises(ConfigError, match=f"^model.{option}: "):
        settings_class(name)(name=name, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("bidirectional", True), ("pooling", "max"), ("characters", "cnn"), ("character_hidden", 8)],
)
def test_language_model_refuses_what_it_cannot_honour(option, value):
    with pytest.raises(ConfigError, match=f"^model.{option}: "):
        LanguageModel(5, RecurrentSettings(hidden=4, **{option: value}), CELLS["gru"])
