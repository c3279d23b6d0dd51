"""Helpers join a job all or not at all, are not waited for in vain, sleep, and end in time."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from crews import crew, gather, patient_crew, shared  # noqa: F401
from unspool.engine import crew as crew_file
from unspool.engine.crew import AWAKE, BUSY, COUNT, MISSED, MOST_OFTEN, REST, SEATS, crew_code
from unspool.engine.kernels import Host
from unspool.engine.stream import Stream
from unspool.layers.recurrent import Recurrent

PROGRAM = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Job:
    """A program that notes who runs it."""

    def __init__(self, helper=lambda: None):
        self.threads, self.lock = [], threading.Lock()
        caller = threading.get_ident()

        def run(data):
            with self.lock:
                self.threads.append(threading.get_ident())
            if threading.get_ident() != caller:
                helper()

        self.program = PROGRAM(run)
        self.address = ctypes.cast(self.program, ctypes.c_void_p).value


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_every_thread_of_a_job_runs_it_once_and_the_caller_waits_for_all(threads, patient_crew):
    gather(threads)
    for _ in range(50):
        job = Job(helper=lambda: time.sleep(1e-4))
        patient_crew.run(job.address, 0, threads)
        assert len(set(job.threads)) == len(job.threads) == threads
    assert patient_crew._words[BUSY] == 0


def test_a_job_that_too_few_join_is_left_alone_and_others_are_tried_ever_less(crew):
    crew._words[AWAKE] = 1  # so it says, and nobody is there
    waited = []
    for _ in range(MOST_OFTEN + 2):
        job = Job()
        crew.run(job.address, 0, 2)
        assert not job.threads and not shared()
        waited.append(crew._words[REST])
        crew._words[REST] = 0
    assert waited == [1, 2, 4, 4] and crew._words[MISSED] == MOST_OFTEN
    crew._words[REST] = 3
    assert [crew.at_hand(2) for _ in range(4)] == [False, False, False, True]


def test_a_helper_that_took_its_seat_in_vain_does_nothing(patient_crew, monkeypatch):
    monkeypatch.setattr(crew_file, "JOINING", 10**6)
    crew_file._code.cache_clear()
    gather()
    patient_crew._words[AWAKE] += 1  # so it says; one comes, and the other does not
    job = Job()
    for _ in range(3):
        patient_crew._words[REST] = 0
        patient_crew.run(job.address, 0, 3)
        assert patient_crew._words[SEATS] & COUNT == 1
    time.sleep(0.1)
    assert not job.threads and not shared()


def test_a_helper_that_keeps_its_caller_waiting_is_left_out_for_a_while(patient_crew, monkeypatch):
    monkeypatch.setattr(crew_file, "RESTING", 77)
    crew_file._code.cache_clear()
    gather()
    job = Job(helper=lambda: time.sleep(0.2))
    patient_crew.run(job.address, 0, 2)
    assert patient_crew._words[REST] == 77


def test_helpers_without_a_job_sleep_and_wake_for_steps_in_quick_succession(crew):
    gather()
    until, quiet = time.monotonic() + 30, 0
    while quiet < 20:  # a bell that rang while it was awake wakes it once more
        assert time.monotonic() < until, "a helper never sleeps"
        quiet = 0 if crew._words[AWAKE] else quiet + 1
        time.sleep(0.005)
    assert not crew.at_hand(2)  # long after the step before: nobody is woken for it
    time.sleep(0.05)
    assert crew._words[AWAKE] == 0
    gather()


def test_callers_on_several_threads_do_not_mix_their_jobs(patient_crew):
    gather()
    layer = Recurrent("gru", 9, 64, generator=torch.Generator().manual_seed(0)).double()
    inputs = torch.randn(2, 200, 9, generator=torch.Generator().manual_seed(1)).double()
    found = [None, None]

    def steps(which, alone):
        torch.set_num_threads(2)
        stream = Stream(layer.cell, dict(layer.weights["l0"].items()), 64, 9)
        stream.threads = 1 if alone else stream.threads
        outputs = []
        for x in inputs[which]:
            stream.x.copy_(x[None])
            outputs.append(stream.step().clone())
        return torch.stack(outputs)

    def keep(which):
        found[which] = steps(which, alone=False)

    callers = [threading.Thread(target=keep, args=(which,)) for which in range(2)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    for which in range(2):
        assert torch.equal(found[which], steps(which, alone=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_helpers_and_does_not_wait_for_any(patient_crew):
    gather()
    child = os.fork()
    if not child:
        job = Job()
        patient_crew.run(job.address, 0, 2)
        os._exit(0 if not job.threads and not patient_crew._words[AWAKE] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_process_ends_in_the_middle_of_its_steps():
    text = (
        "import torch\n"
        "from unspool.engine.crew import CREW\n"
        "for _ in range(10**6):\n"
        "    if CREW.at_hand(2): break\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", text], check=True, timeout=60)


@pytest.mark.parametrize(
    ("triple", "word"), [("x86_64-linux", "x86.sse2.pause"), ("arm64-apple", "aarch64.hint")]
)
def test_waiting_leaves_the_core_to_its_other_half(triple, word):
    assert word in crew_code(Host(triple, "", "", 16, 16))
