"""What a run of the benchmark found, as plain data that goes to JSON and comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unspool.bench.harness import Effort, Spread, measure, ratios
from unspool.errors import DataError
from unspool.training.durable import write_file

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One case of one figure.

    Attributes:
        case: what was measured.
        amounts: seconds, or bytes, by contender; the first is what the others are divided by.
        ratios: each other contender over the first, round by round.
        more: further numbers by name, such as ratios at the 99th percentile.
    """

    case: str
    amounts: dict[str, Spread]
    ratios: dict[str, Spread]
    more: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, case: str, amounts: Mapping[str, Sequence[float]], more: Mapping[str, float] = {}
    ) -> Row:
        """A row from the measurements of every round."""
        return cls(
            case=case,
            amounts={name: Spread.of(values) for name, values in amounts.items()},
            ratios={name: Spread.of(values) for name, values in ratios(amounts).items()},
            more=dict(more),
        )

    @classmethod
    def timed(cls, case: str, contenders: Mapping[str, Callable[[], Any]], effort: Effort) -> Row:
        """A row measured now."""
        return cls.of(case, measure(contenders, effort))

    @property
    def against(self) -> str:
        """The fastest peer: the one with the lowest ratio."""
        return min(self.ratios, key=lambda name: self.ratios[name].median)

    @property
    def ratio(self) -> Spread:
        """That against the fastest peer."""
        return self.ratios[self.against]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One number beside what it should be.

    Attributes:
        what: the number, in words.
        value: as measured; None where nothing could be.
        floor: must be reached; None where nothing is promised.
        reach: where we are heading.
        at_most: whether less is better.
    """

    what: str
    value: float | None
    floor: float | None = None
    reach: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the floor holds; None where there is no floor or no measurement."""
        if self.value is None or self.floor is None:
            return None
        return self.value <= self.floor if self.at_most else self.value >= self.floor


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """All cases of one figure and what they come to.

    Attributes:
        name: P1 and so on.
        title: what is measured, against what.
        how: how to read it.
        rows: the cases.
        verdicts: what they come to.
        skipped: peers that could not be asked, with the reason.
        curves: for plots, by name the points ``(x, y)``.
        digits: after the point, where the figure is shown.
    """

    name: str
    title: str
    how: str
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...] = ()
    skipped: tuple[str, ...] = ()
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    digits: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """One run of the benchmark.

    Attributes:
        machine: processor, cores, threads, versions, date and effort, by name.
        figures: what was measured.
    """

    machine: dict[str, str]
    figures: tuple[Figure, ...]

    def record(self) -> dict[str, Any]:
        """As plain data, with what follows from it spelt out for other readers."""
        record = asdict(self)
        for figure, plain in zip(self.figures, record["figures"], strict=True):
            for verdict, told in zip(figure.verdicts, plain["verdicts"], strict=True):
                told["holds"] = verdict.holds
        return {"format": FORMAT, **record}

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, (json.dumps(self.record(), indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` kept.

        Raises:
            DataError: if the file is missing or is no such record.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise DataError(f"{path}: has format {record['format']}; wanted {FORMAT}.")
            figures = tuple(_figure(each) for each in record["figures"])
            return cls(machine=record["machine"], figures=figures)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: holds no results of `unspool bench` ({error}).") from error


def _figure(record: dict[str, Any]) -> Figure:
    rows = tuple(
        Row(
            case=row["case"],
            amounts={name: Spread(**spread) for name, spread in row["amounts"].items()},
            ratios={name: Spread(**spread) for name, spread in row["ratios"].items()},
            more=row["more"],
        )
        for row in record["rows"]
    )
    verdicts = tuple(
        Verdict(**{key: value for key, value in each.items() if key != "holds"})
        for each in record["verdicts"]
    )
    curves = {name: [(x, y) for x, y in points] for name, points in record["curves"].items()}
    rest = {key: record[key] for key in ("name", "title", "how", "digits") if key in record}
    skipped = tuple(record["skipped"])
    return Figure(**rest, rows=rows, verdicts=verdicts, skipped=skipped, curves=curves)
