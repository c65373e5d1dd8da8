"""Two recorded sessions beside each other: only what differs, as plain records that every renderer reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.report.answers import Row
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.provenance import READABLE
from wfgy_triage.report.trials import chosen
from wfgy_triage.result import Effect, Metric, Result, question_set

_HASH = re.compile(r"[0-9a-f]{64}")
SHOWN_OF_A_HASH = 16
NOT_COMPARED = frozenset({"memory_bytes", "weights_modified", "total_bytes"})
"""Facts of a model that differ from machine to machine and move no number; the hashes tell what is the same."""


@dataclass(frozen=True)
class Pairing:
    """The paired metrics, or in a sentence why there are none. `pending`: they are still being worked out."""

    metrics: tuple[Effect, ...] = ()
    reason: str = ""
    pending: bool = False


@dataclass(frozen=True)
class Difference:
    """One setting or fact that is not the same: where it belongs, its name in words, both values (empty: absent)."""

    section: str
    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """Two sessions, the first being the one to compare with.

    Attributes:
        first: what is compared with.
        second: what is compared.
        pairing: metrics on shared questions.
        differences: of configuration and provenance.
        gained: questions that EXL2 answers badly in the first and well in the second: both rows.
        dropped: the other way round.
        shared: how many questions both asked.
    """

    first: Session
    second: Session
    pairing: Pairing
    differences: tuple[Difference, ...]
    gained: tuple[tuple[Row, Row], ...]
    dropped: tuple[tuple[Row, Row], ...]
    shared: int

    @property
    def same_symptom(self) -> bool:
        """Whether both measured the same thing."""
        return self.first.result.symptom == self.second.result.symptom

    @property
    def changes(self) -> tuple[str, str]:
        """What each recommends, in a few words; empty where nothing."""
        first, second = (_recommended(s.result) for s in (self.first, self.second))
        return first, second


def compare(first: Session, second: Session, pairing: Pairing) -> Comparison:
    """Find what differs."""
    same = first.result.symptom == second.result.symptom
    earlier = {r.key: r for r in first.rows} if same else {}
    both = [(earlier[r.key], r) for r in second.rows if r.key in earlier]
    return Comparison(
        first,
        second,
        pairing,
        tuple(_differences(first, second)),
        tuple(p for p in both if _judged(p) == (False, True)),
        tuple(p for p in both if _judged(p) == (True, False)),
        len(both),
    )


def why_unpaired(first: Session, second: Session) -> str:
    """Why no metric of the two can be paired question by question; empty where they can."""
    if first.result.symptom != second.result.symptom:
        return "They measure different symptoms, so no metric is common to both."
    if question_set(first.result) != question_set(second.result):
        return "They asked different question sets, so nothing can be paired question by question."
    if first.redacted or second.redacted:
        return "The answers of one session were left out when it was exported, so they cannot be evaluated again."
    if not {r.key for r in first.rows} & {r.key for r in second.rows}:
        return "They have no answered question in common."
    return ""


def metric_pairs(first: Result, second: Result) -> list[tuple[Metric | None, Metric | None]]:
    """The metrics of both by id, the deciding ones first; those that have the same values on both sides left out."""
    then, now = ({m.id: m for m in r.metrics} for r in (first, second))
    pairs = [(then.get(i), now.get(i)) for i in dict.fromkeys([*now, *then])]
    changed = [p for p in pairs if _values(p[0]) != _values(p[1])]
    return sorted(changed, key=lambda p: not any(m is not None and m.primary for m in p))


def _values(metric: Metric | None) -> tuple[Any, ...] | None:
    return None if metric is None else (metric.fp16, metric.exl2, metric.n, metric.state)


def _judged(pair: tuple[Row, Row]) -> tuple[bool | None, bool | None]:
    first, second = (row.exl2.valid if row.exl2 else None for row in pair)
    return first, second


def _recommended(result: Result) -> str:
    trial = chosen(result)
    if trial is None:
        return ""
    verified = (result.recommendation or {}).get("verified")
    return f"{trial['label']} ({'verified' if verified else 'not verified'})"


def _differences(first: Session, second: Session) -> Iterator[Difference]:
    for section, a, b in (
        ("FP16 model", first.result.pair["fp16"], second.result.pair["fp16"]),
        ("EXL2 model", first.result.pair["exl2"], second.result.pair["exl2"]),
        ("Question set", first.result.workload, second.result.workload),
        ("Settings", _settings(first), _settings(second)),
        ("Versions", first.result.versions, second.result.versions),
    ):
        flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
        for name in dict.fromkeys([*flat_a, *flat_b]):
            if flat_a.get(name, "") != flat_b.get(name, ""):
                yield Difference(section, name, flat_a.get(name, ""), flat_b.get(name, ""))


def _settings(session: Session) -> dict[str, Any]:
    """What the user asked for and what the run used."""
    return {"model pair": session.result.pair["id"], **session.record.spec.options, **session.result.settings}


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if key in NOT_COMPARED or value in (None, "", [], {}):
            continue
        name = before + READABLE.get(key, key.replace("_", " ").replace("sha256", "SHA-256"))
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value[:SHOWN_OF_A_HASH]}\N{HORIZONTAL ELLIPSIS}" if _HASH.fullmatch(str(value)) else str(value)
