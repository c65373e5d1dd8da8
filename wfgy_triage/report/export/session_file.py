"""A session as a file that can be imported again: `wfgy-triage/session-1` (`fixmap/schema/session.schema.json`).

The hash covers everything but the frame: the same content gives the same hash wherever it is exported. What people
wrote about the session stands beside it (`written.py`), so that a comment does not make another session of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from wfgy_triage.catalog import FIXMAP, load_catalog, validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import read_schema
from wfgy_triage.report.export.session import Session, with_questions
from wfgy_triage.report.export.written import (
    EXPORT_AGAIN,
    content_hash,
    moment_of,
    with_written,
    written_part,
)
from wfgy_triage.result import Result
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus, Sample, SampleKey

SCHEMA = "wfgy-triage/session-1"
LARGEST = 64 * 1024 * 1024
"""Bytes of the largest file that is read: 200 questions with all their measurements take about a third."""
_CONTROL = re.compile(r"\\u00(?:0[0-8bcef]|1[0-9a-f]|7f|9b)|\\[bf]|[\x7f\x9b]")
"""As JSON writes them. In a terminal they would be commands."""


def session_file(session: Session) -> dict[str, Any]:
    """The object of the file."""
    content = _content(with_questions(session))
    return {"schema": SCHEMA, "sha256": content_hash(content), "content": content, **written_part(session)}


def read_session_file(data: bytes) -> tuple[Session, str]:
    """Read and check a session file.

    Returns:
        The session, and the hash of its content.

    Raises:
        InputError: too large, not JSON, another schema, changed after it was written, or not what the schema says.
    """
    if len(data) > LARGEST:
        raise InputError(
            f"The file has {len(data) / 1e6:.0f} MB; session files of up to {LARGEST / 1e6:.0f} MB are read.",
            "Is it a session file? The other formats cannot be imported.",
        )
    found = _parse(data)
    content = found["content"]
    if found["sha256"] != content_hash(content):
        raise InputError(
            "The session file was changed after it was written: its hash does not fit.", EXPORT_AGAIN
        )
    return with_written(_session(content), found.get("written")), str(found["sha256"])


def _content(session: Session) -> dict[str, Any]:
    record, spec = session.record, session.record.spec
    return {
        "redacted": session.redacted,
        "session": {
            "id": record.id,
            "status": str(record.status),
            "created_at": record.created_at.isoformat(),
            "started_at": record.started_at.isoformat() if record.started_at else None,
            "finished_at": record.finished_at.isoformat() if record.finished_at else None,
            "timings": dict(record.timings),
        },
        "spec": {
            "symptom": spec.symptom,
            "pair_id": spec.pair_id,
            "questions": spec.questions,
            "seed": spec.seed,
            "workload_id": spec.workload_id,
            "options": dict(spec.options),
        },
        "result": session.result.to_json(),
        "samples": [{**s.key.__dict__, "payload": dict(s.payload)} for s in session.samples],
    }


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError("The file is not JSON, or it was cut off.", EXPORT_AGAIN) from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        named = (
            f"It says {schema!r}." if isinstance(schema, str) and len(schema) < 100 else "It names no schema."
        )
        raise InputError(f"The file is not a session file of the kind {SCHEMA}. {named}", EXPORT_AGAIN)
    try:
        fault = next(_validator().iter_errors(found), None)
    except RecursionError as error:
        raise InputError("The file is nested too deeply.", EXPORT_AGAIN) from error
    if fault is not None:
        spot = ".".join(str(p) for p in fault.absolute_path) or "the file"
        raise InputError(f"The session file is damaged: {spot}: {fault.message[:200]}", EXPORT_AGAIN)
    whole: dict[str, Any] = found
    return whole


def _session(content: Mapping[str, Any]) -> Session:
    run, spec, result = content["session"], content["spec"], content["result"]
    validate_result(result)
    if _CONTROL.search(json.dumps(result, ensure_ascii=False)):
        raise InputError(
            "The session file is damaged: there are control characters in its result.", EXPORT_AGAIN
        )
    if result["run_id"] != run["id"] or result["symptom"] != spec["symptom"]:
        raise InputError("The session file is damaged: its result is that of another session.", EXPORT_AGAIN)
    load_catalog().symptoms[spec["symptom"]]
    samples = tuple(_sample(s) for s in content["samples"])
    if len({s.key for s in samples}) != len(samples):
        raise InputError("The session file is damaged: a measurement is in it twice.", EXPORT_AGAIN)
    record = RunRecord(
        id=run["id"],
        spec=RunSpec(**spec),
        status=RunStatus(run["status"]),
        created_at=moment_of(run["created_at"]),
        started_at=moment_of(run["started_at"]) if run["started_at"] else None,
        finished_at=moment_of(run["finished_at"]) if run["finished_at"] else None,
        heartbeat_at=None,
        cancel_requested=False,
        result=result,
        state=result["state"],
        error_message="",
        error_hint="",
        timings=run["timings"],
    )
    return Session(record, Result.from_json(result), samples, {}, redacted=content["redacted"])


def _sample(data: Mapping[str, Any]) -> Sample:
    key = SampleKey(data["probe"], data["question"], data["paraphrase"], data["seed"], data["side"])
    return Sample(key, data["payload"])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@lru_cache(maxsize=1)
def _validator() -> Any:
    return Draft202012Validator(read_schema(FIXMAP, "session"), registry=Registry())
