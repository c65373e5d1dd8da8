"""The four steps of "Fix in 60 seconds" as HTML: what each found, what it took, and a clock for the whole.

The same track is shown while a run works and once it has a verdict. Nothing is shown for other symptoms.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from wfgy_triage.catalog import Catalog
from wfgy_triage.guide import Guide, GuideStep, load_guide
from wfgy_triage.report.fix import why_not_tried
from wfgy_triage.report.format import ARROW, STATE_LOOKS, Look, chip, gate_text, quantity, state_chip
from wfgy_triage.report.icons import icon
from wfgy_triage.report.trials import TRIAL_LOOKS, chosen, term_names, trials_of
from wfgy_triage.result import Gate, Metric, Result, State

PROMISE = 60
"""Seconds that the page speaks of; shown beside what it took, and never held against a run."""
WAITING = Look("Waits", "mute", "clock")
NOW = Look("Now", "live", "pulse")


@dataclass(frozen=True)
class StepShown:
    """A step as it is drawn: how it stands, its seconds (None: not begun), and what it found as HTML."""

    step: GuideStep
    look: Look
    seconds: float | None
    body: str


def live_track(symptom: str, timings: Mapping[str, float], stage: str | None, ended: bool) -> str:
    """The track while a run works; empty for another symptom, and once it has ended.

    Args:
        symptom: id of the run's symptom.
        timings: seconds by stage so far.
        stage: name of the stage that reported last (without `measure_`); None before the first.
        ended: whether the run has ended.
    """
    guide = load_guide()
    if ended or symptom != guide.symptom:
        return ""
    name = f"measure_{stage}"
    at = next((n for n, s in enumerate(guide.steps) if name in s.stages), None)
    shown = []
    for number, step in enumerate(guide.steps):
        begun = at is not None and number <= at
        look = NOW if number == at else Look("Measured", "ok", "check") if begun else WAITING
        told = f'<p class="dim small">{escape(step.says)}</p>'
        shown.append(StepShown(step, look, _spent(step, timings) if begun else None, told))
    return _track(shown, timings.get("total", 0.0), "So far")


def guide_track(result: Result, catalog: Catalog) -> str:
    """The track of a run with a verdict; empty for another symptom."""
    shown = steps_of(result, catalog)
    return _track(shown, result.timings.get("total", 0.0), "It took") if shown else ""


def steps_of(result: Result, catalog: Catalog) -> list[StepShown]:
    """The four steps of a run with a verdict; none for another symptom."""
    guide = load_guide()
    if result.symptom != guide.symptom:
        return []
    metrics = {m.id: m for m in result.metrics}
    shown = []
    for step in guide.steps:
        if step.id == "apply":
            look, body = _applied(result, guide, catalog)
        elif step.id == "verify":
            look, body = _verified(result, step, metrics)
        else:
            look, body = _measured([metrics[m] for m in step.metrics if m in metrics])
        shown.append(StepShown(step, look, _spent(step, result.timings), body))
    return shown


def missed(result: Result) -> Collection[str]:
    """Ids of the rules that fail."""
    return tuple(m.id for m in result.metrics if m.primary and m.state is State.FAIL)


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: "1:07"."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _track(shown: Sequence[StepShown], total: float, word: str) -> str:
    items = "".join(_item(number, s) for number, s in enumerate(shown, 1))
    return (
        '<section class="card guide"><div class="guide-head"><h3>Fix in 60 seconds, step by step</h3>'
        f'<p class="guide-clock">{icon("clock")}<span>{word} <b>{clock(total)}</b></span>'
        f'<span class="dim">the source page speaks of {clock(PROMISE)}</span></p></div>'
        f'<ol class="guide-steps">{items}</ol></section>'
    )


def _item(number: int, s: StepShown) -> str:
    time = f'<span class="dim">{clock(s.seconds)}</span>' if s.seconds else ""
    return (
        f'<li class="tone-{s.look.tone}"><p class="guide-step"><span class="guide-number">{number}</span>'
        f"{chip(s.look)}{time}</p><h4>{escape(s.step.title)}</h4><p>{escape(s.step.plain)}</p>{s.body}</li>"
    )


def _spent(step: GuideStep, timings: Mapping[str, float]) -> float | None:
    found = [timings[s] for s in step.stages if s in timings]
    return sum(found) if found else None


def _measured(metrics: Sequence[Metric]) -> tuple[Look, str]:
    states = [m.state or State.NOT_MEASURED for m in metrics]
    lines = []
    for m in metrics:
        both = f"FP16 {quantity(m.fp16, m.unit)}, " if m.fp16 is not None else ""
        value = f"{both}EXL2 {quantity(m.exl2, m.unit)}" if both else quantity(m.exl2, m.unit)
        lines.append(_line(m.label, value, m.gate, m.unit))
    return STATE_LOOKS[_worst(states)], f'<dl class="guide-values">{"".join(lines)}</dl>'


def _applied(result: Result, guide: Guide, catalog: Catalog) -> tuple[Look, str]:
    """The modules that answer what failed, each with what trying it showed."""
    trials = trials_of(result)
    if not trials:
        look = (
            Look("Not needed", "ok", "check")
            if result.state is State.PASS
            else Look("Not tried", "mute", "dash")
        )
        return look, f'<p class="dim small">{escape(why_not_tried(result, catalog))}</p>'
    items = []
    for answer in guide.answering(missed(result)):
        of_it = [t for t in trials if t["remedy"] in answer.tries]
        names = escape(term_names(answer.wfgy, catalog))
        found = "".join(_tried(t) for t in of_it) or '<p class="dim small">Not looked at any more.</p>'
        items.append(f"<li><b>{escape(answer.title)}</b><small>{names}</small>{found}</li>")
    best = chosen(result)
    if best is not None:
        named = any(best["remedy"] in a.tries for a in guide.answering(missed(result)))
        whose = "The page's module" if named else "Not a module of the page, but a remedy of the cause"
        items.append(f"<li><b>Recommended: {escape(str(best['label']))}</b><small>{whose}.</small></li>")
    look = TRIAL_LOOKS[best["status"]] if best else Look("None helped", "bad", "cross")
    return look, f'<ul class="guide-modules">{"".join(items)}</ul>'


def _tried(trial: Mapping[str, Any]) -> str:
    return f"<p>{chip(TRIAL_LOOKS[trial['status']])} {escape(str(trial['label']))}</p>"


def _verified(result: Result, step: GuideStep, metrics: Mapping[str, Metric]) -> tuple[Look, str]:
    """Every rule before and after the recommended change; without one, the rules as they are."""
    best = chosen(result)
    after = {str(r["id"]): r for r in best.get("rules", ()) if r} if best else {}
    lines, states = [], []
    for metric in (metrics[m] for m in step.metrics if m in metrics):
        rule = after.get(metric.id)
        now = State(rule["state"]) if rule and rule["state"] else metric.state or State.NOT_MEASURED
        value = quantity(metric.exl2, metric.unit)
        if rule:
            value = f"{value} {ARROW} {quantity(rule['after'], metric.unit)}"
        states.append(now)
        lines.append(_line(metric.label, value, metric.gate, metric.unit, now))
    told = "" if best else '<p class="dim small">Without a change, as measured above.</p>'
    return STATE_LOOKS[_worst(states)], f'<dl class="guide-values">{"".join(lines)}</dl>{told}'


def _line(label: str, value: str, gate: Gate | None, unit: str, state: State | None = None) -> str:
    mark = f" {state_chip(state)}" if state else ""
    return f"<div><dt>{escape(label)}</dt><dd><b>{escape(value)}</b> gate {gate_text(gate, unit)}{mark}</dd></div>"


def _worst(states: Sequence[State]) -> State:
    order = (State.FAIL, State.NOT_MEASURED, State.INCONCLUSIVE, State.PASS)
    return next((s for s in order if s in states), State.NOT_MEASURED)
