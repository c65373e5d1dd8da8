"""What the page and the command line may do with runs: start, watch, cancel, list.

Imports no torch and loads no model: a run is a row that a worker process leases (`worker.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

from wfgy_triage.access import Action, Actor
from wfgy_triage.catalog import load_catalog
from wfgy_triage.errors import InputError
from wfgy_triage.languages.known import ENGLISH
from wfgy_triage.pairs import get_pair
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.registry import available_symptoms, check_settings
from wfgy_triage.report.compare import Comparison, Pairing, compare
from wfgy_triage.report.export.formats import Exported, export
from wfgy_triage.report.export.session import Session
from wfgy_triage.runs.compare import pair_elsewhere
from wfgy_triage.runs.limits import load_limits
from wfgy_triage.runs.people import ForPeople
from wfgy_triage.runs.sessions import Imported, import_session, read_session
from wfgy_triage.runs.trial_options import RECHECK_OF, earlier_run, split_options
from wfgy_triage.runs.watching import LiveRun, Watching
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.filters import Which
from wfgy_triage.store.records import RunRecord, RunSpec, Sample
from wfgy_triage.store.rows import IMPORT_KEY
from wfgy_triage.store.workers import WorkerRepository
from wfgy_triage.workload.stored import StoredWorkload, stored_workload, workload_path

MAX_QUESTIONS = 200
"""The most questions one run may ask for."""

WORKER_SILENT_S = 15.0
"""A worker that gave no sign of life for this long counts as gone."""

_SEED_LIMIT = 2**31


class TriageService(ForPeople):
    """Runs, as somebody may see and change them (`acting` gives the same for somebody else). Thread-safe.

    Args:
        settings: where the database and the pairs file are.
        symptoms: the symptoms that can be measured (those of the probe registry by default).
        actor: who acts; whoever runs this process by default.

    Raises:
        PrerequisiteError: the database cannot be opened (damaged, read-only, unreachable).
    """

    def __init__(
        self,
        settings: Settings,
        symptoms: Callable[[], tuple[str, ...]] = available_symptoms,
        actor: Actor | None = None,
    ) -> None:
        self._settings = settings
        self._symptoms = symptoms
        self._database = open_database(settings.database_url)
        self._workers = WorkerRepository(self._database)
        self._limits = load_limits()
        self._watching = Watching(self._database, WORKER_SILENT_S)
        self._bind(actor)

    @property
    def database(self) -> Database:
        """The store, for those who count over all of it."""
        return self._database

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def start(self, spec: RunSpec, start_key: str | None = None) -> str:
        """Queue a run and return its id.

        Args:
            spec: what to measure.
            start_key: any text of at most 64 characters; the same key again returns the same run, so that a
                double click starts one.

        Raises:
            InputError: unknown symptom, pair, question set or earlier run, a number out of range, or too many runs
                wait, in all or of the actor.
            PrerequisiteError: the pair's model folders are not there.
        """
        validate_spec(spec, self._symptoms())
        get_pair(self._settings, spec.pair_id)
        check_sources(self._settings, spec)
        if earlier := earlier_run(spec.options):
            self._runs.get(earlier)
        if start_key is not None and (not 0 < len(start_key) <= 64 or start_key.startswith(IMPORT_KEY)):
            raise InputError("The start key must have 1 to 64 characters.", "Use a random id for each form.")
        return self._runs.create(spec, start_key=start_key, limits=self.queue_limits).id

    def check_again(self, run_id: str) -> str:
        """Queue the same run once more, after a change; its result is compared with the first. Returns its id.

        Raises:
            InputError: there is no such run, or as for `start`.
            PrerequisiteError: the pair's model folders are not there.
        """
        spec = self._runs.get(run_id).spec
        return self.start(replace(spec, options={**spec.options, RECHECK_OF: run_id}))

    def workload(self, workload_id: str) -> StoredWorkload:
        """Look up a kept question set; InputError when there is none."""
        return stored_workload(self._settings.home, workload_id)

    def get(self, run_id: str) -> RunRecord:
        """The run with its result; InputError when there is none."""
        return self._runs.get(run_id)

    def look(self, run_id: str) -> LiveRun:
        """The run as it is now, without its result; made for looking again and again. InputError when there is none."""
        self.demand(Action.READ)
        return self._watching.look(run_id)

    def samples(self, run_id: str) -> tuple[Sample, ...]:
        """What is measured so far, in the order it was stored."""
        return self._runs.samples(run_id)

    def cancel(self, run_id: str) -> RunRecord:
        """Ask a run to stop; what is measured is kept and evaluated. An ended run stays as it is."""
        return self._runs.request_cancel(run_id)

    def resume(self, run_id: str) -> RunRecord:
        """Queue a failed or cancelled run again; nothing it measured is measured again.

        Raises:
            InputError: no such run, or it is open or done; or its pair is no longer registered; or too many runs wait,
                in all or of the actor.
            PrerequisiteError: the pair's model folders are not there.
        """
        record = self._runs.get(run_id)
        if record.imported:
            raise InputError(
                "This session was measured elsewhere and imported; it cannot go on here.",
                "Start a new one with the same choices.",
            )
        get_pair(self._settings, record.spec.pair_id)
        return self._runs.requeue(run_id, self.queue_limits)

    def describe(self, run_id: str, title: str, note: str, tags: str) -> RunRecord:
        """Keep a name, notes and tags of a session; InputError for no such session or too much text."""
        return self._runs.describe(run_id, described(title, note, tags))

    def export(self, run_id: str, form: str, redact: bool = False, language: str = ENGLISH) -> Exported:
        """A session as a file in one of the `report.export.formats`.

        Args:
            run_id: the run.
            form: id of the format.
            redact: leave the texts of questions and answers out.
            language: the one to write it in; the report alone has others than English.

        Raises:
            InputError: no such run, format or language, or the run has no result.
        """
        self.demand(Action.EXPORT)
        session = read_session(self._settings, self._runs, run_id, redact)
        found = export(session, form, load_catalog(), language)
        self.note(Action.EXPORT, run_id, format=form, redacted=redact, language=language)
        return found

    def import_session(self, data: bytes) -> Imported:
        """Store a session from a session file; InputError when it cannot be used."""
        self.demand(Action.IMPORT)
        found = import_session(self._settings, self._database, data, self.actor.name)
        if found.new:
            self.note(Action.IMPORT, found.record.id)
        return found

    def compare(self, first: str, second: str, pair: Callable[[Session, Session], Pairing]) -> Comparison:
        """What differs between two sessions.

        Args:
            first: id of the session to compare with.
            second: id of the other.
            pair: pairs their metrics; see `runs.compare`.

        Raises:
            InputError: no such run, one without a result, or twice the same.
        """
        if first == second:
            raise InputError("These are one and the same session.", "Choose two different ones.")
        one, other = (
            read_session(self._settings, self._runs, run_id, leaving=False) for run_id in (first, second)
        )
        return compare(one, other, pair(one, other))

    def pair_elsewhere(self, first: Session, second: Session) -> Pairing:
        """Pair the metrics of two sessions in a process of its own; takes seconds when asked first."""
        return pair_elsewhere(self._settings, first, second)

    def list(self, limit: int = 50, offset: int = 0, **which: Unpack[Which]) -> tuple[RunRecord, ...]:
        """Runs that match, newest first, without their results (`state` is there)."""
        return self._runs.list(limit, offset, **which)

    def count(self, **which: Unpack[Which]) -> int:
        """How many runs match."""
        return self._runs.count(**which)

    def worker_alive(self) -> bool:
        """Whether a worker process gave a sign of life lately."""
        return self._workers.alive(WORKER_SILENT_S)

    def warm_pairs(self) -> frozenset[str]:
        """Ids of the pairs whose models a worker keeps loaded: a run on them starts at once."""
        return self._workers.warm_pairs(WORKER_SILENT_S)


def validate_spec(spec: RunSpec, measurable: tuple[str, ...]) -> None:
    """Check everything about a request that needs neither files nor the database.

    Raises:
        InputError: says what is wrong and what is allowed.
    """
    symptom = load_catalog().symptoms[spec.symptom]
    if spec.symptom not in measurable:
        raise InputError(
            f"“{symptom.label}” cannot be measured yet: this version has no probe for it.",
            f"Its likely cause and fix modules are in the fix map. Measurable now: {', '.join(measurable)}.",
        )
    if not 1 <= spec.questions <= MAX_QUESTIONS:
        raise InputError(
            f"{spec.questions} questions were asked for.", f"Choose between 1 and {MAX_QUESTIONS}."
        )
    split_options(spec.options)
    if not 0 <= spec.seed < _SEED_LIMIT:
        raise InputError(f"The seed {spec.seed} is out of range.", f"Choose between 0 and {_SEED_LIMIT - 1}.")


def check_sources(settings: Settings, spec: RunSpec) -> None:
    """Check a request's question set and the probe's own settings, with the files that they name.

    Raises:
        InputError: there is no such set, it does not fit the symptom, or a setting is not possible.
        PrerequisiteError: a kept file was changed.
    """
    asked = workload_path(settings.home, spec.symptom, spec.workload_id)
    own, _ = split_options(spec.options)
    check_settings(spec.symptom, ProbeSettings(spec.questions, spec.seed, options=own, workload=asked))
