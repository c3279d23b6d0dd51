"""What a person sees while something runs, and the table at its end; used by the command line."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unspool.models.count import Derivation
from unspool.reading_shown import reading_brief

Event = Mapping[str, Any]


@contextmanager
def observing(json: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """An observer of training for the time of a ``with`` block, fit for where stderr leads.

    On a terminal it is a `LiveDisplay`. Elsewhere there are plain lines for what was read, every
    evaluation and warning; with ``json`` there is nothing.
    """
    if is_terminal(sys.stderr):
        with LiveDisplay(Console(file=sys.stderr)) as display:
            yield display
    else:
        yield (lambda event: None) if json else PlainDisplay()


def is_terminal(stream: Any) -> bool:
    """Whether a person watches this stream."""
    return stream.isatty() and not Console(file=stream).is_dumb_terminal


@dataclass(kw_only=True, slots=True)
class Progress:
    """What the events have told so far.

    Attributes:
        unit: char, word or token.
        steps: all there will be.
        step: the last one taken.
        first: where this process began, for the time left.
        began: when that was, in seconds.
        last: the latest ``step`` event.
        validation: latest loss on the validation part.
        best: lowest of those.
        speed: tokens a second over the last steps; 0 before the first.
        scale: of the loss, in words, where it is no likelihood; empty for nats.
    """

    unit: str = "token"
    steps: int = 0
    step: int = 0
    first: int = 0
    began: float = 0.0
    last: Event = field(default_factory=dict)
    validation: float = math.nan
    best: float = math.inf
    speed: float = 0.0
    scale: str = ""

    def read(self, event: Event, now: float) -> None:
        """Take in one event that came at ``now`` seconds."""
        kind = event["event"]
        if kind in ("start", "resume"):
            self.unit, self.steps = event["unit"], event["steps"]
            self.scale = event.get("scale", "")
            self.step = self.first = event.get("step", 0)
            self.began = now
        elif kind == "step":
            self.step, self.last = event["step"], event
            speed = event["targets"] / max(event["seconds"], 1e-9)
            self.speed = 0.95 * self.speed + 0.05 * speed if self.speed else speed
        elif kind == "evaluation":
            self.validation = event["loss"]
            self.best = min(self.best, self.validation)

    def shown(self, loss: float) -> str:
        """A loss with its unit."""
        return f"{loss:.4f} {self.scale}" if self.scale else both(loss, self.unit)

    def time_left(self, now: float) -> float | None:
        """Seconds to the last step at the pace so far; None before there is a pace."""
        done = self.step - self.first
        return (now - self.began) / done * (self.steps - self.step) if done else None


class PlainDisplay:
    """What was read, and one line per evaluation and per warning, for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.progress, self.clock = Progress(), clock
        self.several = False  # of several runs only what each came to is printed
        self.estimated = False

    def __call__(self, event: Event) -> None:
        """Read one event; print if it is one to print."""
        self.progress.read(event, self.clock())
        seen = self.progress
        if event["event"] in ("run", "ran"):
            self.several = True
            print(run_line(event), file=sys.stderr, flush=True)
        elif event["event"] == "evaluation" and not self.several:
            best = ", the best so far" if event["best"] else ""
            print(
                f"step {event['step']} of {seen.steps}: validation {seen.shown(event['loss'])}"
                f"{best}; {seen.speed:,.0f} {seen.unit}s/s",
                file=sys.stderr,
                flush=True,
            )
        elif event["event"] == "data":
            print(visible(reading_brief(event)), file=sys.stderr, flush=True)
        elif event["event"] == "warning":
            print(f"Warning: {visible(event['text'])}", file=sys.stderr, flush=True)
        elif event["event"] == "note" and not self.several:
            print(visible(event["text"]), file=sys.stderr, flush=True)
        elif event["event"] == "step" and not (self.several or self.estimated):
            self._estimate(self.clock())

    def _estimate(self, now: float) -> None:
        """Say once, after the first steps, how long all of them will take."""
        seen = self.progress
        if now - seen.began < TRIAL:
            return
        self.estimated = True
        left = seen.time_left(now)
        if left is not None and left >= WORTH_TELLING:
            steps = seen.steps - seen.first
            print(f"{steps:,} steps will take {about(left + now - seen.began)}.", file=sys.stderr)


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """Bar and figures that renew themselves; samples and warnings scroll past above.

    Args:
        console: a terminal.
        clock: seconds, from any start.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.progress = Progress()
        self.task: Event | None = None
        self.task_began = 0.0
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=8)

    def __enter__(self) -> LiveDisplay:
        """Begin to draw."""
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last figures on the screen."""
        self.task = None
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Read one event."""
        now = self.clock()
        self.progress.read(event, now)
        kind = event["event"]
        if kind == "status":
            if self.task is None or self.task["text"] != event["text"]:
                self.task_began = now
            self.task = event
            return
        self.task = None
        if kind == "data":
            self.console.print(Text(visible(reading_brief(event))))
        elif kind in ("start", "resume"):
            self.console.print(Text(describe(event)))
        elif kind in ("run", "ran"):
            self.console.print(Text(run_line(event)))
        elif kind == "baseline":
            shown = figure(event, self.progress.unit)
            self.console.print(Text(f"{event['name']}: {shown}, in {event['seconds']:.1f} s"))
        elif kind == "sample":
            self.console.print(Text(f"— step {event['step']} writes:", style="bold"))
            self.console.print(Text(visible(event["text"].strip("\n"))))
        elif kind == "warning":
            self.console.print(Text(f"Warning: {visible(event['text'])}", style="yellow"))
        elif kind == "note":
            self.console.print(Text(visible(event["text"])))

    def render(self) -> RenderableType:
        """What stands at the bottom of the screen now."""
        now = self.clock()
        if self.task is not None:
            lasted = now - self.task_began
            return _task_line(self.task, lasted) if lasted >= PATIENCE else Group()
        return _training_lines(self.progress, now) if self.progress.last else Group()


def _task_line(task: Event, lasted: float) -> RenderableType:
    total = task.get("total")
    bar = ProgressBar(
        total=total, completed=task.get("done", 0), pulse=total is None, animation_time=lasted
    )
    return _row(task["text"], bar, clock_time(lasted))


def _training_lines(progress: Progress, now: float) -> RenderableType:
    last, unit = progress.last, progress.unit
    left = progress.time_left(now)
    bar = ProgressBar(total=progress.steps, completed=progress.step)
    figures = [f"loss {progress.shown(last['loss'])}", f"{progress.speed:,.0f} {unit}s/s"]
    if not math.isnan(progress.validation):
        figures.append(f"validation {progress.validation:.3f} (best {progress.best:.3f})")
    steps = [
        f"gradient {last['gradient_norm']:.2f} → {last['clipped_norm']:.2f}",
        f"learning rate {last['learning_rate']:.2g}",
        f"{clock_time(left or 0.0)} left",
    ]
    return Group(
        _row("training", bar, f"{progress.step}/{progress.steps}"),
        Text(" · ".join(figures)),
        Text(" · ".join(steps)),
    )


def _row(label: str, bar: ProgressBar, text: str) -> Table:
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(Text(label), bar, Text(text))
    return row


def describe(event: Event) -> str:
    """The first line of a training: what is trained on what, and where.

    Example:
        >>> describe({"event": "start", "task": "write", "cell": "lstm", "unit": "char",
        ...           "parameters": 345000, "train_tokens": 90, "validation_tokens": 10,
        ...           "backend": "torch", "run": "runs/x"})
        'write: lstm, 345,000 parameters (torch), on 90 chars, validated on 10; run runs/x'
    """
    return (
        f"{event['task']}: {event['cell']}, {event['parameters']:,} parameters "
        f"({event['backend']}), on {event['train_tokens']:,} {event['unit']}s, validated on "
        f"{event['validation_tokens']:,}; run {event['run']}"
    )


def run_line(event: Event) -> str:
    """Which of several runs begins, or what it came to.

    Example:
        >>> run_line({"event": "run", "number": 2, "of": 6, "name": "gru-0"})
        'run 2 of 6: gru-0'
    """
    which = f"run {event['number']} of {event['of']}: {event['name']}"
    if event["event"] == "run":
        return which
    report = event["report"]
    return f"{which}: {figure(report, report.get('unit', ''))}, {report['steps']:,} steps"


def both(loss: float, unit: str) -> str:
    """A loss in nats and in bits.

    Example:
        >>> both(1.5, "char")
        '1.500 nats/char (2.164 bits/char)'
    """
    return f"{loss:.3f} nats/{unit} ({loss / math.log(2):.3f} bits/{unit})"


def figure(measured: Event, unit: str) -> str:
    """What a method reached: a score of a measure that the task names, or a loss.

    Example:
        >>> figure({"measure": "accuracy", "score": 0.8516, "interval": [0.83, 0.87]}, "example")
        'accuracy 0.852 (0.830 to 0.870)'
        >>> figure({"loss": 1.5}, "char")
        '1.500 nats/char (2.164 bits/char)'
    """
    if "score" not in measured:
        return both(measured["loss"], unit)
    return f"{measured['measure']} {_with_interval(measured)}"


def _with_interval(measured: Event) -> str:
    score = f"{measured['score']:.3f}"
    if not measured.get("interval"):
        return score
    low, high = measured["interval"]
    return f"{score} ({low:.3f} to {high:.3f})"


def other_figures(measured: Event) -> str:
    """Of written texts and of bands what the measure that ranks does not say; or nothing.

    Example:
        >>> other_figures({"exact_match": 0.982, "character_error_rate": 0.0041})
        'exact match 98.2 %; character error rate 0.41 %'
        >>> other_figures({"band": [0.1, 0.9], "coverage": 0.79, "coverage_before": 0.631})
        'bands of 80 % hold 79 % of what came; as they were learnt 63 %'
    """
    if "coverage" in measured:
        low, high = measured["band"]
        said = f"bands of {high - low:.0%} hold {measured['coverage']:.0%} of what came"
        if "coverage_before" in measured:
            said += f"; as they were learnt {measured['coverage_before']:.0%}"
        return said.replace("%", " %")
    if "exact_match" not in measured or "character_error_rate" not in measured:
        return ""
    exact, errors = measured["exact_match"], measured["character_error_rate"]
    said = [f"exact match {exact:.1%}; character error rate {errors:.2%}".replace("%", " %")]
    if "bleu" in measured:
        bleu = measured["bleu"]
        low, high = bleu["interval"]
        said.append(f"BLEU {bleu['score']:.1f} ({low:.1f} to {high:.1f}), {bleu['signature']}")
    return "\n".join(said)


def clock_time(seconds: float) -> str:
    """Minutes and seconds, or hours too.

    Example:
        >>> clock_time(75.0), clock_time(3601.0)
        ('1:15', '1:00:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """A time that is only an estimate.

    Example:
        >>> about(42.0), about(260.0), about(9000.0)
        ('about 40 seconds', 'about 4 minutes', 'about 2.5 hours')
    """
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} seconds"
    return (
        f"about {seconds / 60:.0f} minutes"
        if seconds < 5400
        else f"about {seconds / 3600:.1f} hours"
    )


def visible(text: str) -> str:
    r"""Text in which nothing moves the cursor or changes colours: control characters as pictures.

    Example:
        >>> visible("a\x1b[2Jb")
        'a␛[2Jb'
    """
    return text.translate(PICTURES)


def report_table(report: Mapping[str, Any]) -> RenderableType:
    """A model beside the simple methods, the best first."""
    return _score_table(report) if "score" in report else _loss_table(report)


def _score_table(report: Mapping[str, Any]) -> RenderableType:
    rows = [{**report, "name": report.get("model", "model")}, *report["baselines"]]
    rows.sort(key=lambda row: row["score"], reverse=report["higher_is_better"])
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    balanced = "balanced_accuracy" in report
    for column in (report["measure"], "95% interval", *["balanced"] * balanced, "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        low, high = row.get("interval") or (math.nan, math.nan)
        interval = "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
        beside = [f"{row['balanced_accuracy']:.3f}" if "balanced_accuracy" in row else ""]
        beside = beside if balanced else []
        table.add_row(Text(row["name"]), f"{row['score']:.3f}", interval, *beside, seconds)
    return table


def _loss_table(report: Mapping[str, Any]) -> RenderableType:
    unit = report["unit"]
    rows = [
        (report.get("model", "model"), report["loss"], None),
        *((each["name"], each["loss"], each["seconds"]) for each in report["baselines"]),
    ]
    rows.sort(key=lambda row: row[1])
    # Bits per character of one nat per token; a loss of 0 cannot tell, so as for characters.
    loss = report["loss"]
    per_character = report["bits_per_character"] / loss if loss else 1 / math.log(2)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in (f"nats/{unit}", "bits/character", "seconds"):
        table.add_column(column, justify="right")
    for name, loss, seconds in rows:
        bits = f"{loss * per_character:.3f}"
        table.add_row(Text(name), f"{loss:.3f}", bits, "" if seconds is None else f"{seconds:.1f}")
    return table


def chances_table(chances: Sequence[tuple[str, float]]) -> RenderableType:
    """Tokens with their probabilities and a bar each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("next")
    table.add_column("probability", justify="right")
    table.add_column("")
    for token, chance in chances:
        table.add_row(Text(repr(token)), f"{chance:.4f}", Text("█" * round(40 * chance)))
    return table


def derivation_table(derivation: Derivation) -> RenderableType:
    """A network layer by layer: what comes out, and the arithmetic of its numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    table.add_column("gives")
    for column in ("parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    table.add_column("how")
    table.add_row(Text("input"), str(derivation.input), "", "", "")
    for line in derivation.lines:
        how = Text("; ".join(part for part in (line.how, line.cost_how) if part))
        counts = (f"{number:,}" if number else "" for number in (line.parameters, line.cost))
        table.add_row(Text(line.layer), str(line.output), *counts, how)
    each = " a step" if derivation.input.open else ""
    table.add_row(Text("all"), "", f"{derivation.parameters:,}", f"{derivation.cost:,}{each}", "")
    memory = f"{derivation.parameter_bytes:,} bytes of parameters in float32"
    return Group(table, Text(f"{memory}; biases as {derivation.convention} has them"))


# Seconds after which waiting deserves a bar.
PATIENCE = 2.0
# Seconds of training from which the rest is estimated, and the least that is worth a line.
TRIAL, WORTH_TELLING = 3.0, 10.0
# What a terminal would act on, shown as Unicode's pictures of control characters instead.
PICTURES = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}
