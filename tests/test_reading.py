"""Rows are used or refused with their place; bad data is one clear line; the report is whole."""

import json
import time

import numpy as np
import pytest

from unspool.data.delimited import read_delimited
from unspool.data.json_lines import read_json_lines
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.errors import DataError


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labelled(count, start=0):
    return "".join(f"sentence number {i},{i % 2}\n" for i in range(start, start + count))


def refusal(*args, **kwargs):
    with pytest.raises(DataError) as caught:
        read(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_is_used_or_refused_with_its_line_and_reason(tmp_path):
    text = (
        "text,label\n" + labelled(10) + ',1\n"open\nend",0\nonly\na,b,c\n  ,1\nx,\n"b"c,1\nlast,1\n'
    )
    reading = read(write(tmp_path, text))
    assert [(each.place.line, each.reason) for each in reading.refused] == [
        (15, "1 column, wanted 2"),
        (16, "3 columns, wanted 2"),
        (19, "a quote in column 1 ends before the cell does"),
        (12, "the text is empty"),
        (17, "the text is empty"),
        (18, "the label is empty"),
    ]
    assert (reading.total, reading.used) == (18, 12)
    assert reading.examples.inputs[-2:] == ["open\nend", "last"]
    assert reading.examples.places[-2].line == 13


def test_quotes_of_running_text_are_characters(tmp_path):
    rows = ['"Great" is what I say.\t1', 'So "so".\t0', '"Open and never closed.\t1', "Fine.\t0"]
    reading = read(write(tmp_path, "\n".join(rows * 3)), whole=True)
    assert reading.examples.inputs[:4] == [row.split("\t")[0] for row in rows]
    assert not reading.refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a", "text": "b"}', "a key stands twice in the object"),
        ('{"text": "\\ud800"}', "a lone surrogate, half a character, in a text"),
        ('{"text": ' + "[" * 100_000, "lists in lists in lists, too deep to read"),
        ('{"text": {"de": "a"}}', "text holds an object, wanted a text, a number or a list; "
         "write its keys beside the others"),
        ('{"text": [["a"]]}', "text holds a list in a list, wanted texts"),
        ("[]", 'a list, wanted a JSON object such as {"text": …}'),
        ("{}", "an object without keys"),
        ('{"text": ', "no JSON, Expecting value at character 10"),
    ],
)  # fmt: skip
def test_json_that_is_no_row_is_refused_with_its_reason(line, reason):
    table = read_json_lines('{"text": "a"}\n' + line, "f")
    assert [(each.place.line, each.reason) for each in table.refused] == [(2, reason)]


def test_numbers_of_json_are_kept_as_they_are_written():
    table = read_json_lines('{"a": 1.0, "b": 12345678901234567890123, "c": 1e400, "d": NaN}', "f")
    assert table.rows == [["1.0", "12345678901234567890123", "1e400", "NaN"]]


def test_delimiter_and_header_are_honoured_when_given():
    assert read_delimited("a:b\nc:d\n", "f", ":", "no").rows == [["a", "b"], ["c", "d"]]
    assert read_delimited("a:b\nc:d\n", "f", ":", "yes").columns == ("a", "b")
    assert read_delimited("text,label\na,b\n", "f", ",", "no").rows[0] == ["text", "label"]


def test_two_columns_of_one_name_are_refused(tmp_path):
    assert "two columns are called text" in refusal(write(tmp_path, "text,text\na,b\nc,d\n"))


def test_texts_are_kept_to_the_letter_and_labels_without_spaces_around(tmp_path):
    rows = [" 007", "NA ", "null", "1e5", "TRUE", "a\u00a0b", "e\u0301", "\ufb01"]
    text = "text,label\n" + "".join(
        f"{row},{' x ' if i % 2 else 'y'}\n" for i, row in enumerate(rows)
    )
    reading = read(write(tmp_path, text), whole=True)
    assert reading.examples.inputs == rows
    assert set(reading.examples.targets) == {"x", "y"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,label\n" + "".join(f"a {i},x\n" for i in range(9)), "label is x in all 9 examples"),
        ("text,label\n" + "".join(f"a {i},c{i}\n" for i in range(9)), "differs in all 9 examples"),
        ("text,label\nfine,1\nbad,0\n", "2 different inputs cannot make 3 parts"),
        ("text,label\n", "holds no rows that can be used"),
        ("text,label\n" + ",1\n,0\n" * 3, "none of 6 rows can be used. The first: "),
        ("date,value\n" + "".join(f"2020-01-0{i},5\n" for i in range(1, 9)), "value is 5 in every"),
        ("text,stars\nfine,x\nbad,\n", "are not a table that can be learnt from"),
        (b"text,label\nna\xefve,1\n", "byte 13 (line 2) is not utf-8: ef 76 65"),
        (b"text,label\na\0b,1\n", "byte 12 (line 2) is zero"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG image, not text"),
        (b"PK\x03\x04broken", "is a zip archive"),
        (b"\x93NUMPY\x01\x00", "cannot be read as arrays"),
        (b"\0\0\x08\x01\0\0\0\x09abc", "holds 11 bytes and its header speaks of 17"),
        (b"\0\0\x08\x03\0\0", "its header speaks of more"),
        (b"", "is empty"),
        ('{"b": "x"}\n{"b": ', "are not a table that can be learnt from"),
        ('[{"text": "a"}]', "holds no JSON objects, one a line; line 1: a list"),
    ],
)
def test_data_that_cannot_be_learnt_from_is_one_line(tmp_path, text, words):
    path = write(tmp_path, text)
    message = refusal(path)
    assert words in message
    assert message.startswith(str(path))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("few.conllu", "1\tthe\tthe\tDET\n2\tcat\n\n", "line 1 has 4 columns, wanted 10"),
     ("few.jsonl", "text and no JSON\nat all\n", "line 1: no JSON")],
)  # fmt: skip
def test_a_name_says_what_a_file_should_have_been(tmp_path, name, text, words):
    assert words in refusal(write(tmp_path, text, name))


def test_places_that_hold_nothing_are_one_line(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    assert "holds no file that can be read, of 0" in refusal(tmp_path / "empty")
    write(tmp_path / "empty", b"\0\0", "x.bin")
    assert "holds no file that can be read, of 1. The first: " in refusal(tmp_path / "empty")
    for i in range(5):
        write(tmp_path / "empty", bytes([i]), f"clip {i}.wav")
    assert "5 sounds without labels; wanted" in refusal(tmp_path / "empty")


def test_array_without_its_labels_is_refused(tmp_path):
    np.save(tmp_path / "clips.npy", np.zeros((5, 4, 2)))
    assert "wanted its labels too, in a file beside it" in refusal(tmp_path / "clips.npy")
    np.savez(tmp_path / "f.npz", a=np.zeros((5, 4)), b=np.zeros((5, 4)))
    assert "holds the arrays a, b; wanted two, called x and y" in refusal(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", x=np.zeros((5, 4)), y=np.zeros(4))
    assert "5 inputs and 4 labels" in refusal(tmp_path / "f.npz")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e99", "", "many"])
def test_number_that_is_none_is_refused_with_its_place(tmp_path, value):
    rows = [f"{i},{i * 2},{'pn'[i % 2]}" for i in range(30)]
    reading = read(write(tmp_path, "\n".join(["a,b,label", *rows, f"3,{value},p"])))
    assert reading.used == 30
    assert [each.place.line for each in reading.refused] == [32]
    assert reading.refused[0].reason.startswith("b is ")


def test_sequence_with_a_step_that_is_no_number_is_refused():
    inputs = np.random.default_rng(0).normal(size=(20, 5, 2))
    inputs[3, 2, 1] = np.nan
    inputs[7, 0, 0] = np.inf
    reading = read((inputs, np.arange(20) % 2))
    assert [(each.place.line, each.reason) for each in reading.refused] == [
        (4, "step 3 holds NaN or an infinite number"),
        (8, "step 1 holds NaN or an infinite number"),
    ]
    assert reading.used == 18


@pytest.mark.parametrize("quoted", [True, False])
def test_row_of_ten_megabytes_is_read_like_others_in_seconds(tmp_path, quoted):
    long = "ab " * 3_500_000
    long = f'"{long}""\n"' if quoted else long
    path = write(tmp_path, "text,label\n" + labelled(20) + f"{long},1\n" + labelled(3, 20))
    start = time.perf_counter()
    reading = read(path)
    assert time.perf_counter() - start < 20
    assert reading.used == 24
    assert len(reading.examples.inputs[20]) >= 10_000_000
    json.dumps(reading.report())


@pytest.mark.parametrize(
    "text", ['"' * 200_001, '"a\n' * 60_000, '""\n"' * 60_000, ',"\n' * 60_000, '"",' * 100_000]
)
def test_quotes_that_never_end_take_no_quadratic_time(text):
    start = time.perf_counter()
    read_delimited(text, "f", ",", "no")
    assert time.perf_counter() - start < 20


def test_too_long_sentences_are_refused_or_cut_and_counted(tmp_path):
    sentences = [" ".join(f"w{i}-{j}" for j in range(1 + i % 6)) for i in range(30)]
    tags = [" ".join("XY"[j % 2] for j in range(1 + i % 6)) for i in range(30)]
    path = write(tmp_path, "tokens\ttags\n" + "".join(
        f"{a}\t{b}\n" for a, b in zip(sentences, tags, strict=True)
    ))  # fmt: skip
    reading = read(path, DataSettings(max_length=4))
    assert (reading.used, len(reading.refused)) == (20, 10)
    assert "--data.too-long truncate" in reading.refused[0].reason
    reading = read(path, DataSettings(max_length=4, too_long="truncate"))
    assert reading.used == 30
    assert max(map(len, reading.examples.inputs)) == max(map(len, reading.examples.targets)) == 4
    assert "10 examples were cut to data.max_length." in reading.warnings


def test_words_and_tags_of_different_number_are_refused(tmp_path):
    rows = [{"tokens": ["a", str(i)], "tags": ["X", "Y"]} for i in range(20)]
    rows.append({"tokens": ["a", "b", "c"], "tags": ["X"]})
    path = write(tmp_path, "\n".join(map(json.dumps, rows)))
    reading = read(path)
    assert reading.refused[0].reason == "3 words with 1 tags, wanted a tag for each word"
    assert reading.refused[0].place.line == 21


def test_rare_classes_and_one_frequent_class_are_told(tmp_path):
    rows = "".join(f"number {i},{'yes' if i else 'no'}\n" for i in range(100))
    told = read(write(tmp_path, "text,label\n" + rows)).warnings
    assert any("occur less than 3 times: no" in each for each in told)
    assert any("99 of 100 are yes" in each for each in told)


def test_constant_column_of_a_series_is_told(tmp_path):
    rows = "".join(f"2020-01-{i:02},{i},7\n" for i in range(1, 29))
    assert read(write(tmp_path, "date,a,b\n" + rows)).warnings == ("b is 7 in every row.",)


def test_rows_keep_their_other_columns_for_predictions(tmp_path):
    text = "id,text,label\n" + "".join(f"{i:03},number {i},{i % 2}\n" for i in range(12))
    reading = read(write(tmp_path, text))
    assert reading.examples.rows[7] == {"id": "007", "text": "number 7", "label": "1"}
    index = reading.parts["train"][1]
    assert reading.part("train").rows[1] == reading.examples.rows[index]


def test_report_counts_everything_and_is_plain_json(tmp_path):
    text = "text,label\n" + labelled(40) + "".join(f"broken {i}\n" for i in range(25))
    report = json.loads(json.dumps(read(write(tmp_path, text)).report()))
    assert report["task"] == "classify"
    assert report["rows"] == {"total": 65, "used": 40, "refused": 25, "unit": "rows"}
    assert len(report["refused"]) == 20
    assert report["refused"][0] == {
        "file": str(tmp_path / "data.csv"), "line": 42, "reason": "1 column, wanted 2",
    }  # fmt: skip
    assert report["classes"] == {"0": 20, "1": 20}
    assert sum(bar["count"] for bar in report["lengths"]["histogram"]) == 40
    parts = {part: report["split"][part] for part in ("train", "validation", "test")}
    assert sum(parts.values()) == 40
    assert [each["line"] for each in report["examples"]] == [2, 3, 4, 5, 6]
    assert report["lengths"]["max"] == len("sentence number 39")


def test_reading_loads_neither_torch_nor_a_data_frame_package():
    import subprocess
    import sys

    code = (
        "import sys, unspool.data.reading; "
        "print(*(set(sys.modules) & {'torch', 'pandas', 'polars', 'PIL', 'soundfile'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
