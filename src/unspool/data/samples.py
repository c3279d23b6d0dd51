"""Data to try things on that is there without a download."""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

from unspool.data import made_brackets, spelled_dates, written
from unspool.errors import ConfigError, choose

if TYPE_CHECKING:
    from unspool.data.examples import Examples


def sample(name: str) -> str | Examples:
    """A sample by its name in `SAMPLES`: what would stand in a file, or sounds or images.

    Raises:
        ConfigError: if there is no sample of that name.

    Example:
        >>> sample("tones").kind
        'sound'
    """
    return choose(name, SAMPLES, "sample")[1]()


def sample_text(name: str) -> str:
    """A sample that is text.

    Raises:
        ConfigError: if there is no sample of that name, or it is sounds or images.

    Example:
        >>> "sequence" in sample_text("english")
        True
    """
    found = sample(name)
    if not isinstance(found, str):
        raise ConfigError(
            f"sample '{name}': is {len(found)} examples of kind {found.kind} and no text; "
            f"`unspool data --sample {name}` shows it."
        )
    return found


def english() -> str:
    """The prose of the help topics that every CPython carries; some 300,000 characters.

    Grammar, code, tables and headings are left out, a paragraph that several topics share is kept
    once, and quotation marks and dashes are plain ones. The text depends on Python's version only.
    Where Python comes without its topics, this is `OWN_ENGLISH`.
    """
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        return OWN_ENGLISH
    paragraphs = (
        paragraph
        for name in sorted(topics)
        for paragraph in re.split(r"\n\s*\n", topics[name].translate(PLAIN))
    )
    prose = dict.fromkeys(filter(_is_prose, map(_unindented, paragraphs)))
    return "\n\n".join(prose) + "\n"


def _made(name: str, file: str = "made_samples") -> Callable[[], str | Examples]:
    """What makes a sample in a file of `unspool.data` that needs numpy, once it is called."""

    def make() -> str | Examples:
        module = importlib.import_module(f"unspool.data.{file}")
        found: str | Examples = getattr(module, name)()
        return found

    return make


def _unindented(paragraph: str) -> str:
    """A paragraph from the left margin on, without the bullet of a list."""
    lines = textwrap.dedent(paragraph.expandtabs().strip("\n")).rstrip().split("\n")
    text = re.sub(r"^[*-] +", "", lines[0])
    hanging = " " * (len(lines[0]) - len(text))
    return "\n".join([text, *(line.removeprefix(hanging).rstrip() for line in lines[1:])])


def _is_prose(paragraph: str) -> bool:
    """Sentences in plain characters; no code, grammar, table, heading or signature."""
    return (
        paragraph.isascii()
        and len(paragraph) >= 40
        and re.match(r"[A-Z][a-z]* ", paragraph) is not None
        and paragraph.endswith((".", ":", "?", ".)", '."'))
        and not re.search(r"^ |::=|>>>|[=*~+-]{3}| [=|] ", paragraph, flags=re.MULTILINE)
    )


PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})
# Name to the task it shows and what makes it: the text of a file, or examples in memory.
SAMPLES: dict[str, tuple[str, Callable[[], str | Examples]]] = {
    "english": ("write", english),
    "sentiment": ("classify", written.sentiment),
    "stars": ("rate", written.stars),
    "brackets": ("classify", made_brackets.brackets),
    "tag": ("tag", written.tagged),
    "tones": ("listen", _made("tones")),
    "dtmf": ("transcribe", _made("dialled")),
    "shapes": ("see", _made("shapes")),
    "passengers": ("forecast", _made("passengers")),
    "epidemic": ("forecast", _made("epidemic")),
    "waves": ("forecast", _made("waves")),
    "dates": ("translate", spelled_dates.dates),
    "reverse": ("translate", spelled_dates.reverse),
    "copy": ("translate", spelled_dates.copied),
    "scenes": ("caption", _made("scenes", "scenes")),
}

OWN_ENGLISH = """\
A sequence is a row of things in which the order matters. A melody is one, and so are a sentence,
the temperature of every day of a year, and the way a hand moves when it signs its name. If you
shuffle the notes of a melody you still have the same notes, but you no longer have the melody.

A recurrent network reads a sequence the way you read a page: one step at a time, from the front.
At every step it looks at one thing only, and it keeps a small row of numbers in which it writes
what it wants to remember. That row is called the state. The next state depends on the thing that
was just read and on the state before it, and on nothing else. So whatever the network knows about
the beginning of a long text at its end has been handed on from state to state, once for every
step in between, like a bucket in a chain of people who put out a fire.

The rule that makes the next state is the same at every step. This is the heart of the idea. A
network that had its own rule for the first word, and another for the second, could never read a
text longer than those it was trained on, and it would have to learn the same fact again for every
place where the fact might stand. With one rule for all places, what was learned at the third word
serves at the thirtieth as well.

How does such a network learn to write? We show it a text and ask it, after every letter, which
letter comes next. It answers with a chance for each letter of the alphabet. If it gave a large
chance to the letter that really came, it did well; if it gave a small one, it did badly, and the
smaller the chance, the larger the loss. Then we ask of every number inside the network: would the
loss have been a little smaller if this number had been a little larger, or a little smaller? The
answer is the gradient. We move every number a small step in the better direction, take the next
piece of text, and do the same again, many thousand times.

At first the network writes noise. After a short while it has found out that some letters are
frequent and others rare. Soon it puts spaces between its words, and the words have about the right
length. Then the short words come out right, because they are seen so often: the, and, of, to. Then
it learns that a capital letter follows a full stop, that an opening bracket wants a closing one,
and that names come back. It knows nothing about the world; it only knows what tends to follow
what. It is surprising how far that goes.

The trouble begins when something must be remembered for a long time. To find out how a letter at
the beginning of a text should have been read, the gradient has to travel back through every step,
and at every step it is multiplied by something. If that something is smaller than one, there is
nothing left after a few dozen steps, and the network cannot learn what it ought to keep. If it is
larger than one, the gradient grows until it is of no use, and a single step in its direction can
undo all that was learned before. The second trouble has a simple cure: when the gradient is too
long, make it shorter. The first one needs a better rule.

The better rule has gates. A gate is a number between zero and one, made anew at every step, that
says how much of something may pass. One gate decides how much of the old memory is kept, another
how much of what is new is written into it, a third how much of the memory is shown to the rest of
the network. When the first gate is open and the second is closed, the memory stays as it is, for
as many steps as you like, and the gradient comes back along the same road without being made
smaller. The gates are learned like everything else: nobody tells the network what to keep.

When you use a network that was trained in this way, give it the beginning of a sentence and let
it go on. Draw the next letter by the chances it gives, write the letter down, feed it back, and
draw again. If you always take the most likely letter, the text will soon run in circles. If you
take each letter with exactly the chance it was given, the text is livelier and makes more
mistakes. Between the two there is a dial that is called the temperature, and you should turn it
both ways at least once to see what happens.

Before you trust such a machine, compare it with something simpler. Count how often each letter
follows the last six, and you have a writer of text that needs no training at all and is hard to
beat on a small book. If the network is not better than the counting, then either the book is too
small, or the training was too short, or something is wrong; and it is good to know which.
"""
