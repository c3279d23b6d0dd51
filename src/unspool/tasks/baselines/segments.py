"""The simple method for strings of sounds: cut at silences, tell each piece by its spectrum."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.baselines.sound import log_spectrum, support_vectors

ROWS = 5_000


def loud_pieces(waveform: np.ndarray, rate: int) -> list[tuple[int, int]]:
    """Where a sound is loud: first sample and end of every stretch between silences.

    A frame of 10 ms is loud if its energy in decibels lies above a third of the way from the
    sound's quiet frames (the 10th percentile) to its loud ones (the 95th). Gaps shorter than
    `SHORTEST_GAP` are filled, stretches shorter than `SHORTEST_PIECE` left out.

    Args:
        waveform: ``[T]``, finite.
        rate: samples a second.

    Returns:
        None at all for a sound of one loudness, such as silence.

    Example:
        >>> sound = np.zeros(8000); sound[1000:3000] = 0.5; sound[5000:7000] = 0.5
        >>> loud_pieces(sound, 8000)
        [(960, 3040), (4960, 7040)]
    """
    step = max(1, rate // 100)
    count = len(waveform) // step
    if count < 3:
        return []
    frames = np.asarray(waveform[: count * step], float).reshape(count, step)
    level = 10 * np.log10((frames**2).mean(1) + FLOOR)
    quiet, loud = np.percentile(level, [10, 95])
    if loud - quiet < LEAST_RANGE:
        return []
    above = np.flatnonzero(level > quiet + (loud - quiet) / 3)
    pieces: list[list[int]] = []
    for frame in above.tolist():
        if pieces and frame - pieces[-1][1] <= SHORTEST_GAP:
            pieces[-1][1] = frame + 1
        else:
            pieces.append([frame, frame + 1])
    return [(a * step, b * step) for a, b in pieces if b - a >= SHORTEST_PIECE]


def segments_and_vectors(
    sounds: Sequence[np.ndarray],
    transcripts: Sequence[str],
    test: Sequence[np.ndarray],
    rate: int,
    seed: int = 0,
    rows: int = ROWS,
) -> Baseline | None:
    """`loud_pieces`, each told by its `log_spectrum` and a support vector machine.

    It learns from the sounds that fall into as many pieces as their transcripts have symbols:
    words, or characters where no transcript has a space.

    Args:
        sounds: waveforms of the training part.
        transcripts: of the training part.
        test: waveforms to answer.
        rate: samples a second.
        seed: of the rows drawn, and of the folds that choose the penalty.
        rows: pieces that are learnt from at most.

    Returns:
        None where too few sounds fall into as many pieces for anything to be learnt.

    Source:
        Rabiner and Sambur (1975) for the cutting; Cortes and Vapnik (1995), section 3.

    Example:
        >>> time = np.arange(1600) / 8000
        >>> high, low = (np.sin(2 * np.pi * f * time) for f in (1500, 300))
        >>> gap = np.zeros(800)
        >>> sounds = [np.concatenate([gap, high, gap, low, gap])] * 4
        >>> segments_and_vectors(sounds, ["ab"] * 4, sounds[:1], 8000).answers
        ['ab']
    """
    start = time.perf_counter()
    between = " " if any(" " in text for text in transcripts) else ""
    features, labels = [], []
    for sound, text in zip(sounds, transcripts, strict=True):
        symbols = text.split() if between else list(text)
        pieces = loud_pieces(sound, rate)
        if len(pieces) == len(symbols):
            features += [log_spectrum(sound[a:b]) for a, b in pieces]
            labels += symbols
    if len(set(labels)) < 2:
        return None
    used = np.sort(np.random.default_rng(seed).permutation(len(labels))[:rows])
    cut = [loud_pieces(sound, rate) for sound in test]
    wanted = [
        log_spectrum(sound[a:b]) for sound, each in zip(test, cut, strict=True) for a, b in each
    ]
    known = [labels[place] for place in used]
    told = iter(())
    if wanted:
        stacked = np.stack([features[place] for place in used])
        told = iter(support_vectors(stacked, known, np.stack(wanted), seed).answers)
    return Baseline(
        name="pieces between silences + SVM",
        answers=[between.join(next(told) for _ in pieces) for pieces in cut],
        seconds=time.perf_counter() - start,
        reproduce="support_vectors of log_spectrum(sound[a:b]) for a, b in loud_pieces(sound)",
        chosen={"pieces": len(used)},
    )


FLOOR = 1e-10
LEAST_RANGE = 6.0  # decibels between quiet and loud
SHORTEST_GAP, SHORTEST_PIECE = 3, 4  # frames of 10 ms
