"""The result of a run: one frozen object that the page, the command line and every export render from.

The JSON form is `wfgy-triage/result-1` (`fixmap/schema/result.schema.json`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA = "wfgy-triage/result-1"


class State(StrEnum):
    """The four states a verdict can have; nothing is ever coerced between them."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a secret
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURED = "NOT MEASURED"


@dataclass(frozen=True)
class Gate:
    """A threshold with its origin. `op` is `>=` or `<=`; `value` is in the unit of the metric.

    `applies_to`: `value` of the EXL2 side (or of the pair), `loss` FP16 − EXL2, or `gain` of EXL2 over FP16.
    """

    op: str
    value: float
    source: str
    applies_to: str = "value"


@dataclass(frozen=True)
class Metric:
    """One measured quantity on both sides.

    Attributes:
        id: stable name, e.g. `schema_valid_rate`.
        label: plain-language name shown to users.
        unit: `share`, `nats`, `tokens`, `ratio`, ...
        fp16: value of the FP16 baseline, None when it does not apply or was not measured.
        exl2: value of the EXL2 side (or of the pair, for divergences), None when not measured.
        difference: paired difference EXL2 minus FP16, None when it does not apply.
        interval: `(lo, hi)` of `difference`, or of `exl2` where `difference` is None.
        gated_interval: `(lo, hi)` of what the gate is held against (see `Gate.applies_to`); None without a gate.
        level: confidence level of both intervals.
        n: number of questions (the unit of resampling) behind the value.
        floor: the same quantity measured FP16 against FP16; None when not measured.
        gate: threshold, None for descriptive metrics.
        state: outcome against the gate; None for descriptive metrics without a gate.
        note: why something is missing, how many more questions would decide, what the number means.
        primary: whether this metric decides the symptom.
        more_questions: for INCONCLUSIVE: how many more questions would decide if the rate stayed; None when not known.
    """

    id: str
    label: str
    unit: str
    fp16: float | None
    exl2: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    gated_interval: tuple[float, float] | None = None
    level: float = 0.95
    n: int = 0
    floor: float | None = None
    gate: Gate | None = None
    state: State | None = None
    note: str = ""
    primary: bool = False
    more_questions: int | None = None


def deciding(metrics: Sequence[Metric]) -> Metric | None:
    """The metric that decides: of several primary ones the first that fails, else the first."""
    primary = [m for m in metrics if m.primary]
    return next((m for m in primary if m.state is State.FAIL), primary[0] if primary else None)


@dataclass(frozen=True)
class Effect:
    """A metric of EXL2 before and after a change, or in two sessions, on the questions asked both times.

    `difference` is after minus before; `better` says which way that is, None where the interval holds 0.
    """

    id: str
    label: str
    unit: str
    before: float | None
    after: float | None
    difference: float | None
    interval: tuple[float, float] | None
    level: float
    n: int
    better: bool | None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Effect:
        """Rebuild it from its plain form (`remedies.effect.effect_json`)."""
        return cls(**{**data, "interval": tuple(data["interval"]) if data["interval"] else None})


@dataclass(frozen=True)
class Check:
    """One rung of the isolation ladder: `result` is `ok`, `fault`, `unknown` or `inconclusive` (too few questions)."""

    check: str
    result: str
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """The named cause (an id of `fixmap/causes.yaml`), how sure, on what evidence, and what was ruled out.

    `confidence` is `high`, `medium` or `low`.
    """

    cause: str
    confidence: str
    evidence: tuple[Check, ...] = ()
    ruled_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleLink:
    """A fix module of the map: id, title, living URL, WFGY problem numbers."""

    id: str
    title: str
    url: str
    problem_numbers: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """Everything a finished (or stopped) run says.

    `charts` holds plain data for the chart builders. `reused` counts, by side, the FP16 measurements that an earlier
    run had made with the same model, prompts and settings. `recheck` compares with the run before a change was made.
    """

    run_id: str
    created_at: str
    symptom: str
    state: State
    pair: Mapping[str, Any]
    workload: Mapping[str, Any]
    settings: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    diagnosis: Diagnosis
    modules: tuple[ModuleLink, ...]
    recommendation: Mapping[str, Any] | None
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    headline: str = ""
    page_rule: str = ""
    charts: Mapping[str, Any] = field(default_factory=dict)
    reused: Mapping[str, int] = field(default_factory=dict)
    recheck: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plain `wfgy-triage/result-1` object, ready for `json.dumps`."""
        return {"schema": SCHEMA, **_plain(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Rebuild the result from its JSON object (the inverse of `to_json`)."""
        d = {k: v for k, v in data.items() if k != "schema"}
        d["state"] = State(d["state"])
        d["metrics"] = tuple(_metric(m) for m in d["metrics"])
        diag = dict(d["diagnosis"])
        diag["evidence"] = tuple(Check(**c) for c in diag["evidence"])
        diag["ruled_out"] = tuple(diag["ruled_out"])
        d["diagnosis"] = Diagnosis(**diag)
        d["modules"] = tuple(
            ModuleLink(**{**m, "problem_numbers": tuple(m["problem_numbers"])}) for m in d["modules"]
        )
        return cls(**d)


def _metric(m: Mapping[str, Any]) -> Metric:
    d = dict(m)
    for key in ("interval", "gated_interval"):
        if d.get(key) is not None:
            d[key] = (d[key][0], d[key][1])
    d["gate"] = Gate(**d["gate"]) if d.get("gate") else None
    d["state"] = State(d["state"]) if d.get("state") else None
    return Metric(**d)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, StrEnum):
        return str(value)
    return value


def question_set(found: Result) -> str:
    """What tells the question set of a result from others: the hash of its file, and the level at which it was asked.

    Results from before levels were named say theirs at the end of the id or, of chains, in the settings, where it is
    not the usual one.
    """
    workload, chains = found.workload, found.settings.get("chains", "standard")
    before = "hard" if str(workload["id"]).endswith("/citations/hard") else chains
    return f"{workload['sha256']} {workload.get('level', before)}"
