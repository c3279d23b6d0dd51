"""Laws of the conditional random field: all it says, said again by writing every sequence out."""

import itertools

import pytest
import torch

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.errors import ConfigError, ShapeError
from unspool.layers.crf import START, ConditionalRandomField, forbidden_transitions
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import RecurrentSettings

LABELS = ["O", "B-place", "I-place"]


@pytest.fixture
def crf(rng):
    """Three labels, every score drawn."""
    field = ConditionalRandomField(3).double()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(generator=rng)
    return field


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def scores_of_all(crf, logits):
    """Score of every sequence of labels for one row, term by term from the definition."""
    scores = {}
    for labels in itertools.product(range(3), repeat=len(logits)):
        score = crf.start[labels[0]] + crf.end[labels[-1]]
        for t, label in enumerate(labels):
            score = score + logits[t, label]
            if t:
                score = score + crf.transitions[labels[t - 1], label]
        scores[labels] = score
    return scores


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_log_likelihood_is_that_of_all_sequences_written_out(steps, crf, rng):
    logits = draw(rng, steps, 3)
    scores = scores_of_all(crf, logits)
    total = torch.stack(list(scores.values())).logsumexp(0)
    for labels, score in scores.items():
        found = crf.log_likelihood(logits[None], torch.tensor([labels]))
        assert_close(found, (score - total)[None])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_decode_finds_the_best_of_all_sequences(steps, crf, rng):
    for _ in range(5):
        logits = draw(rng, steps, 3)
        scores = scores_of_all(crf, logits)
        assert tuple(crf.decode(logits[None])[0].tolist()) == max(scores, key=scores.get)


@pytest.mark.parametrize("steps", [1, 4])
def test_marginals_are_sums_over_all_sequences(steps, crf, rng):
    logits = draw(rng, steps, 3)
    scores = scores_of_all(crf, logits)
    probabilities = torch.stack(list(scores.values())).softmax(0)
    expected = torch.zeros(steps, 3, dtype=torch.float64)
    for labels, probability in zip(scores, probabilities, strict=True):
        for t, label in enumerate(labels):
            expected[t, label] += probability
    assert_close(crf.marginals(logits[None])[0], expected)


def test_gradient_is_that_of_finite_differences(crf, rng):
    names, weights = zip(*crf.named_parameters(), strict=True)
    labels, lengths = torch.tensor([[0, 2, 1], [1, 1, 0]]), torch.tensor([3, 2])

    class Likelihood(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.field = crf

        def forward(self, logits):
            return self.field.log_likelihood(logits, labels, lengths)

    def run(logits, *values):
        named = {f"field.{name}": v for name, v in zip(names, values, strict=True)}
        return torch.func.functional_call(Likelihood(), named, (logits,))

    inputs = draw(rng, 2, 3, 3), *weights
    assert torch.autograd.gradcheck(run, [i.detach().requires_grad_() for i in inputs])


@pytest.mark.parametrize("filling", [0.0, 1e4, float("nan")])
def test_padding_changes_nothing_whatever_stands_in_it(filling, crf, rng):
    alone, labels = draw(rng, 1, 3, 3).requires_grad_(), torch.tensor([[2, 0, 1]])
    padded = torch.full((2, 7, 3), filling, dtype=torch.float64)
    padded[0, :3], padded[1] = alone[0].detach(), draw(rng, 7, 3)
    padded.requires_grad_()
    all_labels = torch.full((2, 7), 9)
    all_labels[0, :3], all_labels[1] = labels[0], torch.arange(7) % 3
    lengths = torch.tensor([3, 7])

    def run(logits, labels, lengths):
        likelihood = crf.log_likelihood(logits, labels, lengths)[0]
        marginals = crf.marginals(logits, lengths)[0, :3]
        leaves = [logits, crf.transitions, crf.start, crf.end]
        of_logits, *rest = torch.autograd.grad(likelihood + marginals[:, 1].sum(), leaves)
        return likelihood, marginals, of_logits[0, :3], *rest

    assert_close(run(padded, all_labels, lengths), run(alone, labels, None))
    assert crf.decode(padded, lengths)[0, :3].equal(crf.decode(alone)[0])
    assert not crf.decode(padded, lengths)[0, 3:].any()
    assert not crf.marginals(padded, lengths)[0, 3:].any()


def test_what_is_forbidden_never_comes_out(rng):
    crf = ConditionalRandomField(3, forbidden_transitions(LABELS)).double()
    logits = 5 * draw(rng, 20, 6, 3)
    logits[..., 2] += 5  # the label that may not stand alone is wanted everywhere
    for labels in crf.decode(logits).tolist():
        for before, label in itertools.pairwise([0, *labels]):
            assert label != 2 or before != 0
    alone = crf.log_likelihood(logits[:1, :1], torch.tensor([[2]]))
    assert alone.exp().item() == 0.0
    assert crf.marginals(logits)[:, 0, 2].abs().max().item() == 0.0


def test_without_learnt_neighbours_each_label_is_on_its_own(rng):
    crf, logits = ConditionalRandomField(3).double(), draw(rng, 2, 5, 3)
    assert_close(crf.marginals(logits), logits.softmax(-1))
    assert crf.decode(logits).equal(logits.argmax(-1))


def test_labels_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"forbidden has \(0, 3\); labels are 0 to 2"):
        ConditionalRandomField(3, [(0, 3)])
    with pytest.raises(ConfigError, match="size is 0"):
        ConditionalRandomField(0)
    with pytest.raises(ShapeError, match=r"lengths\[1\] is 6"):
        ConditionalRandomField(3).decode(torch.zeros(2, 5, 3), torch.tensor([5, 6]))


def test_labels_of_another_scheme_follow_each_other_freely():
    assert forbidden_transitions(["NOUN", "VERB", "I", "B-x"]) == []
    pairs = forbidden_transitions([*LABELS, "B-name", "I-name"])
    assert (START, 2) in pairs and (3, 2) in pairs and (4, 2) in pairs
    assert (1, 2) not in pairs and (2, 2) not in pairs


# Labels that depend on each other.

TOKENS = {"kind": "tokens", "size": 9}


@pytest.mark.parametrize("asked", ["auto", "yes", "no"])
@pytest.mark.parametrize("suggested", [False, True])
def test_crf_is_there_when_asked_for_or_left_open_and_suggested(asked, suggested):
    output = {"mapping": "each", "size": 3, "crf": suggested}
    model = SequenceModel(TOKENS, output, RecurrentSettings(hidden=4, crf=asked), CELLS["gru"])
    assert (model.crf is not None) is (suggested if asked == "auto" else asked == "yes")


@pytest.mark.parametrize(
    "output", [{"mapping": "one"}, {"mapping": "ordinal"}, {"mapping": "each", "aligned": False}]
)
def test_crf_without_a_label_for_every_step_is_refused(output):
    settings = RecurrentSettings(hidden=4, crf="yes")
    with pytest.raises(ConfigError, match=r"model\.crf: only labels of every step"):
        SequenceModel(TOKENS, {**output, "size": 3}, settings, CELLS["gru"])
