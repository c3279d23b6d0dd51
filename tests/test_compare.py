"""Several models beside each other: equal budgets, the same parts, nothing trained twice."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import unspool
from command_line import call  # noqa: F401
from unspool import jobs
from unspool.cells import CELLS
from unspool.comparing import compare as comparing
from unspool.comparing import several
from unspool.comparing.budget import TOLERANCE, Budget, count_parameters, with_parameters
from unspool.comparing.contest import Contestant, difference, over_rows, over_seeds, sure
from unspool.comparing.judging import judge
from unspool.config import resolve
from unspool.data.opening import read_source
from unspool.errors import ConfigError, DataError, RunError
from unspool.record import Record
from unspool.training.interruption import Interrupted, Request
from unspool.training.run import Run

pytestmark = pytest.mark.usefixtures("quick_training")
SMALL = {"size": "tiny", "threads": 1, "train__steps": 4, "train__checkpoint_every": 2,
         "train__evaluate_every": 2, "model__hidden": 6, "model__embedding": 4}  # fmt: skip
MODELS = "rnn,gru"
WORDS = {"up": ["good", "fine", "sunny"], "down": ["bad", "poor", "rainy"]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A table of 60 texts, of which the last word says nothing."""
    draw = np.random.default_rng(3)
    lines = ["text,label"]
    for number in range(60):
        label = ["up", "down"][number % 2]
        lines.append(f"a {draw.choice(WORDS[label])} day number {number},{label}")
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def run_compare(file, out, observers=(), **changes):
    changes = {"models": MODELS, "seeds": 2, **SMALL, **changes}
    return unspool.compare(file, out=out, observers=observers, **changes)


@pytest.fixture(scope="module")
def compared(rows, tmp_path_factory):
    """A finished comparison: its folder, its report and the events it told."""
    folder, events = tmp_path_factory.mktemp("compared") / "c", []
    return folder, run_compare(rows, folder, [events.append]), events


def timeless(report):
    """A report without places and timings."""
    if isinstance(report, dict):
        left_out = ("seconds", "folder", "plot", "runs")
        return {key: timeless(value) for key, value in report.items() if key not in left_out}
    return [timeless(each) for each in report] if isinstance(report, list) else report


@contextmanager
def stopped_at(run, step):
    """A stop asked for when a step of a run is taken; yields the observer that asks."""
    request, now = Request(), []

    @contextmanager
    def given():
        yield request

    def observe(event):
        if event["event"] == "run":
            now.append(event["name"])
        if now[-1:] == [run] and event["event"] == "step" and event["step"] == step:
            request.signal = 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "requests", given)
        yield observe


def weights(folder):
    return {
        run.name: (run / "model" / "model.safetensors").read_bytes()
        for run in sorted(folder.iterdir())
        if (run / "model").is_dir()
    }


def test_comparison_gives_the_same_numbers_when_repeated(compared, rows, tmp_path):
    again = run_compare(rows, tmp_path / "c")
    assert timeless(again) == timeless(compared[1])
    assert weights(tmp_path / "c") == weights(compared[0])


@pytest.mark.parametrize(("run", "step"), [("rnn-0", 1), ("gru-1", 3)])
def test_interrupted_comparison_ends_as_the_uninterrupted_one(compared, rows, tmp_path, run, step):
    folder = tmp_path / "c"
    with stopped_at(run, step) as observe, pytest.raises(Interrupted) as stop:
        run_compare(rows, folder, [observe])
    assert stop.value.run == folder
    with pytest.raises(RunError, match=r"c exists; `unspool resume .*c` goes on with it"):
        run_compare(rows, folder)
    assert timeless(unspool.resume(folder)) == timeless(compared[1])
    assert weights(folder) == weights(compared[0])


def test_no_run_is_trained_twice_when_a_comparison_goes_on(compared, rows, tmp_path):
    folder, events = tmp_path / "c", []
    with stopped_at("rnn-1", 2) as observe, pytest.raises(Interrupted):
        run_compare(rows, folder, [observe, events.append])
    before = sum(each["event"] == "step" for each in events)
    unspool.resume(folder, observers=[events.append])
    steps = sum(each["event"] == "step" for each in events)
    assert (before, steps) == (10, 16)
    assert [e["text"] for e in events if e["event"] == "status"].count(
        "trying the simple methods"
    ) == 1  # fmt: skip


@pytest.mark.parametrize("lost", ["scores/gru-0.json", "scores/rnn-1.json"])
def test_run_that_ended_unseen_is_only_judged_again(compared, tmp_path, lost):
    folder, events = tmp_path / "c", []
    shutil.copytree(compared[0], folder)
    plan = json.loads((folder / "compare.json").read_text())
    del plan["result"]
    (folder / "compare.json").write_text(json.dumps(plan))
    (folder / lost).unlink()
    report = unspool.resume(folder, observers=[events.append])
    assert timeless(report) == timeless(compared[1])
    assert not [each for each in events if each["event"] == "step"]


def test_finished_comparison_is_only_reported_when_gone_on_with(compared):
    folder, report, _ = compared
    assert unspool.resume(folder) == json.loads(json.dumps(report))


def test_every_run_is_one_like_any_other(compared, rows, tmp_path):
    folder, report, _ = compared
    for line in report["models"]:
        for run, score in zip(line["runs"], line["scores"], strict=True):
            assert jobs.resume(run)["score"] == score
            assert jobs.evaluate(run)["score"] == score
            assert unspool.load(run).predict(["a good day"])[0]["answer"] in WORDS
    # One of them alone, with its own settings, is the same run.
    settings = Record.read(Run.open(folder / "gru-1")).settings
    jobs.train(rows, settings=settings, out=tmp_path / "alone")
    assert (tmp_path / "alone" / "model" / "model.safetensors").read_bytes() == weights(folder)[
        "gru-1"
    ]


def test_all_runs_have_the_same_parts_whatever_their_seed(compared):
    folder, report, _ = compared
    parts, seeds = [], set()
    for run in (folder / name for name in weights(folder)):
        record = Record.read(Run.open(run))
        settings = record.settings
        seeds.add(settings.seed)
        found = read_source(record.source, settings.data, settings.task, settings.seed)
        parts.append(found.parts)
    assert len(seeds) == 2 and all(each == parts[0] for each in parts)
    assert report["rows"] == len(parts[0]["test"])


def test_data_is_read_and_told_once(compared):
    kinds = [event["event"] for event in compared[2]]
    assert kinds.count("data") == 1 and kinds.count("run") == kinds.count("ran") == 4
    assert kinds.count("baseline") == len(compared[1]["baselines"])


SHAPES = {
    "tokens": ({"kind": "tokens", "size": 200}, {"mapping": "one", "size": 3}),
    "numbers": ({"kind": "numbers", "size": 5}, {"mapping": "each", "size": 4}),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", [*CELLS, "cnn", "mlp", "transformer"])
def test_parameters_are_within_tolerance_of_the_budget(name, kind):
    given, output = SHAPES[kind]
    shape = {"input": given, "output": output}
    task = "classify" if output["mapping"] == "one" else "tag"
    settings = resolve(None, {"task": task, "model.name": name, "model.embedding": 16})
    cell = CELLS.get(name)
    wanted = 30_000
    found = with_parameters(wanted, shape, settings, cell)
    assert abs(count_parameters(shape, found, cell) - wanted) <= TOLERANCE * wanted


def test_budget_of_parameters_is_that_of_the_usual_model(compared, rows, tmp_path):
    usual = jobs.train(rows, out=tmp_path / "usual", **SMALL)["parameters"]
    assert compared[1]["budget"] == {"kind": "parameters", "parameters": usual}
    for line in compared[1]["models"]:
        assert abs(line["parameters"] - usual) <= TOLERANCE * usual


def test_budget_of_seconds_fixes_the_steps_of_a_model_for_all_seeds(rows, tmp_path):
    changes = {key: value for key, value in SMALL.items() if key != "train__steps"}
    report = unspool.compare(
        rows, out=tmp_path / "c", models=MODELS, seeds=2, budget=Budget(seconds=0.02), **changes
    )
    assert report["budget"] == {"kind": "seconds", "seconds": 0.02}
    for line in report["models"]:
        assert line["hidden"] == 6
        settings = [Record.read(Run.open(run)).settings.train for run in line["runs"]]
        assert settings[0] == settings[1] and settings[0].epochs == 0 and settings[0].steps >= 1


def test_all_that_cannot_be_done_is_said_at_once_before_any_training(rows, tmp_path):
    with pytest.raises(ConfigError) as error:
        run_compare(rows, tmp_path / "c", models="rnn,nope,lenet,gru")
    assert "nope: " in str(error.value) and "lenet: " in str(error.value)
    assert "\n" not in str(error.value) and not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": "rnn"}, "got 1 model; wanted two or more"),
        ({"models": "rnn,gru,rnn"}, "'rnn' is named twice"),
        ({"seeds": 0}, "got 0 seeds"),
        ({"data__folds": 3}, "goes by seeds"),
        ({"budget": Budget(parameters=12)}, "as near as it comes to 12"),
    ],
)
def test_impossible_comparison_is_refused_and_leaves_nothing(rows, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        run_compare(rows, tmp_path / "c", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("amounts", [{"parameters": 5, "seconds": 5.0}, {"parameters": -1},
                                     {"seconds": float("nan")}])  # fmt: skip
def test_budget_is_refused_when_it_is_none(amounts):
    with pytest.raises(ConfigError, match="compare: got"):
        Budget(**amounts)


def test_comparison_does_not_go_on_with_other_data(rows, tmp_path):
    file = tmp_path / "rows.csv"
    shutil.copy(rows, file)
    with stopped_at("gru-0", 1) as observe, pytest.raises(Interrupted):
        run_compare(file, tmp_path / "c", [observe])
    file.write_text(file.read_text() + "a new day,up\n")
    with pytest.raises(DataError, match="has changed since the run began"):
        unspool.resume(tmp_path / "c")


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format": "unspool comparison", "version": 9}'])
def test_damaged_plan_is_one_line(compared, tmp_path, damage):
    shutil.copytree(compared[0], tmp_path / "c")
    (tmp_path / "c" / "compare.json").write_bytes(damage)
    with pytest.raises(RunError) as error:
        unspool.resume(tmp_path / "c")
    assert "compare.json" in str(error.value) and "\n" not in str(error.value)


def test_plot_names_every_model_and_method(compared):
    report = compared[1]
    drawn = ElementTree.parse(report["plot"]).getroot()
    texts = {each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {each["name"] for each in (*report["models"], *report["baselines"])} <= texts


def test_texts_are_compared_by_their_loss(tmp_path):
    report = unspool.compare(
        sample="english", models="rnn,lstm", seeds=2, out=tmp_path / "c", size="tiny", threads=1,
        train__steps=2, train__length=8, model__hidden=12,
    )  # fmt: skip
    assert report["measure"] == "nats/char" and not report["higher_is_better"]
    assert all(line["over_rows"] is not None for line in report["models"])
    assert "Kneser–Ney" in report["verdict"]


def contestant(name, hits, **more):
    """A model whose seeds have these rows."""
    scores = tuple(float(each) for each in hits.mean(1))
    return Contestant(name=name, scores=scores, rows=hits, **more)


def test_equal_models_are_seldom_told_apart():
    draw, wrong, times = np.random.default_rng(5), 0, 400
    for _ in range(times):
        hard = draw.random(150)  # rows differ, models do not
        hits = [(draw.random((3, 150)) < hard).astype(float) for _ in range(4)]
        found = judge([contestant(str(i), each) for i, each in enumerate(hits)], "accuracy")
        wrong += len(found.tied) < 3
    assert wrong / times <= 0.05


def test_better_model_is_found_and_its_interval_holds_the_truth():
    draw, held, won, times = np.random.default_rng(6), 0, 0, 200
    for _ in range(times):
        good, poor = ((draw.random((3, 400)) < p).astype(float) for p in (0.9, 0.7))
        one, other = contestant("good", good), contestant("poor", poor)
        found = difference(one, other)
        held += found.low <= 0.2 <= found.high
        won += judge([one, other], "accuracy").tied == ()
    assert held / times >= 0.93 and won / times >= 0.95


def test_difference_turned_around_is_its_negative(rng):
    hits = torch.rand(2, 3, 50, generator=rng).numpy()
    one, other = contestant("a", hits[0]), contestant("b", hits[1])
    there, back = difference(one, other), difference(other, one)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_rows_that_are_copied_within_groups_make_nothing_surer(rng):
    hits = torch.rand(3, 40, generator=rng).numpy()
    plain = over_rows(contestant("a", hits))
    copied = over_rows(contestant("a", hits.repeat(5, axis=1), groups=np.arange(40).repeat(5)))
    assert (copied.low, copied.high) == pytest.approx((plain.low, plain.high))


def test_seeds_and_rows_together_are_less_sure_than_either(rng):
    each = contestant("a", torch.rand(3, 40, generator=rng).numpy())
    widths = [found.high - found.low for found in (over_rows(each), sure(each))]
    assert widths[1] > widths[0] and over_seeds(each) is not None


def test_without_rows_a_single_seed_cannot_tell():
    one, other = (
        Contestant(name=name, scores=(score,)) for name, score in (("a", 9.0), ("b", 1.0))
    )
    found = judge([one, other], "accuracy")
    assert found.tied == ("b",) and "one seed and no rows cannot tell" in found.sentence
    again = [Contestant(name=n, scores=s) for n, s in (("a", (9.0, 9.1)), ("b", (1.0, 1.1)))]
    assert judge(again, "accuracy").tied == ()


def test_few_rows_never_make_a_winner():
    one, other = contestant("a", np.ones((3, 5))), contestant("b", np.zeros((3, 5)))
    assert judge([one, other], "accuracy").tied == ("b",)


def test_rule_without_an_error_ends_the_contest():
    rule = Contestant(name="bracket counting", scores=(1.0,), rows=np.ones((1, 90)), simple=True)
    found = judge([contestant("a", np.ones((3, 90))), rule], "accuracy")
    assert found.sentence.endswith("you do not need machine learning here.")


def test_command_prints_the_table_and_the_verdict(rows, tmp_path, call):
    folder = tmp_path / "c"
    flags = ["--size", "tiny", "--steps", 2, "--model.hidden", 6, "--threads", 1, "--seeds", 1,
             "--png"]  # fmt: skip
    code, output, said = call("compare", rows, "--models", MODELS, "--out", folder, *flags)
    assert code == 0 and "parameters each, 1 seed;" in output and "compare.png" in output
    assert (folder / "compare.svg").exists() and (folder / "compare.png").exists()
    assert "run 2 of 2: gru-0: accuracy" in said and "validation" not in said
    report = json.loads(call("resume", folder, "--json")[1])
    assert report["verdict"] in output and report["kind"] == "compare"
    code, _, error = call("compare", rows, "--models", MODELS, "--out", folder)
    assert code == 2 and error.count("\n") == 1
    code, _, error = call("compare", rows, "--seconds", 3)
    assert code == 2 and "--budget seconds --seconds 30" in error
    assert several.is_several(folder)
