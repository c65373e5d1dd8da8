"""From settings to a served page: the web server, worker and matcher beside it, the demo pair on first start."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import uvicorn
from fastapi import FastAPI

from wfgy_triage import logs
from wfgy_triage.demo import SIBLINGS, reader_ready
from wfgy_triage.hosting import load_hosting
from wfgy_triage.listening import bind
from wfgy_triage.pairs import load_pairs
from wfgy_triage.runs.matching import MatcherClient
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.supervisor import WorkerSupervisors
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.terminating import termination_as_exit
from wfgy_triage.ui.app import build_app

DEMO_COMMAND = (sys.executable, "-m", "wfgy_triage", "demo")
_SHUTDOWN_GRACE_S = 3
"""Open event streams of browsers are cut after this many seconds; runs live in the worker and lose nothing."""
_STOP_GRACE_S = 10.0

_log = logging.getLogger(__name__)


def serve_forever(settings: Settings, prepare_demo: bool = True) -> None:
    """Serve until interrupted.

    Args:
        settings: where to listen, and where everything is kept.
        prepare_demo: prepare the demo pairs, and what reads complaints, in a process of their own when no registered
            pair is ready, or when that was begun and not finished. The page is there at once and shows each pair as it
            becomes ready.

    Raises:
        PrerequisiteError: the port is taken, or the database or the home folder cannot be used.
    """
    logs.begin("web")
    listener = bind(settings.host, settings.port, "choose another port with --port or WFGY_TRIAGE_PORT")
    with closing(listener):
        matcher = MatcherClient(settings)
        app = build_app(settings, TriageService(settings), matcher.match)
        # The web server gives SIGTERM on once it has shut down; without this nothing behind it would run.
        with termination_as_exit(), _children(settings, matcher, prepare_demo):
            _serve(app, listener)


@contextmanager
def _children(settings: Settings, matcher: MatcherClient, prepare_demo: bool) -> Iterator[None]:
    """The processes beside this one, for the block; however it ends, none is left."""
    with ExitStack() as running:
        running.callback(matcher.stop)
        matcher.start()
        wanted = _demo_wanted(settings) if prepare_demo else None
        if wanted:
            running.callback(_stop, _start_demo(settings, wanted))
        workers = WorkerSupervisors(settings)
        running.callback(workers.stop)  # first of all: a worker takes a moment to end its question
        workers.start()
        yield


def _serve(app: FastAPI, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("0.0.0.0", "127.0.0.1") else host  # noqa: S104 - compared, not bound
    address = load_hosting().public_url or f"http://{shown}:{port}"
    sys.stderr.write(f"EXL2 triage is at {address} (stop with Ctrl-C)\n")
    # No log of its own: its lines go the way of all others. Requests are not logged, addresses hold share links.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_SHUTDOWN_GRACE_S
    )
    uvicorn.Server(config).run(sockets=[listener])


def _demo_wanted(settings: Settings) -> tuple[str, ...] | None:
    """The command that prepares what is missing; None where nothing is.

    All of the demo, where nothing can be measured yet or an earlier preparation did not get to its end; the model that
    reads complaints alone, where demo pairs are there and it is not.
    """
    pairs = load_pairs(settings)
    there = [pairs[s.pair_id] for s in SIBLINGS if s.pair_id in pairs]
    if not all(pair.ready for pair in there) or not any(pair.ready for pair in pairs.values()):
        return DEMO_COMMAND
    return (*DEMO_COMMAND, "--free-text") if there and not reader_ready(settings) else None


def _start_demo(settings: Settings, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Quantizing needs torch, which this process must not load; progress goes to the terminal."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        cwd=REPO_ROOT,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "WFGY_TRIAGE_HOME": str(settings.home),
            "WFGY_TRIAGE_PAIRS": str(settings.pairs_file),
        },
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        _log.warning("the demo preparation did not end in time and is killed; the next start continues it")
        process.kill()
        process.wait()
