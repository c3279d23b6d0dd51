"""Unspool: sequence models you can train fast and see through."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        ("cell", "sigmoid", "tanh", "relu", "softmax", "exp", "log", "maximum", "where"),
        "unspool.engine.language",
    ),
    **dict.fromkeys(
        ("layer_norm", "block_diagonal", "bilinear", "identity"), "unspool.engine.language"
    ),
    "Recurrent": "unspool.layers.recurrent",
    "train": "unspool.jobs",
    "compare": "unspool.comparing.compare",
    "resume": "unspool.jobs",
    "load": "unspool.predictor",
    "SequenceClassifier": "unspool.estimators",
    "SequenceRegressor": "unspool.estimators",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from unspool.comparing.compare import compare
    from unspool.engine.language import (
        bilinear,
        block_diagonal,
        cell,
        exp,
        identity,
        layer_norm,
        log,
        maximum,
        relu,
        sigmoid,
        softmax,
        tanh,
        where,
    )
    from unspool.estimators import SequenceClassifier, SequenceRegressor
    from unspool.jobs import resume, train
    from unspool.layers.recurrent import Recurrent
    from unspool.predictor import load


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that ``import unspool`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unspool' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
