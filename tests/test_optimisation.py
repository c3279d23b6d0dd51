"""From gradients to weights: clipping, schedule, decay, and one gradient however it is cut."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tolerance import assert_close
from trainings import make_loop
from unspool.errors import ConfigError
from unspool.training.optimisation import (
    COSINE_FLOOR,
    build_optimiser,
    clip,
    clip_values,
    learning_rate,
    limit_gradients,
)
from unspool.training.settings import OPTIMISERS, SCHEDULES, TrainSettings


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(*gradients):
    """Parameters with these gradients; None leaves one out."""
    parameters = []
    for gradient in gradients:
        values = torch.zeros(2) if gradient is None else torch.zeros(len(gradient))
        parameter = nn.Parameter(values)
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        parameters.append(parameter)
    return parameters


def gradients(parameters):
    return [p.grad.tolist() for p in parameters if p.grad is not None]


# Clipping.


@pytest.mark.parametrize("limit", [5.0, 5.1, 1e9, math.inf])
def test_gradient_stays_as_it_is_when_its_norm_is_within_the_limit(limit):
    parameters = weights([3.0], [4.0])
    assert clip(parameters, limit) == (5.0, 5.0)
    assert gradients(parameters) == [[3.0], [4.0]]


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6),
    st.floats(2**-10, 1e3, width=32),
)
def test_clipping_keeps_the_direction_and_never_scales_up(values, limit):
    parameters = weights(values)
    norm = torch.tensor(values).norm().item()
    before, after = clip(parameters, limit)
    assert before == pytest.approx(norm, rel=1e-5) and after == min(before, limit)
    factor = min(1.0, limit / norm) if norm else 1.0
    expected = [factor * value for value in values]
    assert gradients(parameters)[0] == pytest.approx(expected, rel=1e-5, abs=1e-30)


def test_clipping_measures_over_all_parameters_at_once_and_skips_those_without_gradient():
    parameters = weights([3.0], None, [0.0, 4.0])
    assert clip(parameters, 2.5) == (5.0, 2.5)
    assert gradients(parameters) == [[1.5], [0.0, 2.0]]
    assert clip(weights(None), 1.0) == clip([], 1.0) == (0.0, 0.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_clipping_is_refused_when_the_limit_is_not_positive(limit):
    with pytest.raises(ConfigError, match="wanted a number > 0"):
        clip(weights([1.0]), limit)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_gradient_that_is_not_finite_is_told_and_not_touched(bad):
    settings = TrainSettings(clip_norm=1.0, clip_value=0.5)
    parameters = weights([1.0, bad], [3.0])
    before, after = limit_gradients(parameters, settings)
    assert not math.isfinite(before) and not math.isfinite(after)
    assert gradients(parameters)[1] == [3.0]


def test_values_are_limited_one_by_one():
    parameters = weights([3.0, -0.25], None, [-7.0])
    clip_values(parameters, 0.5)
    assert gradients(parameters) == [[0.5, -0.25], [-0.5]]


@pytest.mark.parametrize(
    ("changes", "after", "left"),
    [
        ({"clip_norm": 0.0}, 5.0, [3.0, 4.0]),
        ({"clip_norm": 2.5}, 2.5, [1.5, 2.0]),
        ({"clip_norm": 0.0, "clip_value": 3.0}, 18**0.5, [3.0, 3.0]),
        ({"clip_norm": 18**0.5 / 2, "clip_value": 3.0}, 18**0.5 / 2, [1.5, 1.5]),
    ],
)
def test_norm_is_told_as_it_was_before_any_clipping(changes, after, left):
    parameters = weights([3.0, 4.0])
    assert limit_gradients(parameters, TrainSettings(**changes)) == (5.0, pytest.approx(after))
    assert gradients(parameters)[0] == pytest.approx(left)


# The learning rate.

SETTINGS = st.builds(
    TrainSettings,
    steps=st.integers(1, 400),
    warmup=st.integers(0, 500),
    learning_rate=st.floats(1e-6, 10.0),
    schedule=st.sampled_from(SCHEDULES),
)


@given(SETTINGS)
def test_learning_rate_rises_to_its_highest_and_then_never_rises(settings):
    rates = [learning_rate(settings, step) for step in range(settings.steps)]
    assert all(0.0 < rate <= settings.learning_rate for rate in rates)
    assert max(rates) == pytest.approx(settings.learning_rate)
    top = min(settings.warmup, settings.steps // 2)
    rising, falling = rates[: top + 1], rates[top:]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)
    assert rates == [learning_rate(settings, step) for step in range(settings.steps)]


@given(SETTINGS)
def test_learning_rate_ends_at_the_floor_when_the_schedule_is_cosine(settings):
    rate = learning_rate(settings, settings.steps)
    floor = COSINE_FLOOR if settings.schedule == "cosine" else 1.0
    assert rate == pytest.approx(settings.learning_rate * floor)


def test_optimiser_steps_with_the_rate_of_its_step(tmp_path):
    loop = make_loop(tmp_path / "run", train__weight_decay=0.0)
    told = []
    loop.observers = [told.append]
    for _ in range(25):
        loop.step()
    rates = [event["learning_rate"] for event in told]
    assert rates == [learning_rate(loop.settings, step) for step in range(25)]
    assert {group["lr"] for group in loop.optimiser.param_groups} == {rates[-1]}


# The optimisers.


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weights_decay_only_where_there_is_a_matrix(optimiser):
    model = nn.ModuleDict({"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(2)})
    settings = TrainSettings(optimiser=optimiser, learning_rate=0.1, weight_decay=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimiser(model, settings).step()
    for name, value in model.state_dict().items():
        factor = 1 - 0.1 * 0.5 if name == "linear.weight" else 1.0
        assert torch.allclose(value, before[name] * factor)


def test_frozen_parameters_are_left_out():
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    groups = build_optimiser(model, TrainSettings()).param_groups
    assert [len(group["params"]) for group in groups] == [1]


def test_optimiser_is_refused_by_name_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'adamw'"):
        TrainSettings(optimiser="adam")


# One gradient, however the batch is cut.


def gradient_of(loop, batch):
    loop.optimiser.zero_grad()
    loss, state = loop.gradients(batch, None)
    named = {name: p.grad.clone() for name, p in loop.work.model.named_parameters()}
    return named | {"loss": torch.tensor(loss, dtype=torch.float64), "h": state[0], "c": state[1]}


@pytest.mark.parametrize("truncation", ["full", "truncated", "randomised"])
@pytest.mark.parametrize("parts", [2, 3, 4, 5])
def test_gradient_is_that_of_one_batch_when_accumulated_over_parts(parts, truncation, tmp_path):
    """Five rows do not divide evenly; the last window of an epoch is shorter as well."""
    changes = {
        "model__dropout": 0.0,
        "train__batch": 5,
        "train__length": 7,
        "train__truncation": truncation,
        "train__truncation_steps": 3,
    }
    whole = make_loop(tmp_path / "whole", train__accumulate=1, **changes)
    cut = make_loop(tmp_path / "cut", train__accumulate=parts, **changes)
    last = whole.work.streams.windows_per_epoch - 1
    for loop in (whole, cut):
        loop.work.model.double()
    for step in (0, last):
        batch = whole.work.batch(step)
        assert_close(gradient_of(cut, batch), gradient_of(whole, batch))
    assert whole.work.batch(last).num_steps < whole.settings.length


def test_mean_of_the_parts_means_would_not_be_that_gradient(tmp_path):
    """The control: weighing parts of two and three rows alike is a visible mistake."""
    loop = make_loop(tmp_path / "run", model__dropout=0.0, train__batch=5, train__accumulate=1)
    loop.work.model.double()
    batch = loop.work.batch(0)
    right = gradient_of(loop, batch)["head.bias"]
    parts = [gradient_of(loop, batch.rows(*rows))["head.bias"] for rows in ((0, 2), (2, 5))]
    assert ((parts[0] + parts[1]) / 2 - right).abs().max() / right.abs().max() > 1e-3


def test_loss_is_the_mean_over_the_targets_of_the_batch(tmp_path):
    loop = make_loop(tmp_path / "run", model__dropout=0.0)
    batch = loop.work.batch(0)
    loss, _ = loop.gradients(batch, None)
    logits, _ = loop.work.model(batch.inputs)
    mean = nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
    assert loss == pytest.approx(mean.item(), rel=1e-6)


def test_accumulated_parts_are_refused_when_there_are_more_than_rows():
    with pytest.raises(ConfigError, match="at most as many parts as sequences"):
        TrainSettings(batch=2, accumulate=3)
