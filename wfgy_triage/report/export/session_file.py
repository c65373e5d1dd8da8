"""A session as a file that can be imported again: `wfgy-triage/session-1` (`fixmap/schema/session.schema.json`).

The hash covers everything but the frame: the same content gives the same hash wherever it is exported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from wfgy_triage.catalog import FIXMAP, load_catalog, validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import read_schema
from wfgy_triage.report.export.session import Session, with_questions
from wfgy_triage.result import Result
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus, Sample, SampleKey

SCHEMA = "wfgy-triage/session-1"
LARGEST = 64 * 1024 * 1024
"""Bytes of the largest file that is read: 200 questions with all their measurements take about a third."""
_CONTROL = re.compile(r"\\u00(?:0[0-8bcef]|1[0-9a-f]|7f|9b)|\\[bf]|[\x7f\x9b]")
"""As JSON writes them. In a terminal they would be commands."""
_HINT = "Export the session again where it was recorded, as `session`."


def session_file(session: Session) -> dict[str, Any]:
    """The object of the file."""
    content = _content(with_questions(session))
    return {"schema": SCHEMA, "sha256": content_hash(content), "content": content}


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 over the content in its one canonical form."""
    plain = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


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
        raise InputError("The session file was changed after it was written: its hash does not fit.", _HINT)
    return _session(content), str(found["sha256"])


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
        raise InputError("The file is not JSON, or it was cut off.", _HINT) from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        named = (
            f"It says {schema!r}." if isinstance(schema, str) and len(schema) < 100 else "It names no schema."
        )
        raise InputError(f"The file is not a session file of the kind {SCHEMA}. {named}", _HINT)
    try:
        fault = next(_validator().iter_errors(found), None)
    except RecursionError as error:
        raise InputError("The file is nested too deeply.", _HINT) from error
    if fault is not None:
        spot = ".".join(str(p) for p in fault.absolute_path) or "the file"
        raise InputError(f"The session file is damaged: {spot}: {fault.message[:200]}", _HINT)
    whole: dict[str, Any] = found
    return whole


def _session(content: Mapping[str, Any]) -> Session:
    run, spec, result = content["session"], content["spec"], content["result"]
    validate_result(result)
    if _CONTROL.search(json.dumps(result, ensure_ascii=False)):
        raise InputError("The session file is damaged: there are control characters in its result.", _HINT)
    if result["run_id"] != run["id"] or result["symptom"] != spec["symptom"]:
        raise InputError("The session file is damaged: its result is that of another session.", _HINT)
    load_catalog().symptoms[spec["symptom"]]
    samples = tuple(_sample(s) for s in content["samples"])
    if len({s.key for s in samples}) != len(samples):
        raise InputError("The session file is damaged: a measurement is in it twice.", _HINT)
    record = RunRecord(
        id=run["id"],
        spec=RunSpec(**spec),
        status=RunStatus(run["status"]),
        created_at=_moment(run["created_at"]),
        started_at=_moment(run["started_at"]) if run["started_at"] else None,
        finished_at=_moment(run["finished_at"]) if run["finished_at"] else None,
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


def _moment(text: str) -> datetime:
    """A time with its zone; every time of the store has one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"The session file is damaged: {text[:40]!r} is no time.", _HINT) from error
    if at.tzinfo is None:
        raise InputError(f"The session file is damaged: the time {text[:40]!r} has no zone.", _HINT)
    return at


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@lru_cache(maxsize=1)
def _validator() -> Any:
    return Draft202012Validator(read_schema(FIXMAP, "session"), registry=Registry())
