"""Leaves the texts of questions and answers out of a session; the numbers stay.

What is left out is decided by what may stay: of a stored measurement numbers, yes and no, and the few words that name
a class. Token ids are texts in another alphabet, so they go as well. In the result every sentence that repeats a
question or an answer goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from wfgy_triage.report.export.session import OWN_SIDES, Session
from wfgy_triage.result import Result
from wfgy_triage.store.records import Sample, SampleKey
from wfgy_triage.workload.stored import BUILTIN

LEFT_OUT = "(left out)"
WORDS = frozenset({"kind", "finish_reason", "mark", "arm"})
"""Keys of a measurement whose words name a class."""
FLAGS = frozenset({"same_top"})
"""Lists of whole numbers that are no token ids."""
TEXTS = frozenset({"question", "text", "answer", "quote", "said", "example"})
SHORTEST = 6
"""A shorter question or answer ("yes", "42") stands in sentences that are not about it."""


def redacted(session: Session) -> Session:
    """The session without texts of questions and answers."""
    names = _Names(session.record.spec.workload_id)
    secrets = sorted({t for t in _texts(session) if len(t) >= SHORTEST}, key=len, reverse=True)
    result = _without(session.result.to_json(), secrets, names, session)
    samples = tuple(_bare(s, secrets, names) for s in session.samples)
    # What people wrote may quote anything: comments go, and the name stays without what is in a question or an answer.
    record = replace(session.record, title=_replaced(session.record.title, secrets))
    return replace(
        session,
        record=record,
        result=Result.from_json(result),
        samples=samples,
        texts={},
        changed_sides=None,
        redacted=True,
        comments=(),
    )


class _Names:
    """Ids of a user's own questions may be texts; they become short hashes, the same in every session."""

    def __init__(self, workload_id: str) -> None:
        self._keep = workload_id == BUILTIN

    def of(self, question: str) -> str:
        return question if self._keep else f"q-{sha256(question.encode()).hexdigest()[:10]}"


def _texts(session: Session) -> Iterable[str]:
    yield from session.texts.values()
    for sample in session.samples:
        if sample.key.side not in OWN_SIDES:
            for key in TEXTS:
                if isinstance(text := sample.payload.get(key), str):
                    yield text
                    yield text.strip()


def _bare(sample: Sample, secrets: list[str], names: _Names) -> Sample:
    """A sample with its numbers alone."""
    key, payload = sample.key, sample.payload
    if key.side in OWN_SIDES:
        return Sample(key, _replaced(dict(payload), secrets))
    return Sample(
        SampleKey(key.probe, names.of(key.question), key.paraphrase, key.seed, key.side), _numbers(payload)
    )


def _numbers(payload: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in payload.items():
        if isinstance(value, Mapping):
            kept[key] = _numbers(value)
        elif isinstance(value, list):
            if all(v is None or isinstance(v, bool | float) for v in value) or key in FLAGS:
                kept[key] = value
        elif not isinstance(value, str) or key in WORDS:
            kept[key] = value
    return kept


def _without(result: dict[str, Any], secrets: list[str], names: _Names, session: Session) -> dict[str, Any]:
    """The result without sentences that repeat a text, and with its charts' questions named by number or id."""
    asked = {s.key.question for s in session.samples}
    charts = {key: _chart(value, asked, names) for key, value in result["charts"].items()}
    found: dict[str, Any] = _replaced({**result, "charts": charts}, secrets)
    return found


def _chart(value: Any, asked: set[str], names: _Names, place: int = 0) -> Any:
    if isinstance(value, list):
        return [_chart(v, asked, names, i) for i, v in enumerate(value, 1)]
    if not isinstance(value, Mapping):
        return value
    return {
        k: _question(str(v), asked, names, place)
        if k in TEXTS and isinstance(v, str)
        else _chart(v, asked, names)
        for k, v in value.items()
    }


def _question(text: str, asked: set[str], names: _Names, place: int) -> str:
    return names.of(text) if text in asked else f"Question {place}"


def _replaced(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, LEFT_OUT)
        return value
    if isinstance(value, Mapping):
        return {k: _replaced(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(v, secrets) for v in value]
    return value
