"""A verdict as JUnit XML, the form in which CI servers read tests.

One test case a rule that decides, and one for the verdict, which is what the exit code says. FAIL is a failure.
INCONCLUSIVE and NOT MEASURED are skipped with the reason: nothing was shown to be wrong, and nothing has passed either.
A run without a result is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree  # noqa: S405 - written here, never read

from wfgy_triage.report.format import OPERATORS, difference, interval, quantity
from wfgy_triage.result import Metric, Result, State
from wfgy_triage.store.records import RunRecord

PASSED, FAILURE, SKIPPED, ERROR = "", "failure", "skipped", "error"
OUTCOMES: Mapping[State | None, str] = {
    State.PASS: PASSED,
    State.FAIL: FAILURE,
    State.INCONCLUSIVE: SKIPPED,
    State.NOT_MEASURED: SKIPPED,
    None: SKIPPED,
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold in any spelling."""


@dataclass(frozen=True)
class _Case:
    """A test case: what it is called, how it went, and in which words."""

    name: str
    outcome: str
    kind: str = ""
    message: str = ""
    text: str = ""


def junit_xml(record: RunRecord) -> bytes:
    """Write a recorded run as a JUnit file (UTF-8).

    Args:
        record: the run, with its result where it has one.
    """
    result = Result.from_json(record.result) if record.result else None
    cases = _cases(result) if result else [_without_result(record)]
    seconds = f"{record.timings.get('total', 0.0):.3f}"
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(c.outcome == FAILURE for c in cases)),
        "errors": str(sum(c.outcome == ERROR for c in cases)),
        "skipped": str(sum(c.outcome == SKIPPED for c in cases)),
        "time": seconds,
    }
    root = ElementTree.Element("testsuites", {"name": "wfgy-triage", **counts})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _clean(f"{record.spec.symptom} on {record.spec.pair_id}"),
            "timestamp": record.created_at.strftime("%Y-%m-%dT%H:%M:%S"),
            **counts,
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(record, result):
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for place, case in enumerate(cases):
        _write(suite, case, f"wfgy_triage.{record.spec.symptom}", seconds if place == 0 else "0.000")
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _cases(result: Result) -> list[_Case]:
    verdict = _Case(
        "verdict",
        OUTCOMES[result.state],
        str(result.state),
        result.headline or str(result.state),
        result.page_rule,
    )
    return [verdict, *(_rule(m) for m in result.metrics if m.primary)]


def _rule(metric: Metric) -> _Case:
    state = metric.state or State.NOT_MEASURED
    bounds = interval(metric.gated_interval, metric.unit)
    measured = quantity(metric.exl2, metric.unit) if metric.exl2 is not None else "not measured"
    gate = f"gate {_gate(metric)}" if metric.gate else "no gate"
    message = f"{state}: {metric.label}: EXL2 {measured}, FP16 {quantity(metric.fp16, metric.unit)}, {gate}"
    lines = [
        f"difference: {difference(metric.difference, metric.unit)}",
        f"interval of what the gate is held against: {bounds or 'none'}",
        f"questions: {metric.n}",
        f"source of the gate: {metric.gate.source if metric.gate else 'none'}",
        metric.note,
    ]
    reason = f"{message}. {metric.note}" if metric.note else message
    return _Case(metric.id, OUTCOMES[metric.state], str(state), reason, "\n".join(t for t in lines if t))


def _gate(metric: Metric) -> str:
    if metric.gate is None:
        return ""
    of = {"loss": "loss ", "gain": "gain "}.get(metric.gate.applies_to, "")
    return f"{of}{OPERATORS.get(metric.gate.op, metric.gate.op)} {quantity(metric.gate.value, metric.unit)}"


def _without_result(record: RunRecord) -> _Case:
    message = record.error_message or f"The session is {record.status} and has no result."
    return _Case("verdict", ERROR, str(record.status), message, record.error_hint)


def _properties(record: RunRecord, result: Result | None) -> Iterable[tuple[str, str]]:
    yield "run_id", record.id
    yield "pair", record.spec.pair_id
    yield "questions", str(record.spec.questions)
    yield "seed", str(record.spec.seed)
    if result is None:
        return
    yield "state", str(result.state)
    yield "cause", result.diagnosis.cause
    yield "workload_sha256", str(result.workload["sha256"])
    for name, version in result.versions.items():
        yield f"version.{_clean(name)}", version


def _write(suite: ElementTree.Element, case: _Case, group: str, seconds: str) -> None:
    element = ElementTree.SubElement(
        suite, "testcase", {"classname": _clean(group), "name": _clean(case.name), "time": seconds}
    )
    if case.outcome == PASSED:
        ElementTree.SubElement(element, "system-out").text = _clean(f"{case.message}\n{case.text}".strip())
        return
    kind = {} if case.outcome == SKIPPED else {"type": _clean(case.kind)}
    told = ElementTree.SubElement(element, case.outcome, {"message": _clean(case.message), **kind})
    told.text = _clean(case.text)


def _clean(text: str) -> str:
    """A text without what XML cannot hold; the writer escapes the rest."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
