"""Captions: drawn scenes say the truth; images, vectors and classes get their sentences."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

import command_line
from trainings import settled
from unspool import jobs
from unspool.attention_shown import attention_text
from unspool.data.reading import read
from unspool.data.scenes import COLOURS, SHAPES, SIDE, placed, scenes
from unspool.drawing.attention_map import attention_map
from unspool.drawing.picture import Area
from unspool.errors import ConfigError, DataError
from unspool.predictor import load

pytestmark = pytest.mark.usefixtures("quick_training")
SMALL = {
    "task": "caption", "threads": 1, "model.hidden": 8, "model.embedding": 8, "train.epochs": 0,
    "train.steps": 3, "train.batch": 6, "train.warmup": 0, "model.image_maps": 4,
    "model.image_layers": 2,
}  # fmt: skip
call = command_line.call


def settings_for(**changes):
    return settled(SMALL, **changes)


@pytest.fixture(scope="module")
def drawn():
    return scenes(each=1)


@pytest.fixture(scope="module")
def folder(drawn, tmp_path_factory):
    """Images of scenes, and a table with the sentence of each."""
    root = tmp_path_factory.mktemp("scenes")
    lines = ["image,caption"]
    for number in range(0, len(drawn), 4):
        Image.fromarray(drawn.inputs[number]).save(root / f"{number}.png")
        lines.append(f"{number}.png,{drawn.targets[number]}")
    (root / "captions.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, jobs.train(folder / "captions.csv", settings=settings_for(), out=out)


# The scenes


def test_every_sentence_is_there_once_for_each_round(drawn):
    kinds = [f"{colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]
    wanted = {
        f"a {one} {how} a {two}"
        for one, two in product(kinds, kinds)
        for how in ("above", "left of")
        if one != two
    }
    assert set(drawn.targets) == wanted and len(drawn) == len(wanted) == 264


def test_each_shape_lies_where_it_is_said_to_in_the_colour_that_is_named(drawn):
    for image, sentence, row in zip(drawn.inputs, drawn.targets, drawn.rows, strict=True):
        places = json.loads(row["places"])
        colours = [word for word in sentence.split() if word in COLOURS]
        for colour, (y, x, radius) in zip(colours, places, strict=True):
            assert radius < y + 0.5 and y + radius < SIDE + 0.5, "outside the image"
            assert radius < x + 0.5 and x + radius < SIDE + 0.5, "outside the image"
            found = image[int(y), int(x)].astype(float)
            near = min(COLOURS, key=lambda name: np.abs(found - COLOURS[name]).sum())
            assert near == colour


def test_shapes_stand_as_the_sentence_says_and_apart(drawn):
    for sentence, row in zip(drawn.targets, drawn.rows, strict=True):
        (y1, x1, r1), (y2, x2, r2) = json.loads(row["places"])
        along, across = (y2 - y1, x2 - x1) if "above" in sentence else (x2 - x1, y2 - y1)
        assert along > abs(across), sentence
        assert np.hypot(along, across) > r1 + r2
        assert sum(map(len, placed(row).values())) == 2


def test_no_pair_of_shapes_is_learnt_and_tested(drawn):
    reading = read(drawn, task="caption")
    pairs = [{drawn.groups[i] for i in rows} for rows in reading.parts.values()]
    assert sum(map(len, pairs)) == len(set().union(*pairs)) == 66


def test_scenes_are_the_same_each_time(drawn):
    assert all(map(np.array_equal, scenes(each=1).inputs, drawn.inputs))


# What is learnt


def test_images_with_captions_are_recognised(folder):
    reading = read([folder / "captions.csv"])
    assert (reading.job, reading.mapping) == ("caption", "one to many")
    assert reading.roles == {"path": "image", "caption": "caption"}


def test_report_compares_with_the_nearest_image(run):
    report = run[1]
    names = [each["name"] for each in report["baselines"]]
    assert names == ["commonest target", "nearest image"]
    assert {"bleu", "exact_match", "character_error_rate"} <= report.keys()


def test_attention_lies_on_places_of_the_image(run, folder):
    from dataclasses import replace

    predictor = load(run[0])
    looking = replace(predictor.answers, looks=True)
    row = looking.predict(predictor.model, [folder / "0.png"])[0]
    looked = row["attention"]
    assert looked["sides"] == [SIDE // 4, SIDE // 4]
    weights = torch.tensor(looked["weights"]).reshape(len(looked["target"]), SIDE**2 // 16)
    assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-5)


def test_command_captions_and_draws_an_image(run, folder, call, tmp_path):
    asked = ["translate", run[0], folder / "0.png", "--max-length", 3]
    code, out, _ = call(*asked, "--attention", "--png", tmp_path / "a.png")
    assert code == 0 and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(out.splitlines()) >= 1 + 1 + SIDE // 4 or out == "\n\n"
    code, _, error = call("translate", run[0], "missing.png")
    assert code == 2 and "missing.png" in error and len(error.splitlines()) == 1


def test_an_image_read_row_by_row_is_looked_at_row_by_row(folder, tmp_path):
    settings = settings_for(image__rows=True)
    jobs.train(folder / "captions.csv", settings=settings, out=tmp_path / "run")
    answers = load(tmp_path / "run").answers
    assert answers.shape["source"]["kind"] == "frames"


# Vectors and classes


def vectors(rows=60):
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(rows, 3))
    return inputs, [f"{'high' if a > 0 else 'low'} and {'wide' if b > 0 else 'narrow'}"
                    for a, b, _ in inputs]  # fmt: skip


def test_a_vector_is_read_at_once_and_gets_a_text(tmp_path):
    report = jobs.train(vectors(), settings=settings_for(), out=tmp_path / "run")
    assert report["task"] == "caption"
    predictor = load(tmp_path / "run")
    assert predictor.answers.shape["source"] == {"kind": "numbers", "size": 3, "steps": 1}
    assert predictor.model.encoder is None
    assert isinstance(predictor.predict([np.ones((1, 3))])[0]["answer"], str)
    with pytest.raises(DataError, match="input 2: has 2 steps"):
        predictor.predict([np.ones((1, 3)), np.ones((2, 3))])


def test_a_class_gets_a_text(tmp_path):
    kinds = {"cat": "it says meow", "dog": "it says woof", "cow": "it says moo"}
    lines = [f"{kind},{text} {ending}" for kind, text in kinds.items()
             for ending in ("now", "again", "today", "at night", "a lot", "to me")]  # fmt: skip
    path = tmp_path / "sounds.csv"
    path.write_text("\n".join(["animal,caption", *lines]) + "\n", "utf-8")
    reading = read([path], task="caption")
    assert reading.roles == {"text": "animal", "caption": "caption"}
    assert read([path]).job != "caption", "only where it is asked for"
    jobs.train(path, settings=settings_for(), out=tmp_path / "run")
    predictor = load(tmp_path / "run")
    assert predictor.answers.shape["source"]["steps"] == 1
    assert isinstance(predictor.predict(["cat"])[0]["answer"], str)


def points(path, rows=60):
    """A table of two numbers, a category and a caption; and one of the same without captions."""
    draw = np.random.default_rng(1)
    lines = [
        f"{x:.3f},{y:.3f},{draw.choice(['red', 'blue'])}" for x, y in draw.normal(size=(rows, 2))
    ]
    said = [f"a {row.split(',')[2]} point {'left' if row[0] == '-' else 'right'}" for row in lines]
    table = [f"{row},{text}" for row, text in zip(lines, said, strict=True)]
    (path / "points.csv").write_text("\n".join(["x,y,colour,caption", *table]) + "\n", "utf-8")
    (path / "new.csv").write_text("\n".join(["x,y,colour", "1,2,red", "3,4,blue"]) + "\n", "utf-8")
    return path / "points.csv", path / "new.csv"


def test_a_row_of_numbers_and_categories_gets_a_text(tmp_path, call):
    path, new = points(tmp_path)
    reading = read([path], task="caption")
    assert (reading.job, reading.mapping) == ("caption", "one to many")
    assert reading.roles == {"caption": "caption"}
    assert reading.examples.inputs[0].shape == (1, 2)
    with pytest.raises(DataError, match="not a table that can be learnt from"):
        read([path])  # only where it is asked for
    report = jobs.train(path, settings=settings_for(), out=tmp_path / "run")
    names = [each["name"] for each in report["baselines"]]
    assert names == ["commonest target", "nearest vector"]
    shape = load(tmp_path / "run").answers.shape["source"]
    assert shape == {"kind": "numbers", "size": 2, "categories": [3], "steps": 1}
    for command in ("translate", "predict"):
        code, out, error = call(command, tmp_path / "run", "--file", new, "--json")
        assert code == 0 and len(out.splitlines()) == 2, error
        assert all("answer" in json.loads(line) for line in out.splitlines())
    code, _, error = call("evaluate", tmp_path / "run", path)
    assert code == 0, error


@pytest.mark.parametrize(
    ("header", "reason"),
    [("x,y,name,more", "x (numbers), y (numbers)"), ("x,speaker,y,caption", "speaker")],
)
def test_numbers_without_one_caption_a_row_are_refused(header, reason, tmp_path):
    path = tmp_path / "few.csv"
    rows = [f"{n}.5,{n % 4},text of {n} in row {n},and {n} more of it" for n in range(20)]
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    with pytest.raises(
        DataError, match="classes, or two numbers and more, with a caption"
    ) as found:
        read([path], task="caption")
    assert reason in str(found.value)


def test_captions_share_no_vocabulary_with_what_they_are_of(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"target\.shared"):
        settings = settings_for(target__shared=True)
        jobs.train(folder / "captions.csv", settings=settings, out=tmp_path / "run")


def test_picture_of_an_image_has_a_map_for_every_word_and_says_where_most_weight_is():
    weights = [[0.1, 0.7, 0.2, 0.0], [0.25, 0.25, 0.2, 0.3]]
    looked = {"target": [" red", " circle"], "weights": weights, "sides": [2, 2]}
    picture = attention_map(looked, "a scene")
    said = "red: mostly at row 1, column 2 (0.70); circle: mostly at row 2, column 2 (0.30)"
    assert picture.text.strip() == said
    assert sum(isinstance(mark, Area) for mark in picture.marks) == 8
    assert attention_text(looked).splitlines()[1].startswith("  ██")
