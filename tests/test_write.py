"""Writing: the language model, its loss, what it learns, and how it draws the next token."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tolerance import assert_close
from trainings import WORDS, Uniform, make_loop, small_model, small_text
from unspool.cells import CELLS
from unspool.data.settings import TOKENS, DataSettings
from unspool.data.streams import NO_TARGET, Window
from unspool.errors import ConfigError, DataError
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings
from unspool.models.settings import RecurrentSettings
from unspool.tasks import text_loss
from unspool.tasks.text_loss import bits_per_character, stream_loss, summed_loss
from unspool.tasks.write import (
    Writing,
    ngram_baseline,
    read_corpus,
    verdict,
    write,
)
from unspool.training.loop import Loop
from unspool.training.settings import TrainSettings

CELL_NAMES = ["rnn", "lstm", "gru"]
ALL_TOKENS = [DataSettings(tokens=name, vocabulary=300) for name in TOKENS]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def learn(text, steps, settings=None, model=None, **changes):
    """A model that has read a text over and over, and its last loss."""
    corpus = read_corpus(text, settings or DataSettings(), validation=text)
    built = small_model(corpus.tokenizer.size, **{"hidden": 16, **(model or {})})
    train = TrainSettings(
        **{"steps": steps, "batch": 4, "length": 16, "learning_rate": 0.03, "warmup": 5, **changes}
    )
    loop = Loop(Writing(built, corpus, train.batch, train.length, seed=0), train, seed=0)
    for _ in range(steps):
        loop.step()
    return corpus, built, loop.work.evaluate()


# The model.


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("layers", [1, 2])
def test_model_scores_every_token_of_the_vocabulary_at_every_step(cell, layers):
    model = small_model(7, cell, layers=layers, embedding=5, residual=True)
    logits, state = model(torch.zeros(2, 5, dtype=torch.int64))
    assert logits.shape == (2, 5, 7)
    assert [value.shape for value in state] == [(2, layers, 8)] * len(CELLS[cell].states)
    one, _ = model.step(torch.zeros(2, dtype=torch.int64))
    assert one.shape == (2, 7)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_model_read_step_by_step_is_the_model_read_at_once(cell, rng):
    model = small_model(7, cell, layers=2, learn_initial_state=True).double().eval()
    tokens = torch.randint(7, (3, 9), generator=rng)
    whole, final = model(tokens)
    state, steps = None, []
    for t in range(9):
        logits, state = model.step(tokens[:, t], state)
        steps.append(logits)
    assert_close(torch.stack(steps, 1), whole)
    assert_close(tuple(state), tuple(final))


def test_model_does_not_see_the_future(rng):
    model = small_model().eval()
    tokens = torch.randint(7, (2, 9), generator=rng)
    before, _ = model(tokens)
    tokens[:, 5:] = (tokens[:, 5:] + 1) % 7
    after, _ = model(tokens)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


def test_tied_weights_are_one_matrix_that_both_ends_train():
    tied, free = small_model(tie=True), small_model(tie=False)
    assert tied.head.weight is tied.embedding.weight
    count = {m: sum(p.numel() for p in m.parameters()) for m in (tied, free)}
    assert count[free] - count[tied] == 7 * 8
    tied(torch.zeros(1, 1, dtype=torch.int64))[0].sum().backward()
    # Only token 0 was read, but every row was scored.
    assert tied.embedding.weight.grad.abs().sum(1).gt(0).all()


def test_tied_weights_are_refused_when_the_widths_differ():
    with pytest.raises(ConfigError, match=r"model\.tie: embedding is 4 wide and hidden 8"):
        RecurrentSettings(hidden=8, embedding=4, tie=True)


def test_model_is_the_same_when_the_seed_is():
    same, again, other = (small_model(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not torch.equal(same["head.weight"], other["head.weight"])


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_loss_before_training_is_that_of_guessing(cell, rng):
    model = small_model(50, cell, hidden=32).eval()
    loss = stream_loss(model, torch.randint(50, (2000,), generator=rng))
    assert loss == pytest.approx(math.log(50), rel=0.05)


# Learning.


@pytest.mark.parametrize("truncation", ["full", "truncated", "randomised"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_model_learns_a_text_that_repeats_itself(cell, truncation):
    corpus, model, loss = learn(
        "pack my box; " * 60,
        150,
        model={"cell": cell},
        truncation=truncation,
        truncation_steps=8,
        truncation_mean=12,
    )
    assert loss < 0.05
    greedy = SamplingSettings(temperature=0.0)
    text = "".join(write(model, corpus.tokenizer, 26, prompt="my box; ", settings=greedy))
    assert text == "pack my box; pack my box; "


@pytest.mark.parametrize("options", [{"tie": True}, {"layers": 2, "residual": True}])
def test_model_learns_when_it_is_built_otherwise(options):
    assert learn("pack my box; " * 60, 150, model=options)[2] < 0.05


def test_hello_exercise_is_learnt_letter_by_letter():
    """From "hell" the model must say "ello": l is followed by l once and by o once."""
    corpus = read_corpus("hello", DataSettings(), validation="hello")
    assert corpus.tokenizer.decode([0, 1, 2, 3]) == "ehlo"
    model = small_model(4, "rnn", hidden=8)
    window = Window(
        inputs=corpus.train[None, :-1], targets=corpus.train[None, 1:], num_targets=4, first=True
    )
    assert corpus.tokenizer.decode(window.inputs[0].numpy()) == "hell"
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss, _ = summed_loss(model, window, None)
        loss.backward()
        optimiser.step()
    logits, _ = model(window.inputs)
    assert corpus.tokenizer.decode(logits[0].argmax(-1).numpy()) == "ello"
    assert loss.item() / 4 < 0.05
    # No model without memory can: after "l" alone it must give both letters a half.
    alone = torch.stack([model(window.inputs[:, [t]])[0][0, 0] for t in range(4)])
    assert not torch.equal(alone.argmax(-1), window.targets[0])


# The loss.


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_the_vocabulary(rng):
    for size in (2, 17, 300):
        tokens = torch.randint(size, (400,), generator=rng)
        assert math.exp(stream_loss(Uniform(size), tokens)) == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("length", [1, 2, 13, 1000])
def test_stream_loss_does_not_depend_on_the_length_of_its_windows(rows, length, monkeypatch, rng):
    model = small_model().double()
    tokens = torch.randint(7, (101,), generator=rng)
    expected = stream_loss(model, tokens, rows)
    monkeypatch.setattr(text_loss, "EVALUATION_LENGTH", length)
    assert stream_loss(model, tokens, rows) == pytest.approx(expected, rel=1e-12)


def test_stream_loss_is_that_of_a_plain_loop(rng):
    model = small_model().double().eval()
    tokens = torch.randint(7, (41,), generator=rng)
    total, state = 0.0, None
    with torch.no_grad():
        for read, target in itertools.pairwise(tokens):
            logits, state = model.step(read[None], state)
            total -= torch.log_softmax(logits[0], -1)[target].item()
    assert stream_loss(model, tokens) == pytest.approx(total / 40, rel=1e-12)


def test_loss_leaves_out_what_has_no_target(rng):
    model = small_model().double()
    inputs = torch.randint(7, (2, 5), generator=rng)
    targets = torch.randint(7, (2, 5), generator=rng)
    targets[1, 3:] = NO_TARGET
    window = Window(inputs=inputs, targets=targets, num_targets=8, first=True)
    parts = [window.rows(0, 1), window.rows(1, 2).steps(0, 3)]
    expected = sum(summed_loss(model, part, None)[0] for part in parts)
    assert_close(summed_loss(model, window, None)[0], expected)


def test_evaluation_neither_trains_nor_drops_out(tmp_path):
    loop = make_loop(tmp_path / "run", model__dropout=0.5)
    before = {name: value.clone() for name, value in loop.work.model.state_dict().items()}
    losses = [loop.work.evaluate() for _ in range(2)]
    assert losses[0] == losses[1]
    after = loop.work.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@given(st.floats(0.01, 10), st.integers(1, 10**6), st.integers(1, 10**6))
def test_bits_per_character_do_not_depend_on_how_the_text_is_cut(loss, tokens, characters):
    whole = loss * tokens / math.log(2)
    assert bits_per_character(loss, tokens, characters) * characters == pytest.approx(whole)


def test_verdict_says_which_is_better():
    baselines = [{"name": "2-gram", "loss": 2.0}, {"name": "5-gram", "loss": 1.5}]
    assert verdict("gru", 1.4, baselines, "char").startswith("The gru is best: 1.400 nats/char")
    assert "5-gram is better: 1.500 against 1.600" in verdict("gru", 1.6, baselines, "char")
    assert "5-gram is better" in verdict("gru", 1.5, baselines, "char")


# The corpus.


def test_characters_that_training_never_saw_are_left_out_and_counted():
    corpus = read_corpus("abcabcabcabc", DataSettings(), validation="abxcaxbyc")
    assert corpus.tokenizer.decode(corpus.validation.numpy()) == "abcabc"
    assert corpus.validation_characters == 6
    [warning] = corpus.warnings
    assert warning.startswith("3 of 9 characters of the validation part")
    assert warning.endswith("'x', 'y'.")


def test_characters_left_out_are_not_all_listed_when_they_are_many():
    unknown = "".join(map(chr, range(0x4E00, 0x4E20)))
    [warning] = read_corpus("ab" * 9, DataSettings(), validation=f"a{unknown}b").warnings
    assert "32 of 34" in warning and warning.endswith(", ….")


def test_capital_sigma_is_lower_cased_alike_in_both_parts():
    corpus = read_corpus("οσδ" * 9, DataSettings(lower=True), validation="ΟΔΟΣ ΟΔΟΣ")
    assert corpus.tokenizer.decode(corpus.validation.numpy()) == "οδοσοδοσ"


def test_words_the_vocabulary_lacks_are_told_by_their_share():
    words = DataSettings(tokens="word", vocabulary=100)
    corpus = read_corpus("a b c " * 9, words, validation="a d b e")
    [warning] = corpus.warnings
    assert "of the validation part is words the vocabulary lacks" in warning


@pytest.mark.parametrize("data", ALL_TOKENS, ids=lambda data: data.tokens)
@settings(max_examples=20)
@given(other=st.text("abcdefgh \n", min_size=40, max_size=80))
def test_nothing_learnt_depends_on_the_validation_part(data, other):
    """Same training part, another rest: tokenizer and training tokens are the same bytes."""
    first, second = (
        read_corpus(train_part() + rest, data) for rest in (small_text(30)[:60], other[:60])
    )
    assert len(first.warnings) == 0 or data.tokens != "char"
    # The border is a share of the length, so both texts must be equally long.
    if len(other[:60]) == 60:
        assert first.tokenizer.to_json() == second.tokenizer.to_json()
        assert torch.equal(first.train, second.train)


def train_part():
    return small_text(200)[:540]


@pytest.mark.parametrize("data", ALL_TOKENS, ids=lambda data: data.tokens)
def test_text_is_learnt_in_every_kind_of_token(data):
    text = "to be or not to be\n" * 60
    corpus, model, loss = learn(text, 60, settings=data, length=4)
    assert loss < 0.5 * math.log(corpus.tokenizer.size)
    written = "".join(write(model, corpus.tokenizer, 30, prompt="to be", seed=3))
    assert set(written) <= set(text)
    assert ngram_baseline(corpus)["loss"] < math.log(corpus.tokenizer.size)


def test_batches_run_on_through_the_text_and_start_anew_each_epoch(tmp_path):
    work = make_loop(tmp_path / "run").work
    windows = work.streams.windows_per_epoch
    batches = [work.batch(step) for step in range(windows + 1)]
    assert [batch.first for batch in batches] == [True, *[False] * (windows - 1), True]
    for one, following in itertools.pairwise(batches[:windows]):
        assert torch.equal(one.targets[:, -1], following.inputs[:, 0])
    again = make_loop(tmp_path / "again").work.batch(3)
    assert torch.equal(batches[3].inputs, again.inputs)


def test_text_is_refused_when_it_is_too_short():
    train = TrainSettings(batch=4, length=16)
    corpus = read_corpus("to be or not to be", DataSettings())
    with pytest.raises(DataError, match="16 tokens to train on; 4 rows of 16 steps want at least"):
        Writing(small_model(corpus.tokenizer.size), corpus, train.batch, train.length, seed=0)
    short = read_corpus("ab" * 50, DataSettings(), validation="x")
    with pytest.raises(DataError, match="the validation part has 0 tokens"):
        Writing(small_model(2), short, 1, 4, seed=0)


# Drawing.


def test_writing_leaves_the_global_generator_alone():
    corpus = read_corpus("to be or not to be", DataSettings())
    model = small_model(corpus.tokenizer.size)
    before = torch.get_rng_state()
    "".join(write(model, corpus.tokenizer, 20))
    assert torch.equal(torch.get_rng_state(), before)


def test_writing_starts_from_a_line_end_where_there_is_one():
    corpus = read_corpus("to be\nor not\n" * 9, DataSettings())
    model = small_model(corpus.tokenizer.size)
    bare = "".join(write(model, corpus.tokenizer, 20, seed=2))
    assert bare == "".join(write(model, corpus.tokenizer, 20, prompt="\n", seed=2))
    assert len(bare) == 20 and "".join(write(model, corpus.tokenizer, 0)) == ""


def test_prompt_is_refused_before_anything_is_drawn():
    corpus = read_corpus("to be or not to be", DataSettings())
    with pytest.raises(DataError, match="prompt") as refusal:
        write(small_model(corpus.tokenizer.size), corpus.tokenizer, 5, prompt="to ßee")
    assert "'ß'" in str(refusal.value)


def test_embedding_is_narrower_than_the_state_when_asked():
    model = LanguageModel(7, RecurrentSettings(hidden=8, embedding=3), CELLS["gru"])
    assert model.embedding.weight.shape == (7, 3) and model.head.weight.shape == (7, 8)


def test_words_of_the_small_text_are_learnt_apart():
    """The generated text of these tests is one a model can learn: it beats guessing letters."""
    _, _, loss = learn(small_text(300), 150, length=16)
    letters = len(set("".join(WORDS))) + 2
    assert loss < 0.75 * math.log(letters)
