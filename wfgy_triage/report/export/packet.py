"""`wfgy_debug_packet_v1`: one packet for each question that was lost or answered differently.

Only what was measured is filled. The prompt (`p`) is not stored, and the evidence (`e`) only where passages were what
was measured, so these are left out elsewhere; so are the ΔS pairs, zones and types that no probe measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wfgy_triage.catalog import Catalog
from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.report.answers import Row
from wfgy_triage.report.export.session import Session, lost, telling
from wfgy_triage.report.trials import chosen
from wfgy_triage.report.words import class_words

SPEC = "wfgy_debug_packet_v1"
FACTS_OF_A_SIDE = (
    "folder",
    "decoder_bpw",
    "head_bits",
    "engine",
    "engine_version",
    "device",
    "compute_dtype",
)


def packets_json(session: Session, catalog: Catalog) -> str:
    """Return the packets as a JSON list, those of lost questions first."""
    found = [_packet(session, row, catalog) for row in telling(session.rows)]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _packet(session: Session, row: Row, catalog: Catalog) -> dict[str, Any]:
    payload = _payload(session, row.key)
    texts: dict[str, str] = {} if session.redacted else _texts(row, payload)
    at = session.record.finished_at or session.record.created_at
    packet = {
        "id": f"{session.record.id}/{row.key}",
        "created_utc": at.isoformat(),
        "environment": _environment(session),
        **texts,
        "metrics": _metrics(session, row, payload),
        "labels": _labels(session, catalog),
        "triage_notes": _notes(session, row),
        "fix_plan": _fix_plan(session),
    }
    return {k: v for k, v in packet.items() if v not in ({}, None)}


def _texts(row: Row, payload: Mapping[str, Any]) -> dict[str, str]:
    found = {"q": row.question}
    if row.exl2 is not None:
        # What a search returned is evidence; what a model wrote is an answer.
        found["e" if "scores" in payload else "a"] = row.exl2.text
    return found


def _environment(session: Session) -> dict[str, Any]:
    result = session.result
    sides = {
        side: {k: result.pair[side][k] for k in FACTS_OF_A_SIDE if result.pair[side].get(k) is not None}
        for side in ("fp16", "exl2")
    }
    return {
        "pair": result.pair["id"],
        **sides,
        "question_set": result.workload["id"],
        "seed": result.settings["seed"],
        "versions": dict(result.versions),
    }


def _metrics(session: Session, row: Row, payload: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    k = str(session.result.settings.get("k", K_SWEEP[0]))
    if "scores" in payload and k in (payload.get("ds") or {}):
        found["delta_s"] = {"dS_QE": payload["ds"][k]}
    if row.exl2 is not None and row.exl2.tokens is not None and "scores" not in payload:
        found["system"] = {"tokens_completion": row.exl2.tokens}
    return found


def _labels(session: Session, catalog: Catalog) -> dict[str, Any]:
    symptom = catalog.symptoms.get(session.result.symptom)
    numbers = {n for m in session.result.modules for n in m.problem_numbers}
    labels: dict[str, Any] = {
        "modes": sorted(numbers),
        "lane": symptom.label if symptom else session.result.symptom,
        "confidence": session.result.diagnosis.confidence,
        "status": str(session.result.state),
    }
    return {k: v for k, v in labels.items() if v}


def _notes(session: Session, row: Row) -> str:
    """What else was measured on this question, in sentences."""
    told = ["EXL2 loses this question." if lost(row) else "Both sides answer this question differently."]
    if row.exl2 is not None and row.exl2.kind:
        told.append(f"EXL2: {class_words(row.exl2.kind)}.")
    if row.fp16 is not None and row.fp16.kind:
        told.append(f"FP16: {class_words(row.fp16.kind)}.")
    if row.fp16 is not None and not session.redacted:
        told.append(f"FP16's answer: {row.fp16.text}")
    return " ".join(told)


def _fix_plan(session: Session) -> dict[str, Any]:
    trial = chosen(session.result)
    plan: dict[str, Any] = {"selected_modes": [m.id for m in session.result.modules]}
    if trial is not None:
        fix = session.result.recommendation or {}
        plan["fixes"] = [{"label": trial["label"], "patch": dict(trial["patch"])}]
        plan["verification_tests"] = [
            {"on": "the same questions", "state_after": fix["state_after"], "verified": fix["verified"]}
        ]
    return plan if session.result.modules or trial is not None else {}


def _payload(session: Session, key: str) -> Mapping[str, Any]:
    """What was stored of EXL2's side of a question."""
    for s in session.samples:
        if s.key.side == "exl2" and f"{s.key.question}/{s.key.paraphrase}/{s.key.seed}" == key:
            return s.payload
    return {}
