"""Beam search: several beginnings of every answer are followed at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unspool.errors import DataError
from unspool.models.answers import (
    NOT_FINITE,
    Bounds,
    Chances,
    Decoder,
    Remembered,
    Written,
    chances,
)
from unspool.models.decoding_settings import DecodingSettings


@dataclass(slots=True)
class Beams:
    """The beginnings that are followed: w for each of the A inputs whose answer is not found yet.

    Attributes:
        rows: which inputs those are.
        most: tokens of the longest answer to each.
        written: tokens so far of each beginning.
        total: log probability of each; −inf fills up where there are fewer.
        looked: where the model looked for each token, ``[A·w u S]``; None where it is not wanted.
    """

    rows: list[int]
    most: list[int]
    written: list[list[list[int]]]
    total: Float[Tensor, "A w"]
    looked: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """A and w."""
        return len(self.rows), len(self.written[0])


@dataclass(slots=True)
class Pool:
    """The best answers to one input that have been found, at most as many as the beam is wide.

    Attributes:
        answers: in the order in which they were found.
    """

    answers: list[Written] = field(default_factory=list)

    def add(self, answer: Written, width: int) -> None:
        """Keep one more answer; beyond the width the worst goes, of equals the one found last."""
        self.answers.append(answer)
        if len(self.answers) > width:
            worst = min(range(len(self.answers)), key=lambda k: (self.answers[k].score, -k))
            del self.answers[worst]

    def best(self, count: int) -> list[Written]:
        """The best answers, the best first; of equals the one that was found first."""
        return sorted(self.answers, key=lambda each: each.score, reverse=True)[:count]

    def done(self, likeliest: float, length: int, most: int, settings: DecodingSettings) -> bool:
        """Whether the answers stand.

        Args:
            likeliest: largest log probability of a beginning that is still followed.
            length: its tokens.
            most: tokens of the longest answer.
            settings: of the search.
        """
        if likeliest == -torch.inf:
            return True
        if len(self.answers) < settings.nbest:
            return False
        # A log probability can only fall, and no answer's is divided by more than most + 1. Once
        # there are as many answers as the beam is wide, a beginning has to be better as it is.
        tokens = length if len(self.answers) >= settings.beam else most + 1
        reachable = likeliest / tokens**settings.length_penalty
        return reachable <= self.best(settings.nbest)[-1].score


def beam_search(
    model: Decoder,
    memory: Remembered,
    settings: DecodingSettings,
    bounds: Bounds,
    weights: bool = False,
) -> list[list[Written]]:
    """The best answers to every input that a beam finds.

        score(y) = Σ_t log p(y_t | y_<t) / |y| ** penalty,        |y| with the end

    At each step every beginning is continued by every token, and of all continuations of an input
    the best are kept. One that ends, and stands among the best, is an answer. An input is done when
    no beginning can become better than the worst answer that is wanted; or, once there are as many
    answers as the beam is wide, when none is better at the length it has. The number of answers
    alone says nothing: a model that is sure of itself has many that end too early, and are bad.

    Args:
        model: in evaluation mode.
        memory: what it has read; a row serves all beginnings of its input.
        settings: width of the beam, penalty, and how many answers are wanted.
        bounds: what an answer may be.
        weights: also give where the model looked.

    Returns:
        For every input ``settings.nbest`` answers, or fewer where there are no more.

    Source:
        Wu et al. (2016), section 7, for the search; its penalty is here a power of the length.
    """
    pools = [Pool() for _ in range(len(memory))]
    state, A = memory.start, len(memory)
    beams = Beams(
        rows=list(range(A)),
        most=list(bounds.most),
        written=[[[]] for _ in range(A)],
        total=torch.zeros(A, 1, dtype=torch.float64, device=state[0].device),
    )
    tokens = torch.full((A,), model.begin, device=state[0].device)
    while True:
        logits, state, shares = model.step(tokens, state, memory, weights)
        if shares is not None:
            each = shares[:, None]
            beams.looked = each if beams.looked is None else torch.cat([beams.looked, each], 1)
        found = chances(
            logits.view(*beams.shape, -1), beams.written, beams.most, bounds,
            (model.begin, model.end),
        )  # fmt: skip
        best = _best(beams, found, settings.beam)
        left, order = _go_on(pools, beams, best, found.natural, model.end, settings)
        if not left:
            return [pool.best(settings.nbest) for pool in pools]
        rows = torch.tensor(order, device=tokens.device)
        state = state.select_rows(rows)
        if beams.looked is not None:
            beams.looked = beams.looked.index_select(0, rows)
        last = [text[-1] for texts in beams.written for text in texts]
        tokens = torch.tensor(last, device=tokens.device)
        if len(left) < len(memory):
            memory = memory.select_rows(torch.tensor(left, device=tokens.device))


# Continuations of each input, the best first: log probability, beginning and token of each.
Best = list[list[tuple[float, int, int]]]


def _best(beams: Beams, found: Chances, width: int) -> Best:
    """Twice as many as the beam is wide: half of them may end, each beginning only once."""
    gained, tokens = found.scores.topk(min(2 * width, found.scores.shape[2]))
    totals = (beams.total[..., None] + gained).flatten(1)  # [A w·n]
    total, index = totals.topk(min(2 * width, totals.shape[1]))
    token = tokens.flatten(1).gather(1, index)
    size = tokens.shape[2]
    return [
        [(value, place // size, word) for value, place, word in zip(*each, strict=True)]
        for each in zip(total.tolist(), index.tolist(), token.tolist(), strict=True)
    ]


def _go_on(
    pools: list[Pool],
    beams: Beams,
    best: Best,
    natural: Tensor | None,
    end: int,
    settings: DecodingSettings,
) -> tuple[list[int], list[int]]:
    """Make answers of what ends, and keep the best that do not, of the inputs that are not done.

    Returns:
        Places of those inputs, and the rows of the state that go on, in their order.
    """
    width, (_, w) = settings.beam, beams.shape
    kept: list[list[tuple[float, int, int]]] = []
    left, order = [], []
    for place, (row, ranked) in enumerate(zip(beams.rows, best, strict=True)):
        pool = pools[row]
        for total, parent, token in ranked[:width]:
            if token == end and total > -math.inf:
                free = natural is None or bool(natural[place, parent])
                pool.add(_answer(beams, place, parent, total, free, settings), width)
        open_ = [each for each in ranked if each[2] != end and each[0] > -math.inf][:width]
        likeliest = open_[0][0] if open_ else -math.inf
        if math.isnan(ranked[0][0]):
            raise DataError(NOT_FINITE)
        length = len(beams.written[place][0]) + 1
        if not pool.done(likeliest, length, beams.most[place], settings):
            left.append(place)
            kept.append(open_)
    size = max(map(len, kept), default=0)
    written, totals = [], []
    for place, open_ in zip(left, kept, strict=True):
        # Equally many for each input: what fills up has no chance.
        open_ += [(-math.inf, *open_[-1][1:])] * (size - len(open_))
        order += [place * w + parent for _, parent, _ in open_]
        written.append([[*beams.written[place][parent], token] for _, parent, token in open_])
        totals.append([total for total, _, _ in open_])
    beams.rows, beams.most = ([each[k] for k in left] for each in (beams.rows, beams.most))
    beams.written = written
    beams.total = beams.total.new_tensor(totals)
    return left, order


def _answer(
    beams: Beams, place: int, parent: int, total: float, free: bool, settings: DecodingSettings
) -> Written:
    """What has been written, with the end."""
    tokens = beams.written[place][parent]
    row = place * beams.shape[1] + parent
    return Written(
        tokens=tuple(tokens),
        log_probability=total,
        score=total / (len(tokens) + 1) ** settings.length_penalty,
        finished=free,
        weights=None if beams.looked is None else beams.looked[row],
    )
