"""Sounds as microphones give them: any length, rate and number of channels, alone or together."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import torch

import faults
from tolerance import assert_close
from unspool import jobs
from unspool.answering import answered
from unspool.config import resolve
from unspool.predictor import load

SMALL = {
    "task": "listen", "threads": 1, "size": "tiny", "model.hidden": 5, "train.epochs": 0,
    "train.steps": 2, "train.batch": 8,
}  # fmt: skip
SHORT = [(seconds, rate, channels) for seconds in (0.1, 0.73, 3.0)
         for rate in (8000, 16_000, 44_100, 48_000) for channels in (1, 2)]  # fmt: skip
LONG = [(60.0, 44_100, 2)]


def tone(seconds, rate, channels, hertz=440.0):
    """One tone on every channel, as bytes of a WAV file."""
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((channels, 2, rate, 0, "NONE", ""))
        sound.writeframes((samples * 32767).astype("<i2").repeat(channels).tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("listen")
    for label, hertz in (("low", 300.0), ("high", 1500.0)):
        (root / "sounds" / label).mkdir(parents=True)
        for number in range(8):
            heard = tone(0.2 + number / 50, 8000, 1, hertz + number)
            (root / "sounds" / label / f"{number}.wav").write_bytes(heard)
    with faults.through(faults.without_sync):
        jobs.train(root / "sounds", settings=resolve(None, SMALL), out=root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("microphone")
    paths = []
    for number, form in enumerate([*SHORT, *LONG]):
        paths.append(root / f"{number}.wav")
        paths[-1].write_bytes(tone(*form))
    return paths


def probabilities(rows):
    return torch.tensor([row["probabilities"]["low"] for row in rows])


def test_every_length_rate_and_channel_is_answered_alone_as_in_a_batch(run, files):
    """D4 through `predict`: a tenth of a second beside a minute."""
    together = list(answered(run, list(map(str, files))))
    assert len(together) == len(files) and all(row["answer"] in ("low", "high") for row in together)
    alone = [row for each in files[::5] for row in answered(run, [str(each)])]
    assert_close(probabilities(together[::5]), probabilities(alone))
    assert torch.isfinite(probabilities(together)).all()


def test_the_same_sound_is_the_same_answer_at_every_rate_and_number_of_channels(run, files):
    """Up to what resampling costs: the tone lies well below half of every rate."""
    rows = probabilities(answered(run, list(map(str, files[: len(SHORT)]))))
    for start in range(0, len(SHORT), 8):
        same = rows[start : start + 8]
        assert_close(same[::2], same[1::2])  # two channels of the same are one
        assert (same - same[0]).abs().max() < 0.02


def test_what_fills_the_padding_is_not_heard(run):
    """D4 at the model: 0, 1e4 and NaN behind a sound change no logit."""
    predictor = load(run)
    frames = predictor.answers.encoder.encode(np.sin(np.arange(4000) / 9).astype(np.float32))
    lengths = torch.tensor([len(frames)])
    with torch.no_grad():
        alone = predictor.model({"frames": frames[None]}, lengths)
        for filler in (0.0, 1e4, float("nan")):
            padded = torch.full((1, len(frames) + 50, frames.shape[1]), filler)
            padded[0, : len(frames)] = frames
            assert_close(predictor.model({"frames": padded}, lengths), alone)
