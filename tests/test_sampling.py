"""From scores to the next token: what may be drawn, how often, and the same again by seed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainings import Uniform, small_model
from unspool.errors import ConfigError
from unspool.models.sampling import SamplingSettings, continuation, probabilities


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SCORES = st.lists(st.floats(-30, 30), min_size=1, max_size=12).map(torch.tensor)
SAMPLING = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 1e-300, 0.2, 1.0, 5.0, 1e300]),
    top_k=st.integers(0, 15),
    top_p=st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.999, 1.0]),
)


@given(SCORES, SAMPLING)
def test_chances_sum_to_one_and_keep_the_order(scores, sampling):
    chances = probabilities(scores, sampling)
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert (chances >= 0).all() and chances.isfinite().all()
    ordered = chances[scores.argsort(descending=True, stable=True)]
    assert (ordered[:-1] >= ordered[1:] - 1e-7).all()


@given(SCORES, SAMPLING)
def test_only_the_likeliest_are_drawn_when_top_k_or_top_p_say_so(scores, sampling):
    chances = probabilities(scores, sampling)
    drawn = int((chances > 0).sum())
    if sampling.temperature == 0.0:
        assert drawn == 1 and chances[scores.argmax()] == 1.0
        return
    assert 1 <= drawn <= (sampling.top_k or len(scores))
    scaled = (scores.double() - scores.max()) / sampling.temperature
    all_of_them = torch.softmax(scaled, -1)
    mass = all_of_them.sort(descending=True).values
    if sampling.top_p < 1.0:
        # As few as reach p: one fewer would not.
        assert mass[: drawn - 1].sum() < sampling.top_p
        enough = drawn == sampling.top_k or mass[:drawn].sum() >= sampling.top_p - 1e-9
        assert enough or drawn == int((all_of_them > 0).sum())


def test_temperature_one_without_limits_is_the_softmax(rng):
    scores = torch.randn(3, 4, 9, generator=rng)
    assert torch.allclose(probabilities(scores, SamplingSettings()), scores.softmax(-1))


def test_chances_grow_even_with_temperature(rng):
    scores = torch.randn(9, generator=rng)
    entropies = []
    for temperature in (0.0, 0.1, 0.5, 1.0, 2.0, 100.0):
        chances = probabilities(scores, SamplingSettings(temperature=temperature))
        entropies.append(-(chances * chances.clamp(min=1e-30).log()).sum().item())
    assert entropies == sorted(entropies) and entropies[0] == 0.0
    assert entropies[-1] == pytest.approx(math.log(9), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -0.1}, "temperature: got -0.1; wanted a number ≥ 0"),
        ({"temperature": math.nan}, "temperature: got nan"),
        ({"temperature": math.inf}, "temperature: got inf"),
        ({"top_k": -1}, "top-k: got -1"),
        ({"top_p": 0.0}, "top-p: got 0.0; wanted 0 < p ≤ 1"),
        ({"top_p": 1.1}, "top-p: got 1.1"),
    ],
)
def test_sampling_is_refused_when_a_setting_is_out_of_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        SamplingSettings(**changes)


def first(number, tokens):
    return list(itertools.islice(tokens, number))


def drawn(model, prompt, seed, number=60, **changes):
    generator = torch.Generator().manual_seed(seed)
    return first(number, continuation(model, prompt, SamplingSettings(**changes), generator))


def test_same_seed_draws_the_same_tokens():
    model = small_model(hidden=16).eval()
    assert drawn(model, [1, 2], seed=3) == drawn(model, [1, 2], seed=3)
    assert drawn(model, [1, 2], seed=3) != drawn(model, [1, 2], seed=4)


def test_tokens_are_drawn_as_often_as_their_chance_says():
    counts = torch.bincount(torch.tensor(drawn(Uniform(5), [0], seed=1, number=5000)))
    # Chi-squared with 4 degrees of freedom; 23.5 is exceeded once in ten thousand.
    assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 23.5


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_likeliest_tokens_are_the_same_when_the_whole_text_is_read_again_each_time(
    layers, cell, backend
):
    """Cached is uncached, whether there is a stream of packed weights or not."""
    model = small_model(7, cell, hidden=16, layers=layers, residual=layers > 1).double().eval()
    model.encoder.named_backend = backend
    written = [3, 1]
    with torch.no_grad():
        for _ in range(40):
            written.append(int(model(torch.tensor([written]))[0][0, -1].argmax()))
    assert drawn(model, [3, 1], seed=0, number=40, temperature=0.0) == written[2:]


def test_gradients_stay_on_for_whoever_reads_the_tokens():
    model = small_model().eval()
    for backend in ("auto", "reference"):
        model.encoder.named_backend = backend
        for _ in itertools.islice(
            continuation(model, [1], SamplingSettings(), torch.Generator()), 3
        ):
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
