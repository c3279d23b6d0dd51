"""The command line: one entry, every command, every mistake in one line and exit code 2.

Torch, rich and everything heavy are imported inside the command that needs them, so that help,
completion and mistakes in a configuration answer at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from cyclopts.exceptions import CycloptsError

from unspool.commands import (  # noqa: F401 - adding theirs
    comparing,
    looking,
    training,
    translating,
    using,
)
from unspool.commands.app import app
from unspool.errors import UnspoolError
from unspool.training.interruption import Interrupted
from unspool.usage import complaint, one_line, program

# Turns of OpenMP's waiting loop, some microseconds.
SPINS = "1000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as typed after ``unspool``; None takes those of the process.

    Returns:
        The exit code: 0; 2 for anything the user can mend, told in one line; 128 and the signal's
        number after a signal. Anything unexpected keeps its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # OpenMP's threads spin while they wait. Where another program keeps a core busy that costs many
    # times what it saves; a short spin is slower alone. Read when torch is loaded. What measures
    # speed has the machine to itself, and finds the library as it is imported.
    if given[:1] != ["bench"]:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        app(
            given,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(complaint(error))
    except UnspoolError as error:
        return _refuse(str(error))
    except Interrupted as stop:
        command = f"{program()} resume {shlex.quote(str(stop.run))}"
        print(f"Stopped at step {stop.step}; go on with: {command}", file=sys.stderr)
        return 128 + stop.signal
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away; without this Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _refuse(sentence: str) -> int:
    print(f"Error: {one_line(sentence)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
