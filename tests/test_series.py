"""Series from tables, and their windows: nothing is dropped, and nothing of the future is seen."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_dates import dates_of
from tests.test_encoders import columns
from tests.tolerance import assert_close

from unspool.data.calendar_features import calendar_features, find_frequency
from unspool.data.made_samples import epidemic, passengers, waves
from unspool.data.scaled_series import ScaledSeries
from unspool.data.series import cumulative, grows_with_level, read_series
from unspool.data.series_parts import chosen_sizes, origins, rolling_origins, time_parts
from unspool.data.series_settings import SeriesSettings
from unspool.data.series_windows import SeriesEncoder
from unspool.errors import ConfigError, DataError


def daily(count=12, leave_out=(), start="2020-01-01"):
    dates = [str(np.datetime64(start) + n) for n in range(count) if n not in leave_out]
    return {"day": dates, "n": [str(n * n % 11) for n in range(count) if n not in leave_out]}


def read(table, **options):
    return read_series(table, SeriesSettings(**options), ["n"], "day")


def test_days_of_which_most_are_missing_are_refused():
    days = np.sort(np.random.RandomState(0).choice(3000, 50, replace=False))
    dates = [str(np.datetime64("2000-01-01") + day) for day in days]
    with pytest.raises(DataError, match=r"steps have no row; wanted at most 50%"):
        read({"day": dates, "n": ["1"] * 50})


def test_gaps_are_filled_with_the_value_before_and_told():
    found = read(daily(leave_out=(3, 4)))
    values = found.series[0].values[:, 0]
    assert len(values) == 12 and values[3] == values[4] == values[2]
    assert found.series[0].filled == 2 and found.used == 10
    assert "2 of 12 steps lack a value" in found.warnings[0]


def test_gaps_are_refused_if_that_is_asked():
    with pytest.raises(DataError, match="2 of 12 steps lack a value, the first 2020-01-04"):
        read(daily(leave_out=(3, 4)), gaps="refuse")


def test_a_date_that_comes_again_is_refused_and_names_the_first_line():
    table = daily()
    table["day"].append("2020-01-03")
    table["n"].append("999")
    found = read(table)
    assert found.series[0].values.max() < 999
    assert [(each.place.line, each.reason) for each in found.refused] == [
        (13, "has the date of line 3 again")
    ]


def test_rows_are_sorted_by_date():
    table = daily()
    backwards = {name: cells[::-1] for name, cells in table.items()}
    assert np.array_equal(read(table).series[0].values, read(backwards).series[0].values)


def test_rows_that_cannot_be_read_are_refused_with_their_reason():
    table = daily(20)
    table["n"][4], table["n"][6], table["day"][8], table["n"][9] = "many", "inf", "soon", ""
    found = read(table)
    assert [each.place.line for each in found.refused] == [9, 5, 7]
    assert found.used + len(found.refused) == 20
    assert found.series[0].filled == 4


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_row_is_used_or_refused_whatever_the_cells_hold(data):
    cell = st.one_of(
        st.integers(-9, 9).map(str), st.text(max_size=4), st.sampled_from(["", "nan", "1e300"])
    )
    table = daily(data.draw(st.integers(1, 20)))
    table["n"] = [data.draw(cell) for _ in table["n"]]
    for _ in range(data.draw(st.integers(0, 3))):
        table["day"][data.draw(st.integers(0, len(table["day"]) - 1))] = data.draw(
            st.sampled_from(["x", "2020-01-02", "2020-01-02 07:00", "2019-12-25"])
        )
    try:
        found = read(table)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert found.used + len(found.refused) == len(table["day"])
        assert all(np.isfinite(each.values).all() for each in found.series)


def test_a_constant_series_is_told():
    table = daily()
    table["n"] = ["7"] * 12
    assert "n is constant, 7 at every step." in read(table).warnings


def test_series_of_a_long_table_are_those_of_the_wide_one():
    table = columns(waves())
    found = read_series(table, SeriesSettings(), ["value"], "time", "id")
    assert [each.name for each in found.series] == ["low", "high", "drifting"]
    for each in found.series:
        picked = [row == each.name for row in table["id"]]
        alone = {k: [c for c, p in zip(v, picked, strict=True) if p] for k, v in table.items()}
        one = read_series(alone, SeriesSettings(), ["value"], "time")
        assert np.array_equal(one.series[0].values, each.values)


def test_rows_without_dates_are_equally_spaced():
    found = read_series({"n": ["3", "1", "2"]}, SeriesSettings(), ["n"])
    assert found.frequency is None and found.series[0].values[:, 0].tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [({"day": [], "n": []}, "holds no rows"), ({"day": ["x"], "n": ["1"]}, "none of 1 rows"),
     ({"day": ["2020-01-01"], "n": ["1"]}, "three or more"),
     ({"day": ["2020-01-01", "2020-01-02"], "n": ["1"]}, "differ in length")],
)  # fmt: skip
def test_tables_that_hold_no_series_are_refused(table, message):
    with pytest.raises(DataError, match=message):
        read(table)


def test_counts_that_only_grow_are_noticed():
    assert cumulative(np.cumsum(np.arange(30) % 5).astype(float))
    assert not cumulative(np.array([float(n) for n in range(30)]) + 0.5)
    assert not cumulative(np.array([int(p) for p in columns(passengers())["passengers"]], float))
    assert not cumulative(np.zeros(30))


CONFIG = SeriesSettings(lookback=8, horizon=4, quantiles=(0.5,))


def counted(ahead=0, positive=False, **options):
    """A series of counts, of a price known ahead, and of something that nobody knows ahead."""
    draw = np.random.RandomState(1)
    nothing, least = [""] * ahead, 9 if positive else 0
    table = {
        "day": [str(np.datetime64("2020-01-01") + n) for n in range(90 + ahead)],
        "cases": [str(n + least) for n in np.cumsum(draw.randint(0, 9, 90))] + nothing,
        "price": [f"{n + least:.3f}" for n in [*draw.standard_normal(90), *range(ahead)]],
        "rain": [f"{n + least:.3f}" for n in draw.standard_normal(90)] + nothing,
    }
    config = SeriesSettings(
        **{"lookback": 8, "horizon": 4, "target": ("cases",), "known": ("price",), **options}
    )
    found = read_series(table, config, ["cases", "price", "rain"], "day")
    return found, SeriesEncoder.fit(found, config)


@given(st.integers(5, 2000))
@settings(max_examples=50, deadline=None)
def test_the_parts_of_time_tile_the_series(steps):
    parts = time_parts(steps)
    assert [s for part in parts.values() for s in part] == list(range(steps))
    assert len(parts["train"]) == steps * 7 // 10 and len(parts["test"]) == steps // 5


@given(st.integers(20, 300), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_targets_stay_in_their_part_and_no_window_is_dropped(steps, lookback, horizon, stride):
    for part in time_parts(steps).values():
        found = origins(part, lookback, horizon, stride)
        every = [s for s in part if s >= lookback and s + horizon <= part.stop]
        assert list(found) == every[::stride]


def test_folds_move_on_by_a_horizon_and_end_with_the_series():
    folds = list(rolling_origins(100, 7, 5, least=60))
    assert folds[-1][1] == 100 and folds[0][0] == 65
    assert all(before[1] == after[0] for before, after in itertools.pairwise(folds))
    with pytest.raises(DataError, match="no 5 folds"):
        list(rolling_origins(100, 7, 5, least=66))


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("difference", ["auto", "none", "first"])
@pytest.mark.parametrize("logarithm", ["auto", "yes"])
def test_the_truth_comes_back_from_its_scaled_windows(scaling, difference, logarithm):
    options = {"scaling": scaling, "difference": difference, "logarithm": logarithm}
    found, encoder = counted(positive=True, **options)
    scaled, starts = ScaledSeries.of(encoder, found.series[0]), list(origins(range(90), 8, 4, 3))
    back = scaled.restore(scaled.targets(starts)[..., None], starts)[..., 0]
    assert np.abs(back - scaled.truth(starts)).max() < 1e-2
    wanted = np.stack([found.series[0].values[s : s + 4, :1] for s in starts])
    assert np.array_equal(scaled.truth(starts), wanted)


@pytest.mark.parametrize("difference", ["none", "first"])
@pytest.mark.parametrize("logarithm", ["no", "yes"])
def test_nothing_that_is_seen_changes_when_the_future_does(logarithm, difference):
    found, encoder = counted(positive=True, logarithm=logarithm, difference=difference)
    series = found.series[0]
    start = 70
    before = ScaledSeries.of(encoder, series).inputs([start])
    price = series.values[:, 1].copy()
    series.values[start:] = 1e6
    series.values[start:, 1] = price[start:]
    after = ScaledSeries.of(encoder, series).inputs([start])
    if difference == "first":
        # The price itself is known ahead; its changes are those of the price.
        assert encoder.differenced == (0, 1, 2)
    assert all(torch.equal(before[name], after[name]) for name in before)
    series.values[start - 1, 0] += 5
    later = ScaledSeries.of(encoder, series).inputs([start])
    assert not torch.equal(later["numbers"], after["numbers"])


def test_what_was_learnt_is_the_same_bytes_when_later_values_change():
    found, encoder = counted()
    config = encoder.settings
    found.series[0].values[time_parts(90)["train"].stop :] *= -3
    assert json.dumps(SeriesEncoder.fit(found, config).to_dict()) == json.dumps(encoder.to_dict())


def test_inputs_have_the_shape_that_the_model_is_told():
    found, encoder = counted(quantiles=(0.1, 0.5))
    inputs = ScaledSeries.of(encoder, found.series[0]).inputs([8, 20, 86])
    assert inputs["numbers"].shape == (3, 8, encoder.shape["size"])
    assert inputs["future"].shape == (3, 4, encoder.output["future"])
    assert encoder.output == {
        "mapping": "horizon",
        "size": 1,
        "horizon": 4,
        "quantiles": 2,
        "future": 5,
    }
    assert encoder.future_names[:3] == ("price", "weekday sine", "weekday cosine")


def test_a_forecast_behind_the_end_needs_what_is_known_and_continues_the_calendar():
    found, encoder = counted()
    with pytest.raises(DataError, match="4 of 4 steps ahead lack price"):
        ScaledSeries.of(encoder, found.series[0]).inputs([90])
    with pytest.raises(DataError, match="the truth ends at step 90"):
        ScaledSeries.of(encoder, found.series[0]).targets([87])
    ahead, _ = counted(ahead=4)
    assert len(ahead.series[0]) == 90 and ahead.used == 94
    future = ScaledSeries.of(encoder, ahead.series[0]).inputs([90])["future"]
    dates = np.datetime64("2020-01-01") + np.arange(90, 94)
    wanted = calendar_features(dates.astype("datetime64[s]"), found.frequency)
    assert_close(future[0, :, 1:], torch.from_numpy(wanted))
    mean, deviation = encoder.mean[""][1], encoder.deviation[""][1]
    wanted = (np.arange(4.0) - mean) / deviation
    assert_close(future[0, :, 0], torch.from_numpy(wanted.astype(np.float32)))


def test_counts_are_differenced_on_their_own_and_that_is_told():
    _, encoder = counted()
    assert encoder.differenced == (0,) and "counts up: cases" in encoder.notes[0]
    assert counted(difference="none")[1].differenced == ()


def test_the_training_part_of_each_series_has_mean_zero_and_deviation_one():
    config = SeriesSettings(lookback=24, horizon=6)
    found = read_series(columns(waves()), config, ["value"], "time", "id")
    encoder = SeriesEncoder.fit(found, config)
    for series in found.series:
        part = ScaledSeries.of(encoder, series).values[: time_parts(len(series))["train"].stop]
        assert part.mean().abs() < 1e-4 and (part.std(correction=0) - 1).abs() < 1e-4


def test_what_cannot_be_is_refused():
    found, encoder = counted()
    with pytest.raises(DataError, match=r"90 steps; a forecast sees series\.lookback, 8 steps"):
        ScaledSeries.of(encoder, found.series[0]).inputs([7])
    found.series[0].name = "another"
    with pytest.raises(DataError, match="was not in the training part"):
        ScaledSeries.of(encoder, found.series[0])
    with pytest.raises(DataError, match=r"series\.target: 'sun'"):
        counted(target=("sun",))
    with pytest.raises(DataError, match="rain is neither forecast"):
        counted(strategy="recursive")
    with pytest.raises(DataError, match="need 64"):
        counted(lookback=60)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({"lookback": -1}, "lookback"), ({"horizon": -1}, "horizon"), ({"stride": 0}, "stride"),
     ({"scaling": "min"}, "scaling"), ({"difference": "second"}, "difference"),
     ({"gaps": "zero"}, "gaps"),
     ({"quantiles": (0.9, 0.1)}, "quantiles"), ({"quantiles": (0.0,)}, "quantiles"),
     ({"quantiles": (0.1, 0.9)}, "quantiles"), ({"instance": "first"}, "instance"),
     ({"strategy": "recursive", "quantiles": (0.1, 0.5)}, "quantiles"),
     ({"strategy": "direkt"}, "strategy"), ({"measure": "mape"}, "measure"),
     ({"columns": "both"}, "columns"), ({"logarithm": "log"}, "logarithm"),
     ({"target": ("a",), "known": ("a",)}, "known")],
)  # fmt: skip
def test_wrong_settings_are_named(wrong, key):
    with pytest.raises(ConfigError, match=rf"series\.{key}"):
        SeriesSettings(**wrong)


def test_influenza_weeks_give_every_window_of_the_test_part(shared_data):
    text = shared_data("ili-national/national_illness.csv").read_text()
    table = columns(text)
    values = [name for name in table if name != "date"]
    config = SeriesSettings(lookback=104, horizon=24, calendar=False)
    found = read_series(table, config, values, "date")
    assert found.used == 966 and found.frequency.name == "weekly"
    encoder = SeriesEncoder.fit(found, config)
    starts = origins(time_parts(966)["test"], 104, 24)
    assert len(starts) == 170
    inputs = ScaledSeries.of(encoder, found.series[0]).inputs(list(starts))
    assert inputs["numbers"].shape == (170, 104, 7)


def test_the_made_epidemic_peaks_every_winter():
    cases = np.array([int(n) for n in columns(epidemic())["adults"]])
    assert all(cases[52 * n : 52 * n + 20].max() > 2 * np.median(cases) for n in range(8))


def test_columns_whose_swings_grow_with_their_level_are_noticed():
    t = np.arange(100.0)
    wave = 1 + 0.3 * np.sin(2 * np.pi * t / 12)
    assert grows_with_level(1.02**t * wave, 12) and not grows_with_level(50 + t + wave, 12)
    assert not grows_with_level(np.ones(100), 12)
    found = read_series(columns(passengers()), CONFIG, ["passengers"], "month")
    encoder = SeriesEncoder.fit(found, SeriesSettings(lookback=24, horizon=12))
    assert encoder.logged == (0,) and "logarithms are learnt" in encoder.notes[0]


def test_sizes_that_are_left_open_fit_the_series():
    for learnt, judged in ((3, 1), (21, 3), (100, 16), (5000, 900)):
        for dates in ("hourly", "daily", "weekly", "monthly", "yearly"):
            frequency = find_frequency(dates_of(dates))
            found = chosen_sizes(SeriesSettings(), frequency, learnt, judged)
            assert 1 <= found.horizon <= judged and found.lookback + found.horizon <= learnt
    asked = SeriesSettings(lookback=7, horizon=3)
    assert chosen_sizes(asked, None, 2, 1) == asked
