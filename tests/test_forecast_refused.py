"""Series that cannot be forecast are refused in one line; what is left out is counted."""

import numpy as np
import pytest
from tests.forecast_jobs import job_of, lines, model_of, settings_of

from unspool import jobs
from unspool.config import resolve
from unspool.data.reading import read
from unspool.data.series_settings import SeriesSettings
from unspool.data.settings import DataSettings
from unspool.errors import ConfigError, DataError
from unspool.tasks import forecast


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [(100 * ["5"], {}, "is 5 in every row"), (["1", "2"], {}, "wanted three or more"),
     ([*"12345"], {}, "5 rows leave none for the validation part"),
     (70 * ["1"] + [*"12345678901234567890123456789"], {}, "constant in the training part"),
     ([str(n % 7) for n in range(60)], {"series__lookback": 50}, "42 steps to learn from"),
     ([str(n % 7) for n in range(60)], {"series__horizon": 20, "series__lookback": 3},
      "the longest series has 6 steps in it"),
     (["1", "x", "y", "z"] + ["u"] * 30, {}, "series"),
     ([str(n % 7) for n in range(60)], {"series__target": ["no"]}, r"series\.target: 'no'"),
     ([f"{n % 7 - 3}" for n in range(60)], {"series__logarithm": "yes"}, "not positive")],
)  # fmt: skip
def test_series_that_cannot_be_forecast_are_refused_in_one_line(rows, changes, message, tmp_path):
    dates = [np.datetime64("2020-01-01") + n for n in range(len(rows))]
    text = "day,n\n" + "\n".join(f"{d},{row}" for d, row in zip(dates, rows, strict=True))
    (tmp_path / "days.csv").write_text(text)
    with pytest.raises(DataError, match=message) as refusal:
        jobs.train(tmp_path / "days.csv", settings=settings_of(**changes), out=tmp_path / "run")
    assert "\n" not in str(refusal.value) and not (tmp_path / "run").exists()


def test_a_model_that_reads_from_both_ends_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.bidirectional: .* when they are forecast"):
        job_of(lines(), tmp_path, model__bidirectional=True)


def test_gaps_repeated_dates_and_missing_values_are_told_and_counted(tmp_path):
    rows = lines().splitlines()
    rows[20:23] = []
    rows[40] = rows[39]
    rows[60] = rows[60].split(",")[0] + ",nan"
    (tmp_path / "days.csv").write_text("\n".join(rows))
    reading = read([tmp_path / "days.csv"], DataSettings(), "forecast")
    assert reading.used + len(reading.refused) == reading.total == 117
    assert "again" in reading.refused[0].reason
    job = forecast.prepare(reading, settings_of())
    assert any("5 of 120 steps lack a value" in each for each in job.warnings)


def test_series_too_short_to_learn_from_are_left_out_and_named(tmp_path):
    head, *rows = lines().splitlines()
    short = [f"{row},short" for row in rows[:12]] + [f"{row},long" for row in rows]
    job = job_of("\n".join([f"{head},id", *short]), tmp_path)
    assert [own.series.series.name for own in job.learnt] == ["long"]
    assert any("1 of 2 series are left out (short)" in each for each in job.warnings)


def test_a_file_with_other_dates_is_refused(tmp_path):
    job = job_of(lines(), tmp_path)
    answers = forecast.restore(job.files(), "run")
    weekly = "day,c0\n" + "\n".join(
        f"{np.datetime64('2020-01-01') + 7 * n},{n % 5}" for n in range(60)
    )
    (tmp_path / "weeks.csv").write_text(weekly)
    reading = read([tmp_path / "weeks.csv"], task="forecast", labelled=False)
    with pytest.raises(DataError, match="dates are weekly; the model was trained on daily"):
        answers.usable(reading.examples.inputs[0])


def test_series_that_cannot_go_on_are_left_out_of_a_prediction_and_told(tmp_path):
    head, *rows = lines().splitlines()
    learnt = [f"{row},{name}" for name in ("known", "also") for row in rows]
    job = job_of("\n".join([f"{head},id", *learnt]), tmp_path)
    known = [f"{row},known" for row in rows if not row.startswith("2020-03-01")]
    other = [f"{row},new" for row in rows]
    tables = {
        "both": [*known, *other], "new": other, "few": [f"{row},known" for row in rows[:9]],
    }  # fmt: skip
    answers, model, told = forecast.restore(job.files(), "run"), model_of(job), []
    for name, each in tables.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([f"{head},id", *each]))
        reading = read([tmp_path / f"{name}.csv"], task="forecast", labelled=False)
        given = answers.ahead(model, reading.examples.inputs[0], told.append)
        if name == "both":
            assert {row["series"] for row in given} == {"known"}
            assert "1 of 2 series are left out (new)" in told[0]
            assert "1 of 120 steps lack a value" in told[1]
        else:
            reason = {"new": "new.csv: .*not in the training part", "few": "few.csv: .*9 steps;"}
            with pytest.raises(DataError, match=reason[name]):
                next(given)


def test_lists_of_the_settings_come_back_from_a_file(tmp_path):
    from unspool.config import from_toml, to_toml

    settings = settings_of(series__target=["a b", 'c"d'], series__quantiles=[0.25, 0.5])
    assert from_toml(to_toml(settings), "x") == settings
    with pytest.raises(ConfigError, match=r"series\.target: got 'a'; wanted a list of texts"):
        resolve(None, {"series.target": "a"})
    assert settings.series == SeriesSettings(target=("a b", 'c"d'), quantiles=(0.25, 0.5))
