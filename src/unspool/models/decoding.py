"""Finding the text that a model gives: greedy, drawn, or by a beam, of many inputs at once.

Whatever decodes has one step, ``step(tokens, state, memory, weights)``, and a `State` and a memory
whose rows can be chosen; nothing here knows what it is made of. An input whose answer is found
leaves the batch: the others go on without it, and no answer depends on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.models.answers import NOT_FINITE, Bounds, Decoder, Remembered, Written, chances
from unspool.models.beam import beam_search
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.encoder_decoder import EncoderDecoder
from unspool.models.sampling import SamplingSettings, probabilities


def decode(
    model: Decoder,
    memory: Remembered,
    settings: DecodingSettings,
    max_length: int | Sequence[int],
    min_length: int = 0,
    sampling: SamplingSettings | None = None,
    generator: torch.Generator | None = None,
    *,
    weights: bool = False,
) -> list[list[Written]]:
    """Answers to every input, the best first.

    Args:
        model: in evaluation mode.
        memory: what it has read.
        settings: of the beam; ``max_length`` stands here as the next argument.
        max_length: tokens of the longest answer, one number or one for each input.
        min_length: tokens of the shortest.
        sampling: draw tokens instead; ``nbest`` answers are drawn, independent of each other.
        generator: of what is drawn, on the CPU.
        weights: also give where the model looked.

    Raises:
        ConfigError: for lengths that cannot be.
        DataError: if the scores of the model are not finite.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.models.encoder_decoder import EncoderDecoder
        >>> from unspool.models.settings import RecurrentSettings
        >>> shape = {"source": {"kind": "tokens", "size": 9},
        ...          "target": {"size": 7, "begin": 5, "end": 6}}
        >>> model = EncoderDecoder(shape, RecurrentSettings(hidden=4), CELLS["gru"]).eval()
        >>> memory = model.encode({"tokens": torch.tensor([[1, 2, 3], [4, 5, 6]])})
        >>> answers = decode(model, memory, DecodingSettings(beam=3, nbest=2), max_length=4)
        >>> [len(each) for each in answers], answers[0][0].score >= answers[0][1].score
        ([2, 2], True)
    """
    bounds = Bounds.of(len(memory), max_length, min_length, settings.no_repeat)
    penalty = settings.length_penalty
    with torch.no_grad():
        if isinstance(model, EncoderDecoder):
            model = model.stream(len(memory) * (settings.beam if sampling is None else 1))
        if sampling is None and settings.beam > 1:
            return beam_search(model, memory, settings, bounds, weights)
        if sampling is None:
            answers = _one_by_one(model, memory, bounds, penalty, None, weights)
            return [[each] for each in answers]
        times = settings.nbest
        rows = torch.arange(len(memory), device=memory.start[0].device).repeat_interleave(times)
        most = tuple(length for length in bounds.most for _ in range(times))
        bounds = Bounds(most=most, least=min_length, no_repeat=settings.no_repeat)
        drawn = torch.rand(len(rows), max(most) + 1, generator=generator, dtype=torch.float64)
        answers = _one_by_one(
            model, memory.select_rows(rows), bounds, penalty, (sampling, drawn), weights
        )
        groups = [answers[start : start + times] for start in range(0, len(answers), times)]
        return [sorted(each, key=lambda one: one.score, reverse=True) for each in groups]


def _one_by_one(
    model: Decoder,
    memory: Remembered,
    bounds: Bounds,
    penalty: float,
    drawing: tuple[SamplingSettings, Tensor] | None,
    weights: bool,
) -> list[Written]:
    """The likeliest token every time, or one that a uniform number draws."""
    device = memory.start[0].device
    answers: dict[int, Written] = {}
    rows, state = list(range(len(memory))), memory.start  # those that still write
    written: list[list[int]] = [[] for _ in rows]
    total = [0.0] * len(rows)
    tokens = torch.full((len(rows),), model.begin, device=device)
    looked: Tensor | None = None
    while rows:
        logits, state, shares = model.step(tokens, state, memory, weights)
        if shares is not None:
            each = shares[:, None]
            looked = each if looked is None else torch.cat([looked, each], 1)
        most = [bounds.most[row] for row in rows]
        found = chances(
            logits[:, None], [[text] for text in written], most, bounds, (model.begin, model.end)
        )
        scores = found.scores[:, 0]
        tokens = scores.argmax(-1)
        if drawing is not None:
            settings, drawn = drawing
            tokens = _drawn(probabilities(scores, settings), drawn[rows, len(written[0])])
        gained = scores.gather(1, tokens[:, None])[:, 0].tolist()
        total = [before + more for before, more in zip(total, gained, strict=True)]
        if any(map(math.isnan, total)):
            raise DataError(NOT_FINITE)
        left = []
        for place, token in enumerate(tokens.tolist()):
            if token != model.end:
                written[place].append(token)
                left.append(place)
                continue
            answers[rows[place]] = Written(
                tokens=tuple(written[place]),
                log_probability=total[place],
                score=total[place] / (len(written[place]) + 1) ** penalty,
                finished=found.natural is None or bool(found.natural[place, 0]),
                weights=None if looked is None else looked[place],
            )
        if left and len(left) < len(rows):
            places = torch.tensor(left, device=device)
            tokens, state = tokens[places], state.select_rows(places)
            memory = memory.select_rows(places)
            looked = None if looked is None else looked[places]
        rows, written, total = ([values[k] for k in left] for values in (rows, written, total))
    return [answers[row] for row in sorted(answers)]


def _drawn(chances: Tensor, uniform: Tensor) -> Tensor:
    """Of each row the token whose share of [0, 1) a number falls into."""
    sums = chances.double().cumsum(-1)
    found = torch.searchsorted(sums, uniform.to(sums)[:, None] * sums[:, -1:], right=True)[:, 0]
    # Sums are rounded: where none is larger, the last token that may be drawn is it.
    places = torch.arange(chances.shape[-1], device=chances.device)
    last = torch.where(chances > 0, places, 0).amax(-1)
    return torch.minimum(found, last)
