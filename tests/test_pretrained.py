"""Word vectors from elsewhere: files are read, embeddings start from them, frozen ones stay."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch

import faults
from unspool import jobs
from unspool.data.vectors import read_vectors
from unspool.errors import ConfigError, DataError
from unspool.predictor import load
from unspool.tasks import classify
from unspool.tasks.baselines import constant

VECTORS = {"good": [1.0, 2.0, 3.0], "bad": [-1.5, 0.25, 4e-3], "Paris": [7.0, 8.0, 9.0]}
WORDS = ("good", "bad", "paris", "Paris", "unseen")


def as_text(heading=False):
    lines = [" ".join([word, *map(str, vector)]) for word, vector in VECTORS.items()]
    return "\n".join([*(["3 3"] if heading else []), *lines]) + "\n"


def as_binary(newlines=True):
    end = b"\n" if newlines else b""
    rows = (
        word.encode() + b" " + struct.pack("<3f", *vector) + end for word, vector in VECTORS.items()
    )
    return b"3 3\n" + b"".join(rows)


FORMS = {
    "glove.txt": lambda: as_text().encode(),
    "word2vec.txt": lambda: as_text(heading=True).encode(),
    "windows.txt": lambda: as_text().replace("\n", "\r\n").encode(),
    "trailing.vec": lambda: as_text(heading=True).replace("\n", " \n").encode(),
    "word2vec.bin": as_binary,
    "older.bin": lambda: as_binary(newlines=False),
    "glove.txt.gz": lambda: gzip.compress(as_text().encode()),
    "word2vec.bin.gz": lambda: gzip.compress(as_binary()),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_file_gives_the_same_vectors(name, tmp_path):
    (tmp_path / name).write_bytes(FORMS[name]())
    found = read_vectors(tmp_path / name, WORDS)
    assert found.width == 3
    table = found.of(WORDS)
    for row, word in zip(table, WORDS, strict=True):
        expected = VECTORS.get(word, [np.nan] * 3)
        np.testing.assert_array_equal(row, np.float32(expected))


def test_a_word_is_looked_up_as_it_is_and_then_in_lower_case(tmp_path):
    (tmp_path / "v.txt").write_text("us 1 1\nUS 2 2\nthe 3 3\n")
    table = read_vectors(tmp_path / "v.txt", ["US", "us", "The", "tHe"]).of(["US", "us", "The"])
    assert table[:, 0].tolist() == [2.0, 1.0, 3.0]


def test_of_a_word_that_stands_there_twice_the_first_counts(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 1\na 2 2\n")
    assert read_vectors(tmp_path / "v.txt", ["a"]).of(["a"]).tolist() == [[1.0, 1.0]]


def test_a_name_of_several_words_keeps_its_spaces(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 1\n. . . 2 2\n")
    assert read_vectors(tmp_path / "v.txt", [". . ."]).by_word[". . ."].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("v.txt", b"", "is empty"),
        ("v.txt", b"lonely\n", r"v\.txt:1: got 'lonely'; wanted a word and its numbers"),
        ("v.txt", b"a 1 2\nb 1\n", r"v\.txt:2: got 1 numbers behind a word; wanted 2"),
        ("v.txt", b"a 1 2\ngood 1 x\n", r"v\.txt:2: got 'x'; wanted a number"),
        ("v.txt", b"a 1 x\n", r"v\.txt:1: got 'x'; wanted a number"),
        ("v.txt", b"a 1 2\ngood 1 nan\n", r"v\.txt:2: got NaN or infinity"),
        ("v.bin", b"no heading at all\n", "wanted how many words, how wide"),
        ("v.bin", as_binary()[:-20], "ends within word 3 of 3"),
        ("v.bin", b"1 1\ngood " + struct.pack("<f", float("inf")), "word 1 has NaN or infinity"),
        ("v.txt.gz", b"not packed", "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(name, contents, message, tmp_path):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / name, WORDS)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(tmp_path / "none.txt", WORDS)


# In a training.

FOOD = ("soup", "cake", "tea", "rice", "bread", "fish")


@pytest.fixture(autouse=True, scope="module")
def quick():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simple = lambda job: iter([constant.majority(job.train.targets, len(job.test))])  # noqa: E731
    with faults.through(faults.without_sync), pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "simple_methods", simple)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run with the lecture's recipe: its folder, its model and its events."""
    folder = tmp_path_factory.mktemp("tuned")
    return folder, *trained(folder, model__name="gru", **LECTURE)


def rows():
    return [(f"the {food} was {how} {n}", "yes" if how == "good" else "no")
            for n in range(8) for food in FOOD for how in ("good", "bad")]  # fmt: skip


def trained(tmp_path, data=None, **changes):
    (tmp_path / "v.txt").write_text(as_text())
    events = []
    asked = {"model__hidden": 5, "train__steps": 3, "size": "tiny", "seed": 1, "threads": 1}
    asked |= {"data__vectors": str(tmp_path / "v.txt"), **changes}
    data = rows() if data is None else data
    jobs.train(data, out=tmp_path / "run", observers=[events.append], **asked)
    return load(tmp_path / "run"), events


def vector(predictor, word):
    encoder = predictor.answers.encoder
    return predictor.model.embedding.weight[encoder.tokenizer.encode(f" {word}")[0]].detach()


LECTURE = {"model__bidirectional": False, "model__pooling": "last", "model__layers": 1}


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_recipe_of_the_lecture_is_vectors_then_a_cell_then_cross_entropy(cell, tuned, tmp_path):
    _, predictor, events = tuned
    if cell != "gru":
        predictor, events = trained(tmp_path, model__name=cell, **LECTURE)
    model = predictor.model
    assert model.embedding.weight.shape[1] == 3
    assert not model.encoder.bidirectional and model.embedding.width == 3
    evaluations = [each["loss"] for each in events if each["event"] == "evaluation"]
    assert all(0.2 < loss < 2.0 for loss in evaluations)  # nats an example, of two classes


def test_frozen_vectors_are_those_of_the_file_after_training(tmp_path):
    predictor, _ = trained(tmp_path, data__freeze_vectors=True)
    for word in ("good", "bad"):
        assert vector(predictor, word).tolist() == pytest.approx(VECTORS[word])


def test_vectors_are_fine_tuned_from_those_of_the_file(tuned):
    _, predictor, _ = tuned
    moved = vector(predictor, "good") - torch.tensor(VECTORS["good"])
    assert 0 < moved.abs().max() < 0.1


def test_coverage_is_told(tuned):
    _, _, events = tuned
    note = next(each["text"] for each in events if each["event"] == "note")
    assert "vectors of 3 numbers for 2 of the 19 words in the vocabulary" in note
    assert "which make up 20.0% of the training part; they are fine-tuned" in note


def test_words_to_tag_start_from_vectors_too(tmp_path):
    data = [{"tokens": ["good", f"w{n}", "bad"], "tags": ["A", "N", "A"]} for n in range(30)]
    predictor, _ = trained(tmp_path, data, data__freeze_vectors=True)
    place = predictor.answers.encoder.words["good"]
    assert predictor.model.embedding.weight[place].tolist() == pytest.approx(VECTORS["good"])


def test_run_that_is_finished_needs_the_file_no_more(tuned):
    folder, predictor, _ = tuned
    (folder / "v.txt").rename(folder / "gone.txt")
    again = load(folder / "run").predict(["the soup was good"])
    assert again == predictor.predict(["the soup was good"])
    assert jobs.evaluate(folder / "run", data=rows())["rows"] > 0
    (folder / "gone.txt").rename(folder / "v.txt")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data__tokens": "char"}, ConfigError, r"data\.vectors: are for words, and data\.tokens"),
        ({"model__embedding": 7}, ConfigError, r"model\.embedding: got 7, but the vectors .* 3 "),
        ({"data__vectors": None, "data__freeze_vectors": True}, ConfigError, "no data.vectors"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused_before_a_run_is_made(
    changes, error, message, tmp_path
):
    with pytest.raises(error, match=message):
        trained(tmp_path, **changes)
    assert not (tmp_path / "run").exists()


def test_vectors_of_another_language_are_refused(tmp_path):
    (tmp_path / "other.txt").write_text("bonjour 1 2\n")
    with pytest.raises(DataError, match="knows none of the 19 words"):
        trained(tmp_path, data__vectors=str(tmp_path / "other.txt"))


def test_vectors_for_a_model_that_writes_are_refused(tmp_path):
    (tmp_path / "v.txt").write_text(as_text())
    with pytest.raises(ConfigError, match="a model for 'write' starts from none"):
        jobs.train(sample="english", out=tmp_path / "run", data__vectors=str(tmp_path / "v.txt"))


def test_vectors_for_numbers_are_refused(tmp_path):
    table = {"a": list(range(40)), "b": list(range(40)), "label": ["x", "y"] * 20}
    with pytest.raises(ConfigError, match="are for words, and the inputs are numbers"):
        trained(tmp_path, table)
