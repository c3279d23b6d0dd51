"""Dates in every spelling, their frequency, and the calendar."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.data.calendar_features import calendar_features, find_frequency, read_dates
from unspool.errors import DataError

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
    seconds = np.unique(np.random.RandomState(0).randint(10**8, size=50))
    with pytest.raises(DataError, match="equally far apart"):
        find_frequency(seconds.astype("datetime64[s]"))


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
