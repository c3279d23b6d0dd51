"""Which examples are trained on, validated on and tested on: decided by their content.

The part of an example is a function of the seed and of its own input (or its group), through a
hash. So appended, removed or reordered rows move no other row, and equal inputs stay together.
The price: parts have their shares, and classes theirs in each, only as closely as independent
draws do (of n rows with share p within about 2 sqrt(n p (1 - p))); a scheme that meets them
exactly must look at the other rows, and then one appended row can move others into the test part.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from unspool.errors import DataError

PARTS = ("train", "validation", "test")


def position(key: str, seed: int) -> float:
    """Where a key falls between 0 and 1, evenly and without a pattern, the same on every machine.

    Example:
        >>> position("a review", 0) == position("a review", 0) != position("a review", 1)
        True
    """
    digest = hashlib.blake2b(
        key.encode("utf-8", "surrogatepass"), digest_size=8, key=str(seed).encode()
    )
    return int.from_bytes(digest.digest(), "big") / 2**64


def split(
    keys: Sequence[str],
    labels: Sequence[object],
    groups: Sequence[str] | None,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, list[int]]:
    """Positions of the examples in each part, ascending.

    Args:
        keys: of each example, equal for equal inputs.
        labels: of each, to say when a class is missing from a part; they decide nothing.
        groups: of each, if equal ones stay together; then they decide instead of the keys.
        shares: of each part, summing to 1; parts with share 0 stay empty.
        seed: another one gives other parts.

    Raises:
        DataError: if there are fewer different keys (or groups) than parts.

    Example:
        >>> parts = split(list("abcdefghij"), [0] * 10, None, {"train": 0.6, "test": 0.4}, 0)
        >>> sorted(parts["train"] + parts["test"]) == list(range(10))
        True
        >>> more = split(list("abcdefghijkl"), [0] * 12, None, {"train": 0.6, "test": 0.4}, 0)
        >>> set(parts["test"]) <= set(more["test"])
        True
    """
    deciding = list(groups) if groups is not None else list(keys)
    wanted = [part for part in shares if shares[part] > 0]
    places = {key: position(key, seed) for key in dict.fromkeys(deciding)}
    if len(places) < len(wanted):
        what = "group" if groups is not None else "input"
        count = f"{len(places)} different {what}s" if len(places) > 1 else f"a single {what}"
        raise DataError(
            f"{count} cannot make {len(wanted)} parts "
            f"({', '.join(wanted)}); give more rows, or files for --data.validation and "
            "--data.test."
        )
    owner = _owners(places, shares, wanted)
    parts: dict[str, list[int]] = {part: [] for part in shares}
    for index, key in enumerate(deciding):
        parts[owner[key]].append(index)
    return parts


def split_by_time(count: int, shares: Mapping[str, float]) -> dict[str, list[int]]:
    """Rows in order of time: the first are trained on, the last tested on.

    Args:
        count: of rows, oldest first.
        shares: of the parts, in the order of time.

    Raises:
        DataError: if a part would be empty.

    Example:
        >>> split_by_time(10, {"train": 0.7, "validation": 0.1, "test": 0.2})["test"]
        [8, 9]
    """
    parts, start, so_far = {}, 0, 0.0
    for part, share in shares.items():
        so_far += share
        stop = round(so_far * count)
        parts[part] = list(range(start, stop))
        start = stop
        if share > 0 and not parts[part]:
            raise DataError(
                f"{count} rows leave none for the {part} part; give more rows or another "
                "--data.split."
            )
    return parts


def folds(
    keys: Sequence[str], groups: Sequence[str] | None, number: int, seed: int
) -> list[dict[str, list[int]]]:
    """Cross-validation: each example is in the test part once, in the validation part once.

    Inputs fall into folds by their hash. Groups are dealt out in the order of theirs, so that as
    many folds as groups leave one out each; a new group can move others.

    Args:
        keys: of each example, equal for equal inputs.
        groups: of each, if equal ones stay together.
        number: of folds, 2 or more; with 2 nothing is validated on.
        seed: another one gives other folds.

    Returns:
        For each fold the parts, as `split` gives them; a fold's test part is the next fold's
        validation part.

    Raises:
        DataError: if a fold would be empty.

    Example:
        >>> ten = folds([str(i) for i in range(500)], None, 10, seed=0)
        >>> sorted(i for parts in ten for i in parts["test"]) == list(range(500))
        True
    """
    deciding = list(groups) if groups is not None else list(keys)
    different = dict.fromkeys(deciding)
    if groups is None:
        owner = {key: int(position(key, seed) * number) for key in different}
    else:
        # Groups are few: dealt out one by one, no fold stays empty while others hold several.
        dealt = sorted(different, key=lambda key: (position(key, seed), key))
        owner = {key: rank % number for rank, key in enumerate(dealt)}
    numbers = [owner[key] for key in deciding]
    empty = sorted(set(range(number)) - set(numbers))
    if empty:
        what = "groups" if groups is not None else "inputs"
        raise DataError(
            f"{len(set(deciding))} different {what} leave fold {empty[0] + 1} of "
            f"{number} empty; ask for fewer data.folds."
        )
    found = []
    for fold in range(number):
        parts: dict[str, list[int]] = {part: [] for part in PARTS}
        for index, own in enumerate(numbers):
            before = number > 2 and own == (fold + 1) % number
            parts["test" if own == fold else "validation" if before else "train"].append(index)
        found.append(parts)
    return found


def doubts(
    parts: Mapping[str, Sequence[int]],
    keys: Sequence[str],
    labels: Sequence[object],
    groups: Sequence[str] | None,
) -> list[str]:
    """What a person should know about the parts, each one sentence.

    Inputs that occur twice, inputs or groups of the test part that are trained on too, and
    classes that a part lacks.

    Example:
        >>> doubts({"train": [0], "test": [1]}, ["same", "same"], ["x", "x"], None)[0]
        '1 of the 2 inputs repeats another exactly.'
    """
    told = []
    again = len(keys) - len(set(keys))
    if again:
        verb = "repeats" if again == 1 else "repeat"
        told.append(f"{again} of the {len(keys)} inputs {verb} another exactly.")
    told += _leaks(parts, keys, "inputs")
    if groups is not None:
        told += _leaks(parts, groups, "groups")
    if _free(labels):
        return told  # free texts, such as translations, of which there may be several
    told += _contradictions(keys, labels)
    classes = {label for label in labels if isinstance(label, str)}
    for part, indices in parts.items():
        lacking = sorted(classes - {labels[i] for i in indices if isinstance(labels[i], str)})
        if lacking and indices and len(classes) <= MOST_LACKING:
            told.append(f"the {part} part has no example of {', '.join(map(repr, lacking[:5]))}.")
    return told


def _free(labels: Sequence[object]) -> bool:
    """Whether labels hardly recur, so that they are no classes."""
    single = [label for label in labels if isinstance(label, str | float)]
    return 2 * len(set(single)) > len(single)


def _contradictions(keys: Sequence[str], labels: Sequence[object]) -> list[str]:
    """Equal inputs with different labels."""
    seen: dict[str, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        seen[key].add(str(label))
    torn = sum(len(each) > 1 for each in seen.values())
    if not torn:
        return []
    return [f"{torn} input{'s' if torn > 1 else ''} stand with different labels in several rows."]


def _leaks(parts: Mapping[str, Sequence[int]], keys: Sequence[str], what: str) -> list[str]:
    trained = {keys[i] for i in parts.get("train", ())}
    told = []
    for part in ("validation", "test"):
        both = Counter(keys[i] for i in parts.get(part, ()) if keys[i] in trained)
        if both:
            told.append(
                f"{len(both)} {what} of the {part} part ({sum(both.values())} examples) stand in "
                "the training part too; its figures flatter the model."
            )
    return told


def _owners(
    places: Mapping[str, float], shares: Mapping[str, float], wanted: Sequence[str]
) -> dict[str, str]:
    """The part of every key: where it falls in 0 … 1; a part without one takes the nearest."""
    whole = sum(shares[part] for part in wanted)
    edges, edge = [], 0.0
    for part in wanted:
        edges.append((edge, part))
        edge += shares[part] / whole
    owner = {
        key: [part for start, part in edges if place >= start][-1] for key, place in places.items()
    }
    counts = Counter(owner.values())
    for start, part in edges:
        if counts[part]:
            continue
        # Only with a handful of rows: the nearest key of a part that has several moves over.
        rich = [key for key in places if counts[owner[key]] > 1]
        nearest = min(rich, key=lambda key: (abs(places[key] - start), key))
        counts[owner[nearest]] -= 1
        owner[nearest] = part
        counts[part] += 1
    return owner


# With more classes than this, some are missing from small parts as a matter of course.
MOST_LACKING = 100
