"""Helpers for helpers: a crew that is there for certain, also on a busy machine."""

from __future__ import annotations

import time

import pytest

from unspool.engine import crew as crew_file
from unspool.engine import together as together_file
from unspool.engine.crew import AWAKE, CREW, GO


def afresh():
    """The process's crew without helpers."""
    CREW.dismiss()
    CREW.forget()
    crew_file._code.cache_clear()


def gather(threads=2):
    """Wait until so many threads, the caller's included, could share a step."""
    until = time.monotonic() + 30
    while CREW._words[AWAKE] < threads - 1:
        assert time.monotonic() < until, "no helper came"
        CREW.at_hand(threads), CREW.at_hand(threads)
        time.sleep(0.001)


def shared():
    """Whether the last job that was opened was shared."""
    return CREW._words[GO] > 0


@pytest.fixture
def crew():
    """The process's crew as it comes, without helpers at first."""
    afresh()
    yield CREW
    afresh()


@pytest.fixture
def patient_crew(monkeypatch, crew):
    """A crew that waits for its helpers as long as it takes; steps of any size are shared."""
    for name, value in {"JOINING": 10**8, "WAITING": 10**15, "RESTING": 0}.items():
        monkeypatch.setattr(crew_file, name, value)
    monkeypatch.setattr(together_file, "SHARED_BYTES", 0)
    crew_file._code.cache_clear()
    return crew
