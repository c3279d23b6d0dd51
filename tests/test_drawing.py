"""Pictures are well-formed, keep inside their sheet, say what they show, and paint to PNG."""

import math
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageFont

from unspool.drawing.attention_map import attention_map
from unspool.drawing.axes import Linear, Logarithmic
from unspool.drawing.class_plots import counts_table, reliability_plot
from unspool.drawing.paint import paint
from unspool.drawing.picture import ROLES, STYLE, Area, Dot, Line, Picture, Words, box
from unspool.drawing.plots import Figure, bands, bars, beside, curves, dot_plot
from unspool.errors import ConfigError

LONG = "a name that is much longer than anything that could ever stand beside a plot"


def figures():
    names = ["lstm", "logistic regression of words and of characters", LONG]
    return [
        Figure(name=name, value=0.9 - 0.1 * place, low=0.8 - 0.1 * place, high=0.93, own=not place)
        for place, name in enumerate(names)
    ]


def matrix(size):
    return [[50 if row == column else (row * column) % 7 for column in range(size)]
            for row in range(size)]  # fmt: skip


def forecast(steps, before=0):
    point = [math.sin(step / 3) for step in range(steps)]
    low, high = [value - 0.4 for value in point], [value + 0.4 for value in point]
    labels = [f"2024-{1 + step // 28:02}-{1 + step % 28:02}" for step in range(before + steps)]
    past = [math.cos(step / 3) * 900 for step in range(before)]
    truth = [value + 0.1 for value in point]
    return bands(labels, truth, point, low, high, "Infections", past)


PICTURES = {
    "dots": lambda: dot_plot(figures(), "accuracy", "Beside the simple methods"),
    "one dot": lambda: dot_plot([Figure(name="lstm", value=1.0)], "accuracy"),
    "dots without intervals": lambda: dot_plot(
        [Figure(name="a", value=-3e6), Figure(name="b", value=2e6)], "mean squared error"
    ),
    "curves": lambda: curves(
        {"training": [(s, 3 / s) for s in range(1, 200)], "validation": [(20, 1.0), (190, 0.5)]},
        "Loss", y="nats per step", faint=["training"], mark=(190, 0.5, "best"),
    ),
    "growth": lambda: curves(
        {f"{name} {kind}": [(2.0**p, 1e-5 * 3.0**p) for p in range(4, 14)]
         for name in ("lstm", "transformer") for kind in ("seconds", "bytes")},
        "seconds", "steps, T", logarithmic=(2.0, 10.0),
    ),
    "one point": lambda: curves({"loss": [(1, 2.0)]}, "Loss"),
    "nothing": lambda: curves({"loss": [(1, math.nan)]}, "Loss"),
    "forecast": lambda: forecast(24),
    "forecast after the past": lambda: forecast(24, 60),
    "bars": lambda: bars([f"{n}-{n + 9}" for n in range(0, 200, 10)], list(range(20)), "Lengths"),
    "two bars": lambda: bars(["no", "yes"], [1_234_567, 3], "Classes"),
    "two classes": lambda: counts_table(["negative", "positive"], [[80, 20], [0, 0]], "Confusion"),
    "ten classes": lambda: counts_table([f"{LONG}{n}" for n in range(10)], matrix(10), "Ten"),
    "thirty classes": lambda: counts_table([f"class {n}" for n in range(30)], matrix(30), "Thirty"),
    "reliability": lambda: reliability_plot(
        [(n / 10, (n + 1) / 10, 10**n % 997, n / 10 + 0.05, min(1, n / 8)) for n in range(10)],
        "Calibration", 0.073,
    ),
    "attention": lambda: attention_map(
        {"source": ["les", LONG, "noirs"], "target": ["the", "black", LONG],
         "weights": [[0.9, 0.1, 0.0], [0.0, 0.0, 1.0], [0.2, 0.7, 0.1]]}, "The cats",
    ),
    "beside": lambda: beside([forecast(5), forecast(9)], "Both"),
}  # fmt: skip


@pytest.fixture(params=PICTURES)
def picture(request):
    return PICTURES[request.param]()


def words(picture):
    return [mark for mark in picture.marks if isinstance(mark, Words)]


def corners(mark):
    """Where a mark begins and ends, as far as the eye goes."""
    if isinstance(mark, Words):
        long = ImageFont.load_default(mark.size).getlength(mark.text)
        start = mark.x - {"start": 0.0, "middle": long / 2, "end": long}[mark.anchor]
        return (start, mark.y - 0.75 * mark.size), (start + long, mark.y + 0.25 * mark.size)
    if isinstance(mark, Dot):
        return (mark.x - mark.radius, mark.y - mark.radius), (
            mark.x + mark.radius,
            mark.y + mark.radius,
        )
    xs, ys = zip(*mark.points, strict=True)
    return (min(xs), min(ys)), (max(xs), max(ys))


def test_svg_is_wellformed_with_a_title_and_a_sentence(picture):
    for alone in (True, False):
        root = ElementTree.fromstring(picture.svg(alone))
        inside = {child.tag.rpartition("}")[2]: child.text for child in root}
        assert inside["title"] == picture.title
        assert inside["desc"] == picture.text
        assert root.get("role") == "img"


def test_every_mark_stands_on_the_sheet(picture):
    for mark in picture.marks:
        (left, top), (right, bottom) = corners(mark)
        assert left >= -0.5, mark
        assert right <= picture.width + 0.5, mark
        assert top >= -0.5, mark
        assert bottom <= picture.height + 0.5, mark


def test_texts_do_not_lie_on_each_other(picture):
    boxes = [(corners(mark), mark.text) for mark in words(picture)]
    for place, (((left, top), (right, bottom)), text) in enumerate(boxes):
        for ((a, b), (c, d)), other in boxes[:place]:
            apart = a >= right or c <= left or b >= bottom or d <= top
            assert apart, (text, other)


def test_painted_picture_is_as_large_as_its_sheet(picture, tmp_path):
    paint(picture, tmp_path / "p.png", scale=1)
    with Image.open(tmp_path / "p.png") as painted:
        assert painted.size == (round(picture.width), round(picture.height))
        assert len(painted.convert("L").getcolors()) > 2


def test_painted_marks_have_the_place_and_colour_of_the_drawn_ones(tmp_path):
    marks = (
        Area(box(2, 2, 4, 4), "good"),
        Dot(20, 10, 4, "bad"),
        Line([(0, 18), (40, 18)], "own", 4.0),
    )
    paint(Picture(40, 24, "Marks", "", marks), tmp_path / "p.png", scale=4)
    with Image.open(tmp_path / "p.png") as painted:
        for place, role in (((4, 4), "good"), ((20, 10), "bad"), ((30, 18), "own")):
            seen = painted.getpixel((4 * place[0], 4 * place[1]))
            assert f"#{bytes(seen).hex()}" == ROLES[role][0]
        assert painted.getpixel((4 * 30, 4 * 5)) == (255, 255, 255)


@pytest.mark.parametrize("alone", [True, False])
def test_text_is_only_text_whatever_it_says(alone):
    evil = '</title><script>alert("1")</script>\x00\ud800&'
    picture = counts_table([evil, "no"], [[1, 2], [3, 4]], evil)
    root = ElementTree.fromstring(picture.svg(alone))
    names = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert "script" not in names
    assert root.find("{*}title").text == evil.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


def test_every_role_has_a_colour_in_light_and_in_dark():
    light, _, dark = STYLE.partition("@media (prefers-color-scheme:dark)")
    for role in ROLES:
        for sheet in (light, dark):
            assert f".fill-{role}{{" in sheet
            assert f".line-{role}{{" in sheet


@pytest.mark.parametrize("dark", [0, 1])
def test_words_and_lines_stand_out_from_the_paper(dark):
    paper = luminance(ROLES["paper"][dark])
    for role in ROLES:
        if role in ("paper", "grid"):
            continue
        other = luminance(ROLES[role][dark])
        contrast = (max(paper, other) + 0.05) / (min(paper, other) + 0.05)
        assert contrast >= 4.5, role


def luminance(colour):
    """Relative luminance of sRGB, as WCAG 2.1 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3e-7, 2e-7), (5.0, 5.0), (0.0, 0.0), (1e9, 1.1e9)])
def test_ticks_are_few_distinct_and_within(ends):
    scale = Linear(*ends, 0.0, 100.0)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7
    assert all(scale.low - 1e-9 * abs(scale.low) <= tick <= scale.high * (1 + 1e-9) or
               math.isclose(tick, scale.high) for tick in ticks)  # fmt: skip
    assert len({scale.label(tick) for tick in ticks}) == len(ticks)


def test_logarithmic_scale_has_equal_steps_for_equal_ratios():
    scale = Logarithmic(0.01, 100.0, 0.0, 400.0)
    assert scale(10.0) - scale(1.0) == pytest.approx(scale(0.1) - scale(0.01))


def test_dots_stand_in_the_order_of_their_figures():
    dots = [mark for mark in PICTURES["dots"]().marks if isinstance(mark, Dot)]
    assert [dot.open for dot in dots] == [False, True, True]
    assert dots[0].x > dots[1].x > dots[2].x
    assert dots[0].y < dots[1].y < dots[2].y


def test_lines_of_one_family_share_a_colour_and_the_second_is_dashed():
    lines = [mark for mark in PICTURES["growth"]().marks if isinstance(mark, Line)]
    lines = [line for line in lines if line.role.startswith("series-")][:4]
    assert [line.role for line in lines] == ["series-0", "series-0", "series-1", "series-1"]
    assert [line.dashed for line in lines] == [False, True, False, True]


def test_band_says_how_often_the_truth_lies_within():
    assert forecast(24).text.endswith("within the band in 24 of 24 steps")


def test_png_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        paint(PICTURES["one dot"](), tmp_path / "none" / "p.png")
