"""One number for a trained model's probabilities, so that they mean what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from unspool.models.sequence_model import SequenceModel
from unspool.tasks.calibration import confidence_error, confidence_table, fit_temperature
from unspool.tasks.example_answers import EVALUATION_ROWS
from unspool.tasks.example_batches import NO_TARGET, Part, side_by_side

Sureness = tuple[np.ndarray, np.ndarray]


@runtime_checkable
class Tempered(Protocol):
    """Rules whose probabilities are softmax(logits / temperature).

    Attributes:
        temperature: 1 leaves them as the model gives them.
    """

    temperature: float

    def sureness(self, truth: Sequence[Any], answers: Sequence[Mapping[str, Any]]) -> Sureness:
        """How sure every single answer is, and whether it is right: two arrays ``[N]``."""
        ...


@torch.no_grad()
def temperature_of(model: SequenceModel, encoder: Any, part: Part) -> float:
    """The temperature that makes the targets of a part likeliest.

    Args:
        model: put into evaluation mode.
        encoder: puts inputs side by side.
        part: held out: validation, never test.

    Returns:
        1 where the likelihood has no best temperature, as when every answer is right or all are
        wrong.
    """
    model.eval()
    logits, truth = [], []
    for start in range(0, len(part), EVALUATION_ROWS):
        inputs, lengths = encoder.collate(part.encoded[start : start + EVALUATION_ROWS])
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        targets = side_by_side(part.numbers[start : start + EVALUATION_ROWS])
        given = model(inputs, lengths).double().cpu()
        known = targets != NO_TARGET
        logits.append(given[known])
        truth.append(targets[known])
    scores, places = torch.cat(logits).numpy(), torch.cat(truth).numpy()
    right = int((scores.argmax(1) == places).sum())
    if not len(places) or right in (0, len(places)):
        return 1.0
    return fit_temperature(scores, places)


def trust(sureness: Sureness) -> dict[str, Any]:
    """The calibration error, and the reliability by confidence, as plain values.

    Args:
        sureness: of every answer, and whether it is right.

    Example:
        >>> found = trust((np.array([0.9, 0.9]), np.array([True, False])))
        >>> round(found["calibration_error"], 3), found["reliability"][9]["rows"]
        (0.4, 0)
    """
    table = confidence_table(*sureness)
    return {
        "calibration_error": confidence_error(table),
        "reliability": [
            {"low": each.low, "high": each.high, "rows": each.rows}
            | ({"confidence": each.confidence, "accuracy": each.accuracy} if each.rows else {})
            for each in table
        ],
    }
