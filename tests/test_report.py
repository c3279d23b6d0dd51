"""The report of a run: one page with everything in it, nothing from elsewhere, no foreign code."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

import faults
from command_line import call  # noqa: F401
from unspool import jobs, one_training
from unspool.errors import ConfigError, RunError
from unspool.reporting.page import Markup, element, page, table
from unspool.reporting.pictures import MOST_SQUARES, plots
from unspool.reporting.report import report_page, write_plots, write_report
from unspool.tasks import classify
from unspool.tasks.baselines import constant
from unspool.training.run import Run

EVIL = '</td><script>alert("1")</script><img src=x onerror=alert(2)>&\x1b\u202e'


def report_of(text="meal", labels=2, **more):
    """What a run of classify ends with, `text` standing wherever somebody's data may stand."""
    names = [f"{text} {number}" for number in range(labels)]
    figures = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 9}
    return {
        "task": "classify", "model": text, "run": f"runs/{text.replace('/', '')}",
        "unit": "example", "measure": "accuracy", "higher_is_better": True, "score": 0.8,
        "interval": [0.7, 0.9],
        "rows": 90, "steps": 20, "best_step": 10, "parameters": 1234, "verdict": f"{text} wins.",
        "baselines": [{"name": text, "score": 0.6, "interval": ["nan", "nan"], "seconds": 1.0,
                       "measure": "accuracy", "reproduce": f"fit({text})"}],
        "classes": dict.fromkeys(names, figures),
        "confusion": {"labels": names, "counts": [[5] * labels for _ in names]},
        "spans": {text: figures},
        "reliability": [{"low": 0.5, "high": 1.0, "rows": 9, "confidence": 0.8, "accuracy": 0.7}],
        "calibration_error": 0.1, "calibration_error_before": 0.2, "temperature": 1.5,
        "errors": [{"place": text, "input": text, "truth": text, "answer": [text, text],
                    "probability": 0.9}],
        "forecasts": [{"series": text, "column": text, "origin": text, "dates": [text, text],
                       "truth": [1.0, 2.0], "point": [1.0, 1.5], "low": [0.0, 1.0],
                       "high": [2.0, 2.0], "before": [1.0], "before_dates": [text]}],
        "warnings": [text], **more,
    }  # fmt: skip


def events_of(text="meal"):
    step = {"event": "step", "gradient_norm": 1.0, "targets": 8, "seconds": 0.1}
    return [
        {"event": "data", "text": text, "roles": {text: text}, "split": {"train": 8, "how": text},
         "rows": {"total": 9, "used": 8, "refused": 3}, "classes": {text: 5, "other": 3},
         "refused": [{"file": text, "line": 3, "reason": text}],
         "lengths": {"unit": "words", "histogram": [{"from": n, "count": n} for n in (1, 2)]}},
        {"event": "start", "unit": text, "step": 0},
        {"event": "note", "text": text},
        *({**step, "step": number, "loss": "nan" if number == 7 else 2.0 / number}
          for number in range(1, 250)),
        {"event": "evaluation", "step": 10, "loss": 1.0, "seconds": 0.1},
    ]  # fmt: skip


def parsed(html):
    assert html.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(html.partition("\n")[2])


def names_in(root):
    return {each.tag.rpartition("}")[2] for each in root.iter()}


def test_page_is_wellformed_and_has_every_part():
    root = parsed(report_page(report_of(), events_of(), "[data]\nsplit = 0.8\n"))
    headings = [each.text for each in root.iter("h2")]
    assert headings == [
        "Beside the simple methods", "Class by class", "Probabilities", "Forecasts",
        "Errors worth reading", "Learning", "Data", "The run",
    ]  # fmt: skip
    pictures = [each for each in root.iter() if each.tag.endswith("}svg")]
    assert len(pictures) == len(plots(report_of(), events_of())) == 8


def test_page_needs_nothing_from_elsewhere():
    html = report_page(report_of(), events_of(), "x = 1")
    assert set(re.findall(r"https?://[^\"' <]*", html)) == {"http://www.w3.org/2000/svg"}
    assert not names_in(parsed(html)) & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html.replace("&#x27;", "'")


def test_text_of_the_data_is_only_text():
    html = report_page(report_of(EVIL), events_of(EVIL), f"# {EVIL}")
    root = parsed(html)
    harmless = names_in(parsed(report_page(report_of("é"), events_of("é"), "x")))
    assert names_in(root) == harmless
    assert "<script" not in html and "<img" not in html
    shown = "".join(root.itertext())
    assert shown.count('<script>alert("1")</script>') > 20
    assert "\x1b" not in html
    attributes = {name for each in root.iter() for name in each.attrib}
    assert not {name for name in attributes if name.startswith("on")}


def test_only_elements_are_not_escaped():
    inside = element("b", "<i>", element("u", "&"), title='"')
    assert inside == '<b title="&quot;">&lt;i&gt;<u>&amp;</u></b>'
    assert isinstance(inside, Markup)
    assert not isinstance(inside + "<i>", Markup)  # a sum is text of unknown origin again
    assert "&lt;script" in page("t", "<script>") and "&lt;i&gt;" in table(["<i>"], [])


def test_page_follows_the_reader_from_light_to_dark():
    html = report_page(report_of(), events_of())
    assert html.count("@media (prefers-color-scheme:dark)") == 2  # of the page, of its pictures
    assert 'name="color-scheme" content="light dark"' in html


def test_a_second_figure_that_simple_methods_have_too_has_a_column():
    report = report_of(balanced_accuracy=0.75, kappa=0.5)
    report["baselines"][0]["balanced_accuracy"] = 0.5
    rows = parsed(report_page(report, events_of())).find(".//table")
    heads = ["".join(cell.itertext()) for cell in rows.iter("th")]
    assert "balanced accuracy" in heads and "kappa" not in heads
    column = heads.index("balanced accuracy")
    found = ["".join(row.findall("td")[column].itertext()) for row in rows.iter("tr")
             if row.findall("td")]  # fmt: skip
    assert found == ["0.750", "0.500"]


def test_methods_stand_with_the_best_first():
    root = parsed(report_page(report_of(), []))
    first = next(each for each in root.iter("table"))
    names = [row[0].text for row in first.iter("tr")][1:]
    assert names == ["meal", "meal"]
    lower = report_of(higher_is_better=False)
    scores = [row[1].text for row in next(parsed(report_page(lower, [])).iter("table")).iter("tr")]
    assert scores[1:] == ["0.600", "0.800"]


def test_many_classes_become_the_largest_and_others():
    report = report_of(labels=200)
    counts = report["confusion"]["counts"]
    counts[150][150] = 400
    root = parsed(report_page(report, []))
    text = "".join(root.itertext())
    assert "The 60 most frequent of 200 classes." in text
    title = plots(report, [])["confusion"].text
    assert f"meal 150: 400 of {400 + 199 * 5} right" in title and "others:" in title
    assert title.count(" right") == MOST_SQUARES


def test_run_that_writes_has_a_page_of_its_loss():
    report = {
        "task": "write", "model": "lstm", "run": "r", "loss": 1.5, "unit": "char", "steps": 9,
        "best_step": 9, "parameters": 5, "bits_per_character": 2.16, "verdict": "Better.",
        "baselines": [{"name": "6-gram", "loss": 1.7, "seconds": 0.1}], "warnings": [],
    }  # fmt: skip
    text = "".join(parsed(report_page(report, events_of())).itertext())
    assert "lstm: nats per char 1.500" in text and "bits per character 2.160" in text


# Of runs.


@pytest.fixture(autouse=True, scope="module")
def quick():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simple = lambda job: iter([constant.majority(job.train.targets, len(job.test))])  # noqa: E731
    with faults.through(faults.without_sync), pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "simple_methods", simple)
        yield
    torch.set_num_threads(threads)


SMALL = {"size": "tiny", "model__hidden": 5, "train__steps": 3, "threads": 1}


def rows():
    return [(f"{'fine' if n % 2 else 'bad'} <b>{n}</b>", f"<i>{n % 2}</i>") for n in range(80)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    jobs.train(rows(), out=folder, **SMALL)
    return folder


def test_training_ends_with_a_report_in_the_run(run):
    root = parsed((run / "report.html").read_text(encoding="utf-8"))
    text = "".join(root.itertext())
    assert "<i>0</i>" in text and "hidden = 5" in text and "80 used, 0 refused" in text
    assert "Errors worth reading" in text


def test_report_is_the_same_when_it_is_written_again(run):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert write_report(run) == run / "report.html"
    assert (run / "report.html").read_bytes() == before


def test_command_writes_the_page_and_paints_the_plots(run, call, tmp_path):  # noqa: F811
    code, out, _ = call("report", str(run), "--png", str(tmp_path / "plots"), "--json")
    said = json.loads(out)
    assert code == 0 and said["report"] == str(run / "report.html")
    names = [path.rpartition("/")[2] for path in said["plots"]]
    assert {"methods.png", "confusion.png", "reliability.png", "loss.png"} <= set(names)
    for path in said["plots"]:
        with Image.open(path) as painted:
            assert painted.width >= 400
    with pytest.raises(ConfigError, match="cannot be made"):
        write_plots(run, tmp_path / "plots")


def test_tagged_steps_are_reported_by_label_and_by_span(tmp_path):
    data = [{"tokens": ["a", f"b{n}", "c"], "tags": ["O", "B-X", "I-X" if n % 2 else "O"]}
            for n in range(40)]  # fmt: skip
    report = jobs.train(data, out=tmp_path / "run", **SMALL)
    assert set(report["spans"]) == {"X"}
    assert sum(each["support"] for each in report["classes"].values()) == 3 * report["rows"]
    text = "".join(parsed((tmp_path / "run" / "report.html").read_text()).itertext())
    assert "A span counts where its kind and both ends are right." in text


def test_run_that_is_not_finished_has_nothing_to_report(run, tmp_path):
    begun = Run.create(tmp_path / "begun", (run / "config.toml").read_text())
    begun.log("start", steps=3)
    with pytest.raises(RunError, match="not finished, so there is nothing to report yet; `unspool"):
        write_report(tmp_path / "begun")


def test_training_is_not_lost_when_its_report_cannot_be_written(tmp_path, monkeypatch):
    def full(path):
        raise RunError(f"{path}: the disk is full.")

    monkeypatch.setattr(one_training, "write_report", full)
    events = []
    report = jobs.train(rows(), out=tmp_path / "run", observers=[events.append], **SMALL)
    assert report["score"] >= 0
    assert "disk is full" in events[-1]["text"] and events[-1]["event"] == "warning"
