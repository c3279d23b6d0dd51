"""Small labelled texts written for Unspool: sentences from a grammar whose meaning is known.

They are drawn from a seed, so that every machine has the same ones, and written as the files
a person would have: a table of text and label, a table of text and stars, a word and its tag on
each line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

SENTENCES = 900


def sentiment() -> str:
    """Sentences about things people buy, each positive or negative; negation turns them around.

    Returns:
        A table with header, columns ``text`` and ``label``, separated by tabs.

    Example:
        >>> sentiment().splitlines()[0].split()
        ['text', 'label']
    """
    draw = random.Random(1)
    rows = ["text\tlabel"]
    for _ in range(SENTENCES):
        good = draw.random() < 0.5
        rows.append(f"{_opinion(draw, good)}\t{'positive' if good else 'negative'}")
    return "\n".join(rows) + "\n"


def stars() -> str:
    r"""Reviews of some sentences with one to five stars, so many as their sentences are pleased.

    Returns:
        A table with header, columns ``review`` and ``stars``, separated by tabs.

    Example:
        >>> sorted({line.split("\t")[1] for line in stars().splitlines()[1:]})
        ['1', '2', '3', '4', '5']
    """
    draw = random.Random(2)
    rows = ["review\tstars"]
    for _ in range(SENTENCES):
        count = draw.randint(1, 5)
        pleased = [True] * (count - 1) + [False] * (5 - count)
        draw.shuffle(pleased)
        rows.append(f"{' '.join(_opinion(draw, good) for good in pleased)}\t{count}")
    return "\n".join(rows) + "\n"


def tagged() -> str:
    r"""Sentences of a small grammar, a word and its part of speech on each line.

    Some words are nouns here and verbs there, so that what stands around them has to be read.

    Returns:
        Word, tab, tag; an empty line ends a sentence.

    Example:
        >>> tagged().split("\n\n")[0].splitlines()[-1]
        '.\tPUNCT'
    """
    draw = random.Random(3)
    sentences = []
    for _ in range(SENTENCES):
        words = [*_clause(draw)]
        if draw.random() < 0.3:
            words += [(draw.choice(CONJUNCTIONS), "CCONJ"), *_clause(draw)]
        words.append((".", "PUNCT"))
        first, tag = words[0]
        words[0] = first.capitalize(), tag
        sentences.append("\n".join(f"{word}\t{tag}" for word, tag in words))
    return "\n\n".join(sentences) + "\n"


def _opinion(draw: random.Random, good: bool) -> str:
    """A sentence that is pleased, or not: plainly, or by denying the opposite."""
    thing = draw.choice(THINGS)
    turned = draw.random() < 0.3
    word = draw.choice(PRAISE if good != turned else BLAME)
    denial = f"{draw.choice(DENIALS)} " if turned else draw.choice(("", "", "really ", "so "))
    pattern = draw.choice(PATTERNS)
    return pattern.format(thing=thing, verb=draw.choice(("is", "was")), word=denial + word)


def _clause(draw: random.Random) -> Iterator[tuple[str, str]]:
    yield from _noun_phrase(draw)
    if draw.random() < 0.25:
        yield draw.choice(ADVERBS), "ADV"
    if draw.random() < 0.3:
        yield draw.choice(AUXILIARIES), "AUX"
        yield draw.choice(VERBS + BOTH), "VERB"
    else:
        yield draw.choice(PAST), "VERB"
    if draw.random() < 0.8:
        yield from _noun_phrase(draw)
    if draw.random() < 0.4:
        yield draw.choice(PREPOSITIONS), "ADP"
        yield from _noun_phrase(draw)


def _noun_phrase(draw: random.Random) -> Iterator[tuple[str, str]]:
    kind = draw.random()
    if kind < 0.2:
        yield draw.choice(NAMES), "PROPN"
    elif kind < 0.35:
        yield draw.choice(PRONOUNS), "PRON"
    else:
        yield draw.choice(DETERMINERS), "DET"
        if draw.random() < 0.15:
            yield draw.choice(NUMBERS), "NUM"
        if draw.random() < 0.45:
            yield draw.choice(ADJECTIVES), "ADJ"
        yield draw.choice(NOUNS + BOTH), "NOUN"


THINGS = (
    "the battery", "this phone", "the soup", "the service", "that film", "the story", "our room",
    "the waiter", "the sound", "the camera", "the ending", "this place", "the case", "the price",
    "the plot", "the salad", "the screen", "the music", "the staff", "the cable",
)  # fmt: skip
PRAISE = (
    "good", "great", "excellent", "lovely", "wonderful", "fresh", "clear", "friendly", "perfect",
    "charming", "delicious", "solid", "pleasant", "clever",
)  # fmt: skip
BLAME = (
    "bad", "awful", "terrible", "slow", "cold", "rude", "broken", "boring", "dull", "cheap",
    "stale", "noisy", "useless", "weak",
)  # fmt: skip
DENIALS = ("not", "never", "hardly", "anything but")
PATTERNS = (
    "{thing} {verb} {word}.", "I think {thing} {verb} {word}!", "{thing}, in short, {verb} {word}.",
    "we found that {thing} {verb} {word}.", "my friend says {thing} {verb} {word}.",
    "to be honest {thing} {verb} {word}.",
)  # fmt: skip
CONJUNCTIONS = ("and", "but", "or")
ADVERBS = ("often", "quietly", "never", "soon", "gladly", "nearly")
AUXILIARIES = ("will", "may", "must", "can", "should")
VERBS = ("see", "find", "carry", "follow", "paint", "open", "hear", "draw")
PAST = ("saw", "found", "carried", "followed", "painted", "opened", "heard", "drew", "walked")
PREPOSITIONS = ("in", "under", "behind", "with", "near", "over", "through")
NAMES = ("Anna", "Paris", "Omar", "Kyoto", "Lena", "Mali", "Ivan")
PRONOUNS = ("she", "he", "they", "it", "we", "someone")
DETERMINERS = ("the", "a", "every", "this", "her", "our", "no")
NUMBERS = ("two", "seven", "12", "forty", "1999")
ADJECTIVES = ("red", "quiet", "small", "old", "strange", "wooden", "bright", "empty")
NOUNS = ("house", "river", "door", "letter", "garden", "child", "window", "street", "bird")
# Nouns after a determiner, verbs after an auxiliary.
BOTH = ("watch", "walk", "play", "answer", "light", "book", "visit")
