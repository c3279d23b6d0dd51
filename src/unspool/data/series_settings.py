"""How series become windows: the ``[series]`` table of a configuration; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from unspool.errors import ConfigError, unknown

STRATEGIES = ("direct", "recursive")
MEASURES = ("mse", "mae", "mase")
COLUMNS = ("apart", "together")
SCALINGS = ("standard", "none")
INSTANCES = ("last", "window", "none")
LOGARITHMS = ("auto", "yes", "no")
DIFFERENCES = ("auto", "none", "first")
GAPS = ("last", "refuse")
# What is forecast where nothing is asked for: a point, and around it a band of 80%.
BAND = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesSettings:
    """What is forecast, from how far back, how far ahead.

    Raises:
        ConfigError: one line with everything that does not fit.

    Example:
        >>> SeriesSettings(horizon=24).levels, SeriesSettings(strategy="recursive").levels
        ((0.1, 0.5, 0.9), (0.5,))
    """

    horizon: int = 0
    """Steps ahead that are forecast; 0 goes by the dates: a day of hours, 14 days, 12 months."""
    lookback: int = 0
    """Steps that are seen before each forecast; 0 takes three horizons, or two seasons."""
    stride: int = 1
    """Steps from one window of the training part to the next."""
    target: tuple[str, ...] = ()
    """Columns that are forecast; all numbers if left out."""
    known: tuple[str, ...] = ()
    """Columns whose future is known when a forecast is made, such as a planned price."""
    calendar: bool = True
    """Add what the date alone says: hour, weekday, month, season."""
    strategy: str = "direct"
    """direct (all steps at once) or recursive (one step, fed back for the next)."""
    quantiles: tuple[float, ...] = ()
    """Which quantiles are forecast, ascending, 0.5 (the point) among them; if left out 0.1, 0.5,
    0.9; of a recursive forecast the point alone."""
    measure: str = "mse"
    """What is compared, and learnt for: mse or mae on the standardised scale, or mase."""
    columns: str = "apart"
    """apart (each column from its own past, by the same weights) or together (from all)."""
    scaling: str = "standard"
    """standard (by mean and deviation of the training part) or none."""
    instance: str = "last"
    """What is taken off each window and put back on its forecast: its last value (last), its
    deviation too (window), or nothing (none)."""
    linear: bool = True
    """Add a linear forecast from the window to what the network says."""
    logarithm: str = "auto"
    """yes (learn logarithms), no, or auto: where swings grow with the level."""
    difference: str = "auto"
    """first (learn the changes), none, or auto: first for counts that only grow."""
    gaps: str = "last"
    """What stands where dates are missing: the last value before, or nothing (refuse)."""

    def __post_init__(self) -> None:
        problems = [
            f"series.{name}: got {getattr(self, name)}; wanted {least} or more."
            for name, least in (("lookback", 0), ("horizon", 0), ("stride", 1))
            if getattr(self, name) < least
        ]
        for name, table in TABLES.items():
            if getattr(self, name) not in table:
                problems.append(unknown(f"series.{name}", getattr(self, name), table))
        problems += self._quantiles()
        both = sorted(set(self.target) & set(self.known))
        if both:
            problems.append(
                f"series.known: {', '.join(both)} is also in series.target; what is forecast is "
                "not known."
            )
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles that are forecast."""
        return self.quantiles or (BAND if self.strategy == "direct" else (0.5,))

    def _quantiles(self) -> list[str]:
        """What is wrong with the quantiles."""
        given = list(self.quantiles)
        if not given:
            return []
        if given != sorted(set(given)) or not all(0 < q < 1 for q in given) or 0.5 not in given:
            return [
                f"series.quantiles: got {given}; wanted ascending numbers between 0 and 1, 0.5 "
                "among them."
            ]
        if self.strategy == "recursive" and given != [0.5]:
            return [
                "series.quantiles: a recursive forecast goes on from its own points, whose errors "
                "a band of one step does not know; use series.strategy 'direct' for bands."
            ]
        return []


TABLES = {
    "strategy": STRATEGIES,
    "measure": MEASURES,
    "columns": COLUMNS,
    "scaling": SCALINGS,
    "instance": INSTANCES,
    "logarithm": LOGARITHMS,
    "difference": DIFFERENCES,
    "gaps": GAPS,
}
