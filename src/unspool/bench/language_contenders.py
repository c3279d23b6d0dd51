"""Who is compared in P9: the default language model, and `nn.LSTM` in a loop written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unspool.cells import CELLS
from unspool.data.streams import Streams, Window
from unspool.errors import DataError
from unspool.layers.dropout import derived_seed
from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings
from unspool.tasks.corpus import Corpus
from unspool.tasks.text_loss import stream_loss
from unspool.tasks.write import Writing
from unspool.training.loop import Loop
from unspool.training.optimisation import learning_rate
from unspool.training.settings import TrainSettings

LOOK_ROWS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageScale:
    """What is trained, and for how long.

    Attributes:
        text: the file; None looks for `TEXT` in `PLACES`.
        characters: predicted in training, exactly; a multiple of ``train.batch``.
        longer: how many times as many ours is given where the time to the peer's loss counts, on
            a schedule as much longer: what has cheaper steps may take more of them.
        seeds: one training of each contender for each.
        model: ours; the peer is an `nn.LSTM` of as many units, with the same dropout.
        train: of both; ``steps`` follows from the characters.
        turn: steps before the other's turn.
        looks: how often the validation loss is measured, over the last half of training.
        folder: where finished seeds are kept until all are.
    """

    text: Path | None = None
    characters: int = 6_000_000
    longer: float = 1.3
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    model: RecurrentSettings = field(default_factory=lambda: RecurrentSettings(name="gru"))
    train: TrainSettings = field(default_factory=TrainSettings)
    turn: int = 20
    looks: int = 25
    folder: Path = Path("bench") / "results" / "P9"


class Windows:
    """The windows of `Streams` until so many characters are predicted; the last is cut to fit.

    Args:
        tokens: of the training part.
        scale: rows, and steps of a window.
        seed: of where epochs start.
        characters: to predict; None takes those of the scale.

    Attributes:
        steps: how many.
        characters: predicted in all of them.

    Raises:
        DataError: if the characters do not divide into the rows.
    """

    def __init__(
        self, tokens: Tensor, scale: LanguageScale, seed: int, characters: int | None = None
    ) -> None:
        batch = scale.train.batch
        characters = scale.characters if characters is None else characters
        if characters % batch or characters < batch:
            raise DataError(f"P9: {characters} characters; wanted a multiple of the {batch} rows.")
        self.streams = Streams(tokens, batch, scale.train.length, shift_seed=seed)
        self.characters = characters
        self.widths: list[int] = []
        left = characters // batch
        for index in itertools.cycle(range(self.streams.windows_per_epoch)):
            width = min(self.streams.window(0, index).num_steps, left)
            self.widths.append(width)
            left -= width
            if not left:
                break
        self.steps = len(self.widths)

    def window(self, step: int) -> Window:
        """The window of one update."""
        epoch, index = divmod(step, self.streams.windows_per_epoch)
        return self.streams.window(epoch, index).steps(0, self.widths[step])


@runtime_checkable
class Contender(Protocol):
    """Someone who trains."""

    def step(self) -> None:
        """One update."""

    def evaluate(self) -> float:
        """Nats per character on the validation part, read as `LOOK_ROWS` streams at once."""
        ...


class Ours:
    """The default model in the training loop that `unspool train` runs."""

    def __init__(self, corpus: Corpus, windows: Windows, scale: LanguageScale, seed: int) -> None:
        train = replace(scale.train, steps=windows.steps)
        weights = torch.Generator().manual_seed(derived_seed(seed, "weights"))
        cell = CELLS[scale.model.name].with_options(**scale.model.options)
        self.model = LanguageModel(corpus.tokenizer.size, scale.model, cell, weights)
        writing = Writing(self.model, corpus, train.batch, train.length, seed)
        self.work = _Exactly(writing=writing, windows=windows)
        self.loop = Loop(self.work, train, seed)

    def step(self) -> None:
        """One update."""
        self.loop.step()

    def evaluate(self) -> float:
        """Nats per character on the validation part."""
        return stream_loss(self.model, self.work.writing.validation, LOOK_ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exactly:
    """The work of writing on windows that end where they should."""

    writing: Writing
    windows: Windows

    @property
    def model(self) -> nn.Module:
        return self.writing.model

    def batch(self, step: int) -> Window:
        return self.windows.window(step)

    def loss(self, batch: Window, state: State | None) -> tuple[Tensor, State]:
        return self.writing.loss(batch, state)

    def evaluate(self) -> float:
        return self.writing.evaluate()

    def sample(self) -> None:
        return None


class Plain:
    """The peer: embedding, `nn.LSTM` and linear layer, in the loop that one writes by hand."""

    def __init__(self, corpus: Corpus, windows: Windows, scale: LanguageScale, seed: int) -> None:
        self.settings = replace(scale.train, steps=windows.steps)
        self.windows, self.validation = windows, corpus.validation
        V, H, dropout = corpus.tokenizer.size, scale.model.hidden, scale.model.dropout
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(seed, "peer"))
            self.model = _PlainModel(V, H, dropout)
            self.random = torch.get_rng_state()
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.number = 0
        self.state: State | None = None

    def step(self) -> None:
        """One update."""
        window, settings = self.windows.window(self.number), self.settings
        rate = learning_rate(settings, self.number)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.random.fork_rng():
            torch.set_rng_state(self.random)
            self.model.train()
            logits, state = self.model(window.inputs, None if window.first else self.state)
            self.random = torch.get_rng_state()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), window.targets.flatten())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.state = state.detach()
        self.number += 1

    def evaluate(self) -> float:
        """Nats per character on the validation part."""
        return stream_loss(self.model, self.validation, LOOK_ROWS)


class _PlainModel(nn.Module):
    def __init__(self, V: int, H: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.lstm = nn.LSTM(H, H, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(H, V)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        h, following = self.lstm(self.embedding(tokens), state)
        return self.head(self.dropout(h)), State(following)
