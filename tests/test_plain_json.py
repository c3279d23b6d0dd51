"""JSON that means one thing only and gives back what was written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.training.plain_json import dump, parse

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates too: file names may hold them.
    | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_what_was_written_comes_back_and_gives_the_same_bytes(value):
    data = dump(value)
    assert parse(data) == value
    assert dump(parse(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        b'{"x": [{"a": 1, "b": 2, "a": 1}]}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 01}',
        b'{"a": +1}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1} x',
        b'{"a": "\n"}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
        b"[1]",
        b"1",
        b"null",
        b"",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_text_with_two_meanings_or_none_is_refused(text):
    with pytest.raises(ValueError, match=r"^.{1,200}$"):
        parse(text)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, (1, 2), {1: 2}, {None: 1}, b"x", {1, 2}, object()],
    ids=["nan", "inf", "-inf", "tuple", "number", "none", "bytes", "set", "object"],
)
def test_value_that_would_not_come_back_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        dump({"key": [value]})


def test_value_nested_too_deeply_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        dump({"key": nested(100_000)})
