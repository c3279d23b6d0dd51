import json

import numpy as np
import pytest
import torch
from tests.tolerance import assert_close

from unspool.data.calendar_features import Frequency
from unspool.data.image_settings import ImageSettings
from unspool.data.images import ImageEncoder
from unspool.data.made_samples import epidemic, passengers, shapes, tones, waves
from unspool.data.numbers import NumberEncoder
from unspool.data.series import read_series
from unspool.data.series_settings import SeriesSettings
from unspool.data.series_windows import SeriesEncoder
from unspool.data.settings import DataSettings
from unspool.data.sound import SoundEncoder
from unspool.data.sound_settings import SoundSettings
from unspool.errors import DataError

SERIES = SeriesSettings(lookback=12, horizon=6, known=("adults",), quantiles=(0.1, 0.5, 0.9))


def columns(text):
    head, *rows = [line.split(",") for line in text.splitlines()]
    return dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))


def fitted_series(text=None, config=SERIES):
    table = columns(text or epidemic())
    return SeriesEncoder.fit(read_series(table, config, ["children", "adults"], "week"), config)


def numbers():
    draw = np.random.RandomState(0)
    sequences = [5 + 3 * draw.standard_normal((n, 2)) for n in (4, 7)]
    sequences[0][1, 0] = np.nan
    texts = [[("red", "up")] * 4, [("blue", "up")] * 7]
    return sequences, texts


ENCODERS = {
    "numbers": lambda: NumberEncoder.fit(numbers()[0], DataSettings(), numbers()[1]),
    "sound": lambda: SoundEncoder.fit(tones(each=1).inputs, SoundSettings()),
    "image": lambda: ImageEncoder.fit(shapes(each=1).inputs, ImageSettings(rows=True)),
    "series": fitted_series,
}
INPUTS = {
    "numbers": lambda: [(sequence, text) for sequence, text in zip(*numbers(), strict=True)],
    "sound": lambda: [(sound,) for sound in tones(each=1).inputs[:2]],
    "image": lambda: [(image,) for image in shapes(each=1).inputs[:2]],
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_comes_back_from_its_json(kind):
    encoder = ENCODERS[kind]()
    text = json.dumps(encoder.to_dict(), allow_nan=False)
    found = type(encoder).from_dict(json.loads(text))
    assert found == encoder
    assert json.dumps(found.to_dict()) == text
    assert json.loads(json.dumps(found.shape)) == found.shape
    assert found.reads == kind


@pytest.mark.parametrize("kind", INPUTS)
def test_what_is_collated_is_what_was_encoded(kind):
    encoder = ENCODERS[kind]()
    encoded = [encoder.encode(*each) for each in INPUTS[kind]()]
    inputs, lengths = encoder.collate(encoded)
    assert lengths.dtype == torch.int64
    for row, each in enumerate(encoded):
        name = next(iter(inputs))
        wanted = each[name] if isinstance(each, dict) else each
        if kind == "image":
            wanted = wanted.permute(1, 2, 0).flatten(1)
        assert torch.equal(inputs[name][row, : lengths[row]], wanted)
        assert inputs[name].shape[2] == encoder.shape["size"]


def test_series_artefacts_are_the_same_bytes_when_later_values_change():
    rows = epidemic().splitlines()
    end = 1 + int(0.7 * (len(rows) - 1))
    changed = rows[:end] + [f"{row.split(',')[0]},{n * 977},3" for n, row in enumerate(rows[end:])]
    one, two = (json.dumps(fitted_series("\n".join(t)).to_dict()) for t in (rows, changed))
    assert one == two


def test_numbers_are_standardised_by_the_steps_of_training():
    sequences, texts = numbers()
    encoder = NumberEncoder.fit(sequences, DataSettings(), texts)
    found = torch.cat([encoder.encode(*each)["numbers"] for each in INPUTS["numbers"]()])
    there = found[:, 2] == 0
    assert found[there, 0].mean().abs() < 1e-5
    assert (found[there, 0].std(correction=0) - 1).abs() < 1e-5
    assert found[~there].tolist() == [[0.0, found[~there][0, 1].item(), 1.0]]
    assert encoder.shape == {"kind": "numbers", "size": 3, "categories": [3, 2]}


def test_categories_that_training_did_not_see_share_zero():
    encoder = ENCODERS["numbers"]()
    found = encoder.encode(np.ones((2, 2)), [("green", "up"), ("red", "down")])["categories"]
    assert found.tolist() == [[0, 1], [2, 0]]


def test_a_constant_column_is_not_blown_up():
    encoder = NumberEncoder.fit([np.full((9, 1), 0.1)], DataSettings())
    assert encoder.encode(np.array([[0.1], [1.1]]))["numbers"].tolist() == [[0.0], [1.0]]


def test_huge_numbers_stay_finite():
    encoder = NumberEncoder.fit([np.array([[3e38], [-3e38], [1e38]])], DataSettings())
    assert encoder.encode(np.array([[1e300]]))["numbers"].isfinite().all()


@pytest.mark.parametrize(
    ("value", "message"),
    [([[1.0]], r"\[T 2\]"), (np.zeros((0, 2)), "a step or more"), ([[1.0, np.inf]], "infinite"),
     ([[1.0, np.nan]], "column 2 is missing")],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(value, message):
    with pytest.raises(DataError, match=message):
        ENCODERS["numbers"]().encode(np.array(value), [("red", "up")])


def test_too_many_steps_are_refused_or_cut_as_the_settings_say():
    for too_long in ("refuse", "truncate"):
        config = DataSettings(max_length=3, too_long=too_long)
        encoder = NumberEncoder.fit([np.ones((2, 1))], config, [[("a",), ("b",)]])
        given = np.ones((5, 1)), [("a",)] * 5
        if too_long == "refuse":
            with pytest.raises(DataError, match=r"data\.max_length is 3"):
                encoder.encode(*given)
        else:
            assert [len(each) for each in encoder.encode(*given).values()] == [3, 3]


def test_learning_from_nothing_is_refused():
    for fit in (
        lambda: NumberEncoder.fit([], DataSettings()),
        lambda: SoundEncoder.fit([], SoundSettings()),
        lambda: ImageEncoder.fit([], ImageSettings()),
    ):
        with pytest.raises(DataError, match="got none"):
            fit()


@pytest.mark.parametrize("make", [passengers, epidemic, waves])
def test_samples_of_series_are_read_whole_and_equally_spaced(make):
    assert make() == make()
    table = columns(make())
    date = next(iter(table))
    values = [name for name in table if name not in (date, "id")]
    found = read_series(table, SeriesSettings(), values, date, "id" if "id" in table else None)
    assert not found.refused and not found.warnings
    assert found.used == len(table[date])
    names = {"month": "monthly", "week": "weekly", "time": "hourly"}
    assert isinstance(found.frequency, Frequency) and found.frequency.name == names[date]


def test_presses_of_a_key_hold_its_two_frequencies():
    found = tones(each=1)
    for sound, key in zip(found.inputs[:4], found.targets[:4], strict=True):
        power = np.abs(np.fft.rfft(sound, 8000)) ** 2
        assert abs(int(power[600:1000].argmax()) + 600 - 697) < 8
        column = (1209, 1336, 1477, 1633)["123A".index(key)]
        assert abs(int(power[1100:1700].argmax()) + 1100 - column) < 8


def test_the_sum_of_the_passengers_is_the_published_one():
    # Mean 280.2986 of 144 months.
    assert_close(
        torch.tensor(sum(map(int, columns(passengers())["passengers"])) / 144.0),
        torch.tensor(280.2986111),
    )
