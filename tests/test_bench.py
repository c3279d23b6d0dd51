"""The benchmark's own arithmetic and order of events; nothing here asserts a time."""

import importlib.util
import itertools
import json
import math
import statistics
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import command_line
from unspool.bench import apart, batches, custom, harness, run
from unspool.bench.batches import Batch, Scale, of_ours
from unspool.bench.harness import Disagreement, Effort, Spread, agree, measure, measure_steps
from unspool.bench.jax_peers import jax_missing
from unspool.bench.onnx_peers import onnx_missing
from unspool.bench.peers import LOOPS
from unspool.bench.plot import growth_plot
from unspool.bench.results import Figure, Results, Row, Verdict
from unspool.bench.streaming import Pace, streamed
from unspool.bench.table import BEGIN, END
from unspool.errors import ConfigError, DataError

BRIEF = Effort(seconds=0.0, least=2, most=2, block=0.0)
call = command_line.call
TINY = Scale(hidden=(5,), batches=(3,), steps=6, effort=BRIEF)
silent = print


class Clock:
    """Seconds that pass only when a contender takes them."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def taking(self, seconds, log=None, name=""):
        turns = itertools.cycle(seconds)

        def take():
            self.now += next(turns)
            if log is not None:
                log.append(name)

        return take


def test_contenders_take_turns():
    log, clock = [], Clock()
    contenders = {name: clock.taking([1.0], log, name) for name in "AB"}
    measure(contenders, Effort(seconds=0.0, least=3, most=3, block=0.0), clock)
    assert log[4:] == ["A", "B"] * 3  # after two calls of each, to warm up and to see how long


def test_short_calls_are_repeated_to_fill_a_block():
    clock, log = Clock(), []
    contenders = {"A": clock.taking([0.25], log, "A")}
    times = measure(contenders, Effort(seconds=0.0, least=2, most=2, block=1.0), clock)
    assert times == {"A": [0.25, 0.25]}
    assert len(log) == 2 + 2 * (1 + 4)


def test_rounds_end_with_the_seconds_or_with_the_most():
    clock = Clock()
    ends = Effort(seconds=10.0, least=2, most=4, block=0.0)
    assert len(measure({"A": clock.taking([1.0])}, ends, clock)["A"]) == 4
    assert len(measure({"A": clock.taking([6.0])}, ends, clock)["A"]) == 2


def test_ratio_is_taken_round_by_round_when_the_machine_slows_down():
    row = Row.of("case", {"ours": [1.0, 10.0, 1.0], "peer": [2.0, 20.0, 2.0]})
    assert row.ratio.minimum == row.ratio.median == row.ratio.maximum == 2.0


def test_fastest_peer_is_the_one_that_counts():
    row = Row.of("case", {"ours": [1.0], "slow": [4.0], "fast": [3.0]})
    assert (row.against, row.ratio.median) == ("fast", 3.0)


def test_spread_is_the_median_with_quartiles_and_ends():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    spread = Spread.of(values)
    assert spread.median == statistics.median(values)
    assert (spread.minimum, spread.low, spread.high, spread.maximum) == (1.0, 2.0, 4.0, 5.0)
    assert spread.count == 5


def test_every_step_is_timed_by_itself_in_blocks():
    clock = Clock()
    contenders = {"A": clock.taking([1e9]), "B": clock.taking([2e9])}
    times = measure_steps(contenders, rounds=2, steps=3, pause=0.0, clock=clock)
    assert times == {"A": [[1.0] * 3] * 2, "B": [[2.0] * 3] * 2}


@pytest.mark.parametrize("share, wanted", [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentile_is_the_nearest_rank(share, wanted):
    assert harness.percentile([float(n) for n in range(100, 0, -1)], share) == wanted


@pytest.mark.parametrize("change", [1e-3, math.nan, math.inf])
def test_disagreement_names_the_tensor(change):
    wanted = {"outputs": torch.ones(3), "x": torch.ones(2)}
    actual = {"outputs": torch.ones(3), "x": torch.tensor([1.0, 1.0 + change])}
    agree("case", wanted, wanted)
    with pytest.raises(Disagreement, match="case: 'x' differs"):
        agree("case", actual, wanted)


def test_nothing_is_timed_when_numbers_disagree(monkeypatch):
    monkeypatch.setattr(batches.Row, "timed", lambda *arguments: pytest.fail("timed"))
    monkeypatch.setattr(
        batches.Recurrent, "from_torch", lambda module: batches.Recurrent("rnn", 5, 5)
    )
    with pytest.raises(Disagreement, match="rnn, H 5, B 3"):
        batches.full_batches(TINY, silent)


def test_peers_agree_on_whole_batches():
    figure = batches.full_batches(TINY, silent)
    assert [row.case.split(",")[0] for row in figure.rows] == [*TINY.cells, "gru"]
    assert all(row.ratio.count == 2 for row in figure.rows)


def test_peers_agree_on_ragged_batches():
    figure = batches.ragged_batches(TINY, silent)
    assert set(figure.rows[0].ratios) == {"torch.nn packed", "torch.nn padded"}
    assert len(figure.rows) == 2 * len(TINY.cells)


def test_trace_is_measured_as_a_cost():
    figure = batches.traces(TINY, silent)
    assert all(next(iter(row.amounts)) == "without" for row in figure.rows)
    assert figure.verdicts[0].at_most


@pytest.mark.parametrize("name", LOOPS)
def test_hand_written_loop_computes_the_cell(name):
    layer, batch = custom._case(name, 8, 3, 5)
    mine = batches.named(layer, *of_ours(layer, batch)())
    agree(name, mine, batches.named(layer, *custom.of_loop(LOOPS[name], layer, batch)()))


def test_equal_product_size_counts_products_alone():
    sizes = {name: custom._products(custom._case(name, 6, 1, 1)[0]) for name in LOOPS}
    assert sizes["layer_norm_lstm"] == sizes["peephole_lstm"] == 8 * 36
    assert (sizes["gru"], sizes["multiplicative_lstm"]) == (6 * 36, 10 * 36)


def test_custom_cells_are_measured_without_jax(monkeypatch):
    monkeypatch.setattr(custom, "jax_missing", lambda: "jax: is not there")
    scale = Scale(hidden=(8,), batches=(2,), steps=3, cells=("gru",), effort=BRIEF)
    figure = custom.custom_cells(scale, silent)
    assert figure.skipped[0] == "jax: is not there"
    assert set(figure.rows[0].ratios) == {"eager loop"}
    assert custom.beside_lstm(scale, silent).rows[0].more.keys() == {"at equal product size"}


def test_streamed_steps_agree_with_torch_when_onnxruntime_is_missing(monkeypatch):
    monkeypatch.setattr("unspool.bench.streaming.onnx_missing", lambda: "onnxruntime: gone")
    scale = Scale(hidden=(8,), cells=("rnn", "lstm", "gru_reset_after"))
    figure = streamed(scale, Pace(rounds=1, steps=3), silent)
    assert figure.skipped == ("onnxruntime: gone",)
    assert {"p99 torch.nn", "bound torch.nn"} == set(figure.rows[0].more)
    assert next(each for each in figure.verdicts if "onnxruntime" in each.what).value is None


@pytest.mark.parametrize("module, missing", [("jax", jax_missing), ("onnxruntime", onnx_missing)])
def test_missing_peer_is_named(module, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert missing().startswith(f"{module}: ")


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnxruntime_agrees_step_by_step():
    scale = Scale(hidden=(8,))
    figure = streamed(scale, Pace(rounds=1, steps=3), silent)
    assert all("onnxruntime" in row.ratios for row in figure.rows if "layer" in row.case)


@pytest.mark.parametrize(
    "value, floor, at_most, holds",
    [(2.0, 1.0, False, True), (0.5, 1.0, False, False), (0.5, 1.0, True, True),
     (2.0, 1.0, True, False), (None, 1.0, False, None), (2.0, None, False, None)],
)  # fmt: skip
def test_verdict_holds_or_is_a_miss(value, floor, at_most, holds):
    assert Verdict(what="", value=value, floor=floor, at_most=at_most).holds is holds


def test_ragged_batch_asks_nothing_about_its_padding():
    batch = Batch.drawn(9, 20, 4).ragged()
    assert batch.lengths.min() >= 5 and batch.lengths.max() == 20
    for row, length in enumerate(batch.lengths.tolist()):
        assert not batch.cotangent[row, length:].any()


def results():
    rows = (Row.of("small", {"ours": [1.0, 1.0], "peer": [2.0, 3.0]}, {"p99": 1.5}),)
    verdicts = (
        Verdict(what="mean", value=2.5, floor=1.0),
        Verdict(what="worst", value=0.5, floor=1.0),
    )
    curves = {"seconds: lstm ours": [(64.0, 0.1), (128.0, 0.3)], "bytes: lstm ours": [(64.0, 9e6)]}
    figure = Figure(
        name="P1", title="Speed", how="So.", rows=rows, verdicts=verdicts, skipped=("jax: gone",),
        curves=curves,
    )  # fmt: skip
    machine = {"date": "2025-01-01", "effort": "full", "processor": "Abacus"}
    return Results(machine=machine, figures=(figure,))


def test_results_come_back_from_their_file(tmp_path):
    results().write(tmp_path / "a" / "results.json")
    assert Results.read(tmp_path / "a" / "results.json") == results()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_foreign_file_is_refused(text, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"results\.json"):
        Results.read(path)


def test_page_is_renewed_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nyesterday\n{END}\nafter\n")
    stored = run.keep(results(), tmp_path / "results")
    for _ in range(2):
        run.publish(stored, page)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "yesterday" not in text
    for shown in ("Abacus", "2.50", "**missed**", "jax: gone", "(results/2025-01-01.svg)"):
        assert shown in text


def test_page_without_marks_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(DataError, match="wanted the lines"):
        run.publish(run.keep(results(), tmp_path), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == "nothing"


def test_plot_is_wellformed_with_every_curve():
    figure = results().figures[0]
    root = ElementTree.fromstring(growth_plot(figure.curves))
    width, height = map(float, root.get("viewBox").split()[2:])
    lines = [each for each in root.iter() if each.get("class", "").startswith("line-series")]
    assert len(lines) == 2 * len(figure.curves)  # each with a piece in the legend
    for line in lines:
        places = [tuple(map(float, each.split(","))) for each in line.get("points").split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_memory_of_a_longer_sequence_is_more_in_a_process_of_its_own():
    points = apart.ask(
        job="memory", side="unspool", cell="lstm", hidden=64, batch=16, lengths=[16, 512]
    )["points"]
    assert points[1]["bytes"] > 16 * 512 * 64 * 4 > points[0]["bytes"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets peaks")
def test_peak_of_memory_starts_anew_when_forgotten():
    apart.forget_peak()
    before = apart.peak()
    torch.ones(2**25)  # 128 MiB, gone at once
    assert apart.peak() - before > 2**26
    apart.forget_peak()
    assert apart.peak() - before < 2**26


def test_unknown_figure_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="P1, P2"):
        run.run_bench(["P99"])


def test_threads_are_put_back(monkeypatch):
    before = torch.get_num_threads()
    seen = []

    def figure(quick, tell):
        seen.append(torch.get_num_threads())
        return results().figures[0]

    monkeypatch.setattr(run, "FIGURES", {"P1": figure})
    run.run_bench(threads=before + 1)
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_command_shows_stored_results_without_measuring(tmp_path, call):
    stored = run.keep(results(), tmp_path)
    code, out, err = call("bench", "--from", stored, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["figures"][0]["verdicts"][1]["holds"] is False
    code, out, _ = call("bench", "--from", stored)
    assert code == 0 and "missed" in out and "Abacus" in out


def test_command_measures_what_was_named_and_keeps_it(tmp_path, call, monkeypatch):
    figure = results().figures[0]
    monkeypatch.setattr(run, "FIGURES", {"P1": lambda quick, tell: figure, "P2": pytest.fail})
    code, out, _ = call("bench", "--only", "P1", "--quick", "--out", tmp_path, "--json")
    told = json.loads(out)
    assert (code, told["machine"]["effort"]) == (0, "quick")
    assert Results.read(Path(told["results"])).figures == (figure,)
