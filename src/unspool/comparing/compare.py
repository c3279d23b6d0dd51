"""The same job for several models under an equal budget, beside the simple methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unspool.asked import data_among, recognised, stem_of, wish_of
from unspool.comparing.budget import Budget, count_parameters, with_parameters
from unspool.comparing.contest import Contestant, over_rows, over_seeds, sure
from unspool.comparing.judging import judge
from unspool.comparing.plot import score_plot
from unspool.comparing.several import Entry, Outcome, Several, Simple, refuse_taken
from unspool.config import Settings, Wish
from unspool.data.opening import open_source, read_source
from unspool.data.source import Source
from unspool.engine.language import Cell
from unspool.errors import ConfigError, RunError, UnspoolError
from unspool.one_training import Prepared, cell_of, known_of, tell_data, told, use_threads
from unspool.tasks.intervals import Interval
from unspool.training import durable
from unspool.training.interruption import requests
from unspool.training.loop import Observer


def compare(
    *sources: Any,
    models: str | Sequence[str] = "rnn,lstm,gru,cnn",
    budget: Budget | None = None,
    seeds: int = 3,
    sample: str | None = None,
    out: str | Path | None = None,
    settings: Wish | None = None,
    observers: Sequence[Observer] = (),
    **changes: Any,
) -> dict[str, Any]:
    """Train several models on the same data with an equal budget, and say which is better.

    All models read the same parts. Each is trained with every seed, each training being a run of
    its own in the folder; the simple methods are tried once. `unspool.resume` goes on with a
    comparison that was stopped, and trains nothing twice.

    Args:
        *sources: as `unspool.train` takes them.
        models: families or cells, or FILE.py:NAME, separated by commas; two or more.
        budget: what all get alike; None is as many parameters as `unspool.train` would take.
        seeds: trainings of each model, 1 or more.
        sample: instead of a file, the name of an embedded sample.
        out: the folder to make; None takes ``runs/`` and the file's name with ``-compare``.
        settings: what else was asked for; None goes by ``changes``.
        observers: called with every event.
        **changes: settings by name, as `unspool.train` takes them.

    Returns:
        ``folder``, ``task``, ``measure``, ``higher_is_better``, ``budget``, ``seeds``, ``rows``,
        ``models`` (each with ``name``, ``parameters``, ``hidden``, ``score`` (the mean),
        ``scores``, ``over_seeds``, ``over_rows`` and ``interval`` (both together), ``steps``,
        ``seconds``, ``runs``), ``baselines`` (the same of the simple methods), ``against`` (the
        best less each other), ``tied``, ``verdict`` and ``plot``.

    Raises:
        UnspoolError: for anything the user can mend: all models that cannot do the job are named
            at once, before any training.
        Interrupted: on Ctrl-C or SIGTERM, after saving.

    Example:
        >>> report = compare(sample="sentiment", models="rnn,gru", seeds=2, size="tiny", out="two",
        ...                  train__steps=2, model__hidden=8)
        >>> [each["name"] for each in report["models"]], len(report["tied"]) > 0
        (['rnn', 'gru'], True)
    """
    wish = wish_of(settings, changes)
    names = _names(models)
    if bool(sources) == (sample is not None):
        raise ConfigError("compare: wanted files or the name of a sample, one of the two.")
    if seeds < 1:
        raise ConfigError(f"compare: got {seeds} seeds; wanted 1 or more.")
    data = data_among(sources)
    asked = wish.settings()
    use_threads(asked.threads)
    folder = Path(out or Path("runs") / f"{stem_of(sources, sample)}-compare")
    refuse_taken(folder)
    source = open_source(() if data is not None else sources, sample, asked.data, data)
    usual = recognised(source, wish, data)
    if usual.data.folds:
        raise ConfigError("compare: goes by seeds; leave out data.folds.")
    reading = read_source(source, _fixed(usual).data, usual.task, usual.seed, data)
    known = known_of(reading)
    tell_data(observers, known)
    plan = _Plan(wish, usual, source, reading, budget or Budget(), observers)
    several = Several(
        folder=folder,
        kind="compare",
        source=source,
        asked={
            "models": names,
            "seeds": seeds,
            "budget": plan.told(),
            "mapping": known.get("mapping", ""),
            "text": known.get("text", ""),
        },
        entries=plan.entries(names, seeds),
    )
    several.create()
    return finish(several, data, observers)


def finish(several: Several, data: Any, observers: Sequence[Observer]) -> dict[str, Any]:
    """Train what has not been trained, judge all, write the report and the plot.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    with several.locked(), requests() as request:
        outcomes, simple = several.run_all(data, request, observers)
        result = _result(several, outcomes, simple[0])
        plot = several.folder / "compare.svg"
        with durable.told(plot, "write", RunError):
            durable.write_file(plot, score_plot(result).svg().encode())
        several.keep(result)
    return {"folder": str(several.folder), **result, "plot": str(plot)}


def _names(models: str | Sequence[str]) -> list[str]:
    listed = models.split(",") if isinstance(models, str) else models
    names = [each.strip() for each in listed if each.strip()]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ConfigError(f"compare: '{twice[0]}' is named twice; wanted each model once.")
    if len(names) < 2:
        raise ConfigError(
            f"compare: got {len(names)} model{'s' if len(names) != 1 else ''}; wanted two or more, "
            "as in --models rnn,lstm,gru."
        )
    return names


@dataclass(slots=True)
class _Plan:
    """From what was asked for to the settings of every run."""

    wish: Wish
    usual: Settings
    source: Source
    reading: Any
    budget: Budget
    observers: Sequence[Observer]
    wanted: int = 0
    shape: Mapping[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """The budget, as plain values."""
        if self.budget.seconds:
            return {"kind": "seconds", "seconds": self.budget.seconds}
        usual = _fixed(self.usual)
        prepared = Prepared.of(self.reading, usual, cell_of(usual), self.source)
        self.shape = prepared.job.shape()
        own = count_parameters(self.shape, usual, prepared.cell)
        self.wanted = self.budget.parameters or own
        return {"kind": "parameters", "parameters": self.wanted}

    def entries(self, names: Sequence[str], seeds: int) -> tuple[Entry, ...]:
        """Every run, in an order that tries each model before any second seed.

        Raises:
            ConfigError: naming every model that cannot do the job, with the reason.
        """
        problems, chosen = [], []
        for name in names:
            told(self.observers, "status", text=f"trying whether {name} can do the job")
            try:
                chosen.append(self._contender(name))
            except UnspoolError as error:
                problems.append(f"{name}: {error}")
        labels = [label for label, _, _ in chosen]
        for label in sorted({each for each in labels if labels.count(each) > 1}):
            problems.append(f"two models are called '{label}'; rename one of the cells.")
        if problems:
            raise ConfigError(f"compare: {' '.join(problems)}")
        return tuple(
            Entry(
                contender=label,
                number=self.usual.seed + extra,
                settings=replace(settings, seed=self.usual.seed + extra),
                cell=cell,
            )
            for extra in range(seeds)
            for label, settings, cell in chosen
        )

    def _contender(self, name: str) -> tuple[str, Settings, Cell | None]:
        """A model by its name in a folder, with its settings once the budget is met."""
        changes = {**self.wish.changes, "model.name": name}
        width = getattr(self.usual.model, "width", 0)
        by_width = self.wanted and self.shape is not None
        if by_width:
            changes.pop("model.hidden", None)
        settings = _fixed(replace(self.wish, changes=changes).settings(self.usual.task))
        model = settings.model
        fixed = "model.embedding" in changes or getattr(model, "tie", False)
        if by_width and width and hasattr(model, "embedding") and not fixed:
            # Else a cell with fewer products would spend what it saves on longer word vectors.
            settings = replace(settings, model=replace(model, embedding=width))
        cell = cell_of(settings)
        label = name if cell is None or ":" not in name else cell.name
        if by_width:
            assert self.shape is not None
            settings = with_parameters(self.wanted, self.shape, settings, cell)
        prepared = Prepared.of(self.reading, settings, cell, self.source)
        if self.budget.seconds:
            told(self.observers, "status", text=f"measuring the speed of {label}")
            prepared = prepared.within(self.budget.seconds)
        return label, prepared.settings, cell


def _fixed(settings: Settings) -> Settings:
    """The settings with parts that are the same whatever the seed, and a number of threads."""
    seed = settings.data.split_seed if settings.data.split_seed >= 0 else settings.seed
    data = replace(settings.data, split_seed=seed)
    return replace(settings, data=data, threads=use_threads(0))


def _result(several: Several, outcomes: Sequence[Outcome], simple: Simple) -> dict[str, Any]:
    first = outcomes[0].report
    measure, higher = measure_of(first)
    groups = None if simple.groups is None else np.array(simple.groups)
    names = list(dict.fromkeys(each.entry.contender for each in outcomes))
    models, contestants = [], []
    for name in names:
        own = [each for each in outcomes if each.entry.contender == name]
        rows = [each.rows for each in own if each.rows is not None]
        contestant = Contestant(
            name=name,
            scores=tuple(score_of(each.report) for each in own),
            rows=np.stack(rows) if rows else None,
            groups=groups,
        )
        contestants.append(contestant)
        models.append(_model_line(contestant, own, several.folder, _bounds(measure, higher)))
    baselines = []
    for each in simple.figures:
        rows = simple.rows.get(each["name"])
        contestant = Contestant(
            name=each["name"],
            scores=(score_of(each),),
            rows=None if rows is None else rows[None],
            groups=groups,
            simple=True,
        )
        contestants.append(contestant)
        line = {"name": each["name"], "score": contestant.score, "seconds": each["seconds"]}
        own_ends = each.get("interval") or _ends(sure(contestant), _bounds(measure, higher))
        baselines.append({**line, "interval": own_ends})
    found = judge(contestants, measure, higher)
    return {
        "kind": several.kind,
        "task": first["task"],
        "text": several.asked["text"],
        "measure": measure,
        "higher_is_better": higher,
        "budget": dict(several.asked["budget"]),
        "seeds": sorted({each.entry.number for each in outcomes}),
        "rows": first.get("rows", first.get("tokens")),
        "models": models,
        "baselines": baselines,
        "against": {
            name: None if each is None else [each.value, each.low, each.high]
            for name, each in found.against.items()
        },
        "level": found.level,
        "tied": list(found.tied),
        "verdict": found.sentence,
    }


def _model_line(
    contestant: Contestant,
    outcomes: Sequence[Outcome],
    folder: Path,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    first = outcomes[0]
    return {
        "name": contestant.name,
        "score": contestant.score,
        "interval": _ends(sure(contestant), bounds),
        "scores": list(contestant.scores),
        "over_seeds": _ends(over_seeds(contestant), bounds),
        "over_rows": _ends(over_rows(contestant), bounds),
        "parameters": first.report["parameters"],
        "hidden": getattr(first.entry.settings.model, "hidden", None),
        "steps": [each.report["steps"] for each in outcomes],
        "seconds": [each.seconds for each in outcomes],
        "runs": [str(folder / each.entry.name) for each in outcomes],
    }


def _ends(interval: Interval | None, bounds: tuple[float, float]) -> list[float] | None:
    if interval is None or not math.isfinite(interval.low):
        return None
    return [max(interval.low, bounds[0]), min(interval.high, bounds[1])]


def _bounds(measure: str, higher_is_better: bool) -> tuple[float, float]:
    """What a measure cannot leave: a share, an error."""
    if measure == "accuracy":
        return 0.0, 1.0
    return (-math.inf if higher_is_better else 0.0), math.inf


def measure_of(report: Mapping[str, Any]) -> tuple[str, bool]:
    """What a task is measured by, and whether more is better.

    Example:
        >>> measure_of({"loss": 1.5, "unit": "char"})
        ('nats/char', False)
    """
    if "score" in report:
        return report["measure"], report["higher_is_better"]
    return f"nats/{report['unit']}", False


def score_of(report: Mapping[str, Any]) -> float:
    """How far something got, by that measure.

    Example:
        >>> score_of({"loss": 1.5, "unit": "char"})
        1.5
    """
    return float(report["score"] if "score" in report else report["loss"])
