"""Transformers that write: cached is uncached, and a stopped training goes on exactly."""

import itertools
import math

import pytest
import torch
from torch import nn

import faults
from tolerance import assert_close
from trainings import advance, contents, make_loop
from unspool.config import resolve
from unspool.data.settings import DataSettings
from unspool.data.tokens import fit_tokenizer
from unspool.errors import ConfigError, DataError, ShapeError
from unspool.models import transformer_streaming
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import TransformerSettings
from unspool.models.transformer_streaming import TransformerStream
from unspool.tasks import write as writing
from unspool.tasks.adaptive import adaptive_evaluation
from unspool.tasks.text_loss import stream_loss
from unspool.training.checkpoint import newest_checkpoint

KINDS = {
    "full": {},
    "learned": {"positions": "learned"},
    "sinusoidal": {"positions": "sinusoidal"},
    "no positions": {"positions": "none"},
    "window": {"attention": "window", "window": 5},
    "linear": {"attention": "linear"},
    "grouped": {"key_heads": 2},
    "multi-query": {"key_heads": 1, "attention": "linear"},
    "post-norm": {"norm": "post", "biases": False},
    "swiglu": {"activation": "swiglu"},
    "tied": {"tie": True},
    "projected": {"embedding": 6},
}
LIKELIEST = SamplingSettings(temperature=0.0)


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    """Memory that has to grow, and turns that have to be made anew."""
    monkeypatch.setattr(transformer_streaming, "ROOM", 4)
    monkeypatch.setattr(transformer_streaming, "TURNS", 4)


def make(rng, **changes):
    """A model in float64 whose numbers are large enough for every part to matter."""
    options = {"hidden": 8, "layers": 2, "heads": 4, "context": 30, "dropout": 0.0, **changes}
    model = LanguageModel(7, TransformerSettings(**options), generator=rng).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return model


def tokens_of(rng, *shape):
    return torch.randint(7, shape, generator=rng)


@pytest.mark.parametrize("prompt", [1, 2, 11], ids=lambda size: f"prompt of {size}")
@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_is_one_whole_pass(kind, prompt, rng):
    model, tokens = make(rng, **KINDS[kind]), tokens_of(rng, 1, 20)
    whole = model(tokens)[0][0].detach()
    stream = TransformerStream(model)
    for _ in range(2):  # the second time after a reset
        stream.read_all(tokens[0, :prompt].tolist())
        for t in range(prompt, 20):
            assert_close(torch.from_numpy(stream.read(int(tokens[0, t]))), whole[t])
        assert stream.steps == 20
        stream.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_likeliest_tokens_are_the_same_when_the_whole_text_is_read_again_each_time(kind, rng):
    model, written = make(rng, **KINDS[kind]), [3, 1, 4]
    with torch.no_grad():
        for _ in range(25):
            written.append(int(model(torch.tensor([written]))[0][0, -1].argmax()))
    drawn = continuation(model, [3, 1, 4], LIKELIEST, torch.Generator())
    assert list(itertools.islice(drawn, 25)) == written[3:]


def test_cached_and_uncached_draw_the_same_from_one_seed(rng, monkeypatch):
    model = make(rng)
    drawn = []
    for fast in (True, False):
        monkeypatch.setattr("unspool.models.sampling.streams_attention", lambda model, f=fast: f)
        seeded = torch.Generator().manual_seed(3)
        found = continuation(model, [1, 2], SamplingSettings(top_k=5), seeded)
        drawn.append(list(itertools.islice(found, 60)))
    assert drawn[0] == drawn[1]


def test_endless_streams_forget_what_their_window_does_not_see(rng):
    stream = TransformerStream(make(rng, attention="window", window=5))
    for token in tokens_of(rng, 50):
        stream.read(int(token))
    assert all(layer.cache.shape[1] == 5 for layer in stream.layers)


def test_steps_beyond_learned_positions_are_refused_everywhere(rng):
    model = make(rng, positions="learned", context=6)
    stream = TransformerStream(model)
    stream.read_all([0] * 6)
    with pytest.raises(ShapeError, match="learned positions for 6"):
        stream.read(0)
    tokenizer = fit_tokenizer("abcdefg", DataSettings())
    assert len("".join(writing.write(model, tokenizer, 4, "abc"))) == 4
    with pytest.raises(DataError, match=r"write at most 4, or train with model\.positions rotary"):
        writing.write(model, tokenizer, 5, "abc")


@pytest.mark.parametrize(
    ("changes", "context", "limit"),
    [
        ({}, 30, 0),
        ({"positions": "learned"}, 30, 30),
        ({"attention": "window"}, 0, 0),
        ({"attention": "linear", "positions": "none"}, 0, 0),
        ({"attention": "window", "positions": "sinusoidal"}, 30, 0),
    ],
)
def test_context_and_limit_are_those_of_positions_and_attention(changes, context, limit, rng):
    model = make(rng, **changes)
    assert (model.carries, model.context, model.limit) == (False, context, limit)


def test_text_is_judged_in_blocks_of_the_context_each_from_a_start_of_its_own(rng):
    model, tokens = make(rng, context=6), tokens_of(rng, 40)
    total = 0.0
    for start in range(0, 39, 6):
        part = tokens[start : start + 7]
        logits, _ = model(part[None, :-1])
        total += nn.functional.cross_entropy(logits[0], part[1:], reduction="sum").item()
    assert stream_loss(model, tokens) == pytest.approx(total / 39, abs=1e-12)


def test_text_of_an_endless_stack_is_judged_as_one_stream(rng):
    model, tokens = make(rng, attention="window", window=3), tokens_of(rng, 40)
    logits, _ = model(tokens[None, :-1])
    whole = nn.functional.cross_entropy(logits[0], tokens[1:]).item()
    assert stream_loss(model, tokens) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("attention", ["full", "window", "linear"])
def test_ten_steps_saved_and_ten_more_are_twenty_steps(attention, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SAMPLE_LENGTH", 20)
    changes = {
        "model__name": "transformer", "model__heads": 2, "model__attention": attention,
        "train__truncation": "full",
    }  # fmt: skip
    with faults.through(faults.without_sync):
        torch.manual_seed(1)
        whole = advance(make_loop(tmp_path / "whole", **changes), 20)
        first = advance(make_loop(tmp_path / "parts", **changes), 10)
        first.save()
        checkpoint, _ = newest_checkpoint(tmp_path / "parts")
        torch.manual_seed(2)  # as in another process
        second = make_loop(tmp_path / "parts", weights_seed=2, **changes)
        second.restore(checkpoint)
        second = contents(advance(second, 10))
    assert all(torch.equal(value, second[name]) for name, value in contents(whole).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.truncation": "truncated"}, "carries none from window to window"),
        ({"model.positions": "learned", "model.context": 16}, "windows of 64 steps"),
    ],
)
def test_trainings_that_a_transformer_cannot_have_are_refused(changes, message):
    settings = resolve(None, {"task": "write", "model.name": "transformer", **changes})
    with pytest.raises(ConfigError, match=message):
        writing.prepare(None, settings)


def test_learning_while_reading_is_for_models_that_carry_a_state(rng):
    tokens = tokens_of(rng, 40)
    with pytest.raises(ConfigError, match="a transformer starts every window afresh"):
        adaptive_evaluation(make(rng), tokens, tokens)


def test_model_that_knows_nothing_starts_near_the_uniform_loss(rng):
    model = LanguageModel(50, TransformerSettings(hidden=32, dropout=0.0), generator=rng).eval()
    tokens = torch.randint(50, (400,), generator=rng)
    assert abs(stream_loss(model, tokens) - math.log(50)) < 0.5
