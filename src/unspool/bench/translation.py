"""P11: sentences a second with a beam, beside a plain loop in PyTorch and JoeyNMT, our weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unspool.bench.batches import Told
from unspool.bench.harness import Disagreement, Effort
from unspool.bench.results import Figure, Row, Verdict
from unspool.bench.translation_peers import JoeyTranslator, PlainTranslator, joeynmt_missing
from unspool.cells import CELLS
from unspool.models.decoding import decode
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.encoder_decoder import EncoderDecoder
from unspool.models.settings import RecurrentSettings

FLOOR, REACH = 2.0, 4.0
ONE, TOGETHER, JOEYNMT = "a loop", "a loop over batches", "JoeyNMT"
UNLIKELY = -30.0  # of the end: every answer is as long as its sentence, as a translation about is
PEAKED = 6.0  # how much larger than at the start scores are, as of a model that has learnt


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationScale:
    """What is translated, and how long that is measured.

    Attributes:
        hidden: units of both sides.
        batches: sentences side by side.
        vocabulary: tokens of either language.
        longest: tokens of the longest sentence; they have a third of that or more.
        beam: beginnings that are followed.
        effort: rounds.
    """

    hidden: tuple[int, ...] = (256, 512)
    batches: tuple[int, ...] = (1, 32)
    vocabulary: int = 4000
    longest: int = 20
    beam: int = 5
    effort: Effort = field(default_factory=lambda: Effort(seconds=6.0, least=5, most=15))


def translated(scale: TranslationScale, tell: Told) -> Figure:
    """P11: attention after the recurrence, and fed back into it."""
    missing = joeynmt_missing()
    rows: dict[str, list[Row]] = {"late": [], "feeding": []}
    for attends, found in rows.items():
        for H in scale.hidden:
            cases = [_row(scale, attends, H, B) for B in scale.batches]
            if not missing:
                cases += [_beside_joeynmt(scale, attends, H, B) for B in scale.batches if B > 1]
            for row in cases:
                told = ", ".join(f"{each.median:.2f} ({peer})" for peer, each in row.ratios.items())
                tell(f"P11 {row.case}: {told}")
            found += cases
    verdicts = [
        Verdict(
            what=f"attention {attends}, over {peer}, worst case",
            value=min(row.ratios[peer].median for row in many),
            floor=FLOOR,
            reach=REACH,
        )
        for attends, found in rows.items()
        for peer in (ONE, TOGETHER, *(() if missing else (JOEYNMT,)))
        if (many := [row for row in found if peer in row.ratios and not row.case.endswith("B 1")])
    ]
    return Figure(
        name="P11",
        title="Translating with a beam, sentences a second, beside a loop in PyTorch and JoeyNMT",
        how=f"LSTM, bidirectional encoder, general attention, {scale.vocabulary} tokens on either "
        f"side, sentences of {scale.longest // 3} to {scale.longest} tokens, beam {scale.beam}, "
        "reading included. The loop has the same weights in `nn.LSTM` and `nn.LSTMCell` and finds "
        f"the same answers: as `{ONE}` is written most often, a sentence after the other, and as "
        f"`{TOGETHER}` all of a batch at once, each with its memory for every beam, those that are "
        f"done dropped. `{JOEYNMT}` has its own modules and search with those weights; it knows no "
        f"limit of a single sentence, so that all have {scale.longest} tokens beside it. Verdicts "
        "are on many sentences; a single one is shown beside them.",
        rows=tuple(row for found in rows.values() for row in found),
        verdicts=tuple(verdicts),
        skipped=(missing,) if missing else (),
    )


def _row(scale: TranslationScale, attends: str, H: int, B: int) -> Row:
    case = f"{attends}, H {H}, B {B}"
    model, plain = contenders(scale, attends, H)
    tokens, lengths = sentences(scale, B)
    most = lengths.tolist()
    settings = DecodingSettings(beam=scale.beam)

    def ours() -> list[tuple[int, ...]]:
        with torch.no_grad():
            memory = model.encode({"tokens": tokens}, lengths)
            return [found[0].tokens for found in decode(model, memory, settings, most)]

    def theirs() -> list[tuple[int, ...]]:
        return plain.translate(tokens, lengths, most, scale.beam)

    mine, other = ours(), theirs()
    if mine != other:
        wrong = sum(one != two for one, two in zip(mine, other, strict=True))
        raise Disagreement(f"{case}: {wrong} of {B} answers differ. Nothing was timed.")

    def singly() -> list[tuple[int, ...]]:
        each = zip(tokens.split(1), lengths.split(1), most, strict=True)
        return [
            plain.translate(one[:, : int(length)], length, [longest], scale.beam)[0]
            for one, length, longest in each
        ]

    peers = {TOGETHER: theirs, ONE: singly} if B > 1 else {ONE: theirs}
    return _timed(case, {"unspool": ours, **peers}, scale, B, sum(map(len, mine)) / B)


def _beside_joeynmt(scale: TranslationScale, attends: str, H: int, B: int) -> Row:
    """All sentences and answers as long as each other."""
    case = f"{attends}, H {H}, B {B}, of equal length"
    model, plain = contenders(scale, attends, H)
    joey = JoeyTranslator(plain)
    tokens, _ = sentences(scale, B)
    settings, most = DecodingSettings(beam=scale.beam), [scale.longest] * B

    def ours() -> list[tuple[int, ...]]:
        with torch.no_grad():
            memory = model.encode({"tokens": tokens}, torch.tensor(most))
            return [found[0].tokens for found in decode(model, memory, settings, most)]

    def theirs() -> list[set[tuple[int, ...]]]:
        return joey.translate(tokens, scale.longest, scale.beam)

    mine = ours()
    # Ours counts the end as well when it ranks the answers, JoeyNMT does not.
    wrong = sum(one not in many for one, many in zip(mine, theirs(), strict=True))
    if wrong:
        raise Disagreement(f"{case}: {wrong} of {B} answers differ. Nothing was timed.")
    contestants = {"unspool": ours, JOEYNMT: theirs}
    return _timed(case, contestants, scale, B, float(scale.longest))


def _timed(
    case: str,
    contestants: dict[str, Callable[[], object]],
    scale: TranslationScale,
    B: int,
    tokens: float,
) -> Row:
    """A row with our sentences a second, and the tokens that an answer has."""
    row = Row.timed(case, contestants, scale.effort)
    speed = B / row.amounts["unspool"].median
    return Row(
        case=case, amounts=row.amounts, ratios=row.ratios,
        more={"sentences a second": speed, "tokens an answer": tokens},
    )  # fmt: skip


def contenders(
    scale: TranslationScale, attends: str, H: int
) -> tuple[EncoderDecoder, PlainTranslator]:
    """Ours, and a plain one with its weights."""
    V = scale.vocabulary
    shape = {
        "source": {"kind": "tokens", "size": V},
        "target": {"size": V, "begin": V - 2, "end": V - 1},
    }
    settings = RecurrentSettings(hidden=H, bidirectional=True, attends=attends)
    generator = torch.Generator().manual_seed(0)
    model = EncoderDecoder(shape, settings, CELLS["lstm"], generator).eval()
    with torch.no_grad():
        model.decoder.head.weight.mul_(PEAKED)
        model.decoder.head.bias[V - 1] = UNLIKELY
    return model, PlainTranslator(model)


def sentences(scale: TranslationScale, rows: int) -> tuple[Tensor, Tensor]:
    """Drawn tokens, and lengths that differ."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(scale.vocabulary - 2, (rows, scale.longest), generator=generator)
    lengths = torch.randint(
        scale.longest // 3, scale.longest + 1, (rows,), generator=generator
    )  # fmt: skip
    lengths[0] = scale.longest
    return tokens, lengths
