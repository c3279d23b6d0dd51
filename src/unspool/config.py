"""The configuration of a training: sections assembled, read from TOML, written back resolved.

A value comes from the first of these that has it: a change (a flag, a keyword), the TOML file, the
size, the dataclass. What is wrong with a configuration is reported at once, in one line.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from unspool.config_file import parse_toml, read_toml, write_toml
from unspool.data.image_settings import ImageSettings
from unspool.data.series_settings import SeriesSettings
from unspool.data.settings import DataSettings
from unspool.data.sound_settings import SoundSettings
from unspool.data.target_settings import TargetSettings
from unspool.errors import ConfigError, nearest, unknown
from unspool.models.decoding_settings import DecodingSettings
from unspool.models.settings import ModelSettings, RecurrentSettings, settings_class
from unspool.tasks.table import TASKS as TASK_TABLE
from unspool.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that decides what a training gives.

    Attributes:
        task: what is learned from the data; ``auto`` recognises it from the content.
        size: one of `SIZES`, the one dial; whatever else is set wins over it.
        seed: of weights, order, dropout and samples; a whole number ≥ 0.
        threads: processor threads; 0 leaves the choice to torch.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        data: the ``[data]`` table.
        model: the ``[model]`` table.
        train: the ``[train]`` table.
        sound: the ``[sound]`` table.
        image: the ``[image]`` table.
        series: the ``[series]`` table.
        target: the ``[target]`` table.
        decoding: the ``[decoding]`` table.

    Example:
        >>> resolve(None, {"size": "tiny", "model.hidden": 100}).model.hidden
        100
    """

    task: str = "auto"
    size: str = "small"
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=RecurrentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    sound: SoundSettings = field(default_factory=SoundSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    series: SeriesSettings = field(default_factory=SeriesSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)

    def __post_init__(self) -> None:
        problems = []
        if self.task not in TASKS:
            problems.append(unknown("task", self.task, TASKS))
        if self.size not in SIZES:
            problems.append(unknown("size", self.size, SIZES))
        if not 0 <= self.seed < 2**63:
            problems.append(f"seed: got {self.seed}; wanted a whole number from 0 to 2**63 - 1.")
        if not 0 <= self.threads <= 4096:
            problems.append(f"threads: got {self.threads}; wanted 0 (as torch chooses) to 4096.")
        if self.device not in DEVICES:
            problems.append(unknown("device", self.device, DEVICES))
        if problems:
            raise ConfigError(" ".join(problems))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for, before it is known which task their data is.

    A task has defaults of its own, so what was asked for is laid over them once it is known.

    Attributes:
        file: the values of a TOML file.
        where: its name, for messages.
        changes: dotted keys and values that win over the file.
    """

    file: Mapping[str, Any]
    where: str
    changes: Mapping[str, Any]

    @classmethod
    def read(cls, config: Path | None = None, changes: Mapping[str, Any] | None = None) -> Wish:
        """From a TOML file, if there is one, and changes.

        Raises:
            ConfigError: if the file cannot be read or is no TOML.
        """
        if config is None:
            return cls({}, "", changes or {})
        return cls(read_toml(config), str(config), changes or {})

    @classmethod
    def of(cls, settings: Settings) -> Wish:
        """For settings that are complete: every value of them is asked for."""
        return cls(parse_toml(to_toml(settings), "settings"), "settings", {})

    def settings(self, task: str | None = None) -> Settings:
        """What is asked for, and the defaults of the task.

        Args:
            task: the one that was recognised; None takes the one asked for.

        Raises:
            ConfigError: as `resolve` does.

        Example:
            >>> wish = Wish.read(None, {"model.layers": 3})
            >>> wish.settings("classify").data.split, wish.settings("write").data.split
            (0.8, 0.9)
        """
        changes = self.changes if task is None else {**self.changes, "task": task}
        return _assemble(self.file, self.where, changes)


def resolve(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a training.

    Args:
        config: a TOML file; None leaves it out.
        changes: dotted keys and values that win over the file, such as ``{"model.hidden": 256}``.

    Raises:
        ConfigError: one line with everything that is wrong: a file that cannot be read (with the
            line for invalid TOML), unknown keys (with the nearest), wrong types, impossible values.

    Example:
        >>> resolve(None, {"train.length": 32, "seed": 7}).train.length
        32
    """
    return Wish.read(config, changes).settings()


def from_toml(text: str, where: str) -> Settings:
    r"""The settings that `to_toml` wrote, or that a person did.

    Args:
        text: TOML.
        where: what to call it in messages, such as the file's path.

    Raises:
        ConfigError: as `resolve` does.

    Example:
        >>> from_toml("[model]\nname = 'gru'", "x.toml").model.name
        'gru'
    """
    return _assemble(parse_toml(text, where), where, {})


def to_toml(settings: Settings) -> str:
    """Every setting that matters to the task as TOML; `from_toml` gives back equal settings.

    A None is left out.

    Example:
        >>> print(to_toml(Settings()).splitlines()[0])
        task = "auto"
    """
    task = TASK_TABLE.get(settings.task)
    sections = () if task is None else task.sections
    return write_toml(settings, {*EVERY_TASK, *sections})


def keys(settings_type: type = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key of a configuration and the type of its value.

    Example:
        >>> dict(keys())["train.steps"]
        <class 'int'>
    """
    for name, annotation in typing.get_type_hints(settings_type).items():
        tables = _tables(annotation)
        if tables:
            found = {key: kind for table in tables for key, kind in keys(table, f"{prefix}{name}.")}
            yield from found.items()
        else:
            yield prefix + name, annotation


def _tables(annotation: Any) -> tuple[type, ...]:
    """The dataclasses of an annotation: one, or those that a name in the table chooses from."""
    choices = typing.get_args(annotation) or (annotation,)
    return tuple(each for each in choices if dataclasses.is_dataclass(each))


def _assemble(file: Mapping[str, Any], where: str, changes: Mapping[str, Any]) -> Settings:
    """Check both sources, lay them over the size, and build every section."""
    problems: list[str] = []
    unfit: set[str] = set()  # keys whose value has the wrong type
    from_file = _checked(_flat(file, where, problems), f"{where}: ", problems, unfit)
    from_changes = _checked(changes, "", problems, unfit)
    chosen = from_file | from_changes
    chosen["model.options"] = {
        **from_file.get("model.options", {}),
        **from_changes.get("model.options", {}),
    }
    size = chosen.get("size", Settings().size)
    task = chosen.get("task", Settings().task)
    if "size" in from_changes:
        problems += _without_effect(task, size, from_file, where)
    defaults = dict(_defaults(task, size))
    if "train.steps" in chosen and "train.epochs" not in chosen:
        defaults.pop("train.epochs", None)  # so many steps, however often that reads the data
    values = defaults | chosen
    origins = {key: where for key in from_file if key not in from_changes}
    sections = {}
    for name, choices in _sections().items():
        section = choices[0]
        if len(choices) > 1:
            section = settings_class(values.get(f"{name}.name", section().name))
            problems += _foreign(section, f"{name}.", chosen, origins)
        sections[name] = _build(section, f"{name}.", values, unfit, origins, problems)
    problems += _unused(task, chosen, origins)
    settings = _build(Settings, "", values | sections, unfit, origins, problems)
    if problems:
        raise ConfigError(" ".join(problems))
    return typing.cast(Settings, settings)


def _defaults(task: str, size: str) -> Mapping[str, Any]:
    """What a size means for a task; before the task is known, for a text."""
    known = TASK_TABLE.get("write" if task == "auto" else task)
    return {} if known is None else known.defaults.get(size, {})


def _foreign(
    section: type, prefix: str, chosen: Mapping[str, Any], origins: Mapping[str, str]
) -> Iterator[str]:
    """Values for another family of models than the one that was named."""
    own = [field.name for field in dataclasses.fields(section)]
    for key in chosen:
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and name not in own and chosen[key] not in (None, {}):
            where = f"{origins[key]}: " if key in origins else ""
            family = chosen.get(f"{prefix}name", "lstm")
            yield f"{where}{key}: '{family}' has no such setting; it has {', '.join(own)}."


def _unused(task: str, chosen: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    """Values in tables that mean nothing to the task."""
    if task not in TASK_TABLE:
        return
    used = {*EVERY_TASK, *TASK_TABLE[task].sections, ""}
    for key in chosen:
        section = key.partition(".")[0] if "." in key else ""
        if section not in used:
            where = f"{origins[key]}: " if key in origins else ""
            yield f"{where}{key}: changes nothing for the task '{task}'; leave it out."


def _flat(file: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """The values of a TOML file under dotted keys."""
    flat = {}
    for name, value in file.items():
        if name in _sections() and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name in _sections():
            problems.append(f"{where}: {name}: got {_shown(value)}; wanted a table, [{name}].")
        elif isinstance(value, Mapping) and name not in _known():
            close = nearest(name, _sections())
            hint = f" Did you mean [{close}]?" if close else ""
            tables = ", ".join(f"[{section}]" for section in _sections())
            problems.append(f"{where}: unknown table [{name}]; use one of {tables}.{hint}")
        else:
            flat[name] = value
    return flat


def _checked(
    values: Mapping[str, Any], where: str, problems: list[str], unfit: set[str]
) -> dict[str, Any]:
    """Those values that have a key and the right type; the rest becomes problems."""
    checked = {}
    for key, value in values.items():
        if key not in _known():
            problems.append(where + _unknown_key(key))
            continue
        try:
            checked[key] = _typed(value, _known()[key])
        except ValueError as wanted:
            problems.append(f"{where}{key}: got {_shown(value)}; wanted {wanted}.")
            unfit.add(key)
    return checked


def _unknown_key(key: str) -> str:
    section, _, name = key.rpartition(".")
    namesakes = [known for known in _known() if known.rpartition(".")[2] == name]
    siblings = [known for known in _known() if known.rpartition(".")[0] == section]
    close = namesakes[0] if namesakes else nearest(key, siblings) or nearest(key, _known())
    if close:
        return f"unknown key '{key}'. Did you mean '{close}'?"
    return f"unknown key '{key}'; use one of {', '.join(siblings or _known())}."


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _typed(value: Any, annotation: Any) -> Any:
    """``value`` as its annotation wants it; a ValueError names what was wanted instead."""
    if annotation == dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValueError("a table of options")
        return {_text(key): _option(option) for key, option in value.items()}
    if annotation == str | None and value is None:
        return None
    if annotation in (str, str | None):
        return _text(value)
    if typing.get_origin(annotation) is tuple:
        return _list(value, typing.get_args(annotation)[0])
    if isinstance(value, bool) is (annotation is bool) and isinstance(value, TYPES[annotation][0]):
        try:
            return annotation(value)
        except OverflowError:
            raise ValueError("a smaller number") from None
    raise ValueError(TYPES[annotation][1])


def _list(value: Any, member: type) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        with suppress(ValueError):
            return tuple(_typed(each, member) for each in value)
    raise ValueError("a list of texts" if member is str else "a list of numbers")


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text that UTF-8 can write") from None
    return value


def _without_effect(task: str, size: str, from_file: Mapping[str, Any], where: str) -> list[str]:
    """A size asked for that the file overrules altogether is refused, not ignored."""
    governed = {key for each in SIZES for key in _defaults(task, each)}
    if from_file.get("size") == size or not governed <= from_file.keys():
        return []
    return [
        f"size: '{size}' would change nothing, because {where} sets {', '.join(sorted(governed))} "
        "itself; leave one of the two out."
    ]


def _build(
    section: type,
    prefix: str,
    values: Mapping[str, Any],
    unfit: set[str],
    origins: Mapping[str, str],
    problems: list[str],
) -> Any:
    """One section; or None, with its problems added, each with the file that it came from."""
    names = {f.name: prefix + f.name for f in dataclasses.fields(section) if f.init}
    own = {name: values[key] for name, key in names.items() if values.get(key) is not None}
    if not unfit.isdisjoint(names.values()):
        return None
    try:
        return section(**own)
    except ConfigError as error:

        def located(found: re.Match[str]) -> str:
            return f"{origins[found[1]]}: {found[0]}" if found[1] in origins else found[0]

        problems.append(re.sub(r"(?<!\S)([a-z_.]+): ", located, str(error)))
    return None


@cache
def _known() -> dict[str, Any]:
    return dict(keys())


@cache
def _sections() -> dict[str, tuple[type, ...]]:
    hints = typing.get_type_hints(Settings)
    return {name: _tables(hint) for name, hint in hints.items() if _tables(hint)}


# What fits an annotation, and how to say so.
TYPES: dict[type, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
}

# Characters of a wrong value that are worth repeating.
LONGEST_SHOWN = 80

# `auto`, then what `unspool.tasks` can do.
TASKS = ("auto", *TASK_TABLE)
DEVICES = ("auto", "cpu", "cuda", "mps")
SIZES = ("tiny", "small", "base")
# Tables of the configuration that every task reads.
EVERY_TASK = ("data", "model", "train")
