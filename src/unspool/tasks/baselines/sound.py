"""The simple method for sounds: the logarithm of their spectrum, and a support vector machine."""

from __future__ import annotations

import time

import numpy as np

from unspool.errors import DataError
from unspool.tasks.baselines.baseline import Baseline, Values, best_of, checked, folds

STRENGTHS = (10.0, 1.0)


def log_spectrum(waveform: np.ndarray, frames: int = 20, bands: int = 40) -> np.ndarray:
    """A sound of any length as one row: log energy in so many frames and bands.

    Windows are spread evenly from the first sample to the last, so that slow and fast speech have
    the same shape; the mean is taken off, so that loudness does not count.

    Args:
        waveform: ``[samples]``, finite, at least one sample.
        frames: windows in time.
        bands: parts of the frequency range, of equal width.

    Returns:
        float64 ``[frames * bands]``.

    Example:
        >>> log_spectrum(np.sin(np.arange(4000.0))).shape
        (800,)
    """
    waveform = np.asarray(waveform, float)
    if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
        raise DataError(f"log_spectrum: got {waveform.shape}; wanted finite [samples].")
    padded = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
    starts = np.linspace(0, len(padded) - WINDOW, frames).astype(int)
    pieces = padded[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2  # [frames F]
    edges = np.linspace(0, power.shape[1], bands + 1).astype(int)
    energy = np.add.reduceat(power, edges[:-1], axis=1) / np.diff(edges)
    spectrum = np.log(energy + FLOOR * energy.max() + np.finfo(float).tiny)
    return (spectrum - spectrum.mean()).ravel()


def support_vectors(
    features: np.ndarray, labels: Values, test: np.ndarray, seed: int = 0
) -> Baseline:
    """A support vector machine with Gaussian kernel on standardised features.

    Args:
        features: of the training part, ``[N F]``: `log_spectrum` of every sound.
        labels: of the training part.
        test: features to answer, ``[M F]``.
        seed: of the folds that choose the penalty.

    Source:
        Cortes and Vapnik (1995), section 3.

    Example:
        >>> features = np.repeat(np.eye(2), 5, axis=0)
        >>> support_vectors(features, ["a"] * 5 + ["b"] * 5, np.eye(2)).answers
        ['a', 'b']
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    start = time.perf_counter()
    checked("support_vectors", features, labels)
    labels = np.asarray(labels)

    def errors(fit: np.ndarray, held: np.ndarray) -> list[float]:
        return [
            1.0
            - make_pipeline(StandardScaler(), SVC(C=strength))
            .fit(features[fit], labels[fit])
            .score(features[held], labels[held])
            for strength in STRENGTHS
        ]

    strength = best_of(STRENGTHS, errors, folds(labels, seed))
    model = make_pipeline(StandardScaler(), SVC(C=strength)).fit(features, labels)
    scores = model.decision_function(test)
    return Baseline(
        name="log-spectrum + SVM",
        answers=model.predict(test).tolist(),
        seconds=time.perf_counter() - start,
        reproduce=f"make_pipeline(StandardScaler(), SVC(C={strength:g}))"
        ".fit(features, labels).predict(test)",
        scores=np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores,
        labels=tuple(model.classes_.tolist()),
        chosen={"C": strength},
    )


WINDOW = 256  # samples: 32 ms at 8 kHz
FLOOR = 1e-6  # of the loudest band
