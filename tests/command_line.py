"""Commands run in this process, with stand-ins for the library where torch would be slow."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest

import unspool
from unspool.cli import main

REPORT = {
    "run": "runs/a b",
    "task": "write",
    "model": "lstm",
    "steps": 10,
    "loss": 1.6,
    "unit": "char",
    "bits_per_character": 1.6 / math.log(2),
    "baselines": [{"name": "7-gram Kneser–Ney", "loss": 1.5, "seconds": 2.0}],
    "verdict": "The 7-gram is better.",
    "parameters": 1000,
}
MEASURED = REPORT | {"file": "x.txt", "tokens": 40, "perplexity": math.inf}
CHANCES = [("e", 0.5), ("\n", 0.25)]


@pytest.fixture
def call(capsys):
    """Run a command in this process: its exit code and the lines of both streams."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def library(monkeypatch):
    """Stand-ins for `unspool.jobs` and `unspool.predictor` that note how they were called."""
    calls = {}

    def note(name, result):
        def function(*arguments, **keywords):
            calls[name] = arguments, keywords
            return result

        return function

    predictor = SimpleNamespace(
        stream=note("stream", iter(["ab", "c"])), next=note("next", CHANCES), unit="char"
    )
    jobs = SimpleNamespace(
        train=note("train", REPORT),
        resume=note("resume", REPORT),
        evaluate=note("evaluate", MEASURED),
        demo=note("demo", REPORT),
    )
    load = SimpleNamespace(load=note("load", predictor), load_writer=note("load", predictor))
    for name, module in (("jobs", jobs), ("predictor", load)):
        monkeypatch.setitem(sys.modules, f"unspool.{name}", module)
        monkeypatch.setattr(unspool, name, module, raising=False)
    return SimpleNamespace(calls=calls, jobs=jobs, predictor=predictor)
