"""What real files and small ones of every form are recognised as, whatever they are called."""

import io
import json

import numpy as np
import pytest

from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.data.source import Source
from unspool.data.wav import encode_wav
from unspool.errors import ConfigError, DataError

SENTENCES = [f"this is sentence number {i}" for i in range(12)]


@pytest.mark.parametrize(
    ("name", "settings", "task", "roles", "rows"),
    [
        (f"uci-labelled-sentences/{name}_labelled.txt", {}, "classify",
         {"text": "column 1", "label": "column 2"}, 1000)
        for name in ("amazon_cells", "imdb", "yelp")
    ] + [
        ("amazon-multidomain/reviews.tsv", {}, "rate", {"text": "text", "stars": "rating"}, 8000),
        ("amazon-multidomain/reviews.tsv", {"label": "label", "group": "domain"}, "classify",
         {"text": "text", "label": "label", "group": "domain"}, 8000),
        ("ud-english-ewt/en_ewt-ud-dev.conllu", {}, "tag",
         {"tokens": "FORM", "tags": "UPOS"}, 2001),
        ("ud-english-ewt/en_ewt-ud-test.conllu", {"label": "XPOS"}, "tag",
         {"tokens": "FORM", "tags": "XPOS"}, 2077),
        ("ili-national/national_illness.csv", {}, "forecast", {"date": "date"}, 966),
        ("covid-countries/key-countries-pivoted.csv", {}, "forecast", {"date": "Date"}, 816),
        ("airline-passengers/airline-passengers.csv", {}, "forecast", {"date": "Month"}, 144),
        ("fsdd/recordings", {}, "listen", {"path": "path", "label": "label"}, 3000),
        ("fsdd/recordings", {"group": "field 2"}, "listen",
         {"path": "path", "label": "label", "group": "field 2"}, 3000),
        ("fashion-mnist/t10k-images-idx3-ubyte.gz", {}, "see", {"label": "labels"}, 10000),
        ("tinyshakespeare/input.txt", {}, "write", {}, 1),
    ],
)  # fmt: skip
def test_real_file_is_recognised_and_every_row_used(shared_data, name, settings, task, roles, rows):
    reading = read(shared_data(name), DataSettings(**settings))
    assert (reading.job, reading.roles) == (task, roles)
    assert (reading.used, reading.total, reading.refused) == (rows, rows, ())


def test_long_series_and_translations_are_recognised_from_their_first_rows(shared_data, tmp_path):
    for name, task, roles in (
        ("covid-countries/countries-aggregated-2021-10-11.csv", "forecast",
         {"date": "Date", "group": "Country"}),
        ("tatoeba-en-fr/fra.txt", "translate", {"source": "column 1", "target": "column 2"}),
    ):  # fmt: skip
        with shared_data(name).open(encoding="utf-8") as file:
            (tmp_path / "part").write_text("".join(next(file) for _ in range(8000)))
        reading = read(tmp_path / "part")
        assert (reading.job, reading.roles) == (task, roles)
        assert not reading.refused


def test_real_files_of_fixed_parts_keep_them(shared_data):
    folder = shared_data("ud-english-ewt")
    settings = DataSettings(test=str(folder / "en_ewt-ud-test.conllu"))
    reading = read(folder / "en_ewt-ud-dev.conllu", settings)
    assert len(reading.part("test")) == 2077
    assert sum(map(len, reading.part("test").inputs)) == 25094
    assert (
        len(reading.classes if hasattr(reading, "classes") else reading.report()["classes"]) == 17
    )
    recordings = shared_data("fsdd/recordings")
    reading = read(recordings, DataSettings(test=str(recordings / "*_[0-4].wav")))
    assert len(reading.parts["test"]) == 300
    assert len(reading.parts["train"]) + len(reading.parts["validation"]) == 2700


FORMS = {
    "tabs": lambda rows: "".join(f"{a}\t{b}\n" for a, b in rows),
    "commas": lambda rows: "text,label\n" + "".join(f'"{a}",{b}\n' for a, b in rows),
    "semicolons": lambda rows: "text;label\n" + "".join(f"{a};{b}\n" for a, b in rows),
    "pipes": lambda rows: "text|label\n" + "".join(f"{a}|{b}\n" for a, b in rows),
    "JSON lines": lambda rows: "".join(json.dumps({"label": b, "text": a}) + "\n" for a, b in rows),
}


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.txt", "data", "data.conllu"])
@pytest.mark.parametrize("form", FORMS)
def test_form_is_told_from_the_content_whatever_the_name(tmp_path, form, name):
    rows = [(text, "pn"[i % 2]) for i, text in enumerate(SENTENCES)]
    (tmp_path / name).write_text(FORMS[form](rows))
    reading = read(tmp_path / name)
    assert (reading.job, reading.mapping) == ("classify", "many to one")
    assert list(zip(reading.examples.inputs, reading.examples.targets, strict=True)) == rows
    assert form in reading.form


@pytest.mark.parametrize("separator", ["\t", " "])
def test_words_with_tags_are_sentences(tmp_path, separator):
    text = "".join(f"Go{separator}VERB\n!{separator}PUNCT\n\n" for _ in range(5))
    (tmp_path / "f").write_text(text + f"Now{separator}ADV\n.{separator}PUNCT\n")
    reading = read(tmp_path / "f", whole=True)
    assert (reading.job, reading.mapping, reading.unit) == (
        "tag", "many to many, synced", "sentences",
    )  # fmt: skip
    assert reading.examples.inputs[-1] == ["Now", "."]
    assert reading.examples.targets[-1] == ["ADV", "PUNCT"]
    assert reading.examples.places[-1].line == 16


def test_conllu_leaves_out_ranges_empty_nodes_and_comments_and_refuses_sentences_without_tags(
    tmp_path,
):
    def word(number, form, tag):
        return f"{number}\t{form}\t{form}\t{tag}" + "\t_" * 6

    lines = ["# newdoc", "# text = du bist", word("1-2", "dubist", "_"), word(1, "du", "PRON")]
    lines += [word(2, "bist", "AUX"), word("2.1", "weg", "_"), "", ""]
    lines += [word(1, "Ja", "_"), "", word(1, "Nein", "INTJ"), "2\tonly\ttwo", ""]
    (tmp_path / "f").write_text("\n".join(lines * 8 + [word(1, "du", "PRON"), ""] * 3))
    reading = read(tmp_path / "f", whole=True)
    assert reading.examples.inputs[0] == ["du", "bist"]
    assert reading.examples.targets[0] == ["PRON", "AUX"]
    assert reading.total == 27 and reading.used == 11
    reasons = {each.reason for each in reading.refused}
    assert reasons == {
        "a word has no tag",
        *(r for r in reasons if "has 3 columns, wanted 10 separated by tabs" in r),
    }


def test_prose_with_commas_is_running_text_and_a_column_of_numbers_a_series(tmp_path):
    (tmp_path / "prose").write_text("Hello, you.\nWho, me?\nYes, you!\nWell, then.\n")
    assert read(tmp_path / "prose").job == "write"
    (tmp_path / "numbers").write_text("\n".join(str(i * i % 17) for i in range(50)))
    assert read(tmp_path / "numbers").job == "forecast"


def test_task_write_takes_any_text_as_running_text(tmp_path):
    (tmp_path / "f").write_text(FORMS["tabs"]([(text, "x") for text in SENTENCES]))
    reading = read(tmp_path / "f", task="write")
    assert reading.examples.inputs[0].startswith("this is sentence number 0\tx\n")


def content(ending, number):
    """Of a sound or an image, each number another one."""
    if ending == "png":
        drawn, points = io.BytesIO(), np.full((4, 4), number, np.uint8)
        pytest.importorskip("PIL.Image").fromarray(points).save(drawn, "PNG")
        return drawn.getvalue()
    waveform = np.sin(np.arange(800, dtype=np.float32) * (1 + number) / 40)
    if ending == "wav":
        return encode_wav(waveform, 8000)
    written = io.BytesIO()
    pytest.importorskip("soundfile").write(written, waveform, 8000, format="FLAC")
    return written.getvalue()


@pytest.mark.parametrize("ending", ["wav", "flac", "png"])
def test_folders_name_the_labels_of_files_in_them(tmp_path, ending):
    for label in ("up", "down"):
        (tmp_path / label).mkdir()
        for i in range(4):
            (tmp_path / label / f"{i}.{ending}").write_bytes(content(ending, 7 * i))
    (tmp_path / f"stray.{ending}").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("about")
    reading = read(tmp_path)
    assert (reading.job, reading.mapping) == (
        ("see", "one to one") if ending == "png" else ("listen", "many to one")
    )
    assert sorted(reading.examples.targets) == ["down"] * 4 + ["up"] * 4
    assert (reading.total, len(reading.refused)) == (9, 1)
    assert any("notes.txt" in each for each in reading.warnings)


def test_folders_called_train_and_test_are_the_parts(tmp_path):
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(5):
                number = 50 * (part == "test") + 10 * (label == "b") + i
                (tmp_path / part / label / f"{i}.png").write_bytes(content("png", number))
    reading = read(tmp_path)
    assert len(reading.parts["test"]) == 10
    assert all("test" in path for path in reading.part("test").inputs)


def test_paths_in_a_table_are_relative_to_it_and_missing_files_are_refused(tmp_path):
    (tmp_path / "clips").mkdir()
    rows = ["path,label"]
    for i in range(6):
        (tmp_path / "clips" / f"{i}.wav").write_bytes(encode_wav(np.full(9, i / 10), 8000))
        rows.append(f"clips/{i}.wav,{i % 2}")
    (tmp_path / "index.csv").write_text("\n".join([*rows, "clips/none.wav,1"]))
    for source in (tmp_path / "index.csv", tmp_path):
        reading = read(source)
        assert reading.examples.inputs[0] == str(tmp_path / "clips" / "0.wav")
        assert [each.place.line for each in reading.refused] == [8]
        assert "there is no file" in reading.refused[0].reason


def test_pattern_of_a_part_is_looked_for_inside_the_folder_that_is_learnt(tmp_path):
    for i in range(24):
        name = f"{i % 2}_ann_{i // 2}.wav"
        (tmp_path / name).write_bytes(encode_wav(np.full(9, i / 30), 8000))
    settings = DataSettings(test="*_[0-4].wav")
    assert len(read(tmp_path, settings).parts["test"]) == 10
    source = Source.of_files([tmp_path], settings)
    assert len(source.test) == 10 and all(path.startswith(str(tmp_path)) for path in source.test)
    with pytest.raises(DataError, match="no file is called"):
        read(tmp_path, DataSettings(test="*_[9].flac"))


def test_images_with_captions_and_sounds_with_transcripts_are_recognised(tmp_path):
    for ending, task in (("png", "caption"), ("wav", "transcribe")):
        rows = []
        for i, text in enumerate(SENTENCES):
            (tmp_path / f"{i}.{ending}").write_bytes(content(ending, i))
            rows.append(json.dumps({"file": f"{i}.{ending}", "text": text}))
        (tmp_path / f"{ending}.jsonl").write_text("\n".join(rows))
        reading = read(tmp_path / f"{ending}.jsonl")
        assert reading.job == task
        assert reading.examples.targets == SENTENCES


STEPS = np.arange(240.0).reshape(12, 10, 2)
ARRAYS = {
    "sequences": (STEPS, np.arange(12) % 3, "classify", (10, 2)),
    "rows": (np.arange(120.0).reshape(12, 10), np.arange(12) % 3, "classify", (10, 1)),
    "frames": (STEPS, np.arange(120).reshape(12, 10) % 3, "tag", (10, 2)),
    "images": (np.arange(768).reshape(12, 8, 8).astype(np.uint8), np.arange(12) % 3, "see", (8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("source", ["npz", "two npy", "memory", "dict"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_recognised_from_their_shapes(tmp_path, name, source):
    inputs, labels, task, shape = ARRAYS[name]
    if source == "npz":
        np.savez(tmp_path / "f.npz", x=inputs, y=labels)
        data = tmp_path / "f.npz"
    elif source == "two npy":
        np.save(tmp_path / "x.npy", inputs)
        np.save(tmp_path / "y.npy", labels)
        data = tmp_path / "x.npy"
    else:
        data = (inputs, labels) if source == "memory" else {"x": inputs, "y": labels}
    reading = read(data)
    assert reading.job == task
    assert reading.examples.inputs[0].shape == shape
    assert len(reading.examples) == 12
    wanted = labels.astype(str).tolist()
    assert reading.examples.targets == wanted


def test_padded_sequences_are_cut_to_their_lengths(tmp_path):
    lengths = np.arange(12) % 5 + 1
    np.savez(tmp_path / "f.npz", x=STEPS, y=np.arange(12) % 2, lengths=lengths)
    reading = read(tmp_path / "f.npz")
    assert [len(each) for each in reading.examples.inputs] == lengths.tolist()


def test_sequence_with_a_label_for_each_step_is_one_example_when_tag_is_asked_for(tmp_path):
    for i in range(6):
        steps = np.random.default_rng(i).normal(size=(20 + i, 3))
        np.savez(tmp_path / f"{i}.npz", x=steps, y=np.arange(20 + i) % 4)
    reading = read(tmp_path, task="tag")
    assert [each.shape for each in reading.examples.inputs] == [(20 + i, 3) for i in range(6)]
    assert reading.examples.targets[1][:5] == ["0", "1", "2", "3", "0"]


def test_arrays_with_stars_are_rated_and_others_refused():
    reading = read((STEPS, [1, 2.5, "x", *range(9)]), task="rate")
    assert reading.examples.targets[:3] == [1.0, 2.5, 0.0]
    assert reading.refused[0].reason == "the stars are x, wanted a number"


def test_decimal_commas_between_semicolons_are_numbers(tmp_path):
    rows = "".join(f"2020-01-{i:02};{i},5;{i}\n" for i in range(1, 29))
    (tmp_path / "f").write_text("date;value;other\n" + rows)
    table = read(tmp_path / "f").examples.inputs[0]
    assert table.rows[0] == ["2020-01-01", "1.5", "1"]
    texts = "".join(f"words {i},5 and so on;{'pn'[i % 2]}\n" for i in range(20))
    (tmp_path / "f").write_text("text;label\n" + texts)
    assert read(tmp_path / "f").examples.inputs[1] == "words 1,5 and so on"


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_find_their_labels_and_a_folder_of_them_its_test_part(tmp_path, packed):
    import gzip

    ending = ".gz" if packed else ""
    for part, count in (("train", 30), ("t10k", 6)):
        images = bytes([0, 0, 8, 3]) + np.array([count, 4, 4], ">u4").tobytes()
        images += bytes(i % 251 for i in range(16 * count))
        labels = bytes([0, 0, 8, 1]) + np.array([count], ">u4").tobytes()
        labels += bytes(i % 2 for i in range(count))
        for name, data in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            (tmp_path / (name + ending)).write_bytes(gzip.compress(data) if packed else data)
    alone = read(tmp_path / f"train-images-idx3-ubyte{ending}")
    assert (alone.job, alone.total) == ("see", 30)
    both = read(tmp_path)
    assert len(both.parts["test"]) == 6 and both.total == 36


class Frame:
    """What pandas and polars DataFrames share."""

    def __init__(self, **columns):
        self._columns = columns

    @property
    def columns(self):
        return list(self._columns)

    def __getitem__(self, name):
        return self._columns[name]


@pytest.mark.parametrize(
    "data",
    [
        [(text, "pn"[i % 2]) for i, text in enumerate(SENTENCES)],
        {"text": SENTENCES, "label": list("pn" * 6)},
        Frame(text=SENTENCES, label=np.array(list("pn" * 6))),
        [{"text": text, "label": "pn"[i % 2]} for i, text in enumerate(SENTENCES)],
    ],
    ids=["pairs", "columns", "frame", "rows"],
)
def test_data_in_memory_is_read_like_a_file(data):
    reading = read(data)
    assert reading.job == "classify"
    assert reading.examples.inputs == SENTENCES
    assert reading.examples.targets == list("pn" * 6)
    assert reading.examples.places[2].line == 3


class Cells:
    """A list in a cell as polars gives it: no list, but with `to_list`."""

    def __init__(self, values):
        self._values = values

    def to_list(self):
        return self._values


@pytest.mark.parametrize("cell", [list, tuple, np.array, Cells])
def test_lists_in_a_frame_are_words_with_tags(cell):
    tokens = [cell(["Go", str(i)]) for i in range(12)]
    reading = read(Frame(tokens=tokens, tags=[cell(["VERB", "NUM"])] * 12))
    assert reading.job == "tag"
    assert reading.examples.inputs[3] == ["Go", "3"]


def test_missing_values_of_a_frame_are_empty_and_refused():
    reading = read(
        Frame(text=[*SENTENCES, None, "x"], stars=[*([1.0, 5.0, 2.0] * 4), 3, float("nan")])
    )
    assert (reading.total, reading.used) == (14, 12)
    assert [each.reason for each in reading.refused] == ["the text is empty", "the label is empty"]


def test_event_table_becomes_a_sequence_for_each_group_in_the_order_of_time(tmp_path):
    rows = ["patient,time,pulse,mode,diagnosis"]
    for patient in range(12):
        for time in (10, 9, 1):
            rows.append(
                f"p{patient},{time},{patient + time / 10},{'ab'[time % 2]},{'sh'[patient % 2]}"
            )
    (tmp_path / "f.csv").write_text("\n".join([*rows, "p0,2,nan,a,s", "p1,2,x,a,h"]))
    reading = read(tmp_path / "f.csv", DataSettings(split=0.5))
    assert (reading.job, reading.examples.kind) == ("classify", "numbers")
    assert (reading.total, reading.used, len(reading.examples)) == (38, 36, 12)
    assert reading.examples.inputs[0][:, 0].tolist() == pytest.approx([0.1, 0.9, 1.0])
    assert reading.examples.options["columns"] == ["pulse"]
    assert reading.examples.options["categories"] == ["mode"]
    assert reading.examples.options["category_values"][0] == [("b",), ("b",), ("a",)]
    assert {each.place.line for each in reading.refused} == {38, 39}
    part = reading.part("test")
    assert len(part.options["category_values"]) == len(part) > 0


def test_inputs_alone_are_read_for_a_prediction(tmp_path):
    (tmp_path / "lines").write_text("a first text\n\nand one more\n")
    reading = read(tmp_path / "lines", task="classify", labelled=False)
    assert reading.examples.inputs == ["a first text", "and one more"]
    assert [place.line for place in reading.examples.places] == [1, 3]
    assert reading.examples.targets == [None, None]
    (tmp_path / "table").write_text("id,text\n1,a first text\n2,and one more\n")
    reading = read(tmp_path / "table", task="classify", labelled=False)
    assert reading.examples.inputs == ["a first text", "and one more"]
    assert reading.examples.rows[1] == {"id": "2", "text": "and one more"}
    (tmp_path / "a.wav").write_bytes(encode_wav(np.zeros(9), 8000))
    reading = read(tmp_path / "a.wav", task="listen", labelled=False)
    assert reading.examples.inputs == [str(tmp_path / "a.wav")]


def test_unknown_task_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'classify'"):
        read([("a", "b")], task="clasify")


def test_files_that_do_not_fit_each_other_are_refused(tmp_path):
    (tmp_path / "a").write_text(FORMS["commas"]([(t, "p") for t in SENTENCES]))
    (tmp_path / "b").write_text("text;stars\n" + "".join(f"{t};3\n" for t in SENTENCES))
    with pytest.raises(DataError, match="has the columns text, stars; wanted text, label"):
        read([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "c").write_text("Some prose.\nNo table at all.\n")
    with pytest.raises(DataError, match="holds running text, but"):
        read([tmp_path / "a", tmp_path / "c"])
