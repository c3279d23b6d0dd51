import datetime
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_encoders import columns
from tests.tolerance import assert_close

from unspool.data.calendar_features import calendar_features, find_frequency, read_dates
from unspool.data.made_samples import epidemic, passengers, waves
from unspool.data.series import cumulative, read_series
from unspool.data.series_settings import SeriesSettings
from unspool.data.series_windows import SeriesEncoder, origins, rolling_origins, time_parts
from unspool.errors import ConfigError, DataError

DAY = datetime.date(2021, 2, 13)
SPELLINGS = {
    "2021-02-13": "2021-02-13", "2021/2/13": "2021-02-13", "13.02.2021": "2021-02-13",
    "13.2.21": "2021-02-13", "2021-02": "2021-02-01", "2021": "2021-01-01", "2021W06": "2021-02-08",
    "2021-W06": "2021-02-08", "2021Q2": "2021-04-01", "February 2021": "2021-02-01",
    "Feb-2021": "2021-02-01", "2021-02-13T00:00:00Z": "2021-02-13", "1.1.70": "1970-01-01",
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_date_is_read_in_every_spelling(spelling):
    dates, bad = read_dates([spelling])
    assert not bad and str(dates[0].astype("datetime64[D]")) == SPELLINGS[spelling]


def test_clocks_and_their_distance_from_utc_are_read():
    cells = ["2021-02-13 23:30", "2021-02-13 11:30:00 PM", "2021-02-14T00:30:00+01:00"]
    assert len(set(read_dates(cells)[0])) == 1


@pytest.mark.parametrize(
    "cell", ["", "soon", "2021-13-01", "2021-02-30", "2021-02-13 25:00", "Foo 2021", "9" * 50]
)
def test_what_is_no_date_is_told_by_its_position(cell):
    assert read_dates(["2021-01-01", cell])[1] == [1]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_date_or_is_told(cell):
    dates, bad = read_dates([cell])
    assert bool(bad) == bool(np.isnat(dates[0]))


def spelled(form, start, count, days):
    each = [start + datetime.timedelta(days=days * n) for n in range(count)]
    return [d.strftime(form) for d in each], [d.isoformat() for d in each]


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%m-%d-%y"])
@pytest.mark.parametrize(("count", "days"), [(40, 1), (20, 7)])
def test_the_order_of_day_and_month_is_found_from_the_column(form, count, days):
    cells, wanted = spelled(form, datetime.date(2021, 3, 2), count, days)
    dates = read_dates(cells)[0].astype("datetime64[D]")
    assert [str(date) for date in dates] == wanted


@pytest.mark.parametrize(
    "cells", [["1/1/2021", "2/2/2021", "3/3/2021"], ["1/2/2021"], ["13/1/2021", "1/13/2021"]]
)
def test_days_and_months_that_cannot_be_told_apart_are_refused(cells):
    with pytest.raises(DataError, match="year-month-day"):
        read_dates(cells)


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"])
def test_hours_that_go_on_over_midnight_show_which_is_the_day(form):
    start = datetime.datetime(2021, 3, 2)
    each = [start + datetime.timedelta(hours=n) for n in range(60)]
    dates, _ = read_dates([moment.strftime(form) for moment in each])
    assert dates.tolist() == each


FREQUENCIES = {
    "hourly": ("2020-02-28T00", "h", 1), "daily": ("2020-02-20", "D", 1),
    "weekly": ("2020-02-20", "D", 7),
    "monthly": ("2020-02", "M", 1), "quarterly": ("2020-01", "M", 3), "yearly": ("1950", "Y", 1),
    "every 900 seconds": ("2020-02-28T00:00", "m", 15),
}  # fmt: skip


def dates_of(name, count=40):
    start, unit, step = FREQUENCIES[name]
    steps = np.arange(count) * np.timedelta64(step, unit)
    return (np.datetime64(start, unit) + steps).astype("datetime64[s]")


@pytest.mark.parametrize("name", FREQUENCIES)
def test_a_frequency_is_found_also_with_gaps_and_goes_on_as_the_dates_do(name):
    dates = dates_of(name)
    found = find_frequency(np.delete(dates, [3, 4, 17]))
    assert found.name == name
    assert found.positions(dates).tolist() == list(range(40))
    assert np.array_equal(found.following(dates[0], 39), dates[1:])


def test_days_of_work_skip_the_weekend():
    dates = dates_of("daily")
    dates = dates[np.is_busday(dates.astype("datetime64[D]"))]
    found = find_frequency(dates)
    assert found.name == "business days"
    assert found.positions(dates).tolist() == list(range(len(dates)))
    assert np.array_equal(found.following(dates[0], len(dates) - 1), dates[1:])


def test_the_last_days_of_months_follow_each_other():
    months = (dates_of("monthly", 30).astype("datetime64[M]") + 1).astype("datetime64[D]")
    dates = (months - 1).astype("datetime64[s]")
    found = find_frequency(dates)
    assert found.name == "monthly" and np.array_equal(found.following(dates[0], 29), dates[1:])


def test_dates_at_random_are_refused():
    seconds = np.sort(np.random.RandomState(0).choice(10**8, 50, replace=False))
    with pytest.raises(DataError, match="equally far apart"):
        find_frequency(seconds.astype("datetime64[s]"))


def test_days_of_which_most_are_missing_are_refused():
    days = np.sort(np.random.RandomState(0).choice(3000, 50, replace=False))
    dates = [str(np.datetime64("2000-01-01") + day) for day in days]
    with pytest.raises(DataError, match=r"steps have no row; wanted at most 50%"):
        read({"day": dates, "n": ["1"] * 50})


def daily(count=12, leave_out=(), start="2020-01-01"):
    dates = [str(np.datetime64(start) + n) for n in range(count) if n not in leave_out]
    return {"day": dates, "n": [str(n * n % 11) for n in range(count) if n not in leave_out]}


def read(table, **options):
    return read_series(table, SeriesSettings(**options), ["n"], "day")


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


def counted(**options):
    """A series of counts, of a price known ahead, and of something that nobody knows ahead."""
    draw = np.random.RandomState(1)
    table = {
        "day": [str(np.datetime64("2020-01-01") + n) for n in range(90)],
        "cases": [str(n) for n in np.cumsum(draw.randint(0, 9, 90))],
        "price": [f"{n:.3f}" for n in draw.standard_normal(90)],
        "rain": [f"{n:.3f}" for n in draw.standard_normal(90)],
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


def test_windows_are_views_until_a_batch_is_taken():
    _, encoder = counted()
    scaled = encoder.scale(counted()[0].series[0])
    whole = scaled._whole(scaled.values, 8)
    assert whole.untyped_storage().data_ptr() == scaled.values.untyped_storage().data_ptr()
    assert whole.shape == (83, 8, 3)


@pytest.mark.parametrize("scaling", ["standard", "instance", "none"])
@pytest.mark.parametrize("difference", ["auto", "none", "first"])
def test_the_truth_comes_back_from_its_scaled_windows(scaling, difference):
    found, encoder = counted(scaling=scaling, difference=difference)
    scaled, starts = encoder.scale(found.series[0]), list(origins(range(90), 8, 4, 3))
    back = scaled.restore(scaled.targets(starts), starts)
    wanted = np.stack([found.series[0].values[s : s + 4, :1] for s in starts])
    assert np.abs(back - wanted).max() < 1e-3
    with_quantiles = scaled.restore(scaled.targets(starts)[..., None], starts)
    assert np.array_equal(with_quantiles[..., 0], back)


@pytest.mark.parametrize("scaling", ["standard", "instance"])
@pytest.mark.parametrize("difference", ["none", "first"])
def test_nothing_that_is_seen_changes_when_the_future_does(scaling, difference):
    found, encoder = counted(scaling=scaling, difference=difference)
    series = found.series[0]
    start = 70
    before = encoder.scale(series).inputs([start])
    price = series.values[:, 1].copy()
    series.values[start:] = 1e6
    series.values[start:, 1] = price[start:]
    after = encoder.scale(series).inputs([start])
    if difference == "first":
        # The price itself is known ahead; its changes are those of the price.
        assert encoder.differenced == (0, 1, 2)
    assert all(torch.equal(before[name], after[name]) for name in before)
    series.values[start - 1, 0] += 5
    assert not torch.equal(encoder.scale(series).inputs([start])["numbers"], after["numbers"])


def test_what_was_learnt_is_the_same_bytes_when_later_values_change():
    found, encoder = counted()
    config = encoder.settings
    found.series[0].values[time_parts(90)["train"].stop :] *= -3
    assert json.dumps(SeriesEncoder.fit(found, config).to_dict()) == json.dumps(encoder.to_dict())


def test_inputs_have_the_shape_that_the_model_is_told():
    found, encoder = counted(quantiles=(0.1, 0.9))
    inputs = encoder.scale(found.series[0]).inputs([8, 20, 86])
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
    scaled = encoder.scale(found.series[0])
    with pytest.raises(DataError, match="4 steps ahead lack price"):
        scaled.inputs([90])
    future = scaled.inputs([90], torch.zeros(1, 4, 1))["future"]
    dates = np.datetime64("2020-01-01") + np.arange(90, 94)
    wanted = calendar_features(dates.astype("datetime64[s]"), found.frequency)
    assert_close(future[0, :, 1:], torch.from_numpy(wanted))
    with pytest.raises(DataError, match="the truth ends at step 90"):
        scaled.targets([87])


def test_counts_are_differenced_on_their_own_and_that_is_told():
    _, encoder = counted()
    assert encoder.differenced == (0,) and "counts up: cases" in encoder.notes[0]
    assert counted(difference="none")[1].differenced == ()


def test_the_training_part_of_each_series_has_mean_zero_and_deviation_one():
    config = SeriesSettings(lookback=24, horizon=6)
    found = read_series(columns(waves()), config, ["value"], "time", "id")
    encoder = SeriesEncoder.fit(found, config)
    for series in found.series:
        part = encoder.scale(series).values[: time_parts(len(series))["train"].stop]
        assert part.mean().abs() < 1e-4 and (part.std(correction=0) - 1).abs() < 1e-4


def test_the_calendar_is_a_point_on_a_circle_that_comes_back():
    for name, period in (("hourly", 24 * 7), ("daily", 7), ("monthly", 12)):
        dates = dates_of(name, 400)
        found = calendar_features(dates, find_frequency(dates)).reshape(400, -1, 2)
        assert np.allclose((found**2).sum(2), 1, atol=1e-5)
        first = found[:, 0]
        assert np.abs(first[period:] - first[:-period]).max() < 0.04
    assert calendar_features(dates_of("yearly"), find_frequency(dates_of("yearly"))).shape == (
        40,
        0,
    )


def test_what_cannot_be_is_refused():
    found, encoder = counted()
    scaled = encoder.scale(found.series[0])
    for starts in ([7], [91], []):
        with pytest.raises(DataError, match="forecasts begin at steps 8 to 90"):
            scaled.inputs(starts)
    found.series[0].name = "another"
    with pytest.raises(DataError, match="was not in the training part"):
        encoder.scale(found.series[0])
    with pytest.raises(DataError, match=r"series\.target: 'sun'"):
        counted(target=("sun",))
    with pytest.raises(DataError, match="need 64"):
        counted(lookback=60)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({"lookback": 0}, "lookback"), ({"horizon": -1}, "horizon"), ({"stride": 0}, "stride"),
     ({"scaling": "min"}, "scaling"), ({"difference": "second"}, "difference"),
     ({"gaps": "zero"}, "gaps"),
     ({"quantiles": (0.9, 0.1)}, "quantiles"), ({"quantiles": (0.0,)}, "quantiles"),
     ({"quantiles": ()}, "quantiles"),
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
    assert encoder.scale(found.series[0]).inputs(list(starts))["numbers"].shape == (170, 104, 7)


def test_the_made_epidemic_peaks_every_winter():
    cases = np.array([int(n) for n in columns(epidemic())["adults"]])
    assert all(cases[52 * n : 52 * n + 20].max() > 2 * np.median(cases) for n in range(8))
