"""One pass of a worker over a run: check, load, measure what is not yet measured, evaluate, store.

The doctor comes first: the folders before the models are loaded, then the loaded models. A pair that cannot be loaded
ends with a result (NOT MEASURED, the cause, the evidence), not with an error.

A pass may end in five ways, and the samples stay in each: done, cancelled (evaluated as far as it went),
failed with a message, put back into the queue (the worker was told to stop), or taken over by another worker.
Where the device failed, its models are forgotten; where the GPU stopped, the process has to end (`ModelCache.lost`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import Finding, evidence_of, is_loaded
from wfgy_triage.engine_settings import engine_settings
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.engines.device_faults import device_fault
from wfgy_triage.engines.suggested import SidesSampling, suggested_by
from wfgy_triage.errors import TriageError
from wfgy_triage.pairs import Pair, get_pair
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.reuse import Reuse
from wfgy_triage.probes.sampling import is_suggested
from wfgy_triage.probes.unmeasured import unmeasured
from wfgy_triage.remedies.places import of_the_run
from wfgy_triage.runs import provenance
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.context import (
    KIND,
    RunContext,
    last_context,
    refuse_other_measuring,
    versions_so_far,
)
from wfgy_triage.runs.ending import Ending, result_of
from wfgy_triage.runs.examining import Examination
from wfgy_triage.runs.faults import Twin, plain_words
from wfgy_triage.runs.models import LoadedPair
from wfgy_triage.runs.progress import Pulse, RunLog, Stopwatch
from wfgy_triage.runs.reuse import reuse_of
from wfgy_triage.runs.trial_options import split_options
from wfgy_triage.runs.trials import Workshop, try_changes, try_to_load
from wfgy_triage.settings import embedding_folder
from wfgy_triage.store.records import RunRecord, RunStatus, Sample
from wfgy_triage.store.rows import LeaseLostError
from wfgy_triage.workload.stored import workload_path

IN_TURN = "one model at a time"
_log = logging.getLogger(__name__)


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
            return _fail_after(error, run, bench)


def _fail_after(error: Exception, run: _Pass, bench: Bench) -> RunStatus:
    """Store in plain words that an error ended a run, and give up the models of a device that failed."""
    fault = device_fault(error)
    try:
        return run.fail(*plain_words(fault, bench.log_name))
    finally:
        if fault is not None:
            bench.models.abandon(lost=fault.stopped)


class _Pass:
    """The steps of one pass, and what they share."""

    def __init__(
        self, record: RunRecord, bench: Bench, pair: Pair | None, watch: Stopwatch, pulse: Pulse
    ) -> None:
        self._record = record
        self._bench = bench
        self._repo = bench.repo
        self._pair = pair
        self._watch = watch
        self._pulse = pulse
        self._log = RunLog(bench.repo, record.id, bench.worker_id, bench.on_event)
        self._cut_short = False
        self._in_turn = False
        self._findings: tuple[Finding, ...] = ()
        spec = record.spec
        own, self._trial_options = split_options(spec.options)
        self._probe_settings = ProbeSettings(spec.questions, spec.seed, options=own)

    def work(self) -> RunStatus:
        """Everything, in order."""
        before = last_context(self._repo, self._record.id)
        if self._pulse.cancelled and before is None:
            # Asked to stop before the models were loaded: as for a run that nobody has begun.
            return self._finish(RunStatus.CANCELLED, None)
        probe = self._probe()
        if self._pulse.cancelled and before is not None:
            # Asked to stop between two passes: what is stored is evaluated, without models.
            return self._conclude(probe, before, RunStatus.CANCELLED)
        self._pair = pair = self._pair or get_pair(self._bench.settings, self._record.spec.pair_id)
        context, loaded = self._prepare(probe, pair, before)
        self._log.write(KIND, context.to_json())
        if not self._stop():
            self._measure(probe, pair, loaded, context.pair)
        if self._pulse.lost:
            raise LeaseLostError(self._record.id)
        if self._cut_short and not self._pulse.cancelled:
            return self._put_back()
        return self._conclude(probe, context, RunStatus.CANCELLED if self._cut_short else RunStatus.DONE)

    def fail(self, message: str, hint: str) -> RunStatus:
        """Store that the run failed; its samples stay, with what they say so far."""
        return self._finish(RunStatus.FAILED, self._result_so_far(message), message, hint)

    def _probe(self) -> Probe:
        """The probe, which is told the question set."""
        spec = self._record.spec
        asked = workload_path(self._bench.settings.home, spec.symptom, spec.workload_id)
        self._probe_settings = replace(self._probe_settings, workload=asked)
        return self._bench.tools.get_probe(spec.symptom)

    def _prepare(
        self, probe: Probe, pair: Pair, before: RunContext | None
    ) -> tuple[RunContext, LoadedPair | None]:
        """Examine and load the pair; refused is what does not go with what an earlier pass measured."""
        described = self._bench.tools.describe_pair(pair)
        workload, versions = probe.workload_info(self._probe_settings)["sha256"], provenance.versions()
        measured = before if self._repo.done_keys(self._record.id) else None
        if before is not None:
            provenance.refuse_changed_models(before.pair, described)
        if measured is not None:
            refuse_other_measuring(measured, versions, workload)
        found = Examination(
            self._record, self._bench, self._watch, self._log, measured, first=before is None
        ).examine(pair)
        self._findings, self._in_turn, loaded = found.findings, found.in_turn, found.loaded
        if loaded is not None:
            described = provenance.with_engines(described, loaded.fp16.info, loaded.exl2.info)
            if loaded.in_turn:
                described["loading"] = IN_TURN
            provenance.refuse_changed_engines(before.pair if before else described, described)
            if is_suggested(self._probe_settings):
                described = provenance.with_sampling(described, self._suggested())
        now = RunContext(described, self._findings, versions_so_far(measured, versions), workload)
        if measured is not None and now.versions != measured.versions and (text := now.changed_versions()):
            self._log.write("note", {"text": text})
        return now, loaded

    def _measure(
        self, probe: Probe, pair: Pair, loaded: LoadedPair | None, described: Mapping[str, Any]
    ) -> None:
        cache = self._bench.open_cache() if self._bench.open_cache is not None else None
        reuse = reuse_of(cache, described, loaded.fp16.info, self._log.write) if loaded else None
        context = self._context(loaded, described, reuse)
        if self._measurable:
            probe.run(context)
        if not self._stop():
            self._try_changes(probe, pair, loaded, context)
        if cache is not None:
            cache.prune()

    def _try_changes(
        self, probe: Probe, pair: Pair, loaded: LoadedPair | None, context: ProbeContext
    ) -> None:
        tools, settings = self._bench.tools, self._bench.settings
        fp16, before = loaded.fp16 if loaded else None, self._evaluation(probe)
        asked = engine_settings(pair.engine, pair.id).loading == "in_turn"
        open_engine = self._bench.models.opener(self._in_turn or asked)
        with Workshop(
            pair, fp16, open_engine, tools.check_folders, tools.check_engines, settings
        ) as workshop:
            if self._measurable:
                try_changes(probe, context, before, pair, workshop.shop, self._trial_options)
            else:
                try_to_load(probe, context, before, pair, workshop, self._trial_options)

    @property
    def _measurable(self) -> bool:
        """Whether this pair can be asked, or need not be; from the findings, so that it holds for every pass."""
        asks = load_catalog().symptoms[self._record.spec.symptom].asks_questions
        return not asks or is_loaded(self._findings)

    def _evaluation(self, probe: Probe) -> Evaluation:
        if not self._measurable:
            return unmeasured(self._record.spec.symptom, self._findings)
        samples = of_the_run(self._repo.samples(self._record.id))
        return probe.evaluate(samples, evidence_of(self._findings), self._probe_settings)

    def _context(
        self, loaded: LoadedPair | None, described: Mapping[str, Any], reuse: Reuse | None
    ) -> ProbeContext:
        absent = AbsentEngine()
        return ProbeContext(
            fp16=loaded.fp16 if loaded else absent,
            exl2=loaded.exl2 if loaded else absent,
            open_floor=Twin(self._bench.models.floor, self._log).open,
            settings=self._probe_settings,
            done=self._repo.done_keys(self._record.id),
            stored=lambda: self._repo.samples(self._record.id),
            save=self._save,
            progress=self._progress,
            should_stop=self._stop,
            cache=embedding_folder(self._bench.settings),
            models=provenance.model_hashes(described),
            findings=self._findings,
            reuse=reuse,
            open_decoded=self._bench.models.decoded,
            suggested=self._suggested,
        )

    def _suggested(self) -> SidesSampling:
        assert self._pair is not None  # noqa: S101 - a pass that measures has its pair
        return suggested_by(self._pair)

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

    def _conclude(self, probe: Probe, context: RunContext, status: RunStatus) -> RunStatus:
        self._watch.enter("evaluate")
        self._log.stage("evaluate", "Working out the verdict", 0, 1)
        result = self._result(probe, context)
        self._log.stage("evaluate", "Working out the verdict", 1, 1)
        return self._finish(status, result)

    def _result(self, probe: Probe, context: RunContext, failure: str = "") -> dict[str, Any]:
        """What is stored says; without models, and so without the pair too, where that is gone."""
        with suppress(TriageError):
            self._pair = self._pair or get_pair(self._bench.settings, self._record.spec.pair_id)
        self._findings = context.findings
        ending = Ending(
            self._record, self._probe_settings, self._evaluation(probe), context, self._pair, failure
        )
        return result_of(ending, probe, self._repo, self._watch.seconds)

    def _result_so_far(self, failure: str) -> dict[str, Any] | None:
        """The result of a run that failed, which says so; None where nothing was measured, or cannot be evaluated."""
        try:
            context = last_context(self._repo, self._record.id)
            if context is None or not self._repo.done_keys(self._record.id):
                return None
            return self._result(self._probe(), context, failure)
        # Whatever ended the run may be in the way here as well; it is what the run says then.
        except Exception as error:
            _log.warning("what run %s measured cannot be evaluated: %s", self._record.id, error)
            return None

    def _finish(
        self, status: RunStatus, result: Mapping[str, Any] | None, message: str = "", hint: str = ""
    ) -> RunStatus:
        stored = self._repo.finish(
            self._record.id, self._bench.worker_id, status, result, message, hint, self._watch.seconds()
        )
        return status if stored else RunStatus.RUNNING
