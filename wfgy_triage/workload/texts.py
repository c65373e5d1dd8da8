"""What the questions of a symptom ask, for the page: looked up by question id, no probe needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.workload.chains import load_chains
from wfgy_triage.workload.chunks import load_chunks
from wfgy_triage.workload.citations import RECORD, WITH_K
from wfgy_triage.workload.corpus import CORPUS, load_corpus
from wfgy_triage.workload.json_records import RECORD_LEVELS, load_json_workload
from wfgy_triage.workload.passages import kept_passages


def _json_notes(path: Path | None) -> Mapping[str, str]:
    files = (path,) if path else RECORD_LEVELS.values()
    return {q.id: q.text for file in files for q in load_json_workload(file).questions}


def _citation_questions(path: Path | None) -> Mapping[str, str]:
    asked = {q.id: q.text for q in load_corpus(path or CORPUS).questions}
    return asked | {q + RECORD: f"{text} (source as a JSON record)" for q, text in asked.items()}


def _swept_questions(path: Path | None) -> Mapping[str, str]:
    asked = {q.id: q.text for q in load_corpus(path or CORPUS).questions}
    return asked | {
        f"{q}{WITH_K}{k}": f"{text} (with {k} passages)" for q, text in asked.items() for k in K_SWEEP
    }


def _searches(path: Path | None) -> Mapping[str, str]:
    kept = kept_passages(path) if path else None
    return _passage_questions(kept.chunks_path) if kept is not None else _citation_questions(path)


@lru_cache(maxsize=4)  # the page asks every second while a run is open, and a kept file never changes
def _passage_questions(path: Path) -> Mapping[str, str]:
    return {query.id: query.text for query in load_chunks(path).queries}


def _chain_beginnings(path: Path | None) -> Mapping[str, str]:
    return {c.id: c.summary for c in load_chains().chains}


_TEXTS: Mapping[str, Callable[[Path | None], Mapping[str, str]]] = {
    "acceptance_gate": _citation_questions,
    "citations_missing": _citation_questions,
    "json_breaks": _json_notes,
    "long_chain": _chain_beginnings,
    "sixty_seconds": _swept_questions,
    "wrong_snippet": _searches,
}
"""Symptom id to the texts of its questions. A probe with questions adds a line."""


def question_texts(symptom: str, path: Path | None = None) -> Mapping[str, str]:
    """What each question of a symptom asks, by question id; empty for an unknown symptom.

    Args:
        symptom: its id.
        path: the file of a user's question set; None for the built-in one.
    """
    return _TEXTS[symptom](path) if symptom in _TEXTS else {}
