"""The recipe of nanoGPT for a CPU on tiny Shakespeare: its loss, ours, and an LSTM's beside them.

Ours reads the same number of windows, as long and as many at once, in the training loop of
`unspool train`; nanoGPT's model is trained as its train.py does. Both take turns of a few steps in
one process. The LSTM is given the seconds that ours took. Looks at the validation part do not
count.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from unspool.bench.language import seconds_to, tiny_shakespeare
from unspool.bench.results import Figure, Row, Verdict
from unspool.bench.transformer import mean_loss
from unspool.bench.transformer_peers import NANOGPT, PlainTransformer, nanogpt
from unspool.cells import CELLS
from unspool.data.settings import DataSettings
from unspool.layers.dropout import derived_seed
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings, TransformerSettings
from unspool.tasks.corpus import Corpus, read_corpus
from unspool.tasks.text_loss import stream_loss
from unspool.tasks.write import Writing
from unspool.training.loop import Loop
from unspool.training.settings import TrainSettings

Told = Callable[[str], None]
WANTED = 1.88  # nats a character, which nanoGPT's page says of its recipe


def _ours() -> TransformerSettings:
    return TransformerSettings(
        hidden=128, layers=4, heads=4, context=64, dropout=0.0, tie=True, biases=False
    )


def _train() -> TrainSettings:
    return TrainSettings(
        steps=2000, batch=12, length=64, learning_rate=2e-3, warmup=100, weight_decay=0.1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is trained, and how long.

    Attributes:
        model: ours; the peer has as many blocks, heads and features, and learned positions.
        train: ours; the peer has as many steps, rows and windows as long.
        beside: what is given the same seconds, and its own training.
        turn: steps before the other's turn.
        looks: how often the validation loss is measured.
        seed: of all of them.
        text: None looks for the file.
    """

    model: TransformerSettings = field(default_factory=_ours)
    train: TrainSettings = field(default_factory=_train)
    beside: tuple[RecurrentSettings, TrainSettings] = field(
        default_factory=lambda: (RecurrentSettings(), TrainSettings())
    )
    turn: int = 20
    looks: int = 20
    seed: int = 0
    text: str | None = None


def recipe(chosen: Recipe, tell: Told) -> Figure:
    """The losses, and the seconds until each.

    Args:
        chosen: what is trained.
        tell: called with a line at every look.

    Raises:
        DataError: if the text is not there.
    """
    text = tiny_shakespeare() if chosen.text is None else chosen.text
    corpus = read_corpus(text, DataSettings())
    ours = _loop(corpus, chosen.model, chosen.train, chosen.seed)
    peer = _Peer(corpus, chosen)
    spent = {"unspool": 0.0, peer.name: 0.0}
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in spent}
    steps, every = chosen.train.steps, max(1, chosen.train.steps // chosen.looks)
    stops = sorted({*range(chosen.turn, steps, chosen.turn), *range(every, steps, every), steps})
    done = 0
    for stop in stops:
        for name, step in (("unspool", ours.step), (peer.name, peer.step)):
            began = time.perf_counter()
            for _ in range(stop - done):
                step()
            spent[name] += time.perf_counter() - began
        if stop % every == 0 or stop == steps:
            for name, model in (("unspool", ours.work.model), (peer.name, peer.model)):
                curves[name].append((spent[name], stream_loss(model, corpus.validation)))
            said = (f"{name} {c[-1][1]:.3f} in {c[-1][0]:.0f} s" for name, c in curves.items())
            tell(f"recipe, step {stop} of {steps}: {', '.join(said)}")
        done = stop
    curves["LSTM"] = _beside(corpus, chosen, spent["unspool"], tell)
    return _figure(chosen, peer.name, curves)


def _loop(corpus: Corpus, model: Any, train: TrainSettings, seed: int) -> Loop:
    cell = CELLS[model.name] if isinstance(model, RecurrentSettings) else None
    weights = torch.Generator().manual_seed(derived_seed(seed, "weights"))
    made = LanguageModel(corpus.tokenizer.size, model, cell, weights)
    return Loop(Writing(made, corpus, train.batch, train.length, seed), train, seed)


class _Peer:
    """The model of nanoGPT where its file is named, else the plain one; trained as its train.py."""

    def __init__(self, corpus: Corpus, chosen: Recipe) -> None:
        settings, self.train = chosen.model, chosen.train
        sizes = (
            corpus.tokenizer.size, settings.hidden, settings.layers, settings.heads,
            settings.context,
        )  # fmt: skip
        named = NANOGPT in os.environ
        self.name = "nanoGPT" if named else "plain torch"
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(chosen.seed, "peer"))
            self.model: nn.Module = nanogpt(*sizes) if named else PlainTransformer(*sizes)
        self.tokens, self.number = corpus.train, 0
        self.random = torch.Generator().manual_seed(chosen.seed)
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() == 1]
        groups = [
            {"params": matrices, "weight_decay": 0.1},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=HIGHEST, betas=(0.9, 0.99))

    def step(self) -> None:
        """One update on windows from anywhere in the text."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        T, B = self.train.length, self.train.batch
        starts = torch.randint(len(self.tokens) - T, (B,), generator=self.random)
        window = torch.stack([self.tokens[start : start + T + 1] for start in starts.tolist()])
        mean_loss(self.model, window).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.number += 1

    def _rate(self) -> float:
        warmup = min(100, self.train.steps // 2)
        if self.number < warmup:
            return HIGHEST * (self.number + 1) / (warmup + 1)
        share = (self.number - warmup) / max(1, self.train.steps - warmup)
        return LOWEST + (1 + math.cos(math.pi * share)) / 2 * (HIGHEST - LOWEST)


def _beside(
    corpus: Corpus, chosen: Recipe, seconds: float, tell: Told
) -> list[tuple[float, float]]:
    """The LSTM with as many steps as fit into the seconds."""
    model, train = chosen.beside
    trial = _loop(corpus, model, train, chosen.seed)
    trial.step()
    began = time.perf_counter()
    for _ in range(3):
        trial.step()
    steps = max(4, round(3 * seconds / (time.perf_counter() - began)))
    loop = _loop(corpus, model, replace(train, steps=steps), chosen.seed)
    spent, curve, every = 0.0, [], max(1, steps // chosen.looks)
    for number in range(1, steps + 1):
        began = time.perf_counter()
        loop.step()
        spent += time.perf_counter() - began
        if number % every == 0 or number == steps:
            loss = stream_loss(loop.work.model, corpus.validation, rows=ROWS)
            curve.append((spent, loss))
            tell(f"recipe, LSTM step {number} of {steps}: {loss:.3f} in {spent:.0f} s")
    return curve


def _figure(chosen: Recipe, peer: str, curves: dict[str, list[tuple[float, float]]]) -> Figure:
    ours, theirs, lstm = curves["unspool"][-1], curves[peer][-1], curves["LSTM"][-1]
    reached = seconds_to(curves["unspool"], WANTED)
    row = Row.of(
        "whole recipe", {"unspool": [ours[0]], peer: [theirs[0]]},
        {"nats/char": ours[1], f"{peer}, nats/char": theirs[1], "LSTM, nats/char": lstm[1],
         "LSTM, seconds": lstm[0]},
    )  # fmt: skip
    model, train = chosen.model, chosen.train
    return Figure(
        name="recipe",
        title="nanoGPT's recipe for a CPU, on tiny Shakespeare",
        how=f"{model.layers} blocks, {model.heads} heads, {model.hidden} wide, context "
        f"{train.length}, {train.batch} rows, {train.steps} steps, no dropout. The validation part "
        f"is read in blocks of {train.length}, each from a start of its own; by the LSTM as a few "
        "streams. The LSTM is the default model of `unspool train`, given as many steps as fit "
        "into our seconds.",
        rows=(row,),
        verdicts=(
            Verdict(what="nats/char of ours", value=ours[1], floor=WANTED, at_most=True),
            Verdict(what=f"nats/char of {peer}", value=theirs[1]),
            Verdict(what=f"share of {peer}'s time to {WANTED} nats/char",
                    value=reached / theirs[0], floor=1.0, at_most=True),
            Verdict(what=f"share of {peer}'s time for all steps", value=ours[0] / theirs[0]),
            Verdict(what="beside it: nats/char of the LSTM in the same seconds", value=lstm[1]),
        ),
        digits=3,
    )  # fmt: skip


HIGHEST, LOWEST = 1e-3, 1e-4
ROWS = 32
