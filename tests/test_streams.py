import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool.data.streams import NO_TARGET, Streams, evaluation_windows
from unspool.errors import ConfigError, DataError


def all_windows(streams, epoch=0):
    return [streams.window(epoch, index) for index in range(streams.windows_per_epoch)]


@st.composite
def stream_settings(draw):
    batch, length = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    return draw(st.integers(batch * length + 1, 120)), batch, length


@given(
    settings=stream_settings(), shift_seed=st.none() | st.integers(0, 3), epoch=st.integers(0, 3)
)
def test_every_token_but_the_first_is_a_target_once_an_epoch(settings, shift_seed, epoch):
    num_tokens, batch, length = settings
    streams = Streams(torch.arange(num_tokens), batch, length, shift_seed)
    windows = all_windows(streams, epoch)
    targets = torch.cat([window.targets.flatten() for window in windows]).tolist()
    assert len(set(targets)) == len(targets) and 0 not in targets
    assert streams.num_left_over == num_tokens - 1 - len(targets) < batch
    assert streams.targets_per_epoch == len(targets) == sum(w.num_targets for w in windows)


@given(settings=stream_settings(), shift_seed=st.none() | st.integers(0, 3))
def test_target_is_the_token_after_its_input(settings, shift_seed):
    num_tokens, batch, length = settings
    for window in all_windows(
        Streams(torch.arange(num_tokens), batch, length, shift_seed), epoch=1
    ):
        assert torch.equal(window.targets, window.inputs + 1)


@given(settings=stream_settings())
def test_rows_run_on_from_window_to_window(settings):
    num_tokens, batch, length = settings
    streams = Streams(torch.arange(num_tokens), batch, length)
    rows = torch.cat([window.inputs for window in all_windows(streams)], dim=1)
    assert torch.equal(rows, rows[:, :1] + torch.arange(rows.shape[1]))


def test_only_the_first_window_of_an_epoch_starts_anew():
    windows = all_windows(Streams(torch.arange(50), batch=2, length=6))
    assert [window.first for window in windows] == [True, False, False, False]
    assert [window.inputs.shape[1] for window in windows] == [6, 6, 6, 6]


def test_last_window_is_shorter_when_the_rows_do_not_divide():
    windows = all_windows(Streams(torch.arange(46), batch=2, length=6))
    assert [window.inputs.shape[1] for window in windows] == [6, 6, 6, 4]


def test_windows_are_a_pure_function_of_seed_epoch_and_index():
    one, other = (Streams(torch.arange(500), 3, 10, shift_seed=7) for _ in range(2))
    one.window(5, 3)
    assert torch.equal(one.window(2, 1).inputs, other.window(2, 1).inputs)
    assert len({one.shift(epoch) for epoch in range(10)}) > 5
    assert one.shift(0) != Streams(torch.arange(500), 3, 10, shift_seed=8).shift(0)


def test_left_over_tokens_have_their_turn_when_shifted():
    streams = Streams(torch.arange(12), batch=3, length=3, shift_seed=0)
    seen = {
        t
        for epoch in range(20)
        for w in all_windows(streams, epoch)
        for t in w.targets.flatten().tolist()
    }
    assert streams.num_left_over == 2 and seen == set(range(1, 12))


def test_text_is_refused_when_shorter_than_one_window_of_every_row():
    with pytest.raises(
        DataError, match=r"12 tokens .* 3 rows of 4 steps want at least 13"
    ) as caught:
        Streams(torch.arange(12), batch=3, length=4)
    assert "train.length or train.batch" in str(caught.value)
    assert Streams(torch.arange(13), batch=3, length=4).windows_per_epoch == 1


@pytest.mark.parametrize(("epoch", "index"), [(0, 8), (0, -1), (-1, 0)])
def test_window_that_does_not_exist_is_an_error(epoch, index):
    with pytest.raises(IndexError, match="an epoch has 8"):
        Streams(torch.arange(50), batch=2, length=3).window(epoch, index)


@pytest.mark.parametrize(("batch", "length"), [(0, 4), (4, 0)])
def test_sizes_below_one_are_refused(batch, length):
    with pytest.raises(ConfigError, match="1 or more"):
        Streams(torch.arange(50), batch, length)
    with pytest.raises(ConfigError, match="1 or more"):
        evaluation_windows(torch.arange(50), length, batch)


@given(num_tokens=st.integers(2, 60), length=st.integers(1, 9), rows=st.integers(1, 9))
def test_evaluation_predicts_every_token_after_the_first_exactly_once(num_tokens, length, rows):
    windows = list(evaluation_windows(torch.arange(num_tokens), length, rows))
    counted = [window.targets != NO_TARGET for window in windows]
    targets = torch.cat([w.targets[c] for w, c in zip(windows, counted, strict=True)])
    assert sorted(targets.tolist()) == list(range(1, num_tokens))
    assert [int(c.sum()) for c in counted] == [w.num_targets for w in windows]
    for window, c in zip(windows, counted, strict=True):
        assert torch.equal(window.targets[c], window.inputs[c] + 1)


def test_evaluation_is_one_stream_in_order_with_one_row():
    windows = list(evaluation_windows(torch.arange(30), length=7))
    targets = torch.cat([window.targets for window in windows], dim=1)
    assert torch.equal(targets, torch.arange(1, 30)[None])
    assert [window.first for window in windows] == [True, False, False, False, False]


def test_evaluation_refuses_a_text_without_a_target():
    with pytest.raises(DataError, match="at least 2"):
        evaluation_windows(torch.arange(1), length=4)
