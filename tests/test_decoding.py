"""Decoding: the same answers however they are searched for, and the best where all can be tried."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from unspool.cells import CELLS
from unspool.errors import ConfigError, DataError
from unspool.layers.state import State
from unspool.models import text_stream
from unspool.models.answers import Bounds
from unspool.models.beam import beam_search
from unspool.models.decoding import decode
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.language_model import LanguageModel
from unspool.models.prompted import Prompted
from unspool.models.sampling import SamplingSettings
from unspool.models.setting_bounds import ATTENDS
from unspool.models.settings import RecurrentSettings, TransformerSettings
from unspool.models.text_decoder import Memory
from writing_models import BEGIN, END, make, texts

GREEDY = DecodingSettings(beam=1)
WORDS = tuple(range(BEGIN))  # all tokens but the beginning and the end


def beam(width, nbest=1, penalty=1.0, **more):
    return DecodingSettings(beam=width, nbest=nbest, length_penalty=penalty, **more)


@dataclass
class Chances:
    """A model whose next token depends on all tokens before, by a table drawn for each text."""

    seed: int
    words: int = 3
    sharpness: float = 2.0

    @property
    def begin(self):
        return self.words

    @property
    def end(self):
        return self.words + 1

    def memory(self, rows):
        start = State([torch.arange(rows)[:, None], torch.zeros(rows, 0, dtype=torch.int64)])
        return Memory(State(), None, start)

    def scores(self, row, written):
        generator = torch.Generator().manual_seed(hash((self.seed, row, *written)) % 2**31)
        return self.sharpness * torch.randn(self.words + 2, generator=generator)

    def step(self, tokens, state, memory, weights=False):
        rows, before = state
        written = torch.cat([before, tokens[:, None]], 1)
        logits = [
            self.scores(row, texts)
            for row, texts in zip(rows[:, 0].tolist(), written.tolist(), strict=True)
        ]
        return torch.stack(logits), State([rows, written]), None

    def log_probability(self, row, tokens):
        total, before = 0.0, (self.begin,)
        for token in (*tokens, self.end):
            total += float(self.scores(row, before).log_softmax(0)[token])
            before = (*before, token)
        return total

    def best(self, row, most, penalty, least=0, count=1):
        """By trying all texts."""
        every = [
            tokens
            for length in range(least, most + 1)
            for tokens in itertools.product(range(self.words), repeat=length)
        ]
        scored = [
            (self.log_probability(row, each) / (len(each) + 1) ** penalty, each) for each in every
        ]
        return sorted(scored, reverse=True)[:count]


# One way or another


@pytest.mark.parametrize("attends", ATTENDS)
@pytest.mark.parametrize("width", [1, 3])
def test_each_alone_gets_the_answer_that_it_gets_among_others(width, attends, rng):
    model = make(rng, attends=attends, positions="sinusoidal")
    inputs, lengths = texts(rng, rows=4)
    settings, most = beam(width, nbest=width), [6, 3, 8, 1]
    together = decode(model, model.encode(inputs, lengths), settings, most, weights=True)
    for row, length in enumerate(lengths.tolist()):
        memory = model.encode({"tokens": inputs["tokens"][row, None, :length]})
        alone = decode(model, memory, settings, most[row], weights=True)[0]
        assert [each.tokens for each in alone] == [each.tokens for each in together[row]]
        for one, other in zip(alone, together[row], strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-12)
            assert one.finished == other.finished
            assert one.weights.shape == (len(one.tokens) + 1, length)
            assert other.weights[:, :length].allclose(one.weights, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed, rng):
    model, memory = Chances(seed, sharpness=1.0), Chances(seed).memory(6)
    greedy = decode(model, memory, GREEDY, 5)
    for row, (answer,) in enumerate(greedy):
        written = ()
        while len(written) < 5:
            scores = model.scores(row, (model.begin, *written))
            scores[model.begin] = -torch.inf
            token = int(scores.argmax())
            if token == model.end:
                break
            written = (*written, token)
        assert answer.tokens == written
        assert answer.log_probability == pytest.approx(model.log_probability(row, written), 1e-5)
    # The search itself with one beginning, which `decode` leaves to a loop of its own.
    searched = beam_search(model, memory, GREEDY, Bounds.of(6, 5, 0, 0))
    assert [each[0].tokens for each in searched] == [each[0].tokens for each in greedy]


@pytest.mark.parametrize("attends", ATTENDS)
def test_log_probability_is_that_of_the_whole_pass(attends, rng):
    model = make(rng, "lstm", attends=attends)
    inputs, lengths = texts(rng)
    answers = decode(model, model.encode(inputs, lengths), beam(4, nbest=4), 6)
    for row, found in enumerate(answers):
        for answer in found:
            fed = torch.tensor([[BEGIN, *answer.tokens]])
            one = {"tokens": inputs["tokens"][row, None, : lengths[row]]}
            logits = model(one, None, fed)[0].log_softmax(-1)
            wanted = torch.tensor([*answer.tokens, END])
            total = logits.gather(1, wanted[:, None]).sum().item()
            assert answer.log_probability == pytest.approx(total, abs=1e-10)
            assert answer.score == pytest.approx(total / len(wanted))


# The best


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_wide_enough_finds_the_best_of_all_texts(seed, penalty):
    model = Chances(seed)
    answers = decode(model, model.memory(2), beam(300, nbest=5, penalty=penalty), 4)
    for row, found in enumerate(answers):
        expected = model.best(row, 4, penalty, count=5)
        assert [each.tokens for each in found] == [tokens for _, tokens in expected]
        assert [each.score for each in found] == pytest.approx([s for s, _ in expected], 1e-5)


def test_a_wider_beam_finds_what_greedy_misses():
    found = {1: 0.0, 4: 0.0}
    for seed in range(10):
        model = Chances(seed)
        for width in found:
            settings = beam(width, penalty=0.0)
            answers = decode(model, model.memory(4), settings, 4)
            found[width] += sum(each[0].score for each in answers)
    assert found[4] > found[1]


def test_length_penalty_makes_answers_longer():
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        model = Chances(1, sharpness=1.0)
        answers = decode(model, model.memory(8), beam(60, penalty=penalty), 5)
        lengths.append(sum(len(each[0].tokens) for each in answers))
    assert lengths[0] < lengths[1] < lengths[2]


def test_n_best_are_different_and_in_order(rng):
    model = make(rng)
    for found in decode(model, model.encode(*texts(rng)), beam(5, nbest=5), 6):
        assert len({each.tokens for each in found}) == 5
        assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    few = Chances(0, words=1)
    (found,) = decode(few, few.memory(1), beam(9, nbest=9), 2)
    assert {each.tokens for each in found} == {(), (0,), (0, 0)}  # there are no more


# What an answer may be


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 3), (2, 5)])
def test_answers_are_as_long_as_they_may_be(width, least, most):
    model = Chances(2, sharpness=0.5)
    for found in decode(model, model.memory(6), beam(width, nbest=width), most, least):
        assert all(least <= len(each.tokens) <= most for each in found)
        assert not any(model.begin in each.tokens for each in found)


def test_bounded_answer_is_the_best_within_the_bounds():
    model = Chances(3)
    answers = decode(model, model.memory(3), beam(300, nbest=3), 4, min_length=2)
    for row, found in enumerate(answers):
        expected = model.best(row, 4, 1.0, least=2, count=3)
        assert [each.tokens for each in found] == [tokens for _, tokens in expected]


@pytest.mark.parametrize("width", [1, 4])
def test_an_answer_cut_at_its_greatest_length_says_so(width, rng):
    model = make(rng)
    memory = model.encode(*texts(rng))
    with torch.no_grad():
        model.decoder.head.bias[END] = -50.0
    cut = decode(model, memory, beam(width), 3)
    assert all(len(each[0].tokens) == 3 and not each[0].finished for each in cut)
    with torch.no_grad():
        model.decoder.head.bias[END] = 50.0
    (ended, *_) = decode(model, memory, beam(width), 3)
    assert (ended[0].tokens, ended[0].finished) == ((), True)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 4])
def test_no_run_of_tokens_comes_twice(width, size, rng):
    model = make(rng)
    memory = model.encode(*texts(rng))
    with torch.no_grad():
        model.decoder.head.weight.mul_(0.3)
        model.decoder.head.bias[END] = -20.0
        model.decoder.head.bias[0] = 3.0

    def repeats(answers):
        runs = [
            [each.tokens[place : place + size] for place in range(len(each.tokens) - size + 1)]
            for found in answers
            for each in found
        ]
        return any(len(set(one)) < len(one) for one in runs)

    assert repeats(decode(model, memory, beam(width), 12))
    settings = beam(width, nbest=width, no_repeat=size)
    answers = decode(model, memory, settings, 12)
    assert not repeats(answers)
    # All tokens used up: the answer ends, however unlikely that is, even before its least length.
    if size == 1:
        used_up = decode(model, memory, settings, 12, min_length=9)
        assert all(len(each.tokens) == BEGIN for found in used_up for each in found)


def test_runs_that_come_twice_are_ruled_out_in_the_best_of_all():
    model = Chances(4, words=2)
    (found,) = decode(model, model.memory(1), beam(200, penalty=3.0, no_repeat=2), 5, 3)
    allowed = [
        (score, tokens)
        for score, tokens in model.best(0, 5, 3.0, least=3, count=10**6)
        if len(set(itertools.pairwise(tokens))) == len(tokens) - 1
    ]
    assert found[0].tokens == allowed[0][1]


# When an input is done


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_model_that_is_sure_is_not_stopped_by_answers_that_end_early(width):
    class Sure(Chances):
        """Writes 0 1 2 0 1 2 and then ends; at every step the end is the second best."""

        def scores(self, row, written):
            found = torch.full((self.words + 2,), -9.0)
            found[self.end] = -6.0
            found[(len(written) - 1) % 3 if len(written) <= 6 else self.end] = 9.0
            return found

    model = Sure(0)
    for found in decode(model, model.memory(2), beam(width), 9):
        assert found[0].tokens == (0, 1, 2, 0, 1, 2)


def test_an_input_that_is_done_leaves_the_batch():
    sizes = []

    class Counted(Chances):
        def step(self, tokens, state, memory, weights=False):
            sizes.append((len(tokens), len(memory)))
            return super().step(tokens, state, memory, weights)

    model = Counted(0)
    decode(model, model.memory(8), GREEDY, [1, 1, 1, 1, 4, 4, 6, 6])
    assert sizes[0] == (8, 8)
    assert [rows for rows, _ in sizes] == [rows for _, rows in sizes]
    assert sizes[2][0] <= 4
    sizes.clear()
    decode(model, model.memory(8), beam(3), [1, 1, 1, 1, 4, 4, 6, 6])
    assert sizes[2][1] <= 4
    assert all(rows == 3 * inputs for rows, inputs in sizes[1:])


# Drawing


def test_cold_draws_are_greedy_and_the_same_seed_draws_the_same(rng):
    model = Chances(1)
    greedy = decode(model, model.memory(5), GREEDY, 6)
    for cold in (SamplingSettings(temperature=0.0), SamplingSettings(top_k=1)):
        drawn = decode(model, model.memory(5), GREEDY, 6, sampling=cold, generator=rng)
        assert [each[0].tokens for each in drawn] == [each[0].tokens for each in greedy]

    def draw(seed, rows=5):
        generator = torch.Generator().manual_seed(seed)
        settings, sampling = beam(2, nbest=2), SamplingSettings()
        return decode(model, model.memory(rows), settings, 6, 0, sampling, generator)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_draws_are_as_frequent_as_they_are_likely():
    model, count = Chances(5, words=2, sharpness=1.0), 400
    settings = beam(count, nbest=count)
    generator = torch.Generator().manual_seed(0)
    (drawn,) = decode(
        model, model.memory(1), settings, 2, sampling=SamplingSettings(), generator=generator
    )
    # The beginning is never written, and a third token is always the end.
    chances = {}
    for length in range(3):
        for tokens in itertools.product(range(2), repeat=length):
            total, before = 1.0, (model.begin,)
            for place, token in enumerate((*tokens, model.end)):
                shares = model.scores(0, before)
                shares[model.begin] = -torch.inf
                total *= 1.0 if place == 2 else float(shares.softmax(0)[token])
                before = (*before, token)
            chances[tokens] = total
    assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
    for tokens, chance in chances.items():
        seen = sum(each.tokens == tokens for each in drawn) / count
        assert abs(seen - chance) < 4 * math.sqrt(chance * (1 - chance) / count) + 1e-9


# Refusals


@pytest.mark.parametrize(("most", "least"), [(0, 0), ([3, 3], 0), (2, 3), ([4, 1, 4], 2)])
def test_lengths_that_cannot_be_are_refused(most, least):
    with pytest.raises(ConfigError, match="decode: answers of"):
        decode(Chances(0), Chances(0).memory(3), GREEDY, most, least)


@pytest.mark.parametrize("width", [1, 3])
def test_scores_that_are_no_numbers_are_an_error(width, rng):
    model = make(rng)
    memory = model.encode(*texts(rng))
    with torch.no_grad():
        model.decoder.head.weight[0, 0] = torch.nan
    with pytest.raises(DataError, match="scores of the next token are not finite"):
        decode(model, memory, beam(width), 4)


# On packed weights


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("attends", ATTENDS)
def test_packed_weights_give_the_answers_of_the_readable_loop(attends, layers, rng):
    settings = {"attends": attends, "decoder_layers": layers, "residual": True}
    settings["positions"] = "sinusoidal" if layers > 1 else "none"
    model = make(rng, "lstm", score="general", **settings)
    memory = model.encode(*texts(rng, rows=6))
    most, found = [7, 1, 2, 5, 3, 1], {}
    with torch.no_grad():
        model.decoder.head.bias[END] = -20.0  # every answer ends where it has to
    for backend in ("reference", "auto"):
        model.decoder.recurrent.named_backend = backend
        found[backend] = decode(model, memory, beam(4, nbest=4), most, weights=True)
    for readable, packed in zip(*found.values(), strict=True):
        assert [each.tokens for each in packed] == [each.tokens for each in readable]
        for one, other in zip(packed, readable, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-11)
            assert one.weights.allclose(other.weights, atol=1e-12)


def test_packed_weights_are_packed_again_only_when_half_the_rows_are_left(rng, monkeypatch):
    packed, pack = [], text_stream._packed
    monkeypatch.setattr(
        text_stream, "_packed", lambda stack, rows: packed.append(rows) or pack(stack, rows)
    )
    model = make(rng, backend="auto")
    stream = model.stream()
    memory = model.encode(*texts(rng, rows=8, steps=10))
    state, tokens = model.start(memory), torch.full((8,), BEGIN)
    for rows in (8, 7, 5, 4, 3, 1, 6):
        left = torch.arange(rows) % len(memory)
        some = stream.step(tokens[:rows], state.select_rows(left), memory.select_rows(left))
        expected = model.step(tokens[:rows], state.select_rows(left), memory.select_rows(left))
        assert some[0].allclose(expected[0], atol=1e-12)
        assert all(a.allclose(b, atol=1e-12) for a, b in zip(some[1], expected[1], strict=True))
    assert packed == [8, 4, 1, 6]


def test_a_beam_of_one_input_packs_the_weights_once_for_all_it_will_follow(rng, monkeypatch):
    packed, pack = [], text_stream._packed
    monkeypatch.setattr(
        text_stream, "_packed", lambda stack, rows: packed.append(rows) or pack(stack, rows)
    )
    model = make(rng, backend="auto")
    memory = model.encode(*texts(rng, rows=1))
    decode(model, memory, beam(3), 5, min_length=5)
    assert packed == [3]


# Language models


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_a_language_model_goes_on_as_its_whole_pass_says(kind, rng):
    if kind == "gru":
        model = LanguageModel(6, RecurrentSettings(hidden=5), CELLS["gru"], rng)
        model.encoder.named_backend = "reference"
    else:
        model = LanguageModel(6, TransformerSettings(hidden=8, layers=2, heads=2), None, rng)
    model = model.double().eval()
    with torch.no_grad():
        model.head.weight.mul_(5.0)
    own, prompts = Prompted(model, end=0), torch.tensor([[1, 2, 3], [4, 5, 1]])
    answers = decode(own, own.read(prompts), beam(400, nbest=3), 3)
    for row, found in enumerate(answers):
        scored = []
        for size in range(4):
            every = list(itertools.product(range(1, 6), repeat=size))
            whole = torch.tensor([[*prompts[row].tolist(), *text] for text in every])
            chances = model(whole)[0][:, 2:].detach().log_softmax(-1)
            wanted = torch.tensor([[*text, 0] for text in every])
            totals = chances.gather(2, wanted[..., None]).sum((1, 2)) / (size + 1)
            scored += zip(totals.tolist(), every, strict=True)
        scored.sort(reverse=True)
        assert [each.tokens for each in found] == [text for _, text in scored[:3]]
        assert [each.score for each in found] == pytest.approx([s for s, _ in scored[:3]])
    drawn = decode(own, own.read(prompts), GREEDY, 4, sampling=SamplingSettings(), generator=rng)
    assert all(0 not in each[0].tokens for each in drawn)
