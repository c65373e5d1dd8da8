"""A run in this very process, for the command line: the same steps and the same record as on the page."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from wfgy_triage.access import command_line
from wfgy_triage.hosting import load_hosting
from wfgy_triage.logs import formatter
from wfgy_triage.pairs import Pair, get_pair
from wfgy_triage.probes.registry import available_symptoms
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.lane import hold_device, lane_of
from wfgy_triage.runs.models import SPOOL, ModelCache
from wfgy_triage.runs.reuse import open_cache
from wfgy_triage.runs.service import check_sources, validate_spec
from wfgy_triage.runs.tools import RunTools, default_tools
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guarded import GuardedRuns
from wfgy_triage.store.records import Event, RunRecord, RunSpec, RunStatus
from wfgy_triage.store.rows import now
from wfgy_triage.store.runs import RunRepository

LOG_NAME = "headless.log"


def run_headless(
    settings: Settings,
    spec: RunSpec,
    on_event: Callable[[Event], None] | None = None,
    *,
    pair: Pair | None = None,
    make_tools: Callable[[], RunTools] = default_tools,
    symptoms: Callable[[], tuple[str, ...]] = available_symptoms,
) -> RunRecord:
    """Measure now and return the recorded run.

    The first Ctrl-C stops measuring and evaluates what there is (status CANCELLED); a second ends at once.

    Args:
        settings: where the database and the pairs file are.
        spec: what to measure.
        on_event: told every event of the run, and before it begins a note (with an empty run id) when it has
            to wait for a run of the worker.
        pair: the model pair, where it is not a registered one; its id must be that of `spec`.
        make_tools: gives what runs are done with.
        symptoms: the symptoms that can be measured.

    Raises:
        InputError: the request is wrong.
        PrerequisiteError: models or database cannot be used.
        KeyboardInterrupt: Ctrl-C while waiting, or twice; a begun run is recorded as cancelled.
    """
    validate_spec(spec, symptoms())
    check_sources(settings, spec)
    if pair is None:
        pair = get_pair(settings, spec.pair_id)
    lane = lane_of(settings, pair)
    with (
        closing(open_database(settings.database_url)) as database,
        _logging_to(settings.home / "logs" / LOG_NAME),
        hold_device(lane, lambda: _say_that_it_waits(on_event)),
    ):
        tools = make_tools()
        with closing(ModelCache(tools.open_engine, settings.home / SPOOL)) as models:
            repo = RunRepository(database)
            bench = Bench(
                repo,
                settings,
                tools,
                models,
                lane.new_worker_id(),
                on_event=on_event,
                log_name=LOG_NAME,
                open_cache=open_cache(database, settings.cache_rows),
            )
            record = GuardedRuns(database, command_line()).create(spec, worker_id=bench.worker_id)
            return _measure(bench, record, pair)


def _measure(bench: Bench, record: RunRecord, pair: Pair) -> RunRecord:
    repo = bench.repo
    try:
        with _first_ctrl_c_cancels(bench, record.id):
            execute_run(record, bench, pair)
    except KeyboardInterrupt:
        repo.finish(
            record.id,
            bench.worker_id,
            RunStatus.CANCELLED,
            error_message="Ended at once by Ctrl-C. What was measured before is kept, without a verdict.",
            error_hint="Resume this session to go on.",
        )
        raise
    return repo.get(record.id)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Keep the log off the terminal, which shows progress and plain words only."""
    package = logging.getLogger("wfgy_triage")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(formatter(load_hosting(), "probe"))
    propagated = package.propagate
    package.addHandler(handler)
    package.propagate = False
    try:
        yield
    finally:
        package.propagate = propagated
        package.removeHandler(handler)
        handler.close()


def _say_that_it_waits(on_event: Callable[[Event], None] | None) -> None:
    if on_event is not None:
        text = "Another run is using the models on this machine; this one begins when it has ended."
        on_event(Event(run_id="", seq=0, at=now(), kind="note", payload={"text": text}))


@contextmanager
def _first_ctrl_c_cancels(bench: Bench, run_id: str) -> Iterator[None]:
    """Turn the first SIGINT into a request to cancel; the second acts as before."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.getsignal(signal.SIGINT)

    def cancel() -> None:
        bench.repo.request_cancel(run_id)
        note = bench.repo.last_event(run_id, "note")
        if note is not None and bench.on_event is not None:
            bench.on_event(note)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        # In a thread: the signal may have come in the middle of a transaction, whose lock this one needs too.
        threading.Thread(target=cancel, name="cancel").start()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
