"""Convolutions before a transformer's blocks: images and sounds of few steps."""

import math

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.config import resolve
from unspool.errors import ConfigError
from unspool.models.encoder_decoder import build_encoder_decoder
from unspool.models.language_model import LanguageModel
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import TransformerSettings
from writing_models import IMAGE, TOKENS

FRAMES = {"kind": "frames", "size": 5}
OPTIONS = {"hidden": 8, "layers": 1, "heads": 2, "dropout": 0.0}
every_kind = pytest.mark.parametrize("attention", ["full", "window", "linear"])


def make(rng, shape=FRAMES, mapping="one", **changes):
    """In evaluation mode and float64, with weights large enough for every part to matter."""
    settings = TransformerSettings(**{**OPTIONS, "convolutions": 2, **changes})
    output = {"mapping": mapping, "size": 3, "aligned": False}
    model = SequenceModel(shape, output, settings, None, rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model.double().eval()


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("filler", [0.0, 1e4, math.nan])
@pytest.mark.parametrize("longer", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("stack", [1, 3])
@every_kind
def test_padding_and_company_change_nothing(attention, stack, longer, filler, rng):
    shape = FRAMES if stack == 1 else {**FRAMES, "stack": stack}
    model = make(rng, shape, attention=attention, window=2, bidirectional=True)
    x, lengths = draw(rng, 4, 9, 5), torch.tensor([9, 8, 5, 1])
    padded = F.pad(x, (0, 0, 0, longer), value=filler)
    for row, length in enumerate(lengths):
        padded[row, length:] = filler
    leaf = padded.requires_grad_()
    logits = model({"frames": leaf}, lengths)
    for row, length in enumerate(lengths):
        alone = model({"frames": x[row : row + 1, :length]}, None)
        assert_close(logits[row], alone[0])
    logits.sum().backward()
    assert all((leaf.grad[row, length:] == 0).all() for row, length in enumerate(lengths))
    assert all((leaf.grad[row, :length] != 0).any() for row, length in enumerate(lengths))


@pytest.mark.parametrize("stack", [1, 3])
def test_steps_are_as_many_as_the_model_says(stack, rng):
    model = make(rng, {**FRAMES, "stack": stack})
    for steps in range(1, 14):
        lengths = torch.tensor([steps])
        encoded, left = model.encode({"frames": draw(rng, 1, steps, 5)}, lengths)
        assert left.tolist() == [encoded.shape[1]] == model.output_lengths(lengths).tolist()


@pytest.mark.parametrize("convolutions", [1, 2, 4])
def test_places_of_an_image_are_steps(convolutions, rng):
    model = make(rng, IMAGE, convolutions=convolutions, bidirectional=True)
    image = draw(rng, 3, 2, 12, 16)
    down, across = model.embedding.sides
    assert (down, across) == tuple(math.ceil(side / 2**convolutions) for side in (12, 16))
    encoded, _ = model.encode({"image": image})
    assert encoded.shape == (3, down * across, 8)
    logits = model({"image": image})
    assert_close(model({"image": image[1:2]})[0], logits[1])


def test_first_step_of_an_image_is_its_upper_left_corner(rng):
    model = make(rng, IMAGE)
    image = draw(rng, 1, 2, 12, 16)
    changed = image.clone()
    changed[..., 0, 0] += 1.0
    before, after = (model.embedding({"image": each}, None)[0] for each in (image, changed))
    moved = before != after
    assert moved.any(-1)[0].view(3, 4).nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("shape", "mapping", "settings", "message"),
    [
        (TOKENS, "one", {}, "are for images and the frames of sounds, and these are tokens"),
        (FRAMES, "each", {}, "leave fewer steps, and every step is labelled"),
        (FRAMES, "one", {"convolutions": 17}, r"convolutions: got 17; wanted 0 \(none\) to 16"),
    ],
    ids=str,
)
def test_convolutions_are_refused_where_nothing_can_be_halved(shape, mapping, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(None, shape, mapping, **settings)


def test_convolutions_are_refused_by_models_of_texts():
    settings = TransformerSettings(**OPTIONS, convolutions=1)
    with pytest.raises(ConfigError, match="are for images and sounds; leave it out"):
        LanguageModel(7, settings)
    target = {"size": 7, "begin": 5, "end": 6}
    with pytest.raises(ConfigError, match="these are tokens; leave it out"):
        build_encoder_decoder({"source": TOKENS, "target": target}, settings, None)


@pytest.mark.parametrize("task", ["listen", "see"])
def test_jobs_start_with_convolutions_and_both_ways_for_a_transformer(task):
    model = resolve(None, {"task": task, "model.name": "transformer"}).model
    assert model.convolutions == 2
    assert model.bidirectional
    assert (
        resolve(None, {"task": "transcribe", "model.name": "transformer"}).model.convolutions == 0
    )
