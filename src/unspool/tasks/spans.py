"""Spans in labelled words: read from IOB1, IOB2 and IOBES tags, and scored strictly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unspool.errors import DataError, choose


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Strict scores: a span is found where its kind and both ends are right.

    Attributes:
        precision, recall, f1: 0 where nothing was found, or nothing was there.
        found, there, right: spans answered, spans in the truth, spans in both.
        kinds: the same figures for every kind of span.
    """

    precision: float
    recall: float
    f1: float
    found: int
    there: int
    right: int
    kinds: dict[str, SpanScores]


def spans(tags: Sequence[str], scheme: str = "IOB2") -> set[tuple[str, int, int]]:
    """The spans that tags mark, as (kind, first step, step after the last).

    Tags that break their scheme are read as the CoNLL scorer reads them: a span starts where its
    kind changes, and an opening that was left out is put in.

        IOB1    B only where a span follows another of its kind
        IOB2    B at every start
        IOBES   also E at every end, S for spans of one step

    Args:
        tags: ``O`` or a letter of the scheme, a hyphen and the kind: ``B-PER``.
        scheme: IOB1, IOB2 or IOBES.

    Raises:
        DataError: if a tag is none of the scheme's.
        ConfigError: if there is no such scheme.

    Source:
        Tjong Kim Sang and De Meulder (2003), section 2, and the shared task's scorer; Ratinov and
        Roth (2009), section 4, for the schemes (BILOU there).

    Example:
        >>> sorted(spans(["B-PER", "I-PER", "O", "B-LOC"]))
        [('LOC', 3, 4), ('PER', 0, 2)]
    """
    letters = choose(scheme, SCHEMES, "spans: scheme")
    marked, start, kind, closed = set(), 0, None, True
    for step, tag in enumerate([*tags, "O"]):
        letter, now = _parse(tag, step, scheme, letters)
        starts = letter in "BS" or now != kind or closed
        if kind is not None and starts and not closed:
            marked.add((kind, start, step))
        if now is not None and starts:
            start = step
        kind, closed = now, now is None
        if letter in "ES":
            marked.add((now, start, step + 1))
            closed = True
    return marked


def scheme_of(sequences: Sequence[Sequence[str]]) -> str | None:
    """The scheme that tags follow, or None where they are not span tags.

    IOBES where E or S occurs; IOB2 where every span opens with B; IOB1 else.

    Example:
        >>> scheme_of([["B-PER", "I-PER", "O"]]), scheme_of([["I-PER", "O"]])
        ('IOB2', 'IOB1')
        >>> scheme_of([["NOUN", "VERB"]]) is None
        True
    """
    seen = {tag for tags in sequences for tag in tags}
    marked = seen - {"O"}
    if not marked or not all(t[:2] in ("B-", "I-", "E-", "S-") and t[2:] for t in marked):
        return None
    if any(tag[0] in "ES" for tag in marked):
        return "IOBES"
    for tags in sequences:
        previous = "O"
        for tag in tags:
            if tag[0] == "I" and (previous == "O" or previous[2:] != tag[2:]):
                return "IOB1"
            previous = tag
    return "IOB2"


def span_scores(
    truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], scheme: str = "IOB2"
) -> SpanScores:
    """Strict precision, recall and F1 of spans, over all sequences together.

        f1 = 2 right / (found + there)

    Raises:
        DataError: if numbers of sequences or steps differ, or a tag is none of the scheme's.

    Example:
        >>> scores = span_scores([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])
        >>> scores.f1, scores.there
        (0.0, 1)
    """
    if len(truth) != len(answers):
        raise DataError(f"span_scores: got {len(answers)} sequences; wanted {len(truth)}.")
    there, found = set(), set()
    for row, (a, b) in enumerate(zip(truth, answers, strict=True)):
        if len(a) != len(b):
            raise DataError(f"span_scores: sequence {row} has {len(b)} tags for {len(a)} steps.")
        there |= {(row, *span) for span in spans(a, scheme)}
        found |= {(row, *span) for span in spans(b, scheme)}
    kinds = sorted({span[1] for span in there | found})
    each = {
        kind: _scores({s for s in there if s[1] == kind}, {s for s in found if s[1] == kind}, {})
        for kind in kinds
    }
    return _scores(there, found, each)


def _scores(there: set, found: set, kinds: dict[str, SpanScores]) -> SpanScores:
    right = len(there & found)
    return SpanScores(
        precision=right / len(found) if found else 0.0,
        recall=right / len(there) if there else 0.0,
        f1=2 * right / (len(found) + len(there)) if found or there else 0.0,
        found=len(found),
        there=len(there),
        right=right,
        kinds=kinds,
    )


def _parse(tag: str, step: int, scheme: str, letters: str) -> tuple[str, str | None]:
    if tag == "O":
        return "O", None
    if len(tag) < 3 or tag[1] != "-" or tag[0] not in letters:
        wanted = ", ".join(f"{letter}-KIND" for letter in letters)
        raise DataError(f"spans: step {step} is {tag!r}; wanted O, {wanted} ({scheme}).")
    return tag[0], tag[2:]


SCHEMES = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES"}
