"""The simple method for images: directions of edges, and a support vector machine."""

from __future__ import annotations

import time

import numpy as np

from unspool.errors import DataError
from unspool.tasks.baselines.baseline import Baseline, Values, checked

ROWS = 5_000


def edge_directions(images: np.ndarray, cell: int = 4, directions: int = 9) -> np.ndarray:
    """How strong the edges of each direction are in every cell: histograms of gradients.

    Blocks of 2 by 2 cells are divided by their norm, so that contrast does not count.

    Args:
        images: ``[N height width]`` or ``[N height width colours]``, any numbers; colours are
            averaged.
        cell: pixels of a cell's side; at least two cells must fit each side.
        directions: parts of half a turn.

    Returns:
        float32 ``[N F]``.

    Source:
        Dalal and Triggs (2005), section 6.

    Example:
        >>> edge_directions(np.zeros((1, 28, 28))).shape
        (1, 1296)
    """
    images = np.asarray(images)
    grey = (images.mean(axis=3) if images.ndim == 4 else images).astype(np.float32)
    if grey.ndim != 3 or min(grey.shape[1:]) < 2 * cell:
        raise DataError(f"edge_directions: got {images.shape}; wanted sides of {2 * cell} or more.")
    features = [
        _directions(grey[s : s + 1000], cell, directions) for s in range(0, len(grey), 1000)
    ]
    return np.concatenate(features)


def edges_and_vectors(
    images: np.ndarray, labels: Values, test: np.ndarray, seed: int = 0, rows: int = ROWS
) -> Baseline:
    """`edge_directions`, then a support vector machine with Gaussian kernel.

    Args:
        images: of the training part.
        labels: of the training part.
        test: images to answer, of the same size.
        seed: of the rows drawn.
        rows: training images used at most; the time grows with its square.

    Source:
        Dalal and Triggs (2005); Cortes and Vapnik (1995), section 3.

    Example:
        >>> bars = np.zeros((2, 8, 8)); bars[0, 4:] = 1; bars[1, :, 4:] = 1
        >>> edges_and_vectors(np.repeat(bars, 3, axis=0), [0, 0, 0, 1, 1, 1], bars).answers
        [0, 1]
    """
    from sklearn.svm import SVC

    start = time.perf_counter()
    checked("edges_and_vectors", images, labels)
    labels = np.asarray(labels)
    used = np.sort(np.random.default_rng(seed).permutation(len(labels))[:rows])
    model = SVC(C=10.0, cache_size=500).fit(edge_directions(images[used]), labels[used])
    answers = model.predict(edge_directions(test)).tolist()
    return Baseline(
        name="edge directions + SVM",
        answers=answers,
        seconds=time.perf_counter() - start,
        reproduce="SVC(C=10).fit(edge_directions(images[used]), labels[used])"
        ".predict(edge_directions(test))",
        labels=tuple(model.classes_.tolist()),
        chosen={"rows": len(used)},
    )


def _directions(grey: np.ndarray, cell: int, directions: int) -> np.ndarray:
    down, across = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, across)
    place = np.arctan2(down, across) % np.pi * (directions / np.pi)
    low = np.floor(place).astype(int)
    share = (place - low).astype(np.float32)
    rows, columns = grey.shape[1] // cell, grey.shape[2] // cell
    cells = np.empty((len(grey), rows, columns, directions), np.float32)
    for index in range(directions):
        # An edge between two directions counts for both.
        part = strength * ((low % directions == index) * (1 - share))
        part += strength * (((low + 1) % directions == index) * share)
        part = part[:, : rows * cell, : columns * cell]
        cells[..., index] = part.reshape(len(grey), rows, cell, columns, cell).sum(axis=(2, 4))
    corners = [cells[:, i : rows - 1 + i, j : columns - 1 + j] for i in (0, 1) for j in (0, 1)]
    blocks = np.concatenate(corners, axis=3)
    blocks /= np.sqrt((blocks**2).sum(axis=3, keepdims=True) + EPSILON)
    return blocks.reshape(len(grey), -1)


EPSILON = 1e-3
