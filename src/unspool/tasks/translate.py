"""A text for a text: translation, digits for words, any pairs (many to many)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from unspool.data.encoders import fit_encoder
from unspool.data.examples import Examples
from unspool.data.target_encoder import TargetEncoder
from unspool.data.text_encoders import TextEncoder
from unspool.data.tokens import fit_tokenizer
from unspool.engine.language import Cell
from unspool.models.encoder_decoder import EncoderDecoder, build_encoder_decoder
from unspool.models.settings import ModelSettings
from unspool.tasks.baselines import translation
from unspool.tasks.baselines.baseline import Baseline
from unspool.tasks.decode_answers import DecodeAnswers, restored_answers
from unspool.tasks.decode_job import DecodeJob, measuring_pairs, prepare_pairs

measuring = measuring_pairs


def prepare(reading: Any, settings: Any, files: Mapping[str, str] | None = None) -> DecodeJob:
    """The job on pairs of texts.

    Args:
        reading: a `unspool.data.reading.Reading`.
        settings: as `unspool.config.Settings`.
        files: of a run that goes on; None learns tokens on the training part.

    Raises:
        DataError: if a part is empty, or a text is too long.
    """
    stored = None if files is None else restore(files, "the run")
    return prepare_pairs(reading, settings, fit_answers, simple_methods, stored)


def fit_answers(examples: Examples, settings: Any) -> DecodeAnswers:
    """Learn the tokens of both sides on a training part.

    Args:
        examples: of the training part alone.
        settings: as `unspool.config.Settings`.
    """
    wanted = settings.target.of(settings.data)
    if settings.target.shared:
        both = "\n".join([*examples.inputs, *examples.targets])
        tokenizer = fit_tokenizer(both, settings.data)
        truncates = settings.data.too_long == "truncate"
        encoder = TextEncoder(tokenizer, settings.data.max_length, truncates)
        writer = TargetEncoder.fit(examples.targets, wanted, tokenizer)
    else:
        encoder = fit_encoder(examples, settings)
        writer = TargetEncoder.fit(examples.targets, wanted)
    return DecodeAnswers("translate", encoder, writer, settings.decoding, settings.target.shared)


def build(
    shape: Mapping[str, Any],
    settings: ModelSettings,
    cell: Cell | None,
    generator: torch.Generator | None = None,
) -> EncoderDecoder:
    """A fresh model, as `unspool.tasks.job.Builds` says; `DecodeJob.shape` gives its shape.

    Raises:
        ConfigError: for a family of models that cannot write a text for another.
    """
    return build_encoder_decoder(shape, settings, cell, generator)


def restore(files: Mapping[str, str], where: str) -> DecodeAnswers:
    """What writes with a trained model."""
    return restored_answers("translate", files, where)


def simple_methods(job: DecodeJob) -> Iterator[Baseline]:
    """A copy, the commonest target, the target of the most similar source, and a dictionary."""
    train, test, answers = job.train, job.test, job.answers
    yield translation.copied(test.inputs)
    yield translation.commonest(train.targets, len(test))
    yield translation.nearest_source(train.inputs, train.targets, test.inputs)
    writer = answers.writer
    sizes = answers.shape["source"]["size"], writer.shape["size"]
    training = (
        [ids.numpy() for ids in train.encoded],
        [ids.numpy()[:-1] for ids in train.numbers],
    )
    ids, seconds = translation.word_by_word(
        training, [ids.numpy() for ids in test.encoded], sizes, job.seed
    )
    yield Baseline(
        "word by word (IBM model 1)",
        [writer.decode(each) for each in ids],
        seconds,
        "nltk.translate.IBMModel1(pairs, 5); the likeliest target token of each source token",
    )
