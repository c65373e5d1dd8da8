"""What the questions of a symptom ask, for the page: looked up by question id, no probe needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wfgy_triage.workload.chains import load_chains
from wfgy_triage.workload.json_records import load_json_workload


def _json_notes() -> Mapping[str, str]:
    return {q.id: q.text for q in load_json_workload().questions}


def _chain_beginnings() -> Mapping[str, str]:
    return {c.id: c.summary for c in load_chains().chains}


_TEXTS: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "json_breaks": _json_notes,
    "long_chain": _chain_beginnings,
}
"""Symptom id to the texts of its built-in questions. A probe with questions adds a line."""


def question_texts(symptom: str) -> Mapping[str, str]:
    """What each question of a symptom's built-in set asks, by question id; empty for an unknown symptom."""
    return _TEXTS[symptom]() if symptom in _TEXTS else {}
