"""One pass of a worker over a run: load, check, measure what is not yet measured, evaluate, store.

A pass may end in five ways, and the samples stay in each: done, cancelled (evaluated as far as it went),
failed with a message, put back into the queue (the worker was told to stop), or taken over by another worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.errors import TriageError
from wfgy_triage.pairs import Pair, get_pair
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.result import Check, Result
from wfgy_triage.runs import provenance
from wfgy_triage.runs.models import LoadedPair, ModelCache
from wfgy_triage.runs.progress import Pulse, RunLog, Stopwatch
from wfgy_triage.runs.tools import RunTools
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import Event, RunRecord, RunStatus, Sample
from wfgy_triage.store.rows import LeaseLostError
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.workload.stored import workload_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """Where a run is worked on.

    Attributes:
        repo: the store.
        settings: of this process.
        tools: probes, engines, checks.
        models: keeps the last pair loaded.
        worker_id: who holds the run's lease.
        should_stop: true once this process is to end; the run goes back into the queue.
        on_event: told every event of the run.
        log_name: the file under `logs/` of the home folder that this process logs to.
    """

    repo: RunRepository
    settings: Settings
    tools: RunTools
    models: ModelCache
    worker_id: str
    should_stop: Callable[[], bool] = lambda: False
    on_event: Callable[[Event], None] | None = None
    log_name: str = "worker.log"


def execute_run(record: RunRecord, bench: Bench, pair: Pair | None = None) -> RunStatus:
    """Work on a leased run until it ends, and store how it ended.

    Args:
        record: the run as leased.
        bench: what to work with.
        pair: the model pair, where it is not a registered one.

    Returns:
        DONE, CANCELLED or FAILED; QUEUED when told to stop; RUNNING when another worker has it.

    Raises:
        TriageError: the end could not be stored (disk full); the lease goes stale and the run is resumed.
    """
    watch = Stopwatch(record.timings)
    with Pulse(bench.repo, record.id, bench.worker_id, watch.seconds) as pulse:
        run = _Pass(record, bench, pair, watch, pulse)
        try:
            return run.work()
        except LeaseLostError:
            _log.warning("run %s was taken over by another worker", record.id)
            return RunStatus.RUNNING
        except TriageError as error:
            _log.warning("run %s failed: %s", record.id, error)
            return run.fail(error.message, error.hint)
        # The boundary of this process: a fault in a probe, an engine or torch must neither end the worker,
        # which has other runs to do, nor leave this run open. The traceback is logged; users get words.
        except Exception as error:
            _log.exception("run %s met an unexpected error", record.id)
            return run.fail(*_plain_words(error, bench.log_name))


class _Pass:
    """The steps of one pass, and what they share."""

    def __init__(
        self, record: RunRecord, bench: Bench, pair: Pair | None, watch: Stopwatch, pulse: Pulse
    ) -> None:
        self._record = record
        self._bench = bench
        self._repo = bench.repo
        self._given_pair = pair
        self._watch = watch
        self._pulse = pulse
        self._log = RunLog(bench.repo, record.id, bench.worker_id, bench.on_event)
        self._cut_short = False
        spec = record.spec
        self._probe_settings = ProbeSettings(spec.questions, spec.seed, options=spec.options)

    def work(self) -> RunStatus:
        """Everything, in order."""
        spec = self._record.spec
        probe = self._bench.tools.get_probe(spec.symptom)
        asked = workload_path(self._bench.settings.home, spec.symptom, spec.workload_id)
        self._probe_settings = replace(self._probe_settings, workload=asked)
        pair = self._given_pair or get_pair(self._bench.settings, spec.pair_id)
        before = self._repo.last_event(self._record.id, "context")
        if self._pulse.cancelled and before is not None:
            # Asked to stop between two passes: the samples are evaluated as they are, no model is loaded.
            return self._conclude(probe, before.payload["pair"], _checks(before), RunStatus.CANCELLED)
        folders = self._bench.tools.describe_pair(pair)
        if before is not None:
            provenance.refuse_changed_models(before.payload["pair"], folders)
        loaded = self._load(pair)
        described = provenance.with_engines(folders, loaded.fp16.info, loaded.exl2.info)
        checks = self._check(pair, loaded, described)
        if not self._stop():
            probe.run(self._context(loaded, described))
        if self._pulse.lost:
            raise LeaseLostError(self._record.id)
        if self._cut_short and not self._pulse.cancelled:
            return self._put_back()
        status = RunStatus.CANCELLED if self._cut_short else RunStatus.DONE
        return self._conclude(probe, described, checks, status)

    def fail(self, message: str, hint: str) -> RunStatus:
        """Store that the run failed; its samples stay."""
        return self._finish(RunStatus.FAILED, None, message, hint)

    def _load(self, pair: Pair) -> LoadedPair:
        self._watch.enter("load")
        label = f"Loading the models of “{pair.name}”"
        self._log.stage("load", label, 0, 2)
        return self._bench.models.acquire(pair, lambda done: self._log.stage("load", label, done, 2))

    def _check(self, pair: Pair, loaded: LoadedPair, described: Mapping[str, Any]) -> tuple[Check, ...]:
        self._watch.enter("checks")
        self._log.stage("checks", "Comparing tokenizer, template and configuration", 0, 1)
        checks = self._bench.tools.run_prechecks(pair, loaded.fp16, loaded.exl2)
        rows = [{"check": c.check, "result": c.result, "detail": c.detail} for c in checks]
        self._log.write("context", {"pair": described, "checks": rows})
        self._log.stage("checks", "Comparing tokenizer, template and configuration", 1, 1)
        return checks

    def _context(self, loaded: LoadedPair, described: Mapping[str, Any]) -> ProbeContext:
        return ProbeContext(
            fp16=loaded.fp16,
            exl2=loaded.exl2,
            open_floor=self._bench.models.floor,
            settings=self._probe_settings,
            done=self._repo.done_keys(self._record.id),
            stored=lambda: self._repo.samples(self._record.id),
            save=self._save,
            progress=self._progress,
            should_stop=self._stop,
            cache=self._bench.settings.home / "cache",
            models=provenance.model_hashes(described),
        )

    def _save(self, samples: Sequence[Sample]) -> None:
        self._repo.add_samples(self._record.id, samples, self._bench.worker_id)

    def _progress(self, stage: str, label: str, done: int, total: int) -> None:
        self._watch.enter(f"measure_{stage}")
        self._log.stage(stage, label, done, total)

    def _stop(self) -> bool:
        # Remembered, because a stop that comes after the last question cuts nothing short.
        if self._pulse.lost or self._pulse.cancelled or self._bench.should_stop():
            self._cut_short = True
        return self._cut_short

    def _put_back(self) -> RunStatus:
        self._repo.heartbeat(self._record.id, self._bench.worker_id, self._watch.seconds())
        released = self._repo.release(self._record.id, self._bench.worker_id)
        return RunStatus.QUEUED if released else RunStatus.RUNNING

    def _conclude(
        self, probe: Probe, pair: Mapping[str, Any], checks: Sequence[Check], status: RunStatus
    ) -> RunStatus:
        self._watch.enter("evaluate")
        self._log.stage("evaluate", "Working out the verdict", 0, 1)
        evaluation = probe.evaluate(self._repo.samples(self._record.id), checks, self._probe_settings)
        workload = probe.workload_info(self._probe_settings)
        self._log.stage("evaluate", "Working out the verdict", 1, 1)
        result = self._result(evaluation, pair, workload).to_json()
        validate_result(result)
        return self._finish(status, result)

    def _result(self, evaluation: Evaluation, pair: Mapping[str, Any], workload: Mapping[str, Any]) -> Result:
        spec = self._record.spec
        return Result(
            run_id=self._record.id,
            created_at=self._record.created_at.isoformat(),
            symptom=spec.symptom,
            state=evaluation.state,
            headline=evaluation.headline,
            page_rule=evaluation.page_rule,
            pair=pair,
            workload=workload,
            settings={
                "questions": spec.questions,
                "seed": spec.seed,
                "level": self._probe_settings.level,
                "workload_id": spec.workload_id,
                **spec.options,
            },
            metrics=evaluation.metrics,
            diagnosis=evaluation.diagnosis,
            modules=load_catalog().symptom_modules(spec.symptom),
            recommendation=None,
            timings=self._watch.seconds(),
            versions=provenance.versions(),
            charts=evaluation.charts,
        )

    def _finish(
        self, status: RunStatus, result: Mapping[str, Any] | None, message: str = "", hint: str = ""
    ) -> RunStatus:
        stored = self._repo.finish(
            self._record.id, self._bench.worker_id, status, result, message, hint, self._watch.seconds()
        )
        return status if stored else RunStatus.RUNNING


def _checks(context: Event) -> tuple[Check, ...]:
    return tuple(Check(**row) for row in context.payload["checks"])


def _plain_words(error: Exception, log_name: str) -> tuple[str, str]:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "Memory ran out during the measurement. What was measured before is kept.",
            "Close other programs or use a smaller model pair, then resume this session.",
        )
    return (
        "The measurement stopped because of a fault in this program. What was measured before is kept.",
        f"Resume this session to try again. Details are in logs/{log_name} in the program's home folder.",
    )
