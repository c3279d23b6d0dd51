"""Numbers that are none: training stops and says where they came from, and none is ever saved."""

from __future__ import annotations

import pytest
import torch

import faults
from trainings import make_loop
from unspool.errors import TrainingError
from unspool.training.checkpoint import load_checkpoint
from unspool.training.interruption import Request
from unspool.training.layout import list_checkpoints


@pytest.fixture(autouse=True)
def quick():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with faults.through(faults.without_sync):
        yield
    torch.set_num_threads(before)


def assert_finite_on_disk(folder, steps):
    folders = list_checkpoints(folder)
    assert [load_checkpoint(each).step for each in folders] == steps
    for each in folders:
        checkpoint = load_checkpoint(each)
        parts = (checkpoint.model, checkpoint.state, *checkpoint.optimiser["state"].values())
        for part in parts:
            assert all(torch.as_tensor(value).isfinite().all() for value in part.values())


def poison_weight(loop):
    with torch.no_grad():
        loop.work.model.encoder.weights["l0"]["U"][3, 1] = torch.nan


def poison_loss(loop):
    """An infinite loss in row 2 of the next batch."""
    row = loop.work.batch(loop.progress.step).inputs[2]
    honest = loop.work.loss

    def loss(batch, state):
        value, state = honest(batch, state)
        bad = any(
            bool((row.unfold(0, len(inputs), 1) == inputs).all(1).any()) for inputs in batch.inputs
        )
        return (value + torch.inf if bad else value), state

    loop.work.loss = loss


def poison_gradient(loop):
    loop.work.model.head.weight.register_hook(lambda gradient: gradient * torch.nan)


@pytest.mark.parametrize("clip_value", [0.0, 0.5])
@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (
            poison_weight,
            r"step 8: the loss is nan; the weight 'encoder\.weights\.l0\.U' is",
        ),
        (poison_loss, r"step 8: the loss is inf; it comes from row 2 of the batch"),
        (poison_gradient, r"step 8: the gradient of 'head\.weight' is not finite"),
    ],
)
def test_training_stops_when_a_number_is_not_finite(poison, message, clip_value, tmp_path):
    # Long windows, so that no two rows of a batch are alike.
    loop = make_loop(
        tmp_path / "run",
        train__clip_value=clip_value,
        train__checkpoint_every=3,
        train__length=32,
        train__truncation_steps=16,
        train__truncation_mean=24,
        train__evaluate_every=30,
    )
    loop.observers = [lambda event: event.get("step") == 7 and poison(loop)]
    with pytest.raises(TrainingError, match=message):
        loop.train(Request())
    assert_finite_on_disk(tmp_path / "run", [6, 3])


def test_infinite_gradient_is_not_mended_by_clipping(tmp_path):
    loop = make_loop(tmp_path / "run", train__clip_value=1.0)
    loop.work.model.head.bias.register_hook(lambda gradient: gradient + torch.inf)
    with pytest.raises(TrainingError, match=r"step 1: the gradient of 'head\.bias' is not finite"):
        loop.step()


def test_training_stops_when_the_validation_loss_is_not_finite(tmp_path):
    loop = make_loop(tmp_path / "run", train__evaluate_every=5, train__checkpoint_every=1)
    loop.work.evaluate = lambda: float("nan")
    with pytest.raises(TrainingError, match="step 5: the validation loss is nan; every weight is"):
        loop.train(Request())
    assert_finite_on_disk(tmp_path / "run", [4, 3])


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    loop = make_loop(tmp_path / "run")
    loop.save()
    poison_weight(loop)
    loop.progress.step = 1
    with pytest.raises(TrainingError, match=r"'encoder\.weights\.l0\.U' are not finite"):
        loop.save()
    assert_finite_on_disk(tmp_path / "run", [0])
