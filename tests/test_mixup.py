"""Examples mixed with others in training: what is mixed, what it costs, and what is left alone."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.config import resolve
from unspool.data.opening import open_source, read_source
from unspool.data.samples import SAMPLES
from unspool.errors import ConfigError
from unspool.one_training import Prepared, cell_of
from unspool.tasks.example_batches import ExampleBatch, mixed

SMALL = {"threads": 1, "size": "tiny", "model.dropout": 0.0, "train.batch": 6, "train.steps": 4}


def prepared(name, mixup):
    settings = resolve(None, {**SMALL, "task": SAMPLES[name][0], "train.mixup": mixup})
    origin = open_source((), name, settings.data, None)
    reading = read_source(origin, settings.data, settings.task, settings.seed)
    if name in ("tones", "shapes"):
        reading = replace(reading, parts={part: rows[:40] for part, rows in reading.parts.items()})
    return Prepared.of(reading, settings, cell_of(settings), origin)


@pytest.mark.parametrize("strength", [0.1, 1.0, 8.0])
def test_inputs_and_targets_are_mixed_with_the_same_other_example(strength, rng):
    rows = torch.eye(7, dtype=torch.float64)
    lengths, targets = torch.arange(7) + 1, torch.arange(7) * 10
    shares = []
    for _ in range(20):
        found = mixed(ExampleBatch({"x": rows}, lengths, targets), strength, rng)
        partner = found.others // 10
        assert sorted(partner.tolist()) == list(range(7)) and found.targets.equal(targets)
        assert_close(found.inputs["x"], found.share * rows + (1 - found.share) * rows[partner])
        assert found.lengths.equal(lengths.maximum(lengths[partner]))
        shares.append(found.share)
    assert len(set(shares)) == 20 and 0 <= min(shares) < 0.5 < max(shares) <= 1


@pytest.mark.parametrize("name", ["tones", "shapes"])
def test_loss_is_mixed_like_the_examples_in_one_piece_or_in_parts(name):
    work = prepared(name, 0.4).work
    work.model.eval()
    batch = work.batch(3)
    logits = work.model(batch.inputs, batch.lengths)
    first, second = (
        F.cross_entropy(logits, each, reduction="sum") for each in (batch.targets, batch.others)
    )
    whole = work.loss(batch, None)[0]
    assert_close(whole, batch.share * first + (1 - batch.share) * second)
    parts = [work.loss(batch.rows(*places), None)[0] for places in ((0, 2), (2, 6))]
    assert_close(sum(parts), whole)


def test_a_step_mixes_the_same_examples_whenever_it_is_asked_for():
    work = prepared("tones", 0.4).work
    once, again, other = work.batch(2), work.batch(2), work.batch(1)
    assert once.share == again.share != other.share
    assert once.inputs["frames"].equal(again.inputs["frames"]) and once.others.equal(again.others)


def test_what_is_judged_is_not_mixed():
    plain, mixing = prepared("tones", 0.0).work, prepared("tones", 0.4).work
    mixing.model.load_state_dict(plain.model.state_dict())
    assert mixing.evaluate() == plain.evaluate()
    assert plain.batch(0).others is None


@pytest.mark.parametrize("name", ["sentiment", "tag", "dtmf", "english", "passengers", "reverse"])
def test_what_cannot_be_mixed_is_refused_in_one_line(name):
    with pytest.raises(ConfigError, match=r"^train\.mixup: [^\n]*$"):
        prepared(name, 0.4)
