"""Recorded sessions for tests of exports. The numbers belong together, but nobody measured them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.browser.scripted import answer_payload, sample_answer
from tests.browser.scripted_trials import VERIFIED, failed_result
from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.report.export.session import Session
from wfgy_triage.result import Result
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.workload.json_records import load_json_workload

RUN_ID = "02v6qb27xvserb5kjd"
AT = datetime(2026, 11, 23, 7, 41, tzinfo=UTC)
HOSTILE = (
    '"><img src=x onerror=boom()><script>boom()</script>\n# big\n```\n</pre></style>'
    "[a](javascript:boom()) @everyone #1 `b` | c | https://evil.example/ <!-- "
)
"""Breaks out of attributes, tags, fences, tables and style sheets, calls people, and links."""


def made_session(run_id: str = RUN_ID, answers: int = 20, **spec: Any) -> Session:
    """A failed run with trials and a verified change."""
    questions = load_json_workload().questions[:answers]
    samples = tuple(
        Sample(
            SampleKey("json_breaks", q.id, 0, 0, side), answer_payload(*sample_answer(q, number, side))
        )
        for side in ("fp16", "exl2", "fp16_floor")
        for number, q in enumerate(questions)
    )  # fmt: skip
    changed = tuple(
        Sample(replace(s.key, side="try:schema_lock 3"), s.payload) for s in samples if s.key.side == "fp16"
    )
    result = failed_result(run_id, VERIFIED)
    record = RunRecord(
        run_id, RunSpec("json_breaks", "demo", options=spec.pop("options", {}), **spec), RunStatus.DONE, AT, AT, AT,
        None, False, None, str(result.state), "", "", {"total": 61.8},
    )  # fmt: skip
    texts = {q.id: q.text for q in questions}
    sides = ("fp16", "exl2", "try:schema_lock 3")
    return Session(record, result, samples + changed, texts, (), sides)


def written(session: Session, form: str) -> str:
    """The text of a session in one of the formats."""
    return FORMATS[form].write(session, load_catalog())


def hostile_session() -> Session:
    """A session in which every text that is free in its form is hostile: result, questions, answers."""
    session = made_session(answers=3)
    samples = tuple(
        replace(s, payload={**s.payload, "text": HOSTILE + s.key.side, "detail": HOSTILE, "mark": HOSTILE})
        for s in session.samples
    )
    session = replace(session, samples=samples, texts=dict.fromkeys(session.texts, HOSTILE))
    data = session.result.to_json()
    for path in [*_strings(data)]:
        changed = copy.deepcopy(data)
        _put(changed, path, HOSTILE)
        if _usable(session, changed):
            data = changed
    return replace(session, result=Result.from_json(data))


def _usable(session: Session, data: Mapping[str, Any]) -> bool:
    """Whether an import would take this result: it fits the schema and can be shown."""
    try:
        validate_result(data)
        tried = replace(session, result=Result.from_json(data), samples=())
        for form in ("html", "markdown"):
            written(tried, form)
    except (InputError, KeyError, ValueError, TypeError):
        return False
    return True


def _strings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _strings(inner, (*path, place))


def _put(data: Any, path: tuple[Any, ...], value: str) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value
