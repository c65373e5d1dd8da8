"""The doctor before a run measures: the two folders, then the models, which are loaded between its two parts."""

from __future__ import annotations

from dataclasses import dataclass

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import Finding, failures, prevents_loading
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.device_faults import DEVICE_CAUSES
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.latency import GAIN
from wfgy_triage.remedies.places import of_the_run
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.context import RunContext
from wfgy_triage.runs.models import LoadedPair, Room
from wfgy_triage.runs.progress import RunLog, Stopwatch
from wfgy_triage.store.records import RunRecord


@dataclass(frozen=True)
class Examined:
    """What the doctor found.

    Attributes:
        findings: of both its parts.
        loaded: the models; None where they cannot be loaded.
        in_turn: whether memory has room for one of them at a time.
    """

    findings: tuple[Finding, ...]
    loaded: LoadedPair | None = None
    in_turn: bool = False


class Examination:
    """Examines the pair of one pass over a run.

    Args:
        record: the run.
        bench: what it is worked on with.
        watch: of the pass.
        log: of the run.
        before: what was measured so far with; None where nothing was.
        first: whether no pass came as far as to measure.
    """

    def __init__(
        self,
        record: RunRecord,
        bench: Bench,
        watch: Stopwatch,
        log: RunLog,
        before: RunContext | None,
        first: bool,
    ) -> None:
        self._record, self._bench, self._watch, self._log = record, bench, watch, log
        self._before, self._first = before, first
        self._in_turn = False

    def examine(self, pair: Pair) -> Examined:
        """Check the folders, load the models, check them.

        Raises:
            PrerequisiteError: the models cannot be loaded now, and something was measured with them before: that is
                not to end as NOT MEASURED.
        """
        findings = self._check_folders(pair)
        if prevents_loading(findings):
            self._refuse_what_was_loadable(findings)
            return Examined(findings + not_loaded())
        try:
            loaded = self._load(pair)
        except PrerequisiteError as error:
            if self._was_loaded or (self._before is not None and error.cause in DEVICE_CAUSES):
                raise
            return Examined(findings + not_loaded(error), in_turn=self._in_turn)
        self._watch.enter("checks")
        label = "Checking the loaded models"
        self._log.stage("engine_checks", label, 0, 1)
        findings += self._bench.tools.check_engines(loaded.fp16, loaded.exl2)
        self._log.stage("engine_checks", label, 1, 1)
        return Examined(findings, loaded, self._in_turn)

    @property
    def _was_loaded(self) -> bool:
        """Whether the run has measurements of the loaded pair: a pair that never loaded has those of changes alone."""
        return self._before is not None and self._before.loaded

    def _check_folders(self, pair: Pair) -> tuple[Finding, ...]:
        self._watch.enter("checks")
        label = "Comparing the two folders"
        self._log.stage("checks", label, 0, 1)
        findings = self._bench.tools.check_folders(
            pair, lambda done, n: self._log.stage("checks", label, done, n + 1)
        )
        self._log.stage("checks", label, 1, 1)
        return findings

    def _refuse_what_was_loadable(self, findings: tuple[Finding, ...]) -> None:
        if self._was_loaded:
            fatal = next(f for f in failures(findings) if prevents_loading((f,)))
            raise PrerequisiteError(
                f"The pair was loaded when this run began, and cannot be loaded now: {fatal.seen} What was measured "
                "is kept.",
                fatal.do,
            )

    def _load(self, pair: Pair) -> LoadedPair:
        self._watch.enter("load")
        label = f"Loading the models of “{pair.name}”"
        self._log.stage("load", label, 0, 2)
        times = GAIN in load_catalog().symptoms[self._record.spec.symptom].gates

        def room(settings: EngineSettings, loaded: bool) -> Room:
            found = self._bench.tools.state_room(pair, settings, self._wants_twin(), loaded, times=times)
            if found.text and self._first:
                self._log.write("note", {"text": found.text})
            self._in_turn = found.in_turn
            return found

        return self._bench.models.acquire(pair, lambda done: self._log.stage("load", label, done, 2), room)

    def _wants_twin(self) -> bool:
        """Whether FP16 is still to be loaded a second time: once changes have been tried, its noise is measured."""
        asks = load_catalog().symptoms[self._record.spec.symptom].asks_questions
        stored = self._bench.repo.samples(self._record.id)
        return asks and len(of_the_run(stored)) == len(stored)
