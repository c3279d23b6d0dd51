"""Errors worth reading: the answers that were surest and wrong, or furthest off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unspool.tasks.edit_distance import align
from unspool.tasks.example_batches import Part

Answers = Sequence[Mapping[str, Any]]


def surest_mistakes(part: Part, answers: Answers, most: int = 10) -> list[dict[str, Any]]:
    """Wrong answers, the most confident first.

    Args:
        part: whose answers these are.
        answers: one for each example, with ``answer`` and ``probability``.
        most: how many at most.

    Returns:
        ``place``, ``input``, ``truth``, ``answer`` and ``probability`` of each.

    Example:
        >>> part = Part(["a", "b"], ["x", "x"], [], [], ["t.csv:2", "t.csv:3"])
        >>> answers = [{"answer": "x", "probability": 0.9}, {"answer": "y", "probability": 0.8}]
        >>> surest_mistakes(part, answers)[0]["place"]
        't.csv:3'
    """
    wrong = [row for row, each in enumerate(answers) if each["answer"] != part.targets[row]]
    wrong.sort(key=lambda row: (-answers[row]["probability"], row))
    return [
        {**_row(part, row), "answer": answers[row]["answer"]}
        | {"probability": answers[row]["probability"]}
        for row in wrong[:most]
    ]


def furthest_off(part: Part, answers: Answers, most: int = 10) -> list[dict[str, Any]]:
    """Numbers that are furthest from the true ones, the worst first; right ones are left out.

    Args:
        part: whose answers these are.
        answers: one for each example, with ``answer``.
        most: how many at most.

    Example:
        >>> part = Part(["a", "b"], [1.0, 5.0], [], [], ["t.csv:2", "t.csv:3"])
        >>> furthest_off(part, [{"answer": 1.0}, {"answer": 2.0}])[0]["off"]
        -3.0
    """
    off = [each["answer"] - float(part.targets[row]) for row, each in enumerate(answers)]
    wrong = [row for row, each in enumerate(off) if each]
    wrong.sort(key=lambda row: (-abs(off[row]), row))
    return [
        {**_row(part, row), "answer": answers[row]["answer"], "off": off[row]}
        for row in wrong[:most]
    ]


def most_edits(part: Part, answers: Answers, most: int = 10) -> list[dict[str, Any]]:
    """Texts that need the most edits for their length, the worst first; right ones are left out.

    Args:
        part: whose answers these are; its targets as they are measured.
        answers: one for each example, with ``answer``.
        most: how many at most.

    Example:
        >>> part = Part(["a.wav", "b.wav"], ["7314", "22"], [], [], ["t.csv:2", "t.csv:3"])
        >>> most_edits(part, [{"answer": "7314"}, {"answer": "2"}])[0]["edits"]
        1
    """
    edits = [align(part.targets[row], each["answer"]).distance for row, each in enumerate(answers)]
    wrong = [row for row, count in enumerate(edits) if count]
    wrong.sort(key=lambda row: (-edits[row] / max(1, len(part.targets[row])), row))
    return [
        {**_row(part, row), "answer": answers[row]["answer"], "edits": edits[row]}
        for row in wrong[:most]
    ]


def mistaken_steps(part: Part, answers: Answers, most: int = 15) -> list[dict[str, Any]]:
    """Words and the labels they most often got instead of their own, the commonest first.

    Args:
        part: whose answers these are.
        answers: one for each example, with ``answer``, a label for every step.
        most: how many at most.

    Returns:
        ``input`` (the word; empty where steps are no words), ``truth``, ``answer``, ``count`` and
        ``of``, how often the word came with that truth; ``place`` is where it first went wrong.

    Example:
        >>> part = Part([["to", "run"], ["run"]], [["P", "V"], ["V"]], [], [], ["a:1", "a:5"])
        >>> answers = [{"answer": ["P", "N"]}, {"answer": ["V"]}]
        >>> [(each["input"], each["count"], each["of"]) for each in mistaken_steps(part, answers)]
        [('run', 1, 2)]
    """
    seen: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], str] = {}
    for row, each in enumerate(answers):
        steps = part.inputs[row]
        words = steps if isinstance(steps, list) else [""] * len(each["answer"])
        for word, truth, answer in zip(words, part.targets[row], each["answer"], strict=False):
            seen[word, truth] += 1
            if answer != truth:
                wrong[word, truth, answer] += 1
                first.setdefault((word, truth, answer), _place(part, row))
    return [
        {"place": first[key], "input": _shown(key[0]), "truth": key[1], "answer": key[2]}
        | {"count": count, "of": seen[key[:2]]}
        for key, count in wrong.most_common(most)
    ]


def _row(part: Part, row: int) -> dict[str, Any]:
    return {
        "place": _place(part, row),
        "input": _shown(part.inputs[row]),
        "truth": part.targets[row],
    }


def _place(part: Part, row: int) -> str:
    return str(part.places[row]) if part.places else f"row {row + 1}"


def _shown(given: Any) -> str:
    """An input as a person reads it; nothing of numbers, sounds and images, which have a place."""
    if not isinstance(given, str):
        return ""
    return given if len(given) <= LONGEST else f"{given[: LONGEST - 1]}…"


LONGEST = 400
