"""The simple methods solve what they should, and nothing of the test part reaches them."""

import numpy as np
import pytest

from unspool import jobs
from unspool.data.samples import sample_text
from unspool.tasks.baselines import brackets, constant, images, numbers, series, sound, tags, text

GOOD, BAD = ["good fine", "fine great", "great good"], ["bad poor", "poor awful", "awful bad"]


@pytest.mark.parametrize("method", [text.logistic_regression, text.naive_bayes])
def test_texts_are_told_apart_and_answers_do_not_depend_on_company(method):
    texts, labels = (GOOD + BAD) * 3, (["p"] * 3 + ["n"] * 3) * 3
    both = method(texts, labels, ["fine", "awful"])
    assert both.answers == ["p", "n"]
    np.testing.assert_allclose(both.scores.sum(1), 1.0)
    np.testing.assert_allclose(method(texts, labels, ["awful"]).scores[0], both.scores[1])


def test_ridge_stays_within_the_ratings():
    found = text.ridge_regression((GOOD + BAD) * 3, ([5] * 3 + [1] * 3) * 3, [*GOOD, *BAD, ""])
    assert (found.answers[:3] > 3).all() and (found.answers[3:6] < 3).all()
    assert found.answers.min() >= 1 and found.answers.max() <= 5


def test_the_best_constant_is_best():
    ratings = np.random.default_rng(0).integers(1, 6, 50)
    errors = [np.abs(ratings - c).mean() for c in range(1, 6)]
    answer = constant.median(ratings, 1).answers[0]
    assert np.abs(ratings - answer).mean() == min(errors)


def test_unknown_words_take_the_tag_of_their_ending():
    words = [["running", "walking", "tables", "chairs"]] * 3
    found = tags.frequent_tags(words, [["V", "V", "N", "N"]] * 3, [["jumping", "lamps", "tables"]])
    assert found.answers == [["V", "N", "N"]]


def test_season_and_trend_are_continued():
    steps = np.arange(96.0)
    wave = (0.5 * steps + 10 * np.sin(steps * np.pi / 6))[:, None]
    train, wanted = wave[:72], wave[None, 72:84]
    assert series.find_period(train) == 12
    assert series.find_period(np.random.default_rng(0).normal(size=(200, 1)).cumsum(0)) == 1
    naive = series.seasonal_naive(train[None], 12, 12).answers
    np.testing.assert_allclose(naive, wanted - 6)
    smooth = series.smoothing(train, train[None], 12, trend=True, period=12).answers
    line = series.linear(train, train[None, -30:], 12).answers
    assert np.abs(smooth - wanted).max() < 1 and np.abs(line - wanted).max() < 1


def test_linear_forecasts_shift_and_scale_with_each_series():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 2)).cumsum(0)
    windows, factor, shift = x[None, -20:], np.array([2.0, 300.0]), np.array([5.0, -7.0])
    one = series.linear(x, windows, 4).answers
    other = series.linear(x * factor + shift, windows * factor + shift, 4).answers
    np.testing.assert_allclose(other, one * factor + shift, rtol=1e-7)


def test_sounds_of_different_pitch_are_told_apart_at_any_loudness():
    generator = np.random.default_rng(0)

    def tone(pitch, size):
        return size * (np.sin(pitch * np.arange(1500.0)) + 0.1 * generator.normal(size=1500))

    rows = np.array([sound.log_spectrum(tone(p, s)) for s in (1, 3, 9) for p in (0.4, 0.8)])
    found = sound.support_vectors(rows, ["low", "high"] * 3, rows[:2])
    assert found.answers == ["low", "high"]
    one = np.sin(np.arange(900.0))
    np.testing.assert_allclose(sound.log_spectrum(one), sound.log_spectrum(5 * one), atol=1e-9)


def test_edges_do_not_depend_on_brightness():
    image = np.random.default_rng(0).random((1, 16, 16)) * 200
    np.testing.assert_allclose(
        images.edge_directions(image), images.edge_directions(image + 40), atol=1e-4
    )


def test_summaries_leave_out_missing_numbers():
    found = numbers.summary([np.array([[1.0], [np.nan], [5.0]])])
    assert found.tolist() == [[3.0, 2.0, 1.0, 5.0, 5.0, 2.0, 3.0]]


def test_bracket_counting_agrees_with_removing_pairs():
    generator = np.random.default_rng(0)
    for _ in range(300):
        written = "".join(generator.choice(list("()[]x"), generator.integers(0, 7)))
        left = written.replace("x", "")
        while (less := left.replace("()", "").replace("[]", "")) != left:
            left = less
        assert brackets.balanced(written) == (not left)


def test_sample_of_brackets_is_solved_by_counting_and_by_nothing_else():
    rows = [line.split("\t") for line in sample_text("brackets").splitlines()[1:]]
    lines, labels = map(list, zip(*rows, strict=True))
    assert labels.count("yes") == labels.count("no")
    found = brackets.bracket_counting(lines[:300], labels[:300], lines[300:])
    assert found.answers == labels[300:]
    learnt = text.naive_bayes(lines[:300], labels[:300], lines[300:])
    assert np.mean([a == b for a, b in zip(learnt.answers, labels[300:], strict=True)]) < 0.8


def test_rule_that_makes_no_error_is_what_a_report_recommends(tmp_path):
    report = jobs.train(
        sample="brackets", out=tmp_path / "run", size="tiny", train__steps=2, model__hidden=4
    )
    assert report["verdict"].startswith("You do not need machine learning here: bracket counting")
