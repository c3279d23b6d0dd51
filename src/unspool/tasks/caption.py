"""A sentence for an image, a vector or a class (one to many)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unspool.data.encoders import encode_all, fit_encoder, length_of
from unspool.data.examples import Examples
from unspool.data.target_encoder import TargetEncoder
from unspool.errors import ConfigError
from unspool.tasks import translate
from unspool.tasks.baselines import translation
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.decode_answers import DecodeAnswers, restored_answers
from unspool.tasks.decode_job import DecodeJob, measuring_pairs, prepare_pairs

build = translate.build
measuring = measuring_pairs


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> DecodeJob:
    """The job on images, vectors or classes with captions.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None learns the words on the training part.

    Raises:
        ConfigError: for one vocabulary of inputs and captions.
        DataError: if a part is empty, or an image cannot be read.
    """
    if settings.target.shared:
        raise ConfigError(
            "target.shared: a caption has no vocabulary in common with what it is of; leave it out."
        )
    stored = None if files is None else restore(files, "the run")
    return prepare_pairs(reading, settings, fit_answers, simple_methods, stored)


def fit_answers(examples: Examples, settings: Any) -> DecodeAnswers:
    """Measure the inputs and learn the words of a training part.

    Args:
        examples: of the training part alone.
        settings: as `unspool.config.Settings`.
    """
    encoder = fit_encoder(examples, _whole(examples, settings))
    writer = TargetEncoder.fit(examples.targets, settings.target.of(settings.data))
    single = examples.kind != "image" and all(
        length_of(each) == 1 for each in encode_all(encoder, examples)
    )
    return DecodeAnswers("caption", encoder, writer, settings.decoding, single=single)


def _whole(examples: Examples, settings: Any) -> Any:
    """The same, but a class is read as one word, however it is written."""
    if examples.kind != "text":
        return settings
    return replace(settings, data=replace(settings.data, tokens="word"))


def restore(files: Mapping[str, str], where: str) -> DecodeAnswers:
    """What writes with a trained model."""
    return restored_answers("caption", files, where)


def simple_methods(job: DecodeJob) -> Iterator[Baseline]:
    """The commonest caption, and that of the nearest input."""
    train, test = job.train, job.test
    yield translation.commonest(train.targets, len(test))
    if job.answers.encoder.reads == "text":
        yield translation.nearest_source(train.inputs, train.targets, test.inputs)
        return
    image = job.answers.encoder.reads == "image"
    if image or job.answers.single:
        sizes = job.answers.encoder.shape.get("categories", ())
        known, asked = (_flat(each, sizes) for each in (train.encoded, test.encoded))
        name = "nearest image" if image else "nearest vector"
        yield translation.nearest_vector(known, train.targets, asked, name)


def _flat(encoded: Sequence[Any], sizes: Sequence[int]) -> np.ndarray:
    """A row of numbers for each input; of each category, which has so many values, a 1 at its own.

    Example:
        >>> step = {"numbers": torch.ones(1, 1), "categories": torch.tensor([[2]])}
        >>> _flat([step], [3]).tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """
    rows = []
    for each in encoded:
        parts = [each if isinstance(each, Tensor) else each["numbers"]]
        for column, size in enumerate(sizes):
            parts.append(one_hot(each["categories"][:, column], size))
        rows.append(torch.cat([part.flatten().float() for part in parts]))
    return torch.stack(rows).numpy()
