"""Recorded sessions leave the program and come in again. No torch: the page does this itself."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import DOCTOR_SIDE, Finding
from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.pairs import load_pairs
from wfgy_triage.remedies.told import facts_of
from wfgy_triage.remedies.vocabulary import load_vocabulary
from wfgy_triage.report.export.html import session_html
from wfgy_triage.report.export.markdown import session_markdown
from wfgy_triage.report.export.packet import packets_json
from wfgy_triage.report.export.redact import redacted
from wfgy_triage.report.export.scrub import Scrubber, scrubbed
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.export.session_file import read_session_file, session_file
from wfgy_triage.report.export.written import content_hash
from wfgy_triage.report.files import Kind
from wfgy_triage.report.format import moment
from wfgy_triage.result import Result
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.store.comments import CommentRepository
from wfgy_triage.store.database import Database
from wfgy_triage.store.guarded import GuardedRuns, comments_beside
from wfgy_triage.store.imports import add_imported, imported_as
from wfgy_triage.store.records import RunRecord, RunSpec, Sample
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.workload.stored import workload_path
from wfgy_triage.workload.texts import question_texts

MISSHAPEN = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
)
"""What reading samples ends with that an imported file holds and no probe would have stored."""


@dataclass(frozen=True)
class Imported:
    """A session that was read from a file; `new` is false where it was there already."""

    record: RunRecord
    new: bool


def read_session(
    settings: Settings,
    runs: RunRepository | GuardedRuns,
    run_id: str,
    redact: bool = False,
    leaving: bool = True,
) -> Session:
    """Read a run with everything an export says of it.

    Args:
        settings: where question sets are kept, and which folders are this machine's.
        runs: the store.
        run_id: the run.
        redact: leave the texts of questions and answers out.
        leaving: whether it leaves the program: paths and names of this machine are then taken out.

    Raises:
        InputError: there is no such run, or it has no result.
    """
    record = runs.get(run_id)
    if record.result is None:
        raise InputError(
            f"The session {run_id} is {record.status} and has no result.",
            "Only sessions that came to a result can be exported or compared.",
        )
    samples, result = runs.samples(run_id), Result.from_json(record.result)
    texts = texts_of(settings, record.spec)
    comments = comments_beside(runs, run_id)
    session = Session(
        record, result, samples, texts, file_kinds(), changed_sides(result, samples), _bare(samples), comments
    )
    if leaving:
        session = scrubbed(session, Scrubber(_folders(settings, record), _hosts()))
    return redacted(session) if redact else session


def import_session(settings: Settings, database: Database, data: bytes, owner: str = "") -> Imported:
    """Store a session from a session file; it belongs to `owner` here.

    Raises:
        InputError: the file is no session file, was changed, is too large, or holds what cannot be shown.
    """
    session, content = read_session_file(data)
    _must_render(session)
    there = imported_as(database, content) or _recorded_here(
        settings, RunRepository(database), session, content
    )
    if there is not None:
        if there.imported:  # what was said elsewhere since then
            CommentRepository(database).merge(there.id, session.comments)
        return Imported(there, new=False)
    record = replace(session.record, owner=owner)
    left_out = " The texts of its questions and answers were left out." if session.redacted else ""
    note = f"Imported from a session file. It was measured as {record.id} on {moment(record.created_at)}.{left_out}"
    stored = add_imported(database, record, session.result.to_json(), session.samples, content, note)
    CommentRepository(database).merge(stored.id, session.comments)
    return Imported(stored, new=True)


def file_kinds() -> tuple[Kind, ...]:
    """What is known of the files that a change can be written as."""
    return tuple(Kind(t.id, t.title, t.file, t.fits) for t in load_vocabulary().targets.values())


def changed_sides(result: Result, samples: Sequence[Sample]) -> tuple[str, str, str] | None:
    """Sides of the reference's answers, of EXL2's before and of its answers after the recommended change.

    FP16's are those without the change, also where it was asked with it.
    """
    best = (result.recommendation or {}).get("candidate")
    trial = next((t for t in facts_of(samples) if best and t.id == best), None)
    if trial is None:
        return None
    return ("fp16" if trial.both_sides else trial.reference, trial.deployed, trial.side)


def texts_of(settings: Settings, spec: RunSpec) -> Mapping[str, str]:
    """Texts of a run's questions; those of a question set that is not here are not known."""
    try:
        return question_texts(spec.symptom, workload_path(settings.home, spec.symptom, spec.workload_id))
    except TriageError:
        return {}


def _bare(samples: Sequence[Sample]) -> bool:
    """Whether the answers' texts had been left out when this session was exported elsewhere."""
    answers = [s for s in samples if s.key.side in ("fp16", "exl2")]
    return bool(answers) and not any("text" in s.payload for s in answers)


def _folders(settings: Settings, record: RunRecord) -> Iterable[str]:
    """Folders of this machine that may stand in a session."""
    yield from map(
        str, (settings.home, REPO_ROOT, Path.home(), Path.cwd(), sys.prefix, tempfile.gettempdir())
    )
    yield from (str(v) for v in record.spec.options.values() if isinstance(v, str) and os.path.isabs(v))
    with suppress(TriageError):  # a pairs file that cannot be read names no folders
        for pair in load_pairs(settings).values():
            yield from (str(pair.fp16), str(pair.exl2), str(pair.fp16.parent), str(pair.exl2.parent))


def _hosts() -> tuple[str, ...]:
    return (platform.node(), platform.node().partition(".")[0])


def _recorded_here(
    settings: Settings, runs: RunRepository, session: Session, content: str
) -> RunRecord | None:
    """The run of this store that the file was exported from, when it still has the same content."""
    try:
        mine = read_session(settings, runs, session.record.id, redact=session.redacted)
    except InputError:
        return None
    same = content_hash(session_file(mine)["content"]) == content
    return runs.get(session.record.id) if same else None


def _must_render(session: Session) -> None:
    """Refuse what fits the schema and still cannot be shown: charts and samples are free in their form.

    Raises:
        InputError: something of it cannot be shown.
    """
    catalog = load_catalog()
    try:
        sides = changed_sides(session.result, session.samples)
        whole = replace(session, kinds=file_kinds(), changed_sides=sides)
        for write in (session_html, session_markdown, packets_json):
            write(whole, catalog)
        for sample in session.samples:
            if sample.key.side == DOCTOR_SIDE:
                Finding.from_json(sample.payload)
    except MISSHAPEN as error:
        raise InputError(
            f"The session file is damaged: what it holds cannot be shown ({type(error).__name__}).",
            "Export the session again where it was recorded, as `session`.",
        ) from error
