"""Parts are decided by content: stable, together, seeded, and close to their shares."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.data.examples import Examples
from unspool.data.parting import content_key
from unspool.data.parts import doubts, folds, split, split_by_time
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.data.table import Place
from unspool.errors import DataError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
KEYS = st.lists(st.text(max_size=3), min_size=30, max_size=60, unique=True)


def owners(parts, keys):
    """The part of every key."""
    return {keys[i]: part for part, rows in parts.items() for i in rows}


def numbered(count):
    return [f"input {i}" for i in range(count)]


@given(keys=KEYS, seed=st.integers(0, 5))
def test_parts_hold_every_example_once(keys, seed):
    parts = split(keys, [None] * len(keys), None, SHARES, seed)
    assert sorted(i for rows in parts.values() for i in rows) == list(range(len(keys)))
    assert all(rows == sorted(rows) and rows for rows in parts.values())


def test_no_row_moves_when_rows_are_appended_removed_or_shuffled():
    keys = numbered(400)
    before = owners(split(keys, keys, None, SHARES, 0), keys)
    longer = [*keys, *(f"new {i}" for i in range(300))]
    after = owners(split(longer, longer, None, SHARES, 0), longer)
    assert {key: after[key] for key in keys} == before
    some = random.Random(1).sample(keys, 200)
    assert owners(split(some, some, None, SHARES, 0), some).items() <= before.items()


def test_no_row_moves_when_rows_are_appended_to_a_file(tmp_path):
    rows = [f"sentence number {i}\t{i % 2}" for i in range(120)]
    file = tmp_path / "rows.txt"
    file.write_text("\n".join(rows))
    before = read(file)
    file.write_text("\n".join([*rows, *(f"another one {i}\t1" for i in range(50))]))
    after = read(file)
    for part in before.parts:
        assert set(before.part(part).inputs) <= set(after.part(part).inputs)


def test_another_seed_gives_other_parts():
    keys = numbered(200)
    assert split(keys, keys, None, SHARES, 0) == split(keys, keys, None, SHARES, 0)
    assert split(keys, keys, None, SHARES, 0) != split(keys, keys, None, SHARES, 1)


def test_shares_of_parts_and_of_classes_are_met_as_closely_as_independent_draws_do():
    keys = numbered(4000)
    labels = [str(i % 4 == 0) for i in range(4000)]
    parts = split(keys, labels, None, SHARES, 0)
    for part, share in SHARES.items():
        counts = Counter(labels[i] for i in parts[part])
        for label, size in Counter(labels).items():
            spread = (size * share * (1 - share)) ** 0.5
            assert abs(counts[label] - size * share) < 4 * spread


def test_equal_inputs_stay_in_one_part_whatever_their_labels():
    keys = [f"input {i % 50}" for i in range(200)]
    parts = split(keys, list(range(200)), None, SHARES, 0)
    for key in set(keys):
        assert sum(key in {keys[i] for i in rows} for rows in parts.values()) == 1
    assert split(keys, ["x"] * 200, None, SHARES, 0) == parts


CATEGORIES = {"category_values": [[("x",)], [("x",)], [("y",)]]}


@pytest.mark.parametrize(
    ("kind", "inputs", "options"),
    [
        ("text", ["a b", "a b", "a  b"], {}),
        ("words", [["a", "b"], ["a", "b"], ["a b"]], {}),
        ("numbers", [np.ones((2, 3)), np.ones((2, 3)), np.ones((3, 2))], {}),
        ("numbers", [np.ones((1, 2))] * 3, CATEGORIES),
        ("image", [np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8), np.zeros((2, 2))], {}),
        ("sound", [b"same", b"same", b"other"], {}),
    ],
)
def test_equal_inputs_of_every_kind_have_equal_keys_and_others_do_not(
    tmp_path, kind, inputs, options
):
    if kind == "sound":
        for i, data in enumerate(inputs):
            (tmp_path / f"{i}.wav").write_bytes(data)
        inputs = [str(tmp_path / f"{i}.wav") for i in range(3)]
    examples = Examples(kind, inputs, [None] * 3, [Place("f", 1)] * 3, options=options)
    keys = [content_key(examples, i) for i in range(3)]
    assert keys[0] == keys[1] != keys[2]


def test_repeated_rows_of_a_file_stay_in_one_part_and_are_counted(tmp_path):
    lines = [f"sentence number {i % 40}\t{i % 2}" for i in range(120)]
    (tmp_path / "rows.txt").write_text("\n".join(lines))
    reading = read(tmp_path / "rows.txt")
    sets = [set(reading.part(name).inputs) for name in reading.parts]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert "80 of the 120 inputs repeat another exactly." in reading.warnings


def test_groups_stay_in_one_part():
    groups = [f"speaker {i % 30}" for i in range(300)]
    parts = split(numbered(300), [None] * 300, groups, SHARES, 0)
    for group in set(groups):
        assert sum(group in {groups[i] for i in rows} for rows in parts.values()) == 1


@pytest.mark.parametrize("count", range(3, 12))
def test_every_part_has_an_example_when_there_are_hardly_any(count):
    parts = split(numbered(count), [None] * count, None, SHARES, 0)
    assert all(parts.values())


def test_too_few_examples_are_refused_with_a_way_out():
    with pytest.raises(DataError, match=r"2 different inputs cannot make 3 parts.*give more rows"):
        split(["a", "b", "a"], [0, 1, 0], None, SHARES, 0)
    with pytest.raises(DataError, match="2 different groups"):
        split(numbered(9), [None] * 9, ["g", "h", "g"] * 3, SHARES, 0)


@pytest.mark.parametrize("groups", [None, [f"group {i % 12}" for i in range(600)]])
@pytest.mark.parametrize("number", [2, 5, 10])
def test_every_example_is_tested_once_and_never_trained_on_then(number, groups):
    keys = numbered(600)
    found = folds(keys, groups, number, 0)
    assert sorted(i for parts in found for i in parts["test"]) == list(range(600))
    for parts in found:
        assert sorted(i for rows in parts.values() for i in rows) == list(range(600))
        assert bool(parts["validation"]) == (number > 2)
        for one, two in (("train", "test"), ("train", "validation"), ("validation", "test")):
            own = groups or keys
            assert not {own[i] for i in parts[one]} & {own[i] for i in parts[two]}


def test_as_many_folds_as_groups_leave_one_out_each():
    groups = [f"speaker {i % 6}" for i in range(60)]
    found = folds(numbered(60), groups, 6, 0)
    assert all(len({groups[i] for i in parts["test"]}) == 1 for parts in found)


def test_more_folds_than_inputs_are_refused():
    with pytest.raises(DataError, match=r"leave fold .* of 9 empty; ask for fewer"):
        folds(["a", "b"], None, 9, 0)
    with pytest.raises(DataError, match="2 different groups"):
        folds(["a", "b", "c"], ["g", "h", "g"], 3, 0)


def test_time_is_cut_in_order_and_every_part_has_rows():
    parts = split_by_time(100, SHARES)
    assert [*parts["train"], *parts["validation"], *parts["test"]] == list(range(100))
    with pytest.raises(DataError, match="3 rows leave none for the test part"):
        split_by_time(3, SHARES)


def test_duplicates_leaks_and_missing_classes_are_told():
    parts = {"train": [0, 1, 2], "test": [3, 4]}
    told = doubts(parts, ["a", "b", "c", "a", "d"], list("xyxxx"), ["g", "h", "h", "g", "i"])
    assert told == [
        "1 of the 5 inputs repeats another exactly.",
        "1 inputs of the test part (1 examples) stand in the training part too; its figures "
        "flatter the model.",
        "1 groups of the test part (1 examples) stand in the training part too; its figures "
        "flatter the model.",
        "the test part has no example of 'y'.",
    ]
    assert doubts(parts, list("abcde"), list("xxxxx"), None) == []


def test_one_input_with_two_labels_is_told():
    told = doubts({"train": [0, 1, 2, 3]}, ["a", "a", "b", "c"], list("xyxy"), None)
    assert "1 input stand with different labels in several rows." in told


@pytest.mark.parametrize("given", ["validation", "test", "both"])
def test_fixed_files_are_their_parts_and_the_rest_is_shared(tmp_path, given):
    def write(name, start, count):
        lines = [f"sentence number {i}\t{i % 2}" for i in range(start, start + count)]
        (tmp_path / name).write_text("\n".join(lines))
        return str(tmp_path / name)

    file = write("rows.txt", 0, 300)
    names = ["validation", "test"] if given == "both" else [given]
    files = {name: write(f"{name}.txt", 1000 * n, 10) for n, name in enumerate(names, 1)}
    reading = read(file, DataSettings(**files))
    for n, name in enumerate(names, 1):
        wanted = [f"sentence number {i}" for i in range(1000 * n, 1000 * n + 10)]
        assert reading.part(name).inputs == wanted
    assert all(reading.parts.values())
    assert len(reading.parts["train"]) == 300 if given == "both" else 240


def test_split_column_is_followed(tmp_path):
    rows = ["text,label,split"]
    rows += [f"number {i},{i % 2},{['train', 'dev', 'test'][i % 3]}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    reading = read(tmp_path / "rows.csv")
    assert {part: len(each) for part, each in reading.parts.items()} == dict.fromkeys(SHARES, 20)
    assert reading.parted == "as given"
    assert all(i % 3 == 2 for i in reading.parts["test"])


def test_files_named_by_their_part_are_it(tmp_path):
    for n, part in enumerate(("train", "dev", "test")):
        lines = [f"{part} sentence {i}\t{i % 2}" for i in range(10 + n)]
        (tmp_path / f"set.{part}.tsv").write_text("\n".join(lines))
    reading = read(tmp_path)
    assert {part: len(rows) for part, rows in reading.parts.items()} == {
        "train": 10, "validation": 11, "test": 12,
    }  # fmt: skip


def test_series_are_parted_by_time_even_if_their_rows_are_not_in_order(tmp_path):
    days = [
        f"{d:02}.{m:02}.2021,{m * d + i}" for i, m in enumerate(range(1, 11)) for d in range(1, 29)
    ]
    random.Random(0).shuffle(days)
    (tmp_path / "days.csv").write_text("\n".join(["date,value", *days]))
    reading = read(tmp_path / "days.csv", DataSettings(split=0.8))
    table = reading.examples.inputs[0]
    dates = {
        part: [table.rows[i][0].split(".")[::-1] for i in rows]
        for part, rows in reading.parts.items()
    }
    assert max(dates["train"]) < min(dates["validation"])
    assert max(dates["validation"]) < min(dates["test"])


def test_folds_of_a_reading_cover_all_of_it(tmp_path):
    lines = [f"sentence number {i}\t{i % 2}" for i in range(200)]
    (tmp_path / "rows.txt").write_text("\n".join(lines))
    reading = read(tmp_path / "rows.txt", DataSettings(folds=5))
    assert len(reading.folds) == 5
    assert reading.parts == reading.folds[0]
    assert sorted(i for parts in reading.folds for i in parts["test"]) == list(range(200))
