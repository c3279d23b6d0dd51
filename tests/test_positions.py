"""Where a step stands: the lecture's waves, a table, and turns."""

import math

import pytest
import torch

from tolerance import assert_close
from unspool.errors import ConfigError, ShapeError
from unspool.layers.positions import POSITIONS, Positions, rotation, sinusoidal


def test_sinusoidal_positions_are_the_formula_of_the_lecture():
    table = sinusoidal(torch.arange(50), 6)
    for t in range(50):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_a_step_further_is_the_same_turn_everywhere_in_sinusoidal_positions():
    table = sinusoidal(torch.arange(100), 8)
    products = table @ table.T
    for distance in (1, 7, 30):
        diagonal = products.diagonal(distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal))


@pytest.mark.parametrize("start", [0, 7, 10_000_000])
def test_rotary_scores_depend_on_the_distance_only(start, rng):
    q, k = (torch.randn(1, 2, 9, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    steps = torch.arange(9)
    here, there = (rotation(steps + s, 6, torch.float64) for s in (0, start))
    scores, moved = (turn(q) @ turn(k).transpose(-2, -1) for turn in (here, there))
    # Angles of ten million steps are known to about 1e-9 only, in float64.
    assert (scores - moved).abs().max() < (1e-12 if start < 1000 else 1e-7)
    assert (scores - q @ k.transpose(-2, -1)).abs().max() > 0.1


def test_rotation_leaves_lengths_and_the_first_step_alone(rng):
    x = torch.randn(2, 3, 5, 4, generator=rng, dtype=torch.float64)
    turned = rotation(torch.arange(5), 4, torch.float64)(x)
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_rows_at_different_steps_are_turned_by_their_own(rng):
    x = torch.randn(2, 3, 4, 6, generator=rng, dtype=torch.float64)
    steps = torch.tensor([[0, 1, 2, 3], [9, 10, 11, 12]])
    both = rotation(steps, 6, torch.float64)(x)
    for row in range(2):
        assert_close(both[row], rotation(steps[row], 6, torch.float64)(x[row : row + 1])[0])


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_are_added_or_turn_and_never_both(name, rng):
    positions = Positions(name, 8, head=4, context=10, generator=rng)
    x, steps = torch.randn(2, 5, 8, generator=rng), torch.arange(5)
    added = not torch.equal(positions(x, steps), x)
    turns = positions.rotation(steps, x.dtype) is not None
    assert (added, turns) == {
        "rotary": (False, True), "none": (False, False),
    }.get(name, (True, False))  # fmt: skip


def test_steps_beyond_learned_positions_are_refused(rng):
    positions = Positions("learned", 8, context=10, generator=rng)
    x = torch.zeros(1, 3, 8)
    positions(x, torch.arange(7, 10))
    with pytest.raises(ShapeError, match=r"a sequence of 11 steps, .* learned positions for 10"):
        positions(x, torch.arange(8, 11))


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("sideways", {}, "model.positions: unknown name 'sideways'"),
        ("learned", {"context": 0}, "model.context: got 0"),
        ("rotary", {"head": 3}, "wants a head even; got 3"),
        ("sinusoidal", {"width": 7}, "wants hidden even; got 7"),
    ],
)
def test_positions_that_cannot_be_are_refused(name, sizes, message):
    with pytest.raises(ConfigError, match=message):
        Positions(name, **{"width": 8, "head": 4, "context": 5, **sizes})
