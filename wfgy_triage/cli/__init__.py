"""The command line: a public contract (names, JSON and exit codes are stable).

Exit codes: 0 PASS, 1 FAIL, 2 any error (usage, something missing, a fault of the program), 3 INCONCLUSIVE,
4 NOT MEASURED, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer
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
from wfgy_triage.cli.shared import EXIT_ERROR, EXIT_STOPPED, app, err, say_error
from wfgy_triage.errors import TriageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def main() -> None:
    """Run the command line; errors are sentences, and no error has the exit code of a FAIL."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars would be mixed with ours
    try:
        code = app(standalone_mode=False) or 0
    except SystemExit as ended:
        # Whoever read the output has gone: typer and rich end with 1 then, which is a FAIL here.
        sys.exit(EXIT_ERROR if ended.code == 1 else ended.code)
    except TyperException as error:
        say_error(_usage_message(error), "See 'python -m wfgy_triage --help' for commands and options.")
        sys.exit(EXIT_ERROR)
    except TriageError as error:
        say_error(error.message, error.hint)
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        err.print("Stopped. What was complete is kept; the same command goes on from there.")
        sys.exit(EXIT_STOPPED)
    except OSError as error:
        say_error(_system_message(error), _system_hint(error))
        sys.exit(EXIT_ERROR)
    except Exception as error:  # noqa: BLE001 - Python's own exit code for it, 1, would be read as FAIL
        traceback.print_exc()
        say_error(
            f"The program stopped at something that it does not expect ({type(error).__name__}).",
            "This is a fault of the program and says nothing about the models. Please report it with the lines "
            "above. What was complete is kept.",
        )
        sys.exit(EXIT_ERROR)
    sys.exit(code)


def _usage_message(error: TyperException) -> str:
    """What is wrong with the command line, in one sentence."""
    text = getattr(error, "format_message", lambda: str(error))()
    return text if text.endswith(".") else f"{text}."


def _system_message(error: OSError) -> str:
    """What the operating system or the network refused, in one sentence."""
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    place = "" if error.filename is None else f" with {error.filename}"
    return f"The operating system reports an error{place}: {reason}."


def _system_hint(error: OSError) -> str:
    """What to do about it."""
    if error.errno in _NO_ROOM:
        return "Make room on that disk, then give the same command again. What was complete is kept."
    if error.errno in _NOT_ALLOWED:
        return (
            "Allow this user to read and write there, or choose another place: an option of the command, or "
            "WFGY_TRIAGE_HOME for everything that is kept."
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return "Check the network and the address, then give the same command again."
    return (
        "Check that what it names is there and can be used, then give the same command again. If it is nothing "
        "of yours, this is a fault of the program: please report it."
    )
