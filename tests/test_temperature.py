"""Probabilities are tempered on the validation part, and answers stay; errors worth reading."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.cells import CELLS
from unspool.config import resolve
from unspool.data.reading import read
from unspool.models.sequence_model import SequenceModel
from unspool.tasks import classify, rate, tag
from unspool.tasks.calibration import fit_temperature
from unspool.tasks.classify import ClassRules
from unspool.tasks.example_answers import answer_all
from unspool.tasks.example_batches import NO_TARGET, Part
from unspool.tasks.mistakes import furthest_off, mistaken_steps, most_edits, surest_mistakes
from unspool.tasks.tag import TagRules
from unspool.tasks.temperature import temperature_of, trust

LABELS = ("cat", "dog", "emu")


class Table:
    """An encoder of logits, for a model that gives them back."""

    def collate(self, encoded):
        return {"logits": torch.stack(list(encoded))}, torch.ones(len(encoded), dtype=torch.int64)


class Echo(SequenceModel):
    device = torch.device("cpu")

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.crf = None

    def forward(self, inputs, lengths):
        return inputs["logits"]


def part_of(logits, truth):
    numbers = [torch.tensor(place) for place in truth]
    targets = [LABELS[place] for place in truth]
    return Part([""] * len(truth), targets, list(logits), numbers)


def drawn(seed, rows=200, sure=3.0):
    """Logits that are as sure as they should be, times ``sure``."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    truth = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return sure * logits, truth.tolist()


def loss_of(logits, truth, temperature):
    return torch.nn.functional.cross_entropy(logits / temperature, torch.tensor(truth)).item()


@pytest.mark.parametrize("sure", [0.3, 1.0, 3.0])
def test_temperature_undoes_the_factor_of_too_sure_logits(sure):
    part = part_of(*drawn(1, 4000, sure))
    assert temperature_of(Echo(), Table(), part) == pytest.approx(sure, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 20.0))
def test_temperature_never_makes_the_validation_part_less_likely(seed, sure):
    logits, truth = drawn(seed, 30, sure)
    temperature = temperature_of(Echo(), Table(), part_of(logits, truth))
    fitted = loss_of(logits, truth, temperature)
    assert fitted <= loss_of(logits, truth, 1.0) + 1e-9
    for other in (0.9 * temperature, 1.1 * temperature):
        if temperature != 1.0:
            assert fitted <= loss_of(logits, truth, other) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 50.0))
def test_temperature_changes_no_answer(seed, temperature):
    logits, _ = drawn(seed, 20)
    plain = answer_all(Echo(), ClassRules(LABELS), Table(), list(logits))
    tempered = answer_all(Echo(), ClassRules(LABELS, temperature), Table(), list(logits))
    assert [each["answer"] for each in plain] == [each["answer"] for each in tempered]
    for before, after in zip(plain, tempered, strict=True):
        order = sorted(LABELS, key=before["probabilities"].get)
        chances = [after["probabilities"][label] for label in order]
        assert chances == sorted(chances) and sum(chances) == pytest.approx(1.0)


def test_temperature_one_leaves_the_probabilities_as_the_model_gives_them():
    logits, _ = drawn(3, 20)
    for row, answer in zip(logits, answer_all(Echo(), ClassRules(LABELS), Table(), list(logits)),
                           strict=True):  # fmt: skip
        assert list(answer["probabilities"].values()) == pytest.approx(row.softmax(-1).tolist())


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_probabilities_are_those_of_the_logits_divided_by_the_temperature(temperature):
    logits, _ = drawn(3, 20)
    wanted = torch.softmax(logits / temperature, -1)
    answers = answer_all(Echo(), ClassRules(LABELS, temperature), Table(), list(logits))
    given = torch.tensor([list(each["probabilities"].values()) for each in answers])
    torch.testing.assert_close(given.double(), wanted)
    tags = TagRules(LABELS, None, temperature).answers(Echo(), logits[None], torch.tensor([20]))
    torch.testing.assert_close(torch.tensor(tags[0]["probability"]).double(), wanted.amax(-1))


@pytest.mark.parametrize("answers", ["right", "wrong"])
def test_temperature_is_one_when_no_other_is_best(answers):
    logits = 4.0 * torch.eye(3, dtype=torch.float64)
    truth = [0, 1, 2] if answers == "right" else [1, 2, 0]
    assert temperature_of(Echo(), Table(), part_of(logits, truth)) == 1.0


def test_targets_that_training_never_saw_are_left_out():
    logits, truth = drawn(4, 300)
    part = part_of(logits, truth)
    strange = replace(part, numbers=[*part.numbers[:-50], *[torch.tensor(NO_TARGET)] * 50])
    expected = fit_temperature(logits[:-50].numpy(), np.array(truth[:-50]))
    assert temperature_of(Echo(), Table(), strange) == pytest.approx(expected)


# In a job.


def job_of(task, rows, **changes):
    asked = {"size": "tiny", "model.hidden": 6, "model.embedding": 4, "task": task.__name__[14:]}
    settings = resolve(None, {**asked, **changes})
    job = task.prepare(read(rows, settings.data, settings.task), settings)
    model = task.build(
        job.shape(), settings.model, CELLS[settings.model.name], torch.Generator().manual_seed(0)
    )
    for parameter in model.head.parameters():
        parameter.data *= 30.0  # far too sure
    return job, model


def sentences(count=120):
    words = ["good", "bad", "fine", "poor", "meal", "film"]
    return [
        (" ".join(words[(n * k) % 6] for k in range(1, 5)) + f" {n}", "no" if n % 2 else "yes")
        for n in range(count)
    ]


def tagged(count=60):
    return [{"tokens": ["a", f"b{n % 7}", f"c{n}"], "tags": ["X", "Y" if n % 3 else "Z", "X"]}
            for n in range(count)]  # fmt: skip


@pytest.mark.parametrize(("task", "rows"), [(classify, sentences()), (tag, tagged())])
def test_job_is_calibrated_on_the_validation_part_alone(task, rows):
    job, model = job_of(task, rows)
    calibrated = job.calibrated(model)
    assert calibrated.rules.temperature != 1.0
    blind = replace(job, test=replace(job.test, encoded=[], numbers=[], inputs=[], targets=[]))
    assert blind.calibrated(model).rules.temperature == calibrated.rules.temperature
    before, after = job.judge(model), calibrated.judge(model)
    assert after["score"] == before["score"]
    assert after["calibration_error_before"] == before["calibration_error"]
    stored = type(job.rules).from_dict(calibrated.rules.to_dict())
    assert stored.temperature == calibrated.rules.temperature


def test_labels_that_a_crf_joins_keep_their_own_probabilities():
    rows = [{"tokens": ["a", f"b{n}"], "tags": ["B-X", "I-X"] if n % 3 else ["O", "B-X"]}
            for n in range(40)]  # fmt: skip
    job, model = job_of(tag, rows)
    assert model.crf is not None
    assert job.calibrated(model) is job


def test_stars_have_no_temperature():
    rows = {"review": [text for text, _ in sentences()], "stars": [1 + n % 5 for n in range(120)]}
    job, model = job_of(rate, rows)
    assert job.calibrated(model) is job


def test_trust_counts_every_answer_once():
    sure = np.linspace(0.3, 1.0, 50)
    found = trust((sure, sure > 0.6))
    assert sum(each["rows"] for each in found["reliability"]) == 50
    gaps = [each["rows"] / 50 * abs(each["accuracy"] - each["confidence"])
            for each in found["reliability"] if each["rows"]]  # fmt: skip
    assert found["calibration_error"] == pytest.approx(sum(gaps))


# Errors worth reading.


def test_surest_mistakes_are_wrong_and_the_surest_come_first():
    part = Part(list("abcd"), ["x"] * 4, [], [], [SimpleNamespace(line=n) for n in range(4)])
    given = [("y", 0.6), ("x", 0.99), ("y", 0.9), ("z", 0.7)]
    answers = [{"answer": answer, "probability": sure} for answer, sure in given]
    found = surest_mistakes(part, answers, most=2)
    assert [each["input"] for each in found] == ["c", "d"]


def test_furthest_off_leaves_out_what_is_right():
    part = Part(list("abc"), [1.0, 5.0, 3.0], [], [])
    found = furthest_off(part, [{"answer": 2.0}, {"answer": 1.0}, {"answer": 3.0}])
    assert [(each["place"], each["off"]) for each in found] == [("row 2", -4.0), ("row 1", 1.0)]


def test_most_edits_go_by_the_length_of_the_truth():
    part = Part([1, 2, 3], ["7", "1234567890", "55"], [], [])
    found = most_edits(part, [{"answer": "8"}, {"answer": "123456"}, {"answer": "55"}])
    assert [(each["truth"], each["edits"]) for each in found] == [("7", 1), ("1234567890", 4)]


def test_mistaken_steps_are_counted_by_word_and_label():
    part = Part([["run", "to"]] * 3, [["V", "P"], ["V", "P"], ["N", "P"]], [], [])
    given = [{"answer": answer} for answer in (["N", "P"], ["N", "X"], ["N", "P"])]
    first = mistaken_steps(part, given)[0]
    assert (first["input"], first["truth"], first["answer"]) == ("run", "V", "N")
    assert (first["count"], first["of"], first["place"]) == (2, 2, "row 1")


def test_rules_of_runs_from_before_temperatures_have_temperature_one():
    assert ClassRules.from_dict({"labels": ["a"]}).temperature == 1.0
    assert TagRules.from_dict({"labels": ["a"], "scheme": None}).temperature == 1.0
