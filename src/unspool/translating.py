"""Texts that a run writes for inputs: answers in their order, and where the model looked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unspool.answering import answered
from unspool.errors import ConfigError
from unspool.predictor import ExamplePredictor, load
from unspool.tasks.decode_answers import DecodeAnswers


def translated(
    run: str | Path,
    inputs: Sequence[str] = (),
    file: str | Path | None = None,
    lines: Iterable[str] = (),
    tell: Callable[[str], None] = lambda text: None,
    *,
    changes: Mapping[str, Any] | None = None,
    attention: bool = False,
) -> Iterator[dict[str, Any]]:
    """What a run writes for each input.

    Args:
        run: a run, or a model folder, that translates or captions.
        inputs: texts, or paths of images.
        file: a file read instead, as the run reads; what stands beside the inputs is not looked at.
        lines: read one input a line, where there is neither.
        tell: called with a sentence on rows of the file that are refused, and so have no answer.
        changes: fields of `unspool.models.decoding_settings.DecodingSettings` that differ from the
            run's.
        attention: also where the model looked while it wrote.

    Yields:
        ``input``, ``answer``, ``log_probability``, ``finished``; with more than one answer asked
        for ``nbest``, each with the same; ``attention``: ``source`` and ``target``, tokens, and
        ``weights``, a row for each of ``target``.

    Raises:
        ConfigError: for a run that does something else, or settings that cannot be.
        DataError: for an input that cannot be read, with its number or place.
    """
    predictor = load(run)
    answers = getattr(predictor, "answers", None)
    if not isinstance(predictor, ExamplePredictor) or not isinstance(answers, DecodeAnswers):
        task = getattr(predictor, "task", "write")
        raise ConfigError(f"{run}: is a run of '{task}'; wanted one that translates or captions.")
    asked = dict(changes or {})
    if "nbest" in asked and "beam" not in asked:
        asked["beam"] = max(answers.decoding.beam, asked["nbest"])
    chosen = replace(answers, decoding=replace(answers.decoding, **asked), looks=attention)
    yield from answered(run, inputs, file, lines, tell, replace(predictor, answers=chosen))
