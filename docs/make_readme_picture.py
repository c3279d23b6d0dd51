"""The picture of the README: a terminal in the middle of `unspool demo`, from a real run.

    python docs/make_readme_picture.py [SECONDS]

Trains for about a minute in a temporary folder, or for SECONDS, and writes docs/images/demo.svg.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from unspool import jobs
from unspool.display import LiveDisplay, both, describe, visible

PICTURE = Path(__file__).resolve().parent / "images" / "demo.svg"
COLUMNS = 92
# Where training stands when the picture is taken, as a share of all steps.
MOMENT = 0.8


class Camera:
    """An observer that keeps what the display shows at one moment."""

    def __init__(self) -> None:
        quiet = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS)
        self.display, self.above, self.frame = LiveDisplay(quiet), [], None

    def __call__(self, event: dict) -> None:
        self.display(event)
        progress = self.display.progress
        if event["event"] == "start":
            self.above.append(Text(describe(event)))
        elif event["event"] == "baseline":
            shown = both(event["loss"], progress.unit)
            self.above.append(Text(f"{event['name']}: {shown}, in {event['seconds']:.1f} s"))
        elif event["event"] == "sample" and self.frame is None:
            del self.above[4:]
            self.above.append(Text(f"— step {event['step']} writes:", style="bold"))
            self.above.append(Text(visible(event["text"].strip("\n"))))
        elif event["event"] == "step" and progress.step >= MOMENT * progress.steps:
            self.frame = self.frame or self.display.render()


def main(seconds: float = 60.0) -> None:
    """Run the demo and write the picture."""
    camera = Camera()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        jobs.demo(observers=[camera], seconds=seconds)
    console = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS, record=True)
    console.print(Text("$ make demo", style="bold green"))
    for renderable in [*camera.above, camera.frame]:
        console.print(renderable)
    PICTURE.parent.mkdir(exist_ok=True)
    picture = console.export_svg(
        title="unspool demo", theme=MONOKAI, code_format=FORMAT, unique_id="demo"
    )
    PICTURE.write_text(picture, encoding="utf-8")


# Rich's own frame without its web font: every reader has a monospaced one.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
