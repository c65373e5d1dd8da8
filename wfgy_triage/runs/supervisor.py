"""Keeps a process beside the web process: starts it, restarts it when it dies, ends it at exit."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.hosting import load_hosting
from wfgy_triage.runs.turns import EVERYTHING, Share
from wfgy_triage.settings import REPO_ROOT, Settings

PARENT_VARIABLE = "WFGY_TRIAGE_SUPERVISOR"
"""Environment variable with the process id of the supervisor; the worker ends when that process does."""

WORKER_COMMAND = (sys.executable, "-m", "wfgy_triage", "worker")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_HEALTHY_AFTER_S = 30.0
_STOP_GRACE_S = 10.0
_LOG_LIMIT_BYTES = 5_000_000

_log = logging.getLogger(__name__)


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a child of this program: it finds the package, and reads the same settings."""
    python_path = [str(REPO_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(python_path),
        "WFGY_TRIAGE_HOME": str(settings.home),
        "WFGY_TRIAGE_PAIRS": str(settings.pairs_file),
        "DATABASE_URL": settings.database_url,
    }


class ChildSupervisor:
    """Owns one child process.

    Args:
        settings: handed to the child through its environment.
        command: how to start the child.
        name: of the child, in its log file's name and in messages.
        talk: called with every new process, which then has pipes for its input and output; without it the child
            reads nothing and writes to its log.
        environment: more variables for the child.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        name: str,
        talk: Callable[[subprocess.Popen[bytes]], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._command = list(command)
        self._name = name
        self._talk = talk
        self._more = dict(environment or {})
        self._log_files = load_hosting().log_files
        self._end = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_running, name=f"{name}-supervisor", daemon=True)

    @property
    def log_file(self) -> Path:
        """Where the child's output goes."""
        return self._settings.home / "logs" / f"{self._name}.log"

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the child and keep it running.

        Raises:
            PrerequisiteError: the home folder cannot be written.
        """
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            _rotate(self.log_file)
            self._spawn()
        except OSError as error:
            raise PrerequisiteError(
                f"The {self._name} process could not be started: {error}",
                "Check that the folder of WFGY_TRIAGE_HOME can be written.",
            ) from error
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the child: a worker finishes the question in work and puts its run back; killed if it hangs."""
        atexit.unregister(self.stop)
        self._end.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()  # nothing is lost: what was stored is kept, and the run is resumed
            process.wait()
        if self._thread.is_alive():  # not yet, where starting was broken off
            self._thread.join()

    def _spawn(self) -> None:
        with self._lock, self.log_file.open("ab") as log:
            if self._end.is_set():
                return
            told = log if self._log_files else sys.stderr
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                stdin=subprocess.PIPE if self._talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._talk else told,
                stderr=told,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for the web process, which then ends the child
            )
        if self._talk:
            self._talk(self._process)

    def _environment(self) -> dict[str, str]:
        return {**child_environment(self._settings), PARENT_VARIABLE: str(os.getpid()), **self._more}

    def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_S
        while self._process is not None:
            begun = time.monotonic()
            code = self._process.wait()
            if self._end.is_set():
                return
            if time.monotonic() - begun >= _HEALTHY_AFTER_S:
                pause = _FIRST_PAUSE_S
            _log.warning("the %s ended with code %s; starting it again in %.1f s", self._name, code, pause)
            if self._end.wait(pause):
                return
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            try:
                self._spawn()
            except OSError as error:
                _log.warning("the %s could not be started: %s", self._name, error)


class WorkerSupervisor(ChildSupervisor):
    """Keeps a worker, a process that measures.

    Args:
        settings: handed to it.
        command: how to start it.
        share: what it serves.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str] = WORKER_COMMAND, share: Share = EVERYTHING
    ) -> None:
        named = ["--device", share.device] if share.device else []
        super().__init__(settings, [*command, *named], share.name)


class WorkerSupervisors:
    """Keeps a worker for each device of `WFGY_TRIAGE_LANES`; without that, one for all of them."""

    def __init__(self, settings: Settings) -> None:
        lanes = load_hosting().lanes
        self._each = [WorkerSupervisor(settings, share=Share(lane, lanes)) for lane in lanes or ("",)]

    def start(self) -> None:
        """Start them and keep them running.

        Raises:
            PrerequisiteError: the home folder cannot be written; none is left running.
        """
        try:
            for worker in self._each:
                worker.start()
        except PrerequisiteError:
            self.stop()
            raise

    def stop(self) -> None:
        """End them, all at once: each may take a while to finish its question."""
        with ThreadPoolExecutor(len(self._each)) as pool:
            list(pool.map(lambda worker: worker.stop(), self._each))


def _rotate(log_file: Path) -> None:
    if log_file.is_file() and log_file.stat().st_size > _LOG_LIMIT_BYTES:
        log_file.replace(log_file.with_suffix(".log.1"))
