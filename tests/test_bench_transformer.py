"""The benchmark of transformers: who is compared computes the same, and nothing is timed before."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from tolerance import assert_close
from unspool.bench import transformer as timed
from unspool.bench import transformer_text as text
from unspool.bench.approximations import Lengths, approximations, distance
from unspool.bench.harness import Disagreement, Effort
from unspool.bench.plot import growth_plot
from unspool.bench.transformer import TransformerScale, transformer
from unspool.bench.transformer_peers import NANOGPT, peers_of, plain_peer
from unspool.errors import ConfigError
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings, TransformerSettings
from unspool.training.settings import TrainSettings

BRIEF = Effort(seconds=0.0, least=2, most=2, block=0.0)
SCALE = TransformerScale(trained=((8, 1, 2, 6, 3),), written=((8, 1, 2),), length=5, effort=BRIEF)
TEXT = "the cat sat on the mat and ran to her bed. " * 60


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv(NANOGPT, raising=False)


def ours(rng, **changes):
    settings = TransformerSettings(
        hidden=8, layers=2, heads=2, positions="learned", context=6, dropout=0.0, tie=True,
        biases=False, **changes,
    )  # fmt: skip
    return LanguageModel(timed.VOCABULARY, settings, generator=rng)


def test_plain_peer_computes_what_ours_does(rng):
    model, tokens = ours(rng), torch.randint(65, (3, 6), generator=rng)
    assert_close(plain_peer(model)(tokens)[0], model(tokens)[0])


def test_figure_says_who_could_not_be_asked(monkeypatch):
    monkeypatch.setattr(timed, "transformers_missing", lambda: "transformers: gone")
    figure = transformer(SCALE, print)
    assert [verdict.value is None for verdict in figure.verdicts] == [False, True]
    assert "transformers: gone" in figure.skipped
    assert any(NANOGPT in reason for reason in figure.skipped)
    assert list(figure.rows[0].ratios) == ["plain torch"]


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
def test_writing_is_timed_beside_transformers():
    figure = transformer(SCALE, print)
    assert list(figure.rows[1].ratios) == ["transformers"]


def test_peer_that_computes_something_else_is_not_timed(monkeypatch):
    def spoilt(model):
        peers, reasons = peers_of(model)
        with torch.no_grad():
            peers["plain torch"].norm.weight.mul_(1.01)
        return peers, reasons

    monkeypatch.setattr(timed, "peers_of", spoilt)
    monkeypatch.setattr(timed, "measure", pytest.fail)
    with pytest.raises(Disagreement, match="plain torch"):
        transformer(SCALE, print)


def test_file_of_nanogpt_that_is_not_there_is_named(monkeypatch, rng, tmp_path):
    monkeypatch.setenv(NANOGPT, str(tmp_path / "model.py"))
    with pytest.raises(ConfigError, match="UNSPOOL_NANOGPT: there is no"):
        peers_of(ours(rng))


def test_recipe_gives_both_as_many_steps_and_the_lstm_our_seconds():
    tiny = TransformerSettings(hidden=8, layers=1, heads=2, context=8, dropout=0.0)
    chosen = text.Recipe(
        model=tiny, train=TrainSettings(steps=6, batch=4, length=8), turn=2, looks=2, text=TEXT,
        beside=(RecurrentSettings(hidden=4), TrainSettings(batch=4, length=8)),
    )  # fmt: skip
    told = []
    figure = text.recipe(chosen, told.append)
    (row,) = figure.rows
    assert list(row.ratios) == ["plain torch"]
    assert [line.partition(":")[0] for line in told][:2] == [
        "recipe, step 3 of 6", "recipe, step 6 of 6",
    ]  # fmt: skip
    assert 0 < row.more["nats/char"] < 6 and 0 < row.more["LSTM, nats/char"] < 6
    assert figure.verdicts[0].floor == text.WANTED


def test_rate_of_the_peer_rises_and_falls_as_nanogpts():
    steps = replace(text.Recipe().train, steps=2000)
    peer = object.__new__(text._Peer)
    peer.train = steps
    rates = {}
    for peer.number in (0, 99, 100, 1050, 2000):
        rates[peer.number] = peer._rate()
    assert rates[0] == pytest.approx(1e-3 / 101)
    assert rates[100] == pytest.approx(1e-3)
    assert rates[1050] == pytest.approx(5.5e-4)
    assert rates[2000] == pytest.approx(1e-4)


def test_approximations_are_exact_where_they_see_everything():
    lengths = Lengths(steps=(8, 200), heads=2, features=4, windows=(16, 400), effort=BRIEF)
    short, long = approximations(lengths, print).rows
    assert short.more["error, window 16"] < 1e-6
    assert long.more["error, window 400"] < 1e-6 < long.more["error, window 16"]
    assert long.more["error, linear"] > 0.1


def test_approximations_are_drawn_in_the_same_colours_in_both_panels():
    lengths = Lengths(steps=(8, 70, 140), windows=(16, 100), effort=BRIEF)  # all exact at 8 steps
    curves = approximations(lengths, print).curves
    assert growth_plot(curves).count("window 16") >= 2
    names = {
        panel: [
            name.partition(": ")[2]
            for name, points in curves.items()
            if points and name.startswith(panel)
        ]
        for panel in ("seconds", "error")
    }
    assert names["seconds"] == [*names["error"], "full"]
    assert names["error"] == ["window 100", "window 16", "linear"]
    assert distance(torch.ones(3), torch.ones(3)) == 0.0
