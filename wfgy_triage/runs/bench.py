"""Where a run is worked on: what a worker, or a command, brings along for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.reuse import RunCache
from wfgy_triage.runs.tools import RunTools
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import Event
from wfgy_triage.store.runs import RunRepository


@dataclass(frozen=True)
class Bench:
    """Where a run is worked on.

    Attributes:
        repo: the store.
        settings: of this process.
        tools: probes, engines, the doctor.
        models: keeps the last pair loaded.
        worker_id: who holds the run's lease.
        should_stop: true once this process is to end; the run goes back into the queue.
        on_event: told every event of the run.
        log_name: the file under `logs/` of the home folder that this process logs to.
        open_cache: gives a run the cache of FP16 answers; None: everything is measured.
    """

    repo: RunRepository
    settings: Settings
    tools: RunTools
    models: ModelCache
    worker_id: str
    should_stop: Callable[[], bool] = lambda: False
    on_event: Callable[[Event], None] | None = None
    log_name: str = "worker.log"
    open_cache: Callable[[], RunCache] | None = None
