"""P9 at tiny sizes: who is compared, on exactly how much, and what is kept; no time is asserted."""

import math
from dataclasses import replace

import pytest
import torch

from tolerance import assert_close
from trainings import small_text
from unspool.bench import language as p9
from unspool.bench import run
from unspool.bench.language import block_loss, forget, language, seconds_to
from unspool.bench.language_contenders import LanguageScale, Ours, Plain, Windows
from unspool.bench.results import Figure, Results
from unspool.bench.table import markdown
from unspool.cells import CELLS
from unspool.data.settings import DataSettings
from unspool.errors import DataError
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings
from unspool.tasks.corpus import read_corpus
from unspool.tasks.text_loss import stream_loss
from unspool.training.settings import TrainSettings

WORDS = 900
RECORD = {
    "seed": 3, "characters": 2000, "one stream": 2.0, "blocks": 2.1, "nn.LSTM": 2.2, "longer": 1.9,
    "seconds": 3.0, "seconds to peer": 2.0, "peer seconds": 4.0, "share": 0.5, "adaptive": 1.8,
    "adaptive seconds": 1.0, "parts": {},
}  # fmt: skip


@pytest.fixture
def scale(tmp_path):
    (tmp_path / "text.txt").write_text(small_text(WORDS))
    return LanguageScale(
        text=tmp_path / "text.txt",
        characters=4 * 500,
        seeds=(3, 4),
        model=RecurrentSettings(hidden=8),
        train=TrainSettings(batch=4, length=16, warmup=2),
        turn=7,
        looks=3,
        folder=tmp_path / "seeds",
    )


@pytest.fixture
def corpus():
    return read_corpus(small_text(WORDS), DataSettings())


def test_each_is_trained_on_exactly_so_many_characters(scale, corpus):
    windows = Windows(corpus.train, replace(scale, characters=6_000), seed=1)
    read = [windows.window(step).num_targets for step in range(windows.steps)]
    assert sum(read) == windows.characters == 6_000
    assert windows.streams.windows_per_epoch < windows.steps
    with pytest.raises(DataError, match="multiple of the 4 rows"):
        Windows(corpus.train, replace(scale, characters=6_001), seed=1)


@pytest.mark.parametrize("contender", [Ours, Plain])
def test_contenders_learn(contender, scale, corpus):
    windows = Windows(corpus.train, scale, seed=1)
    one = contender(corpus, windows, scale, 1)
    before = one.evaluate()
    for _ in range(windows.steps):
        one.step()
    assert one.evaluate() < before


def test_peer_is_the_same_whoever_else_draws(scale, corpus):
    losses = []
    for draws in (0, 5):
        windows = Windows(corpus.train, scale, seed=1)
        torch.manual_seed(draws)
        peer = Plain(corpus, windows, scale, 1)
        for _ in range(4):
            torch.rand(draws)
            peer.step()
        losses.append(peer.evaluate())
    assert losses[0] == losses[1]


def test_each_takes_all_its_steps_in_the_same_turns(scale):
    taken = [[], [], []]

    class Counting:
        def __init__(self, place):
            self.place = place

        def step(self):
            taken[self.place].append(max(map(len, taken)))

        def evaluate(self):
            return float(len(taken[self.place]))

    steps = [60, 50, 50]
    _, curve = p9._in_turns([Counting(place) for place in range(3)], steps, scale, print)
    assert [len(each) for each in taken] == steps
    assert [loss for _, loss in curve] == [40.0, 50.0, 60.0]
    assert all(abs(at - 1.2 * k) <= 2 * scale.turn for k, at in enumerate(taken[1]))


def test_blocks_start_from_a_zero_state(rng):
    model = LanguageModel(5, RecurrentSettings(hidden=4), CELLS["gru"], rng)
    tokens = torch.randint(0, 5, (30,), generator=rng)
    alone = [stream_loss(model, tokens[start : start + 8]) for start in (0, 7, 14, 21)]
    assert_close(torch.tensor(block_loss(model, tokens, 7)), torch.tensor(alone).mean())


def test_time_to_a_loss_is_endless_when_it_is_never_reached():
    assert seconds_to([(1.0, 2.0), (2.0, 1.0)], 1.0) == 2.0
    assert seconds_to([(1.0, 2.0), (2.0, 1.0)], 0.5) == math.inf


def test_figure_has_a_row_a_seed_and_goes_through_its_file(scale, tmp_path):
    lines = []
    figure = language(replace(scale, seeds=(3,)), lines.append)
    assert [row.case for row in figure.rows] == ["seed 3"]
    assert [verdict.what[:3] for verdict in figure.verdicts[:4]] == ["(a)", "(a)", "(b)", "(c)"]
    assert all(verdict.value > 0 for verdict in figure.verdicts)
    assert sum("step" in line for line in lines) == scale.looks
    results = Results(machine={"date": "2025-01-01", "effort": "full"}, figures=(figure,))
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert f"{figure.verdicts[0].value:.3f}" in markdown(results)


def test_finished_seeds_are_not_trained_again_when_interrupted(scale, monkeypatch):
    asked = []

    def once(corpus, scale, seed, tell):
        asked.append(seed)
        if asked == [3, 4]:
            raise KeyboardInterrupt
        return {**RECORD, "seed": seed}

    monkeypatch.setattr(p9, "measure_seed", once)
    with pytest.raises(KeyboardInterrupt):
        language(scale, print)
    assert [row.case for row in language(scale, print).rows] == ["seed 3", "seed 4"]
    assert asked == [3, 4, 4]
    language(replace(scale, seeds=(3,), looks=2), print)  # another recipe is another figure
    assert asked == [3, 4, 4, 3]
    forget(scale.folder)
    forget(scale.folder)
    assert not scale.folder.exists()


def test_damaged_seed_is_trained_again(scale, monkeypatch):
    scale.folder.mkdir()
    (scale.folder / "seed-3.json").write_text("[{")
    monkeypatch.setattr(p9, "measure_seed", lambda *_: RECORD)
    assert len(language(replace(scale, seeds=(3,)), print).rows) == 1


def test_text_is_asked_for_when_it_is_not_there(scale, tmp_path):
    with pytest.raises(DataError, match="there is no"):
        language(replace(scale, text=tmp_path / "nothing.txt"), print)


def test_long_figure_runs_only_when_it_is_named(monkeypatch):
    ran = []

    def figure(name):
        def make(quick, tell):
            ran.append(name)
            return Figure(name=name, title="", how="", rows=())

        return make

    monkeypatch.setattr(run, "FIGURES", {name: figure(name) for name in ("P1", "P9")})
    run.run_bench()
    assert ran == ["P1"]
    run.run_bench(["P9"])
    assert ran == ["P1", "P9"]


def test_seeds_are_forgotten_once_the_figure_is_kept(tmp_path, monkeypatch):
    seeds = tmp_path / "P9"
    monkeypatch.setattr(run, "SEEDS", seeds)
    seeds.mkdir()
    figure = Figure(name="P9", title="", how="", rows=())
    results = Results(machine={"date": "2025-01-01", "effort": "full"}, figures=(figure,))
    run.keep(replace(results, figures=(replace(figure, name="P1"),)), tmp_path)
    assert seeds.exists()
    run.keep(results, tmp_path)
    assert not seeds.exists()
