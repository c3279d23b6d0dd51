"""How far gradients flow back: what truncation costs, and what randomised truncation does not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainings import advance, contents, make_loop, small_settings
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.training.settings import TrainSettings
from unspool.training.truncation import TRUNCATIONS, Full, Randomised, Truncated, carry
from unspool.training.truncation import truncation_of as choose_truncation

ALL = [Full(), Truncated(1), Truncated(3), Truncated(50), Randomised(1, 2), Randomised(3, 7)]
STEPS = 12


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("truncation", ALL, ids=str)
@given(steps=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_segments_tile_the_window(truncation, steps, seed):
    segments = truncation.segments(steps, torch.Generator().manual_seed(seed))
    assert [s.start for s in segments] == [0, *(s.stop for s in segments[:-1])]
    assert segments[-1].stop == steps
    assert all(s.start < s.stop for s in segments)
    # Whatever came before the window, no gradient goes back there.
    assert segments[0].gradient == 0.0


@given(steps=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_segments_are_drawn_again_alike_when_the_seed_is(steps, seed):
    once, again = (
        Randomised(2, 5).segments(steps, torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert once == again


def test_every_truncation_of_the_settings_is_in_the_table():
    settings = TrainSettings(truncation_steps=3, truncation_mean=7)
    built = {name: build(settings) for name, build in TRUNCATIONS.items()}
    assert built == {"full": Full(), "truncated": Truncated(3), "randomised": Randomised(3, 7)}
    assert choose_truncation(TrainSettings(truncation="truncated")) == Truncated(32)


def test_borders_are_cut_at_the_mean_distance_and_make_up_for_it():
    generator = torch.Generator().manual_seed(1)
    factors = [s.gradient for s in Randomised(2, 5).segments(100_000, generator)][1:]
    cut = factors.count(0.0) / len(factors)
    assert cut == pytest.approx(2 / 5, abs=0.01)  # four standard errors are 0.009
    # What is left is scaled so that the mean factor is 1.
    assert set(factors) == {0.0, 1 / (1 - 2 / 5)}
    assert sum(factors) / len(factors) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("gradient", [0.0, 1.0, 2.5])
def test_carried_state_keeps_its_numbers_and_scales_the_gradient(gradient):
    start = torch.tensor([[[1.0, -2.0]]], requires_grad=True)
    state = State((start * 1.0, start * 3.0))
    carried = carry(state, gradient)
    assert all(torch.equal(a, b) for a, b in zip(carried, state, strict=True))
    if gradient == 0.0:
        assert not any(value.requires_grad for value in carried)
    else:
        sum(value.sum() for value in carried).backward()
        assert start.grad.tolist() == [[[4.0 * gradient, 4.0 * gradient]]]
    assert carry(None, gradient) is None


# A whole training step.


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("truncation", "settings"),
    [
        ("truncated", {"train__truncation_steps": 8}),
        ("truncated", {"train__truncation_steps": 1000}),
        ("randomised", {"train__truncation_steps": 8, "train__truncation_mean": 9}),
        ("randomised", {"train__truncation_steps": 1000, "train__truncation_mean": 4000}),
    ],
)
def test_truncation_longer_than_the_window_trains_as_full_does_bit_for_bit(
    truncation, settings, accumulate, tmp_path
):
    settings = {**settings, "train__accumulate": accumulate}
    full = advance(make_loop(tmp_path / "full", **settings, train__truncation="full"), 3)
    other = advance(make_loop(tmp_path / "other", **settings, train__truncation=truncation), 3)
    one, two = contents(full), contents(other)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_short_truncation_does_not_train_as_full_does(tmp_path):
    """The control of the test above."""
    full = advance(make_loop(tmp_path / "full", train__truncation="full"), 3)
    changes = {"train__truncation": "truncated", "train__truncation_steps": 4}
    other = advance(make_loop(tmp_path / "other", **changes), 3)
    name = "model.encoder.weights.l0.U"
    assert not torch.equal(contents(full)[name], contents(other)[name])


def test_losses_do_not_depend_on_truncation(tmp_path):
    """The values flow on; only gradients are cut."""
    losses = []
    for truncation in ("full", "truncated", "randomised"):
        loop = make_loop(tmp_path / truncation, train__truncation=truncation, model__dropout=0.0)
        loss, _ = loop.gradients(loop.work.batch(0), None)
        losses.append(loss)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


# Bias.


class Echo:
    """A tiny recurrent regression in float64 whose loss needs what was read long ago."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.layer = Recurrent("rnn", 2, 4, generator=generator, backend="reference").double()
        self.x = torch.randn(3, STEPS, 2, generator=generator, dtype=torch.float64)
        self.y = torch.randn(3, STEPS, 4, generator=generator, dtype=torch.float64)
        size = sum(p.numel() for p in self.layer.parameters())
        self.directions = torch.randn(5, size, generator=generator, dtype=torch.float64)

    def gradient(self, segments):
        """The gradient of the whole window, as the training loop walks it, on five directions."""
        self.layer.zero_grad()
        loss, state = torch.zeros((), dtype=torch.float64), None
        for s in segments:
            outputs, state = self.layer(self.x[:, s.start : s.stop], state=carry(state, s.gradient))
            loss = loss + ((outputs - self.y[:, s.start : s.stop]) ** 2).sum()
        loss.backward()
        return self.directions @ torch.cat([p.grad.flatten() for p in self.layer.parameters()])


@pytest.fixture(scope="module")
def echo():
    return Echo()


@pytest.fixture(scope="module")
def full(echo):
    return echo.gradient(Full().segments(STEPS, torch.Generator()))


@pytest.fixture(scope="module")
def drawn(echo):
    """Each of the eight ways to cut, and how often 2,000 draws took it."""
    generator = torch.Generator().manual_seed(4)
    counts = {}
    for _ in range(2000):
        segments = tuple(Randomised(3, 7).segments(STEPS, generator))
        counts[segments] = counts.get(segments, 0) + 1
    assert len(counts) == 2**3
    gradients = torch.stack([echo.gradient(segments) for segments in counts])
    return gradients.repeat_interleave(torch.tensor(list(counts.values())), 0)


def errors_in_standard_errors(drawn, full):
    return (drawn.mean(0) - full).abs() / (drawn.std(0) / len(drawn) ** 0.5)


def test_mean_gradient_is_the_full_one_when_truncation_is_randomised(drawn, full):
    assert errors_in_standard_errors(drawn, full).max() < 4.0


def test_gradient_is_not_the_full_one_when_truncation_is_fixed(echo, drawn, full):
    """The control: the bias of plain truncation is far outside the interval of that test."""
    cut = echo.gradient(Truncated(3).segments(STEPS, torch.Generator()))
    spread = drawn.std(0) / len(drawn) ** 0.5
    assert ((cut - full).abs() / spread).max() > 8.0


def test_expected_gradient_is_exactly_the_full_one_when_every_cut_is_weighed(echo, full):
    """Without chance: the eight ways to cut, each times its probability."""
    p, total = 3 / 7, torch.zeros(5, dtype=torch.float64)
    for choice in range(8):
        cuts = [bool(choice >> border & 1) for border in range(3)]
        factors = [0.0, *(0.0 if cut else 1 / (1 - p) for cut in cuts)]
        plain = Truncated(3).segments(STEPS, torch.Generator())
        segments = [type(s)(s.start, s.stop, f) for s, f in zip(plain, factors, strict=True)]
        weight = p ** sum(cuts) * (1 - p) ** (3 - sum(cuts))
        total += weight * echo.gradient(segments)
    assert (total - full).abs().max() / full.abs().max() < 1e-12


@pytest.mark.parametrize(("scale", "grows"), [(3.0, True), (0.3, False)])
def test_gradient_through_time_explodes_or_vanishes_and_truncation_ends_it(scale, grows):
    """How the last output depends on the first input, by what the recurrent matrix is."""
    layer = Recurrent("rnn", 1, 4, backend="reference").double()
    with torch.no_grad():
        layer.weights["l0"]["U"].copy_(torch.eye(4) * scale)

    def reach(truncation, steps):
        x = torch.zeros(1, steps, 1, dtype=torch.float64, requires_grad=True)
        state = None
        for s in truncation.segments(steps, torch.Generator()):
            outputs, state = layer(x[:, s.start : s.stop], state=carry(state, s.gradient))
        outputs[0, -1].sum().backward()
        return x.grad[0, 0].abs().sum().item()

    one, ten, twenty = (reach(Full(), steps) for steps in (1, 10, 20))
    assert (one < ten < twenty) if grows else (one > ten > twenty > 0.0)
    # At x = 0 the slope of tanh is 1, so each step multiplies by the same factor.
    assert twenty / ten == pytest.approx(scale**10)
    assert reach(Truncated(19), 20) == 0.0


def test_settings_are_refused_when_every_border_would_be_cut():
    with pytest.raises(Exception, match=r"train\.truncation_mean: got 4; wanted more than"):
        small_settings(train__truncation="randomised", train__truncation_mean=4)
