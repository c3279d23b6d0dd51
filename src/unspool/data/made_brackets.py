"""Lines of C whose brackets are right or wrong: the lecture's task that needs no learning."""

from __future__ import annotations

from random import Random


def brackets(count: int = 600, seed: int = 9) -> str:
    r"""Lines of C, half of them with one bracket lost, added or of another kind.

    A counter of brackets tells both halves apart without an error.

    Args:
        count: of lines.
        seed: of the draws.

    Returns:
        A table with header, columns ``line`` and ``valid``, separated by tabs.

    Example:
        >>> [row.partition("\t")[2] for row in brackets().splitlines()[:3]]
        ['valid', 'yes', 'no']
    """
    draw = Random(seed)
    rows = []
    for number in range(count):
        line = _line(draw)
        rows.append(f"{_broken(line, draw)}\tno" if number % 2 else f"{line}\tyes")
    return "\n".join(["line\tvalid", *rows]) + "\n"


def _line(draw: Random) -> str:
    """A statement with expressions inside each other."""
    assigned = (f"{_expression(draw, 2)} = {_expression(draw, 3)};" for _ in range(2))
    return f"{_one(HEADS, draw)} ({_expression(draw, 2)}) {{ {' '.join(assigned)} }}"


def _expression(draw: Random, depth: int) -> str:
    name, kind = _one(NAMES, draw), _below(5, draw)
    if not depth or kind < 2:
        return name
    inside = _expression(draw, depth - 1)
    return (f"{name}[{inside}]", f"{name}({inside})", f"({inside} + {name})")[kind - 2]


def _broken(line: str, draw: Random) -> str:
    """The same with one bracket lost, doubled or of another kind, so that some do not match."""
    places = [place for place, sign in enumerate(line) if sign in BRACKETS]
    place = places[_below(len(places), draw)]
    other = _one(BRACKETS.replace(line[place], ""), draw)
    sign = ("", 2 * line[place], other)[_below(3, draw)]
    return line[:place] + sign + line[place + 1 :]


def _one(of: str | tuple[str, ...], draw: Random) -> str:
    return of[_below(len(of), draw)]


def _below(limit: int, draw: Random) -> int:
    """A whole number from 0, by the one method whose draws Python promises to keep."""
    return int(draw.random() * limit)


BRACKETS = "()[]{}"
HEADS = ("if", "while", "switch", "for")
NAMES = ("a", "b", "count", "total", "next", "size", "row", "value", "start", "buffer")
