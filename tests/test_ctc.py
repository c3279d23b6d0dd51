import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from unspool.errors import ShapeError
from unspool.models.ctc import PrefixBeam, collapse, greedy_decode, prefix_beam_decode

SIZES = [(1, 2), (2, 3), (4, 3), (5, 4), (6, 2)]


def by_brute_force(logits, blank):
    """Every labelling with the probability of all its paths, from all paths."""
    chances = logits.double().softmax(1)
    found = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        probability = math.prod(float(chances[t, c]) for t, c in enumerate(path))
        labels = collapse(path, blank)
        found[labels] = found.get(labels, 0.0) + probability
    return found


@pytest.mark.parametrize("blank", [0, 1])
@pytest.mark.parametrize(("frames", "classes"), SIZES)
def test_a_wide_beam_gives_every_labelling_its_exact_probability(frames, classes, blank, rng):
    logits = 2 * torch.randn(frames, classes, generator=rng)
    wanted = by_brute_force(logits, blank)
    found = prefix_beam_decode(logits[None], torch.tensor([frames]), 10_000, blank)[0]
    assert {labels for labels, _ in found} >= set(wanted)
    for labels, score in found:
        assert abs(math.exp(score) - wanted.get(labels, 0.0)) < 1e-12
    assert found[0][0] == max(wanted, key=wanted.get)
    assert abs(sum(math.exp(score) for _, score in found) - 1) < 1e-12


def test_a_narrow_beam_never_overstates_a_probability(rng):
    for _ in range(10):
        logits = torch.randn(5, 4, generator=rng)
        wanted = by_brute_force(logits, 0)
        for labels, score in prefix_beam_decode(logits[None], torch.tensor([5]), 2)[0]:
            assert math.exp(score) <= wanted[labels] + 1e-12


@pytest.mark.parametrize(("frames", "classes"), SIZES)
def test_greedy_spells_the_most_likely_path(frames, classes, rng):
    logits = torch.randn(frames, classes, generator=rng)
    paths = itertools.product(range(classes), repeat=frames)
    best = max(paths, key=lambda path: sum(float(logits[t, c]) for t, c in enumerate(path)))
    assert greedy_decode(logits[None], torch.tensor([frames])) == [collapse(best)]


def test_the_score_is_the_negative_loss_of_torch(rng):
    logits = torch.randn(7, 4, generator=rng).double()
    labels, score = prefix_beam_decode(logits[None], torch.tensor([7]), 5000)[0][0]
    loss = F.ctc_loss(
        logits.log_softmax(1)[:, None], torch.tensor([labels]), torch.tensor([7]),
        torch.tensor([len(labels)]), reduction="sum",
    )  # fmt: skip
    assert abs(score + float(loss)) < 1e-9


def test_the_beam_finds_what_greedy_misses():
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    assert greedy_decode(logits, torch.tensor([2])) == [()]
    assert prefix_beam_decode(logits, torch.tensor([2]))[0][0][0] == (1,)


def test_padding_changes_nothing_when_appended(rng):
    logits = torch.randn(2, 6, 4, generator=rng)
    lengths = torch.tensor([6, 3])
    padded = F.pad(logits, (0, 0, 0, 4), value=1e3)
    assert greedy_decode(padded, lengths) == greedy_decode(logits, lengths)
    assert prefix_beam_decode(padded, lengths) == prefix_beam_decode(logits, lengths)


def test_reading_in_pieces_is_reading_at_once(rng):
    logits = torch.randn(9, 5, generator=rng)
    whole, pieces = PrefixBeam(width=4), PrefixBeam(width=4)
    whole.read(logits)
    for start in (0, 2, 3, 7):
        pieces.read(logits[start : {0: 2, 2: 3, 3: 7, 7: 9}[start]])
    assert pieces.best() == whole.best()


def test_a_beam_is_never_wider_than_asked(rng):
    assert (
        len(prefix_beam_decode(torch.randn(1, 8, 6, generator=rng), torch.tensor([8]), 3)[0]) == 3
    )


def test_what_cannot_be_is_refused():
    logits, lengths = torch.zeros(1, 3, 4), torch.tensor([3])
    for decode in (greedy_decode, prefix_beam_decode):
        with pytest.raises(ShapeError, match="blank is class 4"):
            decode(logits, lengths, blank=4)
        with pytest.raises(ShapeError, match="lengths"):
            decode(logits, torch.tensor([4]))
    with pytest.raises(ShapeError, match="width 0"):
        PrefixBeam(width=0)
