"""Transformers in every job: labels, forecasts, and a text for a text."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import faults
from tolerance import assert_close
from trainings import judge_alone, shortened
from unspool import jobs
from unspool.config import resolve
from unspool.data.samples import SAMPLES, sample
from unspool.errors import ConfigError, ShapeError
from unspool.models.decoding import decode
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.encoder_decoder import build_encoder_decoder
from unspool.models.forecaster import Forecaster
from unspool.models.sequence_model import SequenceModel
from unspool.models.setting_bounds import POOLINGS
from unspool.models.settings import TransformerSettings
from unspool.predictor import load
from writing_models import BEGIN, END, IMAGE, SOURCE, TARGET, TOKENS, by_steps, given, texts

KINDS = {
    "full": {},
    "window": {"attention": "window", "window": 2},
    "linear": {"attention": "linear"},
    "multi-query": {"key_heads": 1},
    "sinusoidal post-norm": {"norm": "post", "positions": "sinusoidal"},
    "learned": {"positions": "learned", "context": 20},
}
OPTIONS = {"hidden": 8, "layers": 2, "heads": 2, "dropout": 0.0}


def large(model, rng):
    """In evaluation mode and float64, with weights large enough for every part to matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model.double().eval()


def writer(rng, source=TOKENS, shared=False, **changes):
    size = SOURCE if shared else TARGET
    shape = {"source": source, "target": {"size": size, "begin": BEGIN, "end": END},
             "shared": shared}  # fmt: skip
    settings = TransformerSettings(**{**OPTIONS, "bidirectional": True, **changes})
    return large(build_encoder_decoder(shape, settings, None, rng), rng)


def labels(rng, mapping="one", **changes):
    settings = TransformerSettings(**{**OPTIONS, **changes})
    return large(SequenceModel(TOKENS, {"mapping": mapping, "size": 3}, settings, None, rng), rng)


# A text for a text.


@pytest.mark.parametrize("kind", KINDS)
def test_text_step_by_step_is_one_whole_pass(kind, rng):
    model = writer(rng, **KINDS[kind])
    inputs, lengths = texts(rng)
    tokens = given(rng)
    logits, looked = by_steps(model, model.encode(inputs, lengths), tokens)
    assert_close(logits, model(inputs, lengths, tokens))
    for shares in looked:
        assert_close(shares.sum(-1), torch.ones_like(shares[:, 0]))
        assert (shares[torch.arange(5) >= lengths[:, None]] == 0).all()


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_depend_on_neighbours(kind, beam, rng):
    model, settings = writer(rng, **KINDS[kind]), DecodingSettings(beam=beam)
    inputs, lengths = texts(rng)
    together = decode(model, model.encode(inputs, lengths), settings, 8, weights=True)
    for row, length in enumerate(lengths):
        own = {"tokens": inputs["tokens"][row : row + 1, :length]}
        (alone,) = decode(model, model.encode(own), settings, 8)
        assert [each.tokens for each in together[row]] == [each.tokens for each in alone]


def test_what_stands_behind_a_text_is_never_read(rng):
    model = writer(rng)
    inputs, lengths = texts(rng)
    tokens = given(rng)
    wanted = model(inputs, lengths, tokens)
    other = {"tokens": inputs["tokens"].clone()}
    other["tokens"][torch.arange(5) >= lengths[:, None]] = 1
    assert_close(model(other, lengths, tokens), wanted)
    later = tokens.clone()
    later[:, 2:] = 0
    assert torch.equal(model(inputs, lengths, later)[:, :2], wanted[:, :2])


def test_one_vocabulary_has_one_table(rng):
    model = writer(rng, shared=True, tie=True)
    assert model.embedding.weight is model.decoder.weight is model.decoder.head.weight


def test_texts_without_a_memory_row_each_and_images_are_refused(rng):
    model = writer(rng)
    inputs, lengths = texts(rng)
    with pytest.raises(ShapeError, match="2 texts for a memory of 3 rows"):
        model.decoder(given(rng, rows=2), model.encode(inputs, lengths))
    with pytest.raises(ConfigError, match="for images use a cell"):
        writer(rng, source=IMAGE)


def test_reversing_is_learnt(rng):
    shape = {"source": {"kind": "tokens", "size": 5},
             "target": {"size": 7, "begin": 5, "end": 6}, "shared": False}  # fmt: skip
    settings = TransformerSettings(
        hidden=32, layers=1, heads=2, dropout=0.0, bidirectional=True, positions="sinusoidal"
    )
    model = build_encoder_decoder(shape, settings, None, rng)
    inputs = torch.tensor(list(itertools.permutations(range(4), 3)))
    begin = torch.full((len(inputs), 1), 5)
    tokens = torch.cat([begin, inputs.flip(1)], 1)
    targets = torch.cat([inputs.flip(1), begin + 1], 1)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        logits = model({"tokens": inputs}, None, tokens)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.05
    answers = decode(model.eval(), model.encode({"tokens": inputs}), DecodingSettings(beam=2), 6)
    assert [each[0].tokens for each in answers] == [tuple(row) for row in inputs.flip(1).tolist()]


# Labels.


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("both_ways", [False, True], ids=["one way", "both ways"])
def test_label_of_a_sequence_does_not_depend_on_neighbours(both_ways, pooling, rng):
    model = labels(rng, bidirectional=both_ways, pooling=pooling)
    inputs, lengths = texts(rng)
    together = model(inputs, lengths)
    for row, length in enumerate(lengths):
        assert_close(
            together[row : row + 1], model({"tokens": inputs["tokens"][row : row + 1, :length]})
        )


@pytest.mark.parametrize("kind", KINDS)
def test_labels_read_in_pieces_are_those_of_the_whole(kind, rng):
    model = labels(rng, "each", **KINDS[kind])
    inputs, _ = texts(rng)
    first, state = model.read_on({"tokens": inputs["tokens"][:, :2]})
    second, _ = model.read_on({"tokens": inputs["tokens"][:, 2:]}, state)
    assert_close(torch.cat([first, second], 1), model(inputs))


def test_what_reads_both_ways_is_not_read_in_pieces(rng):
    with pytest.raises(ConfigError, match="one direction"):
        labels(rng, "each", bidirectional=True).read_on(texts(rng)[0])


def test_image_is_read_row_by_row(rng):
    settings = TransformerSettings(**OPTIONS)
    model = large(SequenceModel(IMAGE, {"mapping": "one", "size": 3}, settings, None, rng), rng)
    image = torch.randn(2, 2, 12, 16, generator=rng, dtype=torch.float64)
    assert model({"image": image}).shape == (2, 3)


# Forecasts.


def test_forecast_sees_every_step_of_its_window(rng):
    shape = {"kind": "numbers", "size": 3, "steps": 8, "targets": [0, 1], "instance": "last",
             "apart": True, "linear": False}  # fmt: skip
    output = {"mapping": "horizon", "size": 2, "horizon": 4, "quantiles": 3}
    model = large(Forecaster(shape, output, TransformerSettings(**OPTIONS), None, rng), rng)
    numbers = torch.randn(5, 8, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    y = model({"numbers": numbers})
    assert y.shape == (5, 4, 2, 3)
    (gradient,) = torch.autograd.grad(y.cos().sum(), numbers)
    assert (gradient.abs().sum((0, 2)) > 0).all()


# Through the commands.


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sentiment", "the soup was good"),
        ("stars", "the plot is dull."),
        ("tag", ["a", "zebra"]),
        ("passengers", None),
        ("reverse", "a b c"),
        ("tones", np.sin(np.arange(4000, dtype=np.float32))),
        ("shapes", np.arange(400, dtype=np.uint8).reshape(20, 20)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sample_is_learnt_kept_and_answered(name, given, tmp_path, monkeypatch):
    judge_alone(monkeypatch)
    task = SAMPLES[name][0]
    monkeypatch.setitem(SAMPLES, name, (task, partial(shortened, task, sample(name))))
    changes = {
        "threads": 1, "size": "tiny", "task": task, "model.name": "transformer",
        "model.hidden": 8, "model.heads": 2, "train.steps": 2, "train.epochs": 0,
    }  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with faults.through(faults.without_sync):
        report = jobs.train(sample=name, settings=resolve(None, changes), out=tmp_path / "run")
    torch.set_num_threads(threads)
    assert report["model"] == "transformer"
    predictor = load(tmp_path / "run")
    assert "Transformer" in repr(predictor.model)
    if given is not None:
        once, again = (predictor.predict([given]) for _ in range(2))
        assert once == again
