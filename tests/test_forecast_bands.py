"""Bands of a forecast: what they promise they hold, and nothing of the test part widens them."""

from __future__ import annotations

import numpy as np
import pytest

import unspool
from forecast_jobs import job_of, lines, model_of, settings_of
from unspool import jobs
from unspool.predictor import load
from unspool.tasks import forecast
from unspool.tasks.forecast_bands import Bands, bands_of, fewest_windows
from unspool.tasks.forecast_windows import calibrated_bands, forecasts, summed_forecasts

LEVELS = (0.1, 0.5, 0.9)


def made(draw, windows, width, columns=1, horizon=1, skew=0.0):
    """Forecasts with bands of some width, whose errors are normal with deviation 1."""
    point = draw.normal(0, 3, (windows, horizon, columns))
    truth = point + draw.normal(skew, 1, point.shape)
    return np.stack([point - width, point, point + width], -1), truth


def held(said, truth):
    return float(((truth >= said[..., 0]) & (truth <= said[..., -1])).mean())


@pytest.mark.parametrize(("width", "skew"), [(0.2, 0.0), (0.2, 0.3), (0.8, 0.0)])
def test_corrected_bands_hold_what_they_promise_when_windows_can_be_exchanged(width, skew):
    """Too narrow before, within noise of 80 % after, on windows never seen."""
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        bands = bands_of(*made(draw, 199, width, skew=skew), LEVELS)
        said, truth = made(draw, 400, width, skew=skew)
        shares.append(held(bands.of(said, LEVELS), truth))
    assert np.mean(shares) == pytest.approx(0.8, abs=0.02)


def test_bands_are_never_made_narrower():
    draw = np.random.default_rng(5)
    bands = bands_of(*made(draw, 199, 6.0), LEVELS)
    assert np.abs(bands.stretches).max() == 0
    assert (np.array(bands_of(*made(draw, 199, 1.0, skew=3.0), LEVELS).stretches) >= 0).all()


def test_each_side_misses_as_often_as_its_quantile_says():
    draw = np.random.default_rng(1)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    stretch = np.array([-0.1, -0.05, 0.0, 0.1, 0.5])

    def some():
        point = draw.normal(0, 3, (1999, 1, 1))
        return point[..., None] + stretch, point + draw.exponential(1, point.shape) - 0.7

    bands = bands_of(*some(), levels)
    said, truth = some()
    below = (truth[..., None] <= bands.of(said, levels)).mean((0, 1, 2))
    np.testing.assert_allclose(np.delete(below, 2), np.delete(levels, 2), atol=0.03)


def test_the_errors_of_many_steps_ahead_count_as_fewer_windows():
    """Windows a step apart share all but one of their steps, so that n is B / h: never narrower."""
    draw = np.random.default_rng(2)
    said, truth = made(draw, 30, 1.0)
    many = [np.repeat(each, 12, 1) for each in (said, truth)]
    stretches = np.array(bands_of(*many, LEVELS).stretches)
    assert (np.diff(stretches[:, 0]) >= 0).all() and stretches[-1, 0] > stretches[0, 0]
    largest = ((said[..., 1] - truth) / (said[..., 1] - said[..., 0])).max() - 1
    assert stretches[-1, 0] == pytest.approx(largest)


def test_bands_never_cross_and_the_point_stays():
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    bands = Bands(((0.0, 3.0, 0.0, 5.0, 0.9),), 100)
    said = np.sort(np.random.default_rng(3).normal(0, 1, (50, 1, 2, 5)), -1)
    after = bands.of(said, levels)
    assert (np.diff(after, axis=-1) >= 0).all()
    assert np.array_equal(after[..., 2], said[..., 2])
    assert np.array_equal(Bands().of(said, levels), said)


def test_too_few_windows_and_lone_points_are_left_alone():
    draw = np.random.default_rng(4)
    few = fewest_windows(LEVELS) - 1
    assert bands_of(*made(draw, few, 1.0), LEVELS) == Bands()
    assert bands_of(*made(draw, few + 1, 1.0), LEVELS).windows == few + 1
    said, truth = made(draw, 50, 1.0)
    assert bands_of(said[..., 1:2], truth, (0.5,)) == Bands()


def job_with_test(tmp_path, change):
    """A job whose test part alone is changed, and the step at which that begins."""
    text = lines(160)
    job = job_of(text, tmp_path, series__lookback=10, series__horizon=3)
    end = job.test.starts[0][0]
    head, *rows = text.splitlines()
    changed = [row if n < end else f"{row.split(',')[0]},{change}" for n, row in enumerate(rows)]
    more = "\n".join([head, *changed]) + "\n"
    return job, job_of(more, tmp_path, series__lookback=10, series__horizon=3)


def test_what_is_stored_of_bands_is_the_same_bytes_when_the_test_part_changes(tmp_path):
    one, other = job_with_test(tmp_path, "7.5")
    model = model_of(one)
    first, second = (each.calibrated(model).files() for each in (one, other))
    assert first == second and "bands.json" in first and "bands.json" not in one.files()
    assert first["encoder.json"] == one.files()["encoder.json"]


def test_bands_come_back_from_a_run_and_are_those_of_its_report(tmp_path):
    file = tmp_path / "days.csv"
    file.write_text(lines(160))
    settings = settings_of(series__lookback=10, series__horizon=3)
    report = unspool.train(file, settings=settings, out=tmp_path / "run")
    predictor = load(tmp_path / "run")
    bands = predictor.answers.bands
    assert bands.windows == report["calibration_windows"] > 0
    assert {"coverage", "coverage_before"} <= set(report)
    again = jobs.evaluate(tmp_path / "run")
    assert {name: again[name] for name in ("coverage", "coverage_before")} == {
        name: report[name] for name in ("coverage", "coverage_before")
    }
    job = job_of(file.read_text(), tmp_path, series__lookback=10, series__horizon=3)
    assert calibrated_bands(predictor.model, job.validation) == bands
    series, starts = next(job.test.own())
    learnt = summed_forecasts(predictor.model, series, starts)
    wide = forecasts(predictor.model, series, starts, bands)
    assert np.array_equal(wide, series.encoder.raised(bands.of(learnt, LEVELS)))
    columns = {name: [row.split(",")[n] for row in file.read_text().splitlines()[1:]]
               for n, name in enumerate(("day", "c0"))}  # fmt: skip
    first = predictor.predict([columns])[0]["answer"][0]["forecast"]["c0"]
    said = forecasts(predictor.model, series, [len(series)], bands)[0, 0, 0]
    assert [first["0.1"], first["point"], first["0.9"]] == pytest.approx(said.tolist())
    assert forecast.restore(job.calibrated(predictor.model).files(), "run").bands == bands
