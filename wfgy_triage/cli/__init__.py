"""The command line: a public contract (names, JSON and exit codes are stable).

Exit codes: 0 PASS, 1 FAIL, 2 usage or prerequisite error, 3 INCONCLUSIVE, 4 NOT MEASURED, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys

import typer
from rich.markup import escape
from typer.exceptions import TyperException

from wfgy_triage.cli import (  # noqa: F401 - importing a file registers its commands
    checkpoints,
    guard,
    pairs,
    patches,
    people,
    serving,
    sessions,
    shares,
    store,
    tokens,
    triage,
)
from wfgy_triage.cli.shared import EXIT_ERROR, EXIT_STOPPED, app, err
from wfgy_triage.errors import TriageError


def main() -> None:
    """Run the command line; errors are sentences, not tracebacks."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars would be mixed with ours
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:
        err.print(f"[bold red]Error:[/] {_usage_message(error)}", highlight=False)
        err.print("See 'python -m wfgy_triage --help' for commands and options.")
        sys.exit(EXIT_ERROR)
    except TriageError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False)
        if error.hint:
            err.print(error.hint, highlight=False, markup=False)
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        err.print("Stopped. What was complete is kept; the same command goes on from there.")
        sys.exit(EXIT_STOPPED)


def _usage_message(error: TyperException) -> str:
    """What is wrong with the command line, in one sentence."""
    text = getattr(error, "format_message", lambda: str(error))()
    return escape(text if text.endswith(".") else f"{text}.")
