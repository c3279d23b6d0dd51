"""The table of jobs: what each is called, which mapping it has, and what it starts from.

Importable without torch; `Task.job` imports the file that does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One job.

    Attributes:
        name: a key of `TASKS`.
        mapping: inputs to outputs, in the lectures' words.
        gives: what comes out, in a few words.
        module: file with a ``prepare`` and a ``restore`` function.
        sections: tables of the configuration that matter to it, besides data, model and train.
        defaults: by size, settings that differ from the dataclasses' own.
    """

    name: str
    mapping: str
    gives: str
    module: str
    sections: tuple[str, ...] = ()
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def load(self) -> Any:
        """The module that does the work; torch comes with it."""
        return import_module(self.module)


def _sizes(tiny: int, small: int, base: int, **shared: Any) -> dict[str, dict[str, Any]]:
    """The three sizes of a job on examples: so many units, and what all of them share."""
    common = {name.replace("__", "."): value for name, value in shared.items()}
    return {
        "tiny": {**common, "model.hidden": tiny, "model.layers": 1},
        "small": {**common, "model.hidden": small},
        "base": {"model.layers": 2, **common, "model.hidden": base},
    }


GRU = {"model.name": "gru"}
WRITE = Task(
    name="write",
    mapping="many to many, synced",
    gives="the next character, word or token of a text",
    module="unspool.tasks.write",
    defaults={
        "tiny": {**GRU, "model.hidden": 128, "train.batch": 32, "train.learning_rate": 3e-3},
        "small": GRU,
        "base": {
            **GRU, "model.hidden": 512, "model.layers": 2, "train.batch": 32, "train.length": 128,
        },
    },
)  # fmt: skip
CLASSIFY = Task(
    name="classify",
    mapping="many to one",
    gives="one of a few classes for a whole sequence",
    module="unspool.tasks.classify",
    defaults=_sizes(
        32, 64, 128,
        data__split=0.8, data__tokens="word", data__vocabulary=20000, data__lower=True,
        model__bidirectional=True, model__pooling="max", model__dropout=0.2,
        train__batch=32, train__epochs=20, train__learning_rate=3e-3, train__patience=5,
    ),
)  # fmt: skip
LISTEN = Task(
    name="listen",
    mapping="many to one",
    gives="one of a few classes for a sound of any length",
    module="unspool.tasks.classify",
    sections=("sound",),
    defaults=_sizes(
        48, 128, 256,
        data__split=0.8, model__name="gru", model__bidirectional=True, model__pooling="mean",
        model__convolutions=2,
        model__dropout=0.3, train__batch=32, train__epochs=25, train__learning_rate=3e-3,
    ),
)  # fmt: skip
TRANSCRIBE = Task(
    name="transcribe",
    mapping="many to many, unaligned",
    gives="the text of a sound, while it comes in",
    module="unspool.tasks.transcribe",
    sections=("sound", "decoding"),
    defaults=_sizes(
        96, 192, 320,
        data__split=0.8, model__name="gru", model__layers=2, model__dropout=0.2,
        sound__stack=3, sound__shift=0.0, decoding__beam=1,
        train__batch=16, train__epochs=30, train__learning_rate=3e-3, train__warmup=200,
    ),
)  # fmt: skip
SEE = Task(
    name="see",
    mapping="one to one",
    gives="one of a few classes for an image",
    module="unspool.tasks.classify",
    sections=("image",),
    defaults=_sizes(
        16, 32, 64,
        data__split=0.9, model__name="cnn", model__dropout=0.2, model__dense=128,
        model__layers=3, model__batch_norm=True, model__bidirectional=True,
        model__convolutions=2, image__shift=1,
        train__batch=128, train__epochs=20, train__learning_rate=2e-3,
    ),
)  # fmt: skip
RATE = Task(
    name="rate",
    mapping="many to one, ordered",
    gives="a number of stars for a whole sequence",
    module="unspool.tasks.rate",
    defaults=CLASSIFY.defaults,
)
TAG = Task(
    name="tag",
    mapping="many to many, synced",
    gives="one label for every step",
    module="unspool.tasks.tag",
    defaults=_sizes(
        48, 200, 320,
        data__split=0.8, data__vocabulary=50000, data__word_dropout=0.25,
        model__bidirectional=True, model__dropout=0.4, model__embedding=100,
        model__character_hidden=64,
        train__batch=32, train__epochs=10, train__learning_rate=3e-3, train__patience=4,
    ),
)  # fmt: skip

FORECAST = Task(
    name="forecast",
    mapping="many to many",
    gives="the steps of a series that come next",
    module="unspool.tasks.forecast",
    sections=("series",),
    defaults=_sizes(
        16, 64, 128,
        data__split=0.7, model__name="gru", model__dropout=0.2,
        train__batch=32, train__epochs=10, train__learning_rate=1e-3,
    ),
)  # fmt: skip

TRANSLATE = Task(
    name="translate",
    mapping="many to many",
    gives="a text of any length for a text",
    module="unspool.tasks.translate",
    sections=("target", "decoding"),
    defaults=_sizes(
        64, 128, 320,
        data__split=0.8, model__name="gru", model__bidirectional=True, model__dropout=0.1,
        train__batch=64, train__epochs=20, train__learning_rate=3e-3, train__warmup=100,
    ),
)  # fmt: skip
CAPTION = Task(
    name="caption",
    mapping="one to many",
    gives="a text for an image, a vector or a class",
    module="unspool.tasks.caption",
    sections=("image", "target", "decoding"),
    defaults=_sizes(
        32, 64, 192,
        data__split=0.8, data__tokens="word", data__vocabulary=20000, data__lower=True,
        model__name="gru", model__dropout=0.2, model__attends="feeding", model__score="additive",
        model__image_layers=2, model__image_maps=16,
        train__batch=32, train__epochs=30, train__learning_rate=2e-3, train__warmup=100,
    ),
)  # fmt: skip

TASKS = {
    task.name: task
    for task in (
        WRITE, CLASSIFY, RATE, TAG, LISTEN, SEE, TRANSCRIBE, FORECAST, TRANSLATE, CAPTION,
    )
}  # fmt: skip
