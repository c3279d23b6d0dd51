"""How series become windows: the ``[series]`` table of a configuration; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import ConfigError, unknown

SCALINGS = ("standard", "instance", "none")
DIFFERENCES = ("auto", "none", "first")
GAPS = ("last", "refuse")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesSettings:
    """What is forecast, from how far back, how far ahead.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> SeriesSettings(horizon=24).lookback
        36
    """

    lookback: int = 36
    """Steps that are seen before each forecast."""
    horizon: int = 12
    """Steps ahead that are forecast."""
    stride: int = 1
    """Steps from one window of the training part to the next."""
    target: tuple[str, ...] = ()
    """Columns that are forecast; all numbers if left out."""
    id: str | None = None
    """Of a long table, the column that says which series a row belongs to."""
    date: str | None = None
    """The column of dates; found by name and content if left out."""
    known: tuple[str, ...] = ()
    """Columns whose future is known when a forecast is made, such as a planned price."""
    calendar: bool = True
    """Add what the date alone says: hour, weekday, month, season."""
    quantiles: tuple[float, ...] = (0.5,)
    """Which quantiles are forecast, ascending; 0.5 is the middle."""
    scaling: str = "standard"
    """standard (mean and deviation of the training part), instance (that, less the last value
    seen), or none."""
    difference: str = "auto"
    """first (learn the changes), none, or auto: first for counts that only grow."""
    gaps: str = "last"
    """What stands where dates are missing: the last value before, or nothing (refuse)."""

    def __post_init__(self) -> None:
        problems = [
            f"series.{name}: got {getattr(self, name)}; wanted 1 or more."
            for name in ("lookback", "horizon", "stride")
            if getattr(self, name) < 1
        ]
        for name, table in (("scaling", SCALINGS), ("difference", DIFFERENCES), ("gaps", GAPS)):
            if getattr(self, name) not in table:
                problems.append(unknown(f"series.{name}", getattr(self, name), table))
        ascending = list(self.quantiles) == sorted(set(self.quantiles))
        if not self.quantiles or not ascending or not all(0 < q < 1 for q in self.quantiles):
            problems.append(
                f"series.quantiles: got {list(self.quantiles)}; wanted ascending numbers between "
                "0 and 1."
            )
        both = sorted(set(self.target) & set(self.known))
        if both:
            problems.append(
                f"series.known: {', '.join(both)} is also in series.target; what is forecast is "
                "not known."
            )
        if problems:
            raise ConfigError(" ".join(problems))
