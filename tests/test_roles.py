"""What columns hold, and what they are for."""

import pytest

from unspool.data.delimited import is_header, read_delimited
from unspool.data.recognise import recognise
from unspool.data.roles import is_date, profile
from unspool.data.settings import DataSettings
from unspool.errors import DataError


def tens(i):
    return i // 10


def ones(i):
    return i % 10


def table(header, *columns):
    """A table of six rows; a column is a list, or a function of the row's number."""
    rows = [
        [column(i) if callable(column) else column[i % len(column)] for column in columns]
        for i in range(60)
    ]
    lines = ["\t".join(map(str, row)) for row in rows]
    return read_delimited("\n".join([header, *lines] if header else lines), "t.tsv")


def unique(prefix):
    return lambda i: f"{prefix} with a number {i}"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e4", "nan"], "number"),
        (["007", "008"], "number"),
        (["2020-01-01", "2020-01-02 10:30"], "date"),
        (["1949-01", "1949-02"], "date"),
        (["22.01.2020", "1/22/20"], "date"),
        (["a.wav", "b.FLAC"], "sound"),
        (["x/a.png", "b.jpg"], "image"),
        (["yes", "no"] * 5, "class"),
        (["one text here", "and one more of them"], "text"),
        (["", " "], "empty"),
        ([("a", "b"), ("c",)], "list"),
    ],
)
def test_kind_of_a_column_is_told_from_its_cells(cells, kind):
    assert profile("c", cells).kind == kind


@pytest.mark.parametrize(
    "text", ["2020-01-22", "2020/1/2", "2020-01-22T10:00:00.5Z", "2020W07", "2020-Q1", "Jan 2020"]
)
def test_dates_are_dates(text):
    assert is_date(text)


@pytest.mark.parametrize("text", ["1.2.3.4", "12-13", "Va !", "2020", "10:00", "a 2020-01-01"])
def test_other_texts_are_no_dates(text):
    assert not is_date(text)


@pytest.mark.parametrize(
    ("first", "rest", "named"),
    [
        (["text", "label"], [], True),
        (["Review", "Stars"], [["a", "b"]], True),
        (["phrase", "verdict"], [["a", "1"], ["b", "0"]], True),
        (["when", "how much"], [["2020-01-01", "x"]], True),
        (["phrase", "verdict"], [[f"text {i}", "yn"[i % 2]] for i in range(10)], True),
        (["A fine film", "y"], [[f"text {i}", "yn"[i % 2]] for i in range(10)], False),
        (["Go.", "Va !"], [["Run!", "Cours !"]], False),
        (["text", "1"], [["a", "0"]], False),
        (["text", "text"], [["a", "b"]], True),
        (["now", "now"], [["a", "1"]], False),
        (["text", ""], [["a", "b"]], False),
        (["", "text"], [["0", "b"], ["1", "c"]], True),
        (["v1", "v2", "", ""], [["yn"[i % 2], f"b {i}", "", ""] for i in range(10)], True),
        (["", ""], [["a", "1"]], False),
    ],
)
def test_first_row_names_the_columns_only_if_it_looks_like_names(first, rest, named):
    assert is_header(first, rest) == named


@pytest.mark.parametrize(
    ("header", "columns", "task", "roles"),
    [
        ("text\tlabel", (unique("a"), "pn"), "classify", {"text": "text", "label": "label"}),
        ("", (unique("a"), "01"), "classify", {"text": "column 1", "label": "column 2"}),
        ("", ("01", unique("a")), "classify", {"text": "column 2", "label": "column 1"}),
        ("review\tstars", (unique("a"), "12345"), "rate", {"text": "review", "stars": "stars"}),
        ("", (unique("a"), "12345"), "rate", {"text": "column 1", "stars": "column 2"}),
        ("text\tlabel", (unique("a"), "12345"), "classify", {"text": "text", "label": "label"}),
        ("", (unique("a"), unique("b")), "translate", {"source": "column 1", "target": "column 2"}),
        ("de\ten", (unique("a"), unique("b")), "translate", {"source": "en", "target": "de"}),
        (
            "tokens\ttags",
            (["a b c", "d e"], ["X Y Z", "X Y"]),
            "tag",
            {"tokens": "tokens", "tags": "tags"},
        ),
        (
            "user\ttext\tlabel",
            (lambda i: f"u{i % 9}", unique("a"), "pn"),
            "classify",
            {"text": "text", "group": "user", "label": "label"},
        ),
        (
            "title\ttext\trating\tlabel",
            (unique("a"), unique("b"), "1245", "pn"),
            "rate",
            {"text": "text", "stars": "rating"},
        ),
        (
            "month\tsales",
            (lambda i: f"{1950 + i // 12}-{i % 12 + 1:02}", lambda i: i * i),
            "forecast",
            {"date": "month"},
        ),
        (
            "date\tcountry\tcases",
            (lambda i: f"2020-01-{i // 3 + 1:02}", ["fr", "de", "it"], lambda i: i * i),
            "forecast",
            {"date": "date", "group": "country"},
        ),
        (
            "patient\ttime\tpulse\tmode\tdiagnosis",
            (tens, ones, lambda i: i * 1.5, ["up", "down"], lambda i: "sh"[i // 10 % 2]),
            "classify",
            {"group": "patient", "time": "time", "label": "diagnosis"},
        ),
        (
            "id\ttime\tpulse\tactivity",
            (tens, ones, lambda i: i * 1.5, ["walk", "sit"]),
            "tag",
            {"group": "id", "time": "time", "label": "activity"},
        ),
        (
            "a\tb\tc\tlabel",
            (lambda i: i, lambda i: i * 2, lambda i: -i, "pn"),
            "classify",
            {"label": "label"},
        ),
        (
            "width\theight\tspecies",
            (lambda i: i + 0.5, lambda i: i * 2, ["iris", "rose"]),
            "classify",
            {"label": "species"},
        ),
        ("", ("12", lambda i: i + 0.5, lambda i: i / 7 + 0.1), "classify", {"label": "column 1"}),
        (
            "user\tactivity\ttimestamp\tx\ty",
            (tens, ["walk", "sit"], ones, lambda i: i * 0.5, lambda i: i * 0.7),
            "tag",
            {"group": "user", "time": "timestamp", "label": "activity"},
        ),
        (
            "",
            ("1234", unique("a title"), unique("some much longer text")),
            "classify",
            {"text": "column 3", "label": "column 1"},
        ),
        ("path\tlabel", (lambda i: f"{i}.wav", "pn"), "listen", {"path": "path", "label": "label"}),
        (
            "image\tcaption",
            (lambda i: f"{i}.png", unique("a")),
            "caption",
            {"path": "image", "caption": "caption"},
        ),
        ("image\tlabel", (lambda i: f"{i}.png", "pn"), "see", {"path": "image", "label": "label"}),
        (
            "audio\ttext",
            (lambda i: f"{i}.wav", unique("a")),
            "transcribe",
            {"path": "audio", "transcript": "text"},
        ),
    ],
)
def test_job_and_roles_are_told_from_the_content(header, columns, task, roles):
    found = recognise(table(header, *columns), DataSettings())
    assert (found.task, found.roles) == (task, roles)


@pytest.mark.parametrize(
    ("settings", "task", "roles"),
    [
        ({}, "rate", {"text": "text", "stars": "rating"}),
        ({"label": "label"}, "classify", {"text": "text", "label": "label"}),
        ({"label": "rating"}, "rate", {"text": "text", "stars": "rating"}),
        ({"text": "title"}, "rate", {"text": "title", "stars": "rating"}),
        ({"text": "TITLE"}, "rate", {"text": "title", "stars": "rating"}),
        ({"label": "domain"}, "classify", {"text": "text", "label": "domain"}),
        ({"group": "domain"}, "rate", {"text": "text", "stars": "rating", "group": "domain"}),
    ],
)
def test_settings_override_what_is_found(settings, task, roles):
    columns = (["book", "dvd", "kitchen"], "pn", "1245", unique("a"), unique("b"))
    reviews = table("domain\tlabel\trating\ttitle\ttext", *columns)
    found = recognise(reviews, DataSettings(**settings))
    assert (found.task, found.roles) == (task, roles)


def test_task_overrides_what_is_found():
    columns = (["book", "dvd", "kitchen"], "pn", "1245", unique("a"), unique("b"))
    reviews = table("domain\tlabel\trating\ttitle\ttext", *columns)
    assert recognise(reviews, DataSettings(), "classify").roles["label"] == "label"
    found = recognise(reviews, DataSettings(label="rating"), "classify")
    assert found.roles["label"] == "rating"
    assert recognise(reviews, DataSettings(), "translate").task == "translate"


def test_last_of_several_columns_of_few_values_is_the_label_and_that_is_told():
    found = recognise(table("", unique("a"), "xy", "pn"), DataSettings())
    assert found.roles["label"] == "column 3"
    assert "--data.label names another" in found.warnings[0]


def test_column_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"data.text is 'reviw', which is no column.*Did you mean"):
        recognise(table("review\tstars", unique("a"), "12345"), DataSettings(text="reviw"))


def test_table_that_fits_no_job_is_refused_with_its_columns_and_a_way_out():
    with pytest.raises(DataError, match=r"text \(texts\) are not a table.*--data.label"):
        recognise(read_delimited("text\nsome words\nand others\n", "t", ","), DataSettings())
    with pytest.raises(DataError, match="are not dates with numbers"):
        recognise(table("text\tlabel", unique("a"), "pn"), DataSettings(), "forecast")
