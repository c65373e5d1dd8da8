"""Ask the matcher's process from the web process: never waits long, never loads a model itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from itertools import count
from typing import Any

from wfgy_triage.complaints import Match, check_complaint
from wfgy_triage.errors import PrerequisiteError, TriageError
from wfgy_triage.runs.supervisor import ChildSupervisor
from wfgy_triage.settings import Settings

MATCHER_COMMAND = (sys.executable, "-m", "wfgy_triage", "matcher")
PATIENCE_S = 5.0
"""An answer takes half a second; a machine that measures on all cores may be slower."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_MEANWHILE = "Meanwhile choose one of the cards below."

_log = logging.getLogger(__name__)


class MatcherClient:
    """Keeps one matcher process and asks it. Thread-safe.

    Args:
        settings: where the log is written.
        command: how to start the process.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = MATCHER_COMMAND) -> None:
        self._supervisor = ChildSupervisor(settings, command, "matcher", self._listen_to, _ONE_THREAD)
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._broken: TriageError | None = None
        self._waiting: dict[int, Future[Match]] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the matcher, None while there is none."""
        return self._supervisor.pid

    @property
    def ready(self) -> bool:
        """Whether it would answer now."""
        return self._ready

    def start(self) -> None:
        """Start the process and return at once; it is ready after some seconds.

        Raises:
            PrerequisiteError: the home folder cannot be written.
        """
        self._supervisor.start()

    def stop(self) -> None:
        """End the process."""
        self._supervisor.stop()

    def match(self, text: str) -> Match:
        """Rank the symptoms for a complaint.

        Raises:
            InputError: the text cannot be matched.
            PrerequisiteError: the matcher is starting, was ended while it worked, or cannot be loaded.
        """
        plain = check_complaint(text)
        with self._lock:
            if self._broken is not None:
                raise self._broken
            if not self._ready or self._process is None or self._process.stdin is None:
                raise _starting()
            number, answer = next(self._numbers), Future[Match]()
            self._waiting[number] = answer
            try:
                self._process.stdin.write(json.dumps({"id": number, "text": plain}).encode() + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:  # a pipe that broke, or is closed already
                self._waiting.pop(number)
                raise _starting() from error
        try:
            return answer.result(PATIENCE_S)
        except FutureTimeout as error:
            raise PrerequisiteError(
                "The text matcher did not answer in time: this machine is busy.", f"Try again. {_MEANWHILE}"
            ) from error
        finally:
            self._waiting.pop(number, None)

    def _listen_to(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process, self._ready, self._broken = process, False, None
        threading.Thread(target=self._listen, args=(process,), name="matcher-answers", daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("the matcher process has no pipes")
        for line in process.stdout:
            self._take(json.loads(line))
        with self._lock:
            lost: dict[int, Future[Match]] = {}
            if self._process is process:  # else the next one has taken over already
                self._ready, self._process = False, None
                lost, self._waiting = self._waiting, lost
            process.stdout.close()
            with suppress(OSError):  # what was written and not read any more
                process.stdin.close()
        for answer in lost.values():
            answer.set_exception(_starting())

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            with self._lock:
                self._ready = message["ready"]
                self._broken = None if self._ready else _unavailable(message)
            if self._broken is not None:
                _log.warning("the text matcher cannot be loaded: %s", self._broken)
            return
        answer = self._waiting.get(message["id"])
        if answer is None:
            return  # asked by somebody who did not wait
        if "match" in message:
            answer.set_result(Match.from_json(message["match"]))
        else:
            answer.set_exception(TriageError(message["message"], message["hint"]))


def _starting() -> PrerequisiteError:
    return PrerequisiteError("The text matcher is starting.", f"Try again in a few seconds. {_MEANWHILE}")


def _unavailable(message: dict[str, Any]) -> PrerequisiteError:
    return PrerequisiteError(
        f"The text matcher is not available: {message['message']}", f"{message['hint']} {_MEANWHILE}"
    )
