"""Every field of the configuration as a flag, None until it is given on the command line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from unspool.config import DEVICES, SIZES, TASKS, Settings, Wish
from unspool.data.image_settings import ImageSettings
from unspool.data.series_settings import TABLES as SERIES_TABLES
from unspool.data.series_settings import SeriesSettings
from unspool.data.settings import HEADERS, TOKENS, TOO_LONG, DataSettings
from unspool.data.sound_settings import NORMALISATIONS, SoundSettings
from unspool.data.target_settings import TargetSettings
from unspool.errors import ConfigError
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.setting_bounds import (
    ATTENDS,
    CHARACTERS,
    CRFS,
    POOLINGS,
    SCORES,
    TRANSFORMER_TABLES,
)
from unspool.models.settings import ModelSettings
from unspool.tasks.table import TASKS as TASK_TABLE
from unspool.training.settings import OPTIMISERS, SCHEDULES, TRUNCATIONS, TrainSettings
from unspool.usage import whole_number


def section_flags(prefix: str, *sections: type) -> type:
    """A dataclass with the fields of all ``sections``, each of them optional and a flag.

    Args:
        prefix: what stands before the dot, such as ``train``.
        *sections: dataclasses of settings that say what their fields are; of a field that several
            have, the first one's word counts.

    Returns:
        A dataclass whose fields are None where no flag was given, so that a file's value stands.
    """
    fields: dict[str, tuple[str, Any, None]] = {}
    for section in sections:
        hints, helps = typing.get_type_hints(section), descriptions(section)
        for field in dataclasses.fields(section):
            flag = Annotated[hints[field.name] | None, _flag(field, prefix, helps)]
            fields.setdefault(field.name, (field.name, flag, None))
    return dataclasses.make_dataclass(
        sections[0].__name__,
        fields.values(),
        kw_only=True,
        frozen=True,
        namespace={"__doc__": None, "__module__": __name__},
    )


def descriptions(section: type) -> dict[str, str]:
    """What a dataclass says about its fields, each on one line without marks of code.

    It may say so under ``Attributes:`` in its docstring, or in a string below each field.

    Example:
        >>> descriptions(TrainSettings)["steps"]
        'updates of the weights.'
    """
    said: dict[str, str] = {}
    _, _, attributes = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")
    for entry in re.split(r"^ {4}(?=\w)", attributes.partition("\n\n")[0], flags=re.MULTILINE)[1:]:
        name, _, said[name] = entry.partition(": ")
    if not said:
        body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0].body  # type: ignore[attr-defined]
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                said[ast.unparse(field.target)] = ast.literal_eval(below.value)
    return {name: " ".join(text.replace("`", "").split()) for name, text in said.items()}


def _flag(field: dataclasses.Field[Any], prefix: str, helps: Mapping[str, str]) -> Parameter:
    key = f"{prefix}.{field.name}"
    name = key.replace("_", "-")
    return Parameter(
        name=f"--{name}",
        help=helps.get(field.name),
        negative=f"--no-{name}" if isinstance(field.default, bool) else "",
        show_default=_default(field, key),
        choices=CHOICES.get(key),
        converter=whole_number if type(field.default) is int else None,
    )


def _default(field: dataclasses.Field[Any], key: str) -> str | bool:
    """What the help shows: the default, and what sizes make of it."""
    if field.default in (None, (), dataclasses.MISSING):
        return False
    shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    writing = TASK_TABLE["write"].defaults
    changed = [
        f"{size} {values[key]}"
        for size, values in writing.items()
        if values.get(key, field.default) != field.default
    ]
    return "; ".join([shown, *changed])


def _short(default: object, choices: Iterable[str] | None = None) -> Parameter:
    return Parameter(
        show_default=str(default),
        choices=None if choices is None else tuple(choices),
        converter=whole_number if isinstance(default, int) else None,
    )


# Closed tables, for completion; `model.name` is not one, it takes a user's own file too.
CHOICES = {
    "data.tokens": TOKENS,
    "data.header": HEADERS,
    "data.too_long": TOO_LONG,
    "model.pooling": (*POOLINGS, "flatten"),
    "model.characters": CHARACTERS,
    "model.crf": CRFS,
    "model.score": SCORES,
    "model.attends": ATTENDS,
    **{f"model.{name}": table for name, table in TRANSFORMER_TABLES.items()},
    **{f"series.{name}": table for name, table in SERIES_TABLES.items()},
    "sound.normalise": NORMALISATIONS,
    "target.tokens": TOKENS,
    "train.truncation": TRUNCATIONS,
    "train.optimiser": OPTIMISERS,
    "train.schedule": SCHEDULES,
}

DataFlags = section_flags("data", DataSettings)
ModelFlags = section_flags("model", *typing.get_args(ModelSettings))
TrainFlags = section_flags("train", TrainSettings)
SoundFlags = section_flags("sound", SoundSettings)
ImageFlags = section_flags("image", ImageSettings)
SeriesFlags = section_flags("series", SeriesSettings)
TargetFlags = section_flags("target", TargetSettings)
DecodingFlags = section_flags("decoding", DecodingSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsFlags:
    """What `unspool train` takes besides the text: the short forms, then every field.

    Attributes:
        model: a cell (rnn, lstm, gru, …: see `unspool cells`) or FILE.py:NAME.
        size: the one dial; whatever else is given wins over it.
        steps: updates of the weights.
        task: what to learn from the text.
        seed: of weights, order, dropout and samples.
        threads: processor threads; 0 leaves the choice to torch.
        device: where to compute.
        folds: cross-validation in so many parts; 0 splits once.
        text: the column that is read; found by name and content if left out.
        label: the column that is learnt; found by name and content if left out.
        group: the column whose equal rows stay in one part.
        vectors: a file of word vectors (GloVe, word2vec) that embeddings start from.
        config: a TOML file with settings; flags win over it.
        model_fields: the model.
        train_fields: the training.
        data_fields: the data.
        sound_fields: sounds.
        image_fields: images.
        series_fields: series over time.
        target_fields: texts that are written.
        decoding_fields: how they are searched for.
    """

    # The string is declared before the dataclass that shares its name: then both are read.
    model: Annotated[str | None, _short("by the task")] = None
    size: Annotated[str | None, _short(Settings().size, SIZES)] = None
    steps: Annotated[int | None, _short(TrainSettings().steps)] = None
    task: Annotated[str | None, _short(Settings().task, TASKS)] = None
    seed: Annotated[int | None, _short(Settings().seed)] = None
    threads: Annotated[int | None, _short(Settings().threads)] = None
    device: Annotated[str | None, _short(Settings().device, DEVICES)] = None
    folds: Annotated[int | None, _short(DataSettings().folds)] = None
    text: Annotated[str | None, Parameter(show_default=False)] = None
    label: Annotated[str | None, Parameter(show_default=False)] = None
    group: Annotated[str | None, Parameter(show_default=False)] = None
    vectors: Annotated[str | None, Parameter(show_default=False)] = None
    config: Path | None = None
    model_fields: Annotated[
        ModelFlags | None, Parameter(name="--model", group=Group("Model", sort_key=1))
    ] = None
    train_fields: Annotated[
        TrainFlags | None, Parameter(name="--train", group=Group("Training", sort_key=2))
    ] = None
    data_fields: Annotated[
        DataFlags | None, Parameter(name="--data", group=Group("Data", sort_key=3))
    ] = None

    sound_fields: Annotated[
        SoundFlags | None, Parameter(name="--sound", group=Group("Sounds", sort_key=4))
    ] = None
    image_fields: Annotated[
        ImageFlags | None, Parameter(name="--image", group=Group("Images", sort_key=5))
    ] = None
    series_fields: Annotated[
        SeriesFlags | None, Parameter(name="--series", group=Group("Series", sort_key=6))
    ] = None
    target_fields: Annotated[
        TargetFlags | None, Parameter(name="--target", group=Group("Targets", sort_key=7))
    ] = None
    decoding_fields: Annotated[
        DecodingFlags | None, Parameter(name="--decoding", group=Group("Decoding", sort_key=8))
    ] = None

    def wish(self) -> Wish:
        """What was asked for, of the file and the flags.

        Raises:
            ConfigError: if the file cannot be read, or a short form and its field differ.
        """
        return Wish.read(self.config, self.changes())

    def changes(self) -> dict[str, Any]:
        """Dotted keys and values, of the flags that were given.

        Raises:
            ConfigError: if a short form and its field were both given and differ.
        """
        changes = {}
        for prefix in SECTIONS:
            given = getattr(self, f"{prefix}_fields")
            if given is not None:
                changes |= {
                    f"{prefix}.{field.name}": value
                    for field in dataclasses.fields(given)
                    if (value := getattr(given, field.name)) is not None
                }
        for flag, key in SHORT_FORMS.items():
            value = getattr(self, flag)
            if value is None:
                continue
            if changes.get(key, value) != value:
                raise ConfigError(
                    f"--{flag}: got '{value}', but --{key} '{changes[key]}'; give one of the two."
                )
            changes[key] = value
        return changes

    def written(self) -> list[str]:
        """The same flags as words of a command line.

        Example:
            >>> SettingsFlags(task="rate", data_fields=DataFlags(text="review")).written()
            ['--data.text', 'review', '--task', 'rate']
        """
        words = [] if self.config is None else ["--config", str(self.config)]
        for key, value in self.changes().items():
            flag = key.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, tuple):
                words += [word for each in value for word in (f"--{flag}", str(each))]
            elif isinstance(value, Mapping):
                for name, each in value.items():
                    words += [f"--{flag}.{name}", str(each)]
            else:
                words += [f"--{flag}", str(value)]
        return words


SECTIONS = ("model", "train", "data", "sound", "image", "series", "target", "decoding")
# Short form and the key it sets.
SHORT_FORMS = {
    "model": "model.name",
    "steps": "train.steps",
    "folds": "data.folds",
    **{name: f"data.{name}" for name in ("text", "label", "group", "vectors")},
    **{name: name for name in ("size", "task", "seed", "threads", "device")},
}
