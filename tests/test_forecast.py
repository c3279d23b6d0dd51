"""Forecasts: nothing of the future is seen, and every strategy and family runs."""

import json
import shutil

import numpy as np
import pytest
import torch
from tests.forecast_jobs import SAMPLES, job_of, lines, model_of, settings_of
from tests.tolerance import assert_close

import unspool
from unspool import jobs
from unspool.answering import answered, write_table
from unspool.cells import CELLS
from unspool.data.opening import read_source
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.data.source import Source
from unspool.errors import DataError
from unspool.models.forecaster import Forecaster
from unspool.models.settings import RecurrentSettings
from unspool.predictor import load
from unspool.tasks import forecast
from unspool.tasks.forecast_bands import Bands
from unspool.tasks.forecast_methods import simple_methods
from unspool.tasks.forecast_metrics import (
    mean_absolute_error,
    scaled_error,
    standardised_square_error,
)
from unspool.tasks.forecast_shown import forecast_picture
from unspool.tasks.forecast_windows import ahead, forecast_loss, forecasts

# Leakage.


@pytest.mark.parametrize("which", SAMPLES)
def test_what_is_stored_is_the_same_bytes_when_validation_and_test_values_change(which, tmp_path):
    text = SAMPLES[which]()
    job = job_of(text, tmp_path)
    head, *rows = text.splitlines()
    changed, seen = [], dict.fromkeys(("low", "high", "drifting", ""), 0)
    for row in rows:
        cells = row.split(",")
        name = cells[1] if which == "waves" else ""
        learnt = next(own for own in job.learnt if own.series.series.name == name)
        later = seen[name] >= learnt.end
        cells[-1] = str(7 + 3 * seen[name] % 11) if later else cells[-1]
        seen[name] += 1
        changed.append(",".join(cells))
    other = job_of("\n".join([head, *changed]), tmp_path)
    assert other.files() == job.files()
    one, two = (model_of(each) for each in (job, other))
    job.work(one), other.work(two)
    assert all(
        torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    ), "the line that a model starts at read later values"
    assert job.period == other.period
    batch = [each.batch(range(len(each))) for each in (job.train, other.train)]
    assert torch.equal(batch[0].targets, batch[1].targets)


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
@pytest.mark.parametrize("instance", ["last", "window", "none"])
def test_a_forecast_stays_the_same_whatever_comes_after_its_start(strategy, instance, tmp_path):
    options = {"series__strategy": strategy, "series__instance": instance}
    job = job_of(lines(columns=2), tmp_path, **options)
    series, start = job.test.series[0], 95
    model = model_of(job)
    before = forecasts(model, series, [start], Bands())
    values = series.series.values.copy()
    series.series.values[start:] = -999.0
    changed = type(series).of(job.encoder, series.series)
    assert np.array_equal(forecasts(model, changed, [start], Bands()), before)
    series.series.values[:] = values
    series.series.values[start - 1] += 1.0
    again = type(series).of(job.encoder, series.series)
    assert (forecasts(model, again, [start], Bands()) != before).any()


def test_windows_of_a_part_forecast_that_part_alone_and_none_is_dropped(tmp_path):
    job = job_of(lines(200), tmp_path, series__horizon=5, series__lookback=9)
    ends = [140, 160, 200]
    parts = (job.train, job.validation, job.test)
    wanted = [range(9, 136), range(140, 156), range(160, 196)]
    assert [list(part.starts[0]) for part in parts] == [list(each) for each in wanted]
    assert all(part.starts[0][-1] + 5 == end for part, end in zip(parts, ends, strict=True))


# Laws.


@pytest.mark.parametrize("name", ["gru", "cnn", "mlp"])
def test_a_recursive_forecast_of_one_step_is_the_direct_one(name, tmp_path):
    options = {"series__horizon": 1, "series__quantiles": [0.5], "model__name": name}
    jobs_of = [job_of(lines(), tmp_path, series__strategy=s, **options)
               for s in ("direct", "recursive")]  # fmt: skip
    found = []
    for job in jobs_of:
        model = model_of(job, model__name=name)
        found.append(forecasts(model, job.test.series[0], job.test.starts[0], Bands()))
    assert np.array_equal(*found)


def test_a_recursive_forecast_is_one_step_after_the_other_in_a_plain_loop(tmp_path):
    job = job_of(lines(), tmp_path, series__strategy="recursive", series__horizon=4)
    model, series = model_of(job), job.test.series[0]
    inputs = series.inputs([100])
    said = ahead(model.eval(), job.encoder, inputs)[0, :, 0, 0]
    window, calendar = inputs["numbers"][0], inputs["future"][0]
    for step in range(4):
        one = model({"numbers": window[None], "future": calendar[None, step : step + 1]})
        assert_close(said[step], one[0, 0, 0, 0])
        window = torch.cat([window[1:], torch.cat([one[0, 0, 0], calendar[step]])[None]])


@pytest.mark.parametrize("instance", ["last", "window"])
def test_a_window_that_stands_higher_is_forecast_higher_by_as_much(instance):
    shape = {"kind": "numbers", "size": 2, "steps": 8, "targets": [0, 1], "instance": instance,
             "apart": True, "linear": True}  # fmt: skip
    output = {"mapping": "horizon", "size": 2, "horizon": 4, "quantiles": 3}
    generator = torch.Generator().manual_seed(0)
    model = Forecaster(shape, output, RecurrentSettings(hidden=5, name="gru"), CELLS["gru"],
                       generator).double()  # fmt: skip
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(-0.5, 0.5, generator=generator)
    x = torch.randn(3, 8, 2, dtype=torch.float64, generator=generator)
    plain = model.eval()({"numbers": x})
    assert_close(model({"numbers": x + 7}), plain + 7)
    if instance == "window":  # and wider by as much, where it is not all but constant
        shown = model({"numbers": 100 * x})
        assert (shown - 100 * plain).abs().max() < 1e-3 * shown.abs().max()
    assert (plain.diff(dim=-1) > 0).all(), "quantiles cross"


def test_columns_apart_do_not_see_each_other_and_columns_together_do(tmp_path):
    for columns, alone in (("apart", True), ("together", False)):
        job = job_of(lines(columns=2), tmp_path, series__columns=columns, series__calendar=False)
        model, inputs = model_of(job).eval(), job.test.batch([0]).inputs
        before = model(inputs)
        numbers = inputs["numbers"].clone()
        numbers[..., 1] += torch.linspace(0, 1, numbers.shape[1])
        after = model({"numbers": numbers})
        assert torch.equal(after[:, :, 0], before[:, :, 0]) == alone
        assert not torch.equal(after[:, :, 1], before[:, :, 1])


def test_a_straight_line_is_where_a_model_starts(tmp_path):
    rows = [f"{np.datetime64('2020-01-01') + n},{3 * n + 5}.5" for n in range(150)]
    job = job_of("day,n\n" + "\n".join(rows), tmp_path, series__difference="none")
    model = forecast.build(job.shape(), settings_of().model, CELLS["lstm"], torch.Generator())
    job.work(model)
    judged = job.judge(model)
    assert judged["mse"] < 1e-4


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_forecasts_of_a_series_in_another_unit_are_the_same_in_that_unit(scale, tmp_path):
    head, *rows = lines().splitlines()
    other = [f"{row.split(',')[0]},{float(row.split(',')[1]) * scale!r}" for row in rows]
    found = []
    for text in ("\n".join([head, *rows]), "\n".join([head, *other])):
        job = job_of(text, tmp_path, series__logarithm="no", series__difference="none")
        judged = job.judge(model_of(job))
        found.append((judged["mse"], judged["mase"], judged["columns"]["c0"]["mae"]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-3)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-3)
    assert found[1][2] == pytest.approx(found[0][2] * scale, rel=1e-3)


def test_the_loss_of_a_quantile_is_least_at_the_quantile():
    draw = torch.rand(2000, 1, 1, generator=torch.Generator().manual_seed(0))
    tried = torch.linspace(0, 1, 101)
    losses = [
        forecast_loss(torch.tensor([v, 0.5]).expand(2000, 1, 1, 2), draw, (0.1, 0.5), True)
        for v in tried.tolist()
    ]
    assert abs(tried[torch.stack(losses).argmin()] - 0.1) < 0.03


def test_figures_are_those_of_the_plain_formulas(tmp_path):
    job = job_of(lines(columns=2), tmp_path)
    model, test = model_of(job), job.test
    judged = job.judge(model)
    point = forecasts(model, test.series[0], test.starts[0], Bands())[..., 1]
    truth, learnt = test.series[0].truth(test.starts[0]), job.learnt[0].targets
    assert judged["mse"] == pytest.approx(standardised_square_error(truth, point, learnt))
    each = [scaled_error(truth[..., c], point[..., c], learnt[:, c], job.period) for c in (0, 1)]
    assert judged["mase"] == pytest.approx(np.mean(each))
    error = mean_absolute_error(truth[..., 1], point[..., 1])
    assert judged["columns"]["c1"]["mae"] == pytest.approx(error)
    assert judged["score"] == judged["mse"] and 0 <= judged["coverage"] <= 1
    assert np.mean(judged["by_step"]) == pytest.approx(judged["mse"])
    json.dumps(judged, allow_nan=False)


def test_series_side_by_side_are_forecast_by_the_simple_methods_as_each_alone(tmp_path):
    tables = [lines(columns=2, seed=seed) for seed in range(3)]
    head, *_ = tables[0].splitlines()
    rows = [f"{row},{'abc'[n]}" for n, text in enumerate(tables) for row in text.splitlines()[1:]]
    options = {"series__difference": "none", "series__logarithm": "no"}
    job = job_of("\n".join([f"{head},id", *rows]), tmp_path, **options)
    both = {each.name: each.answers for each in simple_methods(job.test, job.learnt, 7, 0)}
    for n, text in enumerate(tables):
        one = job_of(text, tmp_path, **options)
        N = len(one.test)
        for each in simple_methods(one.test, one.learnt, 7, 0):
            found = both[each.name][n * N : (n + 1) * N]
            drawn = each.name.startswith(("simple", "Holt"))  # rates: out of random candidates
            assert np.allclose(found, each.answers, rtol=0.02 if drawn else 1e-9), each.name


def test_forecasts_beside_what_came_are_those_of_the_test_part_and_have_their_dates(tmp_path):
    job = job_of(lines(columns=2), tmp_path, series__horizon=5)
    model, series = model_of(job), job.test.series[0]
    found = job.judge(model)["forecasts"]
    assert {each["column"] for each in found} == {"c0", "c1"}
    dates = [str(date.astype("datetime64[D]")) for date in series.series.dates]
    for each in found:
        start = dates.index(each["dates"][0])
        assert start in job.test.starts[0] and dates[start - 1] == each["origin"]
        place = ["c0", "c1"].index(each["column"])
        values = series.series.values[:, place].tolist()
        assert values[start : start + 5] == each["truth"]
        assert [values[dates.index(day)] for day in each["before_dates"]] == each["before"]
        said = forecasts(model, series, [start], Bands())[0, :, place]
        shown = np.stack([each[name] for name in ("low", "point", "high")], 1)
        assert_close(torch.tensor(shown).float(), torch.tensor(said).float())
        assert (np.diff(shown) > 0).all()
        assert "within the band" in forecast_picture(each).text


def test_what_is_shown_of_many_series_is_the_length_of_each_and_the_first_rows(tmp_path):
    head, *rows = lines(30).splitlines()
    (tmp_path / "two.csv").write_text("\n".join([f"{head},id", *(f"{r},a" for r in rows),
                                                 *(f"{r},b" for r in rows[:20])]))  # fmt: skip
    report = read([tmp_path / "two.csv"], DataSettings(), "forecast").report()
    assert (report["lengths"]["min"], report["lengths"]["max"]) == (20, 30)
    assert [each["line"] for each in report["examples"]] == [2, 3, 4, 5, 6]
    assert report["examples"][0]["input"] == [*rows[0].split(","), "a"]


# Whole jobs.


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_trains_two_steps_and_predicts_the_same_when_loaded(sample, tmp_path):
    report = jobs.train(sample=sample, settings=settings_of(), out=tmp_path / "run")
    assert report["task"] == "forecast" and report["steps"] == 2
    assert len(report["baselines"]) >= 4 and report["verdict"]
    shutil.copytree(tmp_path / "run" / "model", tmp_path / "model")
    text = SAMPLES[sample]()
    (tmp_path / "again.csv").write_text(text)
    said = list(answered(tmp_path / "run"))
    assert list(answered(tmp_path / "model", file=tmp_path / "again.csv")) == said
    series = len({row["series"] for row in said})
    horizon = {"passengers": 12, "epidemic": 24, "waves": 24}[sample]
    assert len(said) == series * horizon
    for row in said:
        for values in row["forecast"].values():
            assert values["0.1"] < values["point"] < values["0.9"]
    assert write_table(tmp_path / "out.csv", said) == len(said)
    first = jobs.evaluate(tmp_path / "run")
    assert first["score"] == report["score"] and first["baselines"]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    settings = settings_of(train__steps=4, train__checkpoint_every=2, train__evaluate_every=2)
    whole = jobs.train(sample="passengers", settings=settings, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-000004")
    resumed = jobs.resume(tmp_path / "cut")
    assert resumed["score"] == whole["score"] and resumed["forecasts"] == whole["forecasts"]
    assert resumed["verdict"] == whole["verdict"]


@pytest.mark.parametrize(
    "changes",
    [{"model__name": "cnn"}, {"model__name": "transformer", "model__heads": 3},
     {"model__name": "mlp", "model__pooling": "flatten"},
     {"model__name": "lstm", "model__layers": 2}, {"series__columns": "together"},
     {"series__strategy": "recursive"}, {"series__measure": "mase"}, {"series__linear": False},
     {"series__quantiles": [0.05, 0.25, 0.5]}, {"series__scaling": "none"},
     {"series__calendar": False}, {"series__stride": 5}, {"series__difference": "first"},
     {"series__target": ["c1"]}, {"series__target": ["c0"], "series__known": ["c1"]},
     {"data__label": "c1"}],
)  # fmt: skip
def test_every_way_of_forecasting_trains_and_is_judged(changes, tmp_path):
    (tmp_path / "days.csv").write_text(lines(columns=2))
    out = tmp_path / "run"
    report = jobs.train(tmp_path / "days.csv", settings=settings_of(**changes), out=out)
    assert np.isfinite(report["score"])
    names = {each["column"] for each in report["forecasts"]}
    wanted = changes.get("series__target") or [changes.get("data__label", "c0")]
    assert set(wanted) <= names
    if "series__known" in changes:
        with pytest.raises(DataError, match="steps ahead lack c1"):
            list(answered(out))
        known = "".join(f"2020-04-{day:02},,{day}.5\n" for day in range(30, 31))
        known += "".join(f"2020-05-{day:02},,{day}.5\n" for day in range(1, 32))
        (tmp_path / "ahead.csv").write_text(lines(columns=2) + known)
        assert next(answered(out, file=tmp_path / "ahead.csv"))["date"] == "2020-04-30"
    else:
        assert next(answered(out))["date"] == "2020-04-30"


def test_files_may_say_what_is_tested_on(tmp_path):
    head, *rows = lines(200).splitlines()
    (tmp_path / "learn.csv").write_text("\n".join([head, *rows[:150]]))
    (tmp_path / "later.csv").write_text("\n".join([head, *rows[150:]]))
    data = DataSettings(split=0.8, test=str(tmp_path / "later.csv"))
    source = Source.of_files([tmp_path / "learn.csv"], data)
    reading = read_source(source, data, "forecast", 0)
    job = forecast.prepare(reading, settings_of(data__split=0.8, series__horizon=7))
    assert job.test.starts[0] == range(150, 194)
    assert job.learnt[0].end == 120 and job.validation.starts[0] == range(120, 144)


def test_test_rows_before_the_training_are_refused(tmp_path):
    head, *rows = lines(200).splitlines()
    (tmp_path / "learn.csv").write_text("\n".join([head, *rows[50:]]))
    (tmp_path / "early.csv").write_text("\n".join([head, *rows[:50]]))
    data = DataSettings(split=0.8, test=str(tmp_path / "early.csv"))
    reading = read_source(Source.of_files([tmp_path / "learn.csv"], data), data, "forecast", 0)
    with pytest.raises(DataError, match="in the order of time"):
        forecast.prepare(reading, settings_of(data__split=0.8))


def test_data_in_memory_is_forecast_like_a_file(tmp_path):
    head, *rows = [line.split(",") for line in lines().splitlines()]
    table = dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))
    unspool.train(table, settings=settings_of(), out=tmp_path / "run")
    with pytest.raises(DataError, match="in memory"):
        list(answered(tmp_path / "run"))
    model = load(tmp_path / "run")
    answer = model.predict([table])[0]["answer"]
    assert answer[0]["date"] == "2020-04-30" and answer[-1]["step"] == len(answer)
    with pytest.raises(DataError, match=r"input 1: .*no column 'c0'"):
        model.predict([{"day": table["day"], "other": table["c0"]}])


def test_a_grown_file_is_forecast_from_its_new_end_and_that_is_told(tmp_path):
    file = tmp_path / "days.csv"
    file.write_text(lines(120))
    jobs.train(file, settings=settings_of(), out=tmp_path / "run")
    file.write_text(lines(125))
    told = []
    assert next(answered(tmp_path / "run", tell=told.append))["date"] == "2020-05-05"
    assert "has changed since" in told[0]


def test_another_file_is_measured_from_every_step_that_has_a_lookback(tmp_path):
    file = tmp_path / "days.csv"
    file.write_text(lines(120))
    jobs.train(file, settings=settings_of(series__lookback=10, series__horizon=5),
               out=tmp_path / "run")  # fmt: skip
    (tmp_path / "new.csv").write_text(lines(40, seed=3))
    assert jobs.evaluate(tmp_path / "run", tmp_path / "new.csv")["rows"] == 40 - 15 + 1
    (tmp_path / "few.csv").write_text(lines(12))
    with pytest.raises(DataError, match="a forecast of 5 steps from 10 wants 15"):
        jobs.evaluate(tmp_path / "run", tmp_path / "few.csv")
