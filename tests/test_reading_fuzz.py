"""Any bytes give rows, or one line that names the file; what is read comes back exactly."""

import csv
import io
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unspool.data.conll import read_conllu, read_token_lines
from unspool.data.contents import text_content
from unspool.data.delimited import read_delimited
from unspool.data.json_lines import read_json_lines
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.errors import DataError

# Every plane of Unicode, and what tables are made of.
CELL = st.text(
    st.one_of(
        st.sampled_from('",;|\t\r\n \x0b\x85\u2028a1'),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=8,
)
ROWS = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)
PIECES = [
    '"', '""', "a", "text", "label", "1", "NA", "007", "2020-01-01", "\t", ",", ";", "|", "\n",
    "\r\n", "\r", " ", "{", "}", '{"text": "a"}', "[", "]", "# ", "1\ta" + "\t_" * 8, "nan", "\0",
    "\ufeff", "é", "𝄞", "x.wav", "inf", "-", "_", "\n\n",
]  # fmt: skip
SCRAPS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "input"


@given(rows=ROWS, delimiter=st.sampled_from("\t,;|"), line_end=st.sampled_from(["\r\n", "\n"]))
@settings(max_examples=300)
def test_every_cell_comes_back_exactly_when_written_by_csv(rows, delimiter, line_end):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    table = read_delimited(out.getvalue(), "f", delimiter, header="no")
    assert table.rows == rows
    assert not table.refused


@given(
    rows=ROWS, delimiter=st.sampled_from("\t,;|"), plane=st.integers(0, 16), low=st.integers(1, 99)
)
def test_every_plane_comes_back_exactly_when_quoted_as_needed(rows, delimiter, plane, low):
    # Quoted as csv does by itself: a row of one empty cell aside, that is enough.
    rows = [[*row, chr(plane * 0x10000 + 0x1000 + low)] for row in rows]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    table = read_delimited(out.getvalue(), "f", delimiter, header="no")
    assert table.rows == rows


@given(rows=ROWS, delimiter=st.sampled_from("\t,;|"))
def test_lines_of_rows_are_those_of_the_file_when_cells_hold_line_ends(rows, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    wanted = []
    for row in rows:
        before = out.getvalue().replace("\r\n", "\n")
        wanted.append(1 + before.count("\n") + before.count("\r"))
        writer.writerow(row)
    table = read_delimited(out.getvalue(), "f", delimiter, header="no")
    assert [place.line for place in table.places] == wanted


@given(rows=st.lists(st.dictionaries(CELL, CELL, min_size=1, max_size=3), min_size=1, max_size=5))
def test_every_text_comes_back_exactly_from_json_lines(rows):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    table = read_json_lines(text, "f")
    assert not table.refused
    for row, cells in zip(rows, table.rows, strict=True):
        found = dict(zip(table.columns, cells, strict=True))
        assert {name: found[name] for name in row} == row


@given(values=st.lists(JSON, min_size=1, max_size=5))
@example(values=[{"a": {"b": 1}}, [1], None])
def test_any_json_is_a_row_or_refused_with_its_line(values):
    text = "\n".join(json.dumps(value) for value in values)
    try:
        table = read_json_lines(text, "f")
    except DataError as error:
        assert_one_line(error, "f")
        return
    assert sorted(p.line for p in [*table.places, *(r.place for r in table.refused)]) == list(
        range(1, len(values) + 1)
    )


@given(text=SCRAPS, reader=st.sampled_from([read_conllu, read_token_lines, read_delimited]))
@settings(max_examples=300)
def test_every_line_is_in_one_row_or_refused_when_text_is_scraps(text, reader):
    try:
        table = reader(text, "f")
    except DataError as error:
        assert_one_line(error, "f")
        return
    assert len(table.places) == len(table.rows)
    assert all(len(row) == len(table.columns) for row in table.rows)
    lines = [place.line for place in table.places] + [each.place.line for each in table.refused]
    assert len(set(lines)) == len(lines)
    assert all("\n" not in each.reason for each in table.refused)


@given(data=st.one_of(st.binary(max_size=200), SCRAPS.map(lambda text: text.encode("utf-8"))))
@example(data=b"\x93NUMPY\x01\x00v\x00{}")
@example(data=b"\x00\x00\x08\x03\x00\x00\x00\x01")
@example(data=b"\x1f\x8b\x08\x00broken")
@example(data=b"PK\x03\x04broken")
@example(data=b'text,label\n"a')
@example(data=b"[" * 100_000)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused_in_one_line(file, data):
    file.write_bytes(data)
    try:
        reading = read(file)
    except DataError as error:
        assert_one_line(error, "input")
        return
    assert reading.used + len(reading.refused) == reading.total
    assert json.loads(json.dumps(reading.report()))["task"] == reading.job


@given(text=SCRAPS)
def test_a_text_is_a_table_or_running_text_or_one_line(text):
    try:
        text_content(text, "f", DataSettings())
    except DataError as error:
        assert_one_line(error, "f")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_table_is_the_same_in_every_encoding_and_line_end(file, encoding, line_end):
    rows = ["text,label", "naïve 𝄞,007", "NA,1", '"a, ""b""",007', "c,1"]
    file.write_bytes(line_end.join(rows).encode(encoding))
    reading = read(file)
    assert reading.examples.inputs == ["naïve 𝄞", "NA", 'a, "b"', "c"]
    assert reading.examples.targets == ["007", "1", "007", "1"]
    assert [place.line for place in reading.examples.places] == [2, 3, 4, 5]


def assert_one_line(error, *starts):
    message = str(error)
    assert "\n" not in message and "\r" not in message, message
    assert any(start in message.split(":")[0] for start in starts), message
