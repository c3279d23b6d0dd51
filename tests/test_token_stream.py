"""The compiled step and draw give the scores, the chances and the tokens of the definition."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scanning import threads
from tolerance import assert_close
from trainings import small_model
from unspool.cells import CELLS
from unspool.data.settings import DataSettings
from unspool.data.tokens import TOKENIZERS
from unspool.engine import call as call_file
from unspool.engine import kernels
from unspool.engine import stream as stream_file
from unspool.engine import together as together_file
from unspool.engine.plan import plan_of
from unspool.engine.scan import choose_backend
from unspool.engine.stream import Stream
from unspool.engine.together import Together
from unspool.engine.tokens import TokenStep
from unspool.errors import DataError, ShapeError
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation, draw, probabilities, uniforms
from unspool.models.settings import RecurrentSettings
from unspool.models.streaming import TokenStream

FUSED = [
    name for name in CELLS if choose_backend(CELLS[name], torch.zeros(1)) == "llvm"
]  # the others have no stream
SHARED = [name for name in FUSED if plan_of(CELLS[name], False, torch.float64).schedule.step.shared]
SCORES = st.one_of(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.lists(st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5]), max_size=40).map(
        lambda s: [*s, 1.0]
    ),
)
SAMPLING = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 1e-300, 0.2, 1.0, 5.0, 1e300]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.999, 1.0]),
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def step_with(scores, settings):
    """A step whose scores are these, whatever it reads."""
    layer = Recurrent("rnn", 1, 1).to(scores.dtype)
    table = torch.zeros(1, 1, dtype=scores.dtype)
    first = Stream(layer.cell, dict(layer.weights["l0"].items()), 1, 1, table=table)
    step = TokenStep([first], torch.zeros(len(scores), 1, dtype=scores.dtype), scores)
    step.set_sampling(settings.temperature, settings.top_k, settings.top_p)
    return step


def away_from_borders(chances, uniform):
    """Whether rounding of the sums cannot decide which token is drawn."""
    sums = chances.double().cumsum(0)
    return bool(((sums / sums[-1] - uniform).abs() > 1e-12).all())


@DTYPES
@hypothesis_settings(deadline=None, max_examples=60)  # the first compiles
@given(scores=SCORES, settings=SAMPLING, uniform=st.floats(0, 1, exclude_max=True))
def test_compiled_draw_keeps_and_draws_what_the_definition_does(dtype, scores, settings, uniform):
    scores = torch.tensor(scores, dtype=dtype)
    expected = probabilities(scores.double(), settings)
    step = step_with(scores, settings)
    token = step.draw(0, uniform)
    assert expected[token] > 0
    if settings.temperature == 0.0:
        assert token == int(scores.argmax())
        return
    assert torch.equal(step.weights > 0, expected > 0)
    assert_close(step.weights / step.weights.sum(), expected)
    if away_from_borders(expected, uniform):
        assert token == draw(expected, uniform)


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("top_k", [0, 5000])
def test_compiled_draw_is_the_same_when_the_vocabulary_is_large(top_k, top_p, rng):
    scores = 3 * torch.randn(30_001, generator=rng)
    settings = SamplingSettings(top_k=top_k, top_p=top_p)
    expected = probabilities(scores.double(), settings)
    step = step_with(scores, settings)
    for uniform in torch.rand(50, generator=rng, dtype=torch.float64).tolist():
        assert step.draw(0, uniform) == draw(expected, uniform)
    assert torch.equal(step.weights > 0, expected > 0)


def test_compiled_draw_is_as_frequent_as_the_chances_say(rng):
    settings = SamplingSettings(temperature=0.8, top_k=6)
    scores = torch.randn(9, generator=rng)
    step, expected = step_with(scores, settings), probabilities(scores, settings)
    numbers = itertools.islice(uniforms(rng), 20_000)
    counts = torch.bincount(torch.tensor([step.draw(0, u) for u in numbers]), minlength=9)
    kept = expected > 0
    assert not counts[~kept].any()
    wanted = 20_000 * expected[kept]
    # Chi-squared with 5 degrees of freedom; 25.7 is exceeded once in ten thousand.
    assert ((counts[kept] - wanted) ** 2 / wanted).sum() < 25.7


@given(st.integers(1, 600), st.integers(0, 2**32))
def test_uniform_numbers_are_the_same_whatever_the_block(block, seed):
    def first(size):
        return list(itertools.islice(uniforms(torch.Generator().manual_seed(seed), size), 700))

    assert first(block) == first(256)
    assert all(0.0 <= number < 1.0 for number in first(256))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", FUSED)
def test_reading_token_by_token_is_reading_at_once(name, layers, rng):
    settings = RecurrentSettings(
        name=name, hidden=12, embedding=5, layers=layers, residual=layers > 1,
        learn_initial_state=True,
    )  # fmt: skip
    model = LanguageModel(11, settings, CELLS[name], rng).double().eval()
    for start in model.encoder.initial_state:
        torch.nn.init.normal_(start, generator=rng)
    tokens = torch.randint(11, (9,), generator=rng)
    stream = TokenStream(model)
    expected = model(tokens[None])[0][0].detach()
    for _ in range(2):
        read = [torch.from_numpy(stream.read(token)) for token in tokens.tolist()]
        assert_close(torch.stack(read), expected)
        stream.reset()  # after an odd number of steps


@pytest.fixture
def shared_steps(monkeypatch):
    """Steps shared by two threads, however small their weights are."""
    monkeypatch.setattr(together_file, "SHARED_BYTES", 0)
    with threads(2):
        yield


@pytest.mark.parametrize("rows", [0, 2048])
@pytest.mark.parametrize("units", [40, 100])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_after"])
def test_threads_that_share_a_step_compute_what_one_does(
    name, units, rows, rng, monkeypatch, shared_steps
):
    monkeypatch.setattr(stream_file, "MULTIPLIED_ROWS", rows)
    settings = RecurrentSettings(name=name, hidden=units, embedding=9, layers=2, residual=True)
    model = LanguageModel(37, settings, CELLS[name], rng).double().eval()
    stream, alone = TokenStream(model), TokenStream(model)
    alone.step._together.forbid()
    assert all(layer.threads == 2 for layer in stream.step.layers)
    tokens = torch.randint(37, (5,), generator=rng)
    read = [stream.read(token) for token in tokens.tolist()]  # by turns alone and together
    assert_close(torch.tensor(np.stack(read)), model(tokens[None])[0][0].detach())
    assert np.array_equal(read, [alone.read(token) for token in tokens.tolist()])


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", SHARED)
def test_threads_that_share_the_step_of_a_layer_compute_what_one_does(
    name, batch, rng, shared_steps
):
    layer = Recurrent(name, 9, 100, generator=rng).double()
    weights = dict(layer.weights["l0"].items())
    stream, alone = (Stream(layer.cell, weights, 100, 9, batch) for _ in range(2))
    alone._together.forbid()
    assert stream.threads == 2
    x = torch.randn(7, batch, 9, generator=rng, dtype=torch.float64)
    for value in x:
        for each in (stream, alone):
            each.x.copy_(value)
        assert torch.equal(stream.step(), alone.step())  # by turns alone and together
    assert_close(stream.state, tuple(s[:, 0].detach() for s in layer(x.transpose(0, 1))[1]))


def test_step_is_not_shared_where_numbers_are_gathered_from_a_row_or_weights_are_few(shared_steps):
    def stream(name):
        layer = Recurrent(name, 9, 100)
        return Stream(layer.cell, dict(layer.weights["l0"].items()), 100, 9)

    assert stream("layer_norm_lstm").threads == 1
    assert stream("lstm").threads == 2
    together_file.SHARED_BYTES = 2**20
    assert stream("lstm").threads == 1


def test_step_is_taken_alone_where_the_team_is_smaller_than_asked_for(
    rng, monkeypatch, shared_steps
):
    layer = Recurrent("gru", 9, 100, generator=rng)
    stream = Stream(layer.cell, dict(layer.weights["l0"].items()), 100, 9)
    expected = [stream.step().clone() for _ in range(2)]
    stream.restart((torch.zeros(1, 100),))
    monkeypatch.setattr(kernels, "_parallel", lambda: kernels.in_turn)  # one thread, two shares
    monkeypatch.setattr(stream, "_together", Together())
    assert all(torch.equal(stream.step(), each) for each in expected)


@pytest.mark.parametrize("late", [False, True])
def test_threads_are_given_up_when_waiting_for_them_costs_more(late, shared_steps):
    step = TokenStream(small_model(5, "lstm", hidden=64).eval()).step

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
    def team(function, words, count, flags):
        if late:
            time.sleep(0.005)  # and nothing is done

    step._team = ctypes.cast(team, ctypes.c_void_p).value
    if not late:
        step._together._times[0].extend([1.0] * 9)  # alone it has been slow
    for _ in range(together_file.TRIAL_EVERY):
        step.score(1)
    assert step.together != late


def test_waking_threads_up_decides_nothing(monkeypatch):
    now, calls, together = [0.0], [], Together()
    monkeypatch.setattr(together_file.time, "perf_counter", lambda: now[0])

    def run(shared):
        calls.append(shared)
        waking = shared and calls.count(True) <= together_file.WARMING
        now[0] += 100.0 if waking else 1.0 if shared else 2.0

    for _ in range(together_file.TRIAL_EVERY):
        together.take(run)
    assert together.chosen
    assert calls.count(False) == together_file.WARMING + together_file.TRIALS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_goes_on_without_the_threads_of_its_parent(shared_steps):
    model = small_model(5, "lstm", hidden=64).double().eval()
    stream, other = TokenStream(model), TokenStream(model)
    for _ in range(3):  # the next one is tried together
        stream.read(1)
        other.read(1)
    expected = other.read(2)
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(stream.read(2), expected) else 1)
    for _ in range(200):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child waits for threads that are not there")
    assert status == 0


@pytest.mark.parametrize("rows", [0, 2048])
@pytest.mark.parametrize("name", ["lstm", "gru", "mogrifier_lstm"])
def test_rows_of_a_table_are_inputs_whether_multiplied_before_or_not(name, rows, rng, monkeypatch):
    monkeypatch.setattr(stream_file, "MULTIPLIED_ROWS", rows)
    layer = Recurrent(name, 3, 12, generator=rng).double()
    table = torch.randn(7, 3, generator=rng, dtype=torch.float64)
    stream = Stream(layer.cell, dict(layer.weights["l0"].items()), 12, 3, table=table)
    tokens = torch.randint(7, (6,), generator=rng)
    outputs = []
    for token in tokens.tolist():
        stream.look_up(token)
        outputs.append(stream.step()[0].clone())
    assert_close(torch.stack(outputs), layer(table[tokens][None])[0][0].detach())


@pytest.mark.parametrize(
    "changes",
    [{}, {"temperature": 0.0}, {"temperature": 0.5, "top_k": 4}, {"top_p": 0.8}],
    ids=str,
)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_same_seed_writes_the_same_tokens_on_every_backend(name, changes):
    model = small_model(9, name, hidden=16, layers=2, residual=True).double().eval()
    model.head.weight.data *= 20  # scores that depend on what was read
    written = []
    for backend in ("llvm", "torch", "reference") if name == "lstm" else ("llvm", "reference"):
        model.encoder.named_backend = backend
        drawn = continuation(
            model, [1, 2], SamplingSettings(**changes), torch.Generator().manual_seed(4)
        )
        written.append(list(itertools.islice(drawn, 120)))
    assert all(each == written[0] for each in written)
    assert len(set(written[0])) > 1


@pytest.mark.parametrize("backend", ["llvm", "reference"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(value, temperature, backend):
    model = small_model(5).eval()
    model.head.bias.data[3] = value
    model.encoder.named_backend = backend
    drawn = continuation(model, [1], SamplingSettings(temperature=temperature), torch.Generator())
    if value == math.inf and temperature == 0.0:
        assert next(drawn) == 3  # the likeliest, and so it is
        return
    with pytest.raises(DataError, match="not finite"):
        next(drawn)


@pytest.mark.parametrize("token", [-1, 7, 2**40])
def test_token_the_table_lacks_never_becomes_an_address(token):
    stream = TokenStream(small_model(7).eval())
    with pytest.raises(IndexError, match=r"not one of 0 to 6"):
        stream.read(token)
    with pytest.raises(IndexError, match=r"not one of 0 to 6"):
        stream.step.draw(token, 0.5)


def test_table_for_several_sequences_is_refused():
    layer = Recurrent("rnn", 2, 3)
    weights = dict(layer.weights["l0"].items())
    for batch, table in ((2, torch.zeros(4, 2)), (1, torch.zeros(4, 3)), (1, torch.zeros(0, 2))):
        with pytest.raises(ShapeError, match=r"Stream: a table of"):
            Stream(layer.cell, weights, 3, 2, batch, table)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pieces_are_the_text_and_refuse_what_is_no_id(kind):
    text = "Über allen Gipfeln → ist Ruh, in allen Wipfeln. 🌲🌲"
    tokenizer = TOKENIZERS[kind].fit(text, DataSettings(tokens=kind, vocabulary=300))
    ids = tokenizer.encode(text)
    assert "".join(tokenizer.pieces(ids.tolist())) == text
    for wrong in (-1, tokenizer.size):
        with pytest.raises(DataError, match=f"id {wrong}"):
            list(tokenizer.pieces([0, wrong]))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_step_without_gradients_packs_nothing_and_is_the_same(name, rng, monkeypatch):
    layer = Recurrent(name, 3, 20, num_layers=2, residual=True, generator=rng).double()
    x = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    outputs, final = layer(x)

    def packed(*_):
        raise AssertionError("weights were packed")

    monkeypatch.setattr(call_file, "pack", packed)
    state = None
    with torch.no_grad():
        for t in range(4):
            output, state = layer.step(x[:, t], state)
            assert_close(output, outputs[:, t].detach())
        assert_close(state, State(value.detach() for value in final))
        with pytest.raises(ShapeError, match=r"input is torch\.float32"):
            layer.step(x[:, 0].float())
    with pytest.raises(AssertionError, match="packed"):
        layer.step(x[:, 0])


def test_results_of_a_step_without_gradients_share_no_memory(rng):
    layer = Recurrent("gru", 3, 4, generator=rng)
    with torch.no_grad():
        _, first = layer.step(torch.randn(2, 3, generator=rng))
        kept = first[0].clone()
        output, second = layer.step(torch.randn(2, 3, generator=rng), first)
        untouched = second[0].clone()
        output.fill_(9.0)
    assert torch.equal(first[0], kept) and torch.equal(second[0], untouched)
