"""The verdict as HTML: the header with the state, and the table of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.doctor import counts_words, findings_of
from wfgy_triage.report.format import (
    MISSING,
    STATE_LOOKS,
    difference,
    gate_text,
    interval,
    quantity,
    state_chip,
    typeset,
)
from wfgy_triage.report.icons import icon
from wfgy_triage.result import Gate, Metric, Result, State, deciding

_RULE = (
    "It is the rule as the source page writes it, held against what was measured here as it stands. Where that comes "
    "from a sample of questions, the verdict above also asks how far the true value may be from it, and how much FP16 "
    "differs from itself. So the two need not agree."
)
_PAIR, _FOREIGN = "Model pair", ' translate="no"'
NEXT_STEP = {
    State.PASS: "Nothing to fix for this symptom. Re-check after every change of model, settings or versions.",
    State.FAIL: "See what was found to cause it, and which changes are worth trying.",
    State.INCONCLUSIVE: "More questions would decide it: check again with more.",
    State.NOT_MEASURED: "Nothing was decided. The notes below say what was missing.",
}


def verdict_header(result: Result, catalog: Catalog, stopped: bool = False) -> str:
    """Return the first thing a reader sees: state, one sentence, and what it rests on.

    Args:
        result: the stored result.
        catalog: for the symptom's title.
        stopped: whether the run was stopped early; said plainly beside the state.
    """
    look = STATE_LOOKS[result.state]
    symptom = catalog.symptoms.get(result.symptom)
    title = symptom.title if symptom else result.symptom
    if symptom and symptom.kind == "symptom":
        title = f"Symptom: {title}"  # else "Pass" and "It does not load" beside each other read as one claim
    note = ' <span class="tag">stopped early: partial data</span>' if stopped else ""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd{_FOREIGN if name == _PAIR else ''}>{escape(value)}</dd></div>"
        for name, value in _facts(result)
        if value
    )
    return (
        f'<section class="verdict tone-{look.tone}" aria-labelledby="verdict-word">'
        f'<span class="verdict-icon">{icon(look.icon)}</span><div class="verdict-text">'
        f'<p class="verdict-word" id="verdict-word"><b>{look.word}</b>{note} '
        f'<span class="verdict-symptom">{escape(title)}</span></p>'
        f'<h2 class="headline">{escape(result.headline or NEXT_STEP[result.state])}</h2>'
        f'{_rule(result)}<dl class="facts">{facts}</dl></div></section>'
    )


def baseline_note(result: Result) -> str:
    """Return what must be said wherever a number of this pair is shown, or an empty string."""
    text = str(result.pair.get("note") or "")
    return f'<p class="baseline">{icon("info")}<span>{escape(text)}</span></p>' if text else ""


def metrics_table(result: Result, catalog: Catalog) -> str:
    """Return the table of metrics, the one that decides first; the finer ones in a closed table after it."""
    if not result.metrics:
        return '<p class="empty">No metric was computed for this run.</p>'
    ordered = sorted(result.metrics, key=lambda m: (not m.primary, m.gate is None))
    main = [m for m in ordered if m.primary or m.gate or _main(m, catalog)]
    rest = [m for m in ordered if m not in main]
    more = ""
    if rest:
        detail = _table("In detail", rest, catalog)
        count = f"{len(rest)} more metric{'s' if len(rest) > 1 else ''}"
        more = f'<details class="more"><summary>{count}</summary>{detail}</details>'
    return f'<div class="card table-card">{_table("What was measured", main, catalog)}{more}</div>'


def floor_text(metric: Metric) -> str:
    """Write the noise floor: a difference for metrics that compare both sides, else the quantity itself."""
    if metric.difference is not None:
        return difference(metric.floor, metric.unit).lstrip("+")
    return quantity(metric.floor, metric.unit)


def _main(metric: Metric, catalog: Catalog) -> bool:
    text = catalog.metrics.get(metric.id)
    return text is not None and text.main


def _table(caption: str, metrics: Sequence[Metric], catalog: Catalog) -> str:
    level = f"{metrics[0].level * 100:.0f} %" if metrics else ""
    rows = "".join(_metric_row(metric, catalog) for metric in metrics)
    return (
        f'<table class="metrics"><caption>{caption}</caption><thead><tr>'
        '<th scope="col">Metric</th><th scope="col">FP16</th><th scope="col">EXL2</th>'
        f'<th scope="col">Paired difference<small>{level} interval</small></th>'
        '<th scope="col">Noise floor<small>FP16 against itself</small></th>'
        '<th scope="col">Gate</th><th scope="col">State</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def noise_floor(result: Result) -> str:
    """Return the primary metric's floor in words, or that it was not measured."""
    primary = deciding(result.metrics)
    if primary is None or primary.floor is None:
        return "not measured"
    return floor_text(primary)


def _rule(result: Result) -> str:
    if not result.page_rule:
        return ""
    what = (
        f'<details class="why"><summary>What is the page\'s literal rule?</summary><p>{_RULE}</p></details>'
    )
    return f'<p class="rule">{escape(typeset(result.page_rule))}</p>{what}'


def _facts(result: Result) -> list[tuple[str, str]]:
    primary = deciding(result.metrics)
    used = primary.n if primary else 0
    asked = int(result.workload.get("questions") or used)
    exl2 = result.pair.get("exl2") or {}
    bits = [f"{exl2['decoder_bpw']:.2f} bits per weight"] if _is_number(exl2.get("decoder_bpw")) else []
    if exl2.get("head_bits"):
        bits.append(f"{exl2['head_bits']}-bit head")
    answers = [
        ("Questions", f"{used} of {asked}" if used != asked else str(asked)),
        ("Noise floor", noise_floor(result)),
    ]
    return [
        *(answers if asked else [("Checks", counts_words(findings_of(result.charts)))]),
        (_PAIR, str(result.pair.get("name") or result.pair.get("id") or "")),
        ("EXL2", ", ".join(bits)),
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _metric_row(metric: Metric, catalog: Catalog) -> str:
    paired = metric.difference is not None
    bounds = interval(metric.interval, metric.unit)
    spread = f"<small>{bounds}{'' if paired or not bounds else ' (EXL2 value)'}</small>" if bounds else ""
    key = ' <span class="tag">decides</span>' if metric.primary else ""
    note = f'<p class="note">{escape(metric.note)}</p>' if metric.note else ""
    return (
        f"<tr{' class=primary' if metric.primary else ''}>"
        f'<th scope="row"><span class="name">{escape(metric.label)}</span>{key}{_help(metric, catalog)}{note}</th>'
        f'<td data-l="FP16">{quantity(metric.fp16, metric.unit)}</td>'
        f'<td data-l="EXL2">{quantity(metric.exl2, metric.unit)}{_sample_size(metric)}</td>'
        f'<td data-l="Difference">{difference(metric.difference, metric.unit)}{spread}</td>'
        f'<td data-l="Noise floor">{floor_text(metric)}</td>'
        f'<td data-l="Gate">{_gate_cell(metric.gate, metric.unit)}</td>'
        f'<td data-l="State">{state_chip(metric.state)}</td></tr>'
    )


def _sample_size(metric: Metric) -> str:
    return f"<small>{metric.n} questions</small>" if metric.n else ""


def _gate_cell(gate: Gate | None, unit: str) -> str:
    if gate is None:
        return f'<span class="dim">{MISSING}</span>'
    source = f'<details class="why"><summary>source</summary><p>{escape(gate.source)}</p></details>'
    return f"{gate_text(gate, unit)}{source}"


def _help(metric: Metric, catalog: Catalog) -> str:
    help_text = catalog.metrics.get(metric.id)
    if help_text is None:
        return ""
    references = "".join(
        f"<li>{escape(r.text)} <span class=dim>({escape(r.source)})</span></li>" for r in help_text.references
    )
    listing = f"<p>To compare with:</p><ul>{references}</ul>" if references else ""
    return (
        '<details class="why"><summary>What does this mean?</summary>'
        f"<p>{escape(help_text.meaning)}</p><p class=dim>{escape(help_text.detail)}</p>{listing}</details>"
    )
