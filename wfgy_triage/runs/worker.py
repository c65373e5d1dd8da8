"""The worker process: leases runs one after the other and keeps the last pair's models warm.

It may be killed at any moment: whatever it had stored is kept, and the next worker goes on from there.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from wfgy_triage import logs
from wfgy_triage.engine_settings import CPU
from wfgy_triage.errors import TriageError
from wfgy_triage.hosting import load_hosting
from wfgy_triage.runs.ahead import Ahead, whole_demo
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.lane import lane_of, prepared_home, try_be_worker
from wfgy_triage.runs.models import SPOOL, ModelCache
from wfgy_triage.runs.retention import Tidier
from wfgy_triage.runs.reuse import open_cache
from wfgy_triage.runs.supervisor import PARENT_VARIABLE
from wfgy_triage.runs.tools import RunTools, default_tools
from wfgy_triage.runs.turns import Share, Turns, share_of
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.workers import WorkerRepository

STALE_AFTER_S = 60.0
"""A run of another host without a heartbeat for this long is taken over."""
GPU_STOPPED = 3
"""Exit code of a worker whose GPU stopped; the supervisor starts another one, which can use the GPU again."""

_POLL_S = 0.3
_SIGN_OF_LIFE_S = 3.0
_DATABASE_RETRY_S = 5.0
_ORPHAN_GRACE_S = 15.0
_NICENESS = 3

_log = logging.getLogger(__name__)


def main(settings: Settings, make_tools: Callable[[], RunTools] = default_tools, device: str = "") -> int:
    """Work until told to stop (SIGTERM, SIGINT, or the death of the supervisor).

    Args:
        settings: of this process.
        make_tools: gives what runs are done with.
        device: the one of `WFGY_TRIAGE_LANES` that this worker is for; empty where one worker serves all.

    Returns:
        The exit code: 0 after an orderly stop, 2 when the database or the home folder cannot be used. Where the GPU
        stopped it does not return: the process ends with `GPU_STOPPED`.
    """
    logs.begin("worker")
    stop = threading.Event()
    _stop_on_signals(stop)
    _watch_parent(stop)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # the page is to stay responsive while all cores measure
    gpu_stopped = False
    try:
        share = share_of(device, load_hosting().lanes)
        with _as_only_worker(prepared_home(settings), share.name, stop) as mine:
            if mine:
                with closing(open_database(settings.database_url)) as database:
                    gpu_stopped = _Worker(settings, share, database, stop).work(make_tools)
    except TriageError as error:
        _log.error("%s", error)
        return 2
    if gpu_stopped:
        # Python's own end would take the CUDA context down, which may hang where the driver does.
        os._exit(GPU_STOPPED)
    return 0


class _Worker:
    """The loop of one worker process."""

    def __init__(self, settings: Settings, share: Share, database: Database, stop: threading.Event) -> None:
        self._settings = settings
        self._share = share
        self._stop = stop
        self._processor = lane_of(settings)
        self._id = self._processor.new_worker_id()
        self._runs = RunRepository(database)
        self._workers = WorkerRepository(database)
        self._turns = Turns(self._runs, settings, share, STALE_AFTER_S, self._others_there)
        self._open_cache = open_cache(database, settings.cache_rows)
        self._models: ModelCache | None = None
        days = load_hosting().keep_days
        self._tidier = Tidier(database, settings.home, days) if days is not None and share.is_first else None

    def work(self, make_tools: Callable[[], RunTools]) -> bool:
        """Lease, execute, repeat, until told to stop or the GPU stopped; True for the latter."""
        _log.info("worker %s begins", self._id)
        signs = threading.Thread(target=self._give_signs_of_life, name="signs-of-life", daemon=True)
        signs.start()
        tools = make_tools()
        self._models = ModelCache(tools.open_engine, self._settings.home / SPOOL)
        bench = Bench(
            self._runs,
            self._settings,
            tools,
            self._models,
            self._id,
            self._stop.is_set,
            log_name=f"{self._share.name}.log",
            open_cache=self._open_cache,
        )
        asks_ahead = load_hosting().ahead and self._share.serves(CPU)
        ahead = Ahead(bench, self._something_waits, whole_demo) if asks_ahead else None
        while not (self._stop.is_set() or self._models.lost):
            pause = _POLL_S
            try:
                if self._tidier is not None:
                    self._tidier.when_due()
                if not self._take_turn(bench):
                    self._make_room(self._models)
                    if ahead is not None and ahead.due:
                        with self._processor.try_hold() as held:
                            if held:
                                ahead.step()
            except TriageError as error:
                _log.error("the session database cannot be used, trying again: %s", error)
                pause = _DATABASE_RETRY_S
            # Also after a run: a headless run that waits for the device gets its chance here.
            self._stop.wait(pause)
        self._stop.set()
        self._models.close()
        signs.join()
        self._workers.remove(self._id)
        _log.info("worker %s ends", self._id)
        return self._models.lost

    def _others_there(self) -> bool:
        """Whether a worker of another home is alive; all those of this home know the same pairs."""
        return self._workers.others_alive(f"{self._processor.name}.", STALE_AFTER_S)

    def _something_waits(self) -> bool:
        return self._turns.waits(self._processor.devices) or self._processor.wanted()

    def _take_turn(self, bench: Bench) -> bool:
        """Work on the next run of the queue; False when there is none."""
        with self._turns.next() as turn:
            if turn is not None:
                record = turn.record
                with logs.about_run(record.id):
                    _log.info("run %s: %s on %s", record.id, record.spec.symptom, record.spec.pair_id)
                    if bench.models.pair_id != record.spec.pair_id:
                        bench.models.close()  # they may lie on devices that this run does not hold
                    status = execute_run(record, replace(bench, worker_id=turn.worker_id))
                    _log.info("run %s: %s", record.id, status)
            return turn is not None

    def _make_room(self, models: ModelCache) -> None:
        """Give the models back that are only kept warm, where another process works on one of their devices."""
        if models.pair is not None and lane_of(self._settings, models.pair).taken():
            _log.info("another process uses a device; the models kept there are given back")
            models.close()

    def _give_signs_of_life(self) -> None:
        while True:
            try:
                self._workers.beat(self._id, self._models.pair_id if self._models is not None else None)
            except TriageError as error:
                _log.warning("sign of life: %s", error)
            if self._stop.wait(_SIGN_OF_LIFE_S):
                return


@contextmanager
def _as_only_worker(home: Path, name: str, stop: threading.Event) -> Iterator[bool]:
    """Stand by until no other process is this worker of this home; False when told to stop before that."""
    waiting = False
    while not stop.is_set():
        with try_be_worker(home, name) as held:
            if held:
                yield True
                return
        if not waiting:
            _log.info("another worker serves this home folder; standing by")
            waiting = True
        stop.wait(_POLL_S)
    yield False


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _watch_parent(stop: threading.Event) -> None:
    """End with the supervisor's process, however it ends: an orphan would keep the models' memory."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_POLL_S)
        _log.warning("the web process is gone; ending after the question in work")
        stop.set()
        time.sleep(_ORPHAN_GRACE_S)
        os._exit(1)  # nothing is lost: what was stored is kept, and the run is resumed

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
