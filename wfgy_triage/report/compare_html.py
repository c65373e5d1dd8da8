"""Two sessions beside each other as HTML: only what differs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.answers import Row, answer_chip, marked
from wfgy_triage.report.compare import Comparison, Difference, metric_pairs
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.format import ARROW, MISSING, chip, difference, interval, moment, quantity, state_chip
from wfgy_triage.report.icons import icon
from wfgy_triage.report.trials import GUARD_LOOKS
from wfgy_triage.result import Effect, Metric

SHOWN_QUESTIONS = 20
NO_GATE = '<span class="dim">no gate</span>'
WORKING = "The metrics are being paired question by question\N{HORIZONTAL ELLIPSIS}"


def comparison_page(found: Comparison, catalog: Catalog) -> str:
    """Return the whole comparison."""
    parts = [_heads(found, catalog), _metrics(found), _questions(found), _differences(found), _changes(found)]
    return f'<div class="stack compare">{"".join(parts)}</div>'


def _heads(found: Comparison, catalog: Catalog) -> str:
    swap = f"./runs?compare={quote(found.second.record.id)},{quote(found.first.record.id)}"
    return (
        f'<div class="compare-heads">{_head("First", found.first, catalog)}'
        f'<span class="arrow" aria-hidden="true">{ARROW}</span>{_head("Second", found.second, catalog)}</div>'
        f'<nav class="filter" aria-label="Comparison"><a href="{escape(swap)}">Swap the two</a>'
        '<a href="./runs">All sessions</a></nav>'
    )


def _head(name: str, session: Session, catalog: Catalog) -> str:
    result, record = session.result, session.record
    symptom = catalog.symptoms.get(result.symptom)
    imported = ' <span class="tag">imported</span>' if record.imported else ""
    return (
        f'<section class="card compare-head"><p class="eyebrow">{name}</p>'
        f"<h3>{escape(symptom.title if symptom else result.symptom)}</h3>"
        f"<p>{state_chip(result.state)}{imported}</p><p>{escape(result.headline)}</p>"
        f'<p class="dim small"><span translate="no">'
        f"{escape(str(result.pair.get('name') or result.pair['id']))}</span>, "
        f"{int(result.workload['questions'])} questions</p>"
        f'<p><a href="./?run={quote(record.id)}" aria-label="Open the {name.lower()} session">'
        f"{moment(record.created_at)}</a></p></section>"
    )


def _metrics(found: Comparison) -> str:
    pairing = found.pairing
    if pairing.pending:
        told = f'<p class="dim" role="status">{icon("clock")} {WORKING}</p>'
        return f'<section class="card working"><h3>On the questions that both asked</h3>{told}</section>'
    paired = {m.id for m in pairing.metrics}
    rest = [p for p in metric_pairs(found.first.result, found.second.result) if _id(p) not in paired]
    table = _paired_table(pairing.metrics)
    reason = f'<p class="dim">{escape(pairing.reason)}</p>' if pairing.reason else ""
    others = _values_table(rest, bool(paired)) if found.same_symptom else ""
    if not (table or others):
        return f'<section class="card"><h3>Metrics</h3>{reason or "<p>No metric differs.</p>"}</section>'
    return f"{f'<section class=card>{reason}</section>' if reason else ''}{table}{others}"


def _paired_table(metrics: Sequence[Effect]) -> str:
    shown = [m for m in metrics if m.difference or m.better is not None]
    if not metrics:
        return ""
    same = len(metrics) - len(shown)
    level = f"{100 * metrics[0].level:.4g} %"
    note = f"Each interval is at {level} by itself; of many, some miss by chance. EXL2's values." + (
        f" {same} more metric{'s are' if same > 1 else ' is'} the same in both." if same else ""
    )
    rows = "".join(_paired_row(m) for m in shown)
    if not rows:
        rows = '<tr><td colspan="5">No metric differs on the questions that both asked.</td></tr>'
    return (
        '<div class="card table-card"><table class="metrics"><caption>On the questions that both asked</caption>'
        '<thead><tr><th scope="col">Metric</th><th scope="col">First</th><th scope="col">Second</th>'
        f'<th scope="col">Paired difference<small>{level} interval</small></th><th scope="col">Reading</th></tr>'
        f'</thead><tbody>{rows}</tbody></table><p class="dim small table-note">{note}</p></div>'
    )


def _paired_row(m: Effect) -> str:
    bounds = f"<small>{interval(m.interval, m.unit)}</small>" if m.interval else ""
    return (
        f'<tr><th scope="row"><span class="name">{escape(m.label)}</span></th>'
        f'<td data-l="First">{quantity(m.before, m.unit)}</td>'
        f'<td data-l="Second">{quantity(m.after, m.unit)}<small>{m.n} questions</small></td>'
        f'<td data-l="Difference">{difference(m.difference, m.unit)}{bounds}</td>'
        f'<td data-l="Reading">{chip(GUARD_LOOKS[m.better])}</td></tr>'
    )


def _values_table(pairs: Sequence[tuple[Metric | None, Metric | None]], beside: bool) -> str:
    if not pairs:
        return ""
    rows = "".join(_values_row(first, second) for first, second in pairs)
    title = "Other metrics that differ, not paired" if beside else "Metrics that differ, not paired"
    return (
        f'<div class="card table-card"><table class="metrics"><caption>{title}</caption><thead><tr>'
        '<th scope="col">Metric</th><th scope="col">First</th><th scope="col">Second</th>'
        '<th scope="col">State</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _values_row(first: Metric | None, second: Metric | None) -> str:
    known = second or first
    if known is None:
        return ""
    states = [state_chip(m.state) if m and m.state else "" for m in (first, second)]
    state = f" {ARROW} ".join(s for s in states if s) if states[0] != states[1] else states[0]
    return (
        f'<tr><th scope="row"><span class="name">{escape(known.label)}</span></th>'
        f'<td data-l="First">{_sides(first)}</td><td data-l="Second">{_sides(second)}</td>'
        f'<td data-l="State"><span>{state or NO_GATE}</span></td></tr>'
    )


def _sides(metric: Metric | None) -> str:
    if metric is None:
        return '<span class="dim">not measured</span>'
    value = f"<span>{quantity(metric.exl2, metric.unit)}</span>"
    fp16 = f"<small>FP16 {quantity(metric.fp16, metric.unit)}</small>" if metric.fp16 is not None else ""
    return f"{value}{fp16}"


def _questions(found: Comparison) -> str:
    if not found.same_symptom or not found.shared:
        return ""
    counts = (
        f"Of {found.shared} questions that both asked, EXL2 answers {len(found.gained)} well only in the second "
        f"session and {len(found.dropped)} only in the first."
    )
    lists = _list("Well only in the second", found.gained) + _list("Well only in the first", found.dropped)
    return f'<section class="card"><h3>Questions</h3><p class="dim">{counts}</p>{lists}</section>'


def _list(title: str, pairs: Sequence[tuple[Row, Row]]) -> str:
    if not pairs:
        return ""
    items = "".join(_question(first, second) for first, second in pairs[:SHOWN_QUESTIONS])
    left = len(pairs) - SHOWN_QUESTIONS
    more = f'<p class="dim small">{left} more are in the sessions.</p>' if left > 0 else ""
    return (
        f'<details class="trials"><summary><h4>{title} <span class="tag">{len(pairs)}</span></h4></summary>'
        f'<div class="live-rows">{items}</div>{more}</details>'
    )


def _question(first: Row, second: Row) -> str:
    texts = marked(*(row.exl2.text if row.exl2 else "" for row in (first, second)))
    sides = "".join(
        f'<div class="live-side"><p><b>{name}</b> {answer_chip(row.exl2)}</p>'
        f'<pre tabindex="0" aria-label="{name}">{text}</pre></div>'
        for name, row, text in zip(("First", "Second"), (first, second), texts, strict=True)
    )
    return (
        f'<article><h4 translate="no">{escape(second.question)}</h4><div class="two">{sides}</div></article>'
    )


def _differences(found: Comparison) -> str:
    if not found.differences:
        return (
            '<section class="card"><h3>Configuration and provenance</h3>'
            "<p>Models, settings and versions are the same in both.</p></section>"
        )
    sections = list(dict.fromkeys(d.section for d in found.differences))
    rows = "".join(
        f'<tr class="group"><th scope="rowgroup" colspan="3">{section}</th></tr>'
        + "".join(_difference(d) for d in found.differences if d.section == section)
        for section in sections
    )
    return (
        '<div class="card table-card"><table class="metrics config"><caption>Configuration and provenance</caption>'
        '<thead><tr><th scope="col">What</th><th scope="col">First</th><th scope="col">Second</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _difference(d: Difference) -> str:
    cells = "".join(
        f'<td data-l="{name}"><code>{escape(value)}</code></td>'
        if value
        else f'<td data-l="{name}">{MISSING}</td>'
        for name, value in (("First", d.first), ("Second", d.second))
    )
    return f'<tr><th scope="row">{escape(d.name)}</th>{cells}</tr>'


def _changes(found: Comparison) -> str:
    first, second = found.changes
    if first == second:
        return ""
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{escape(text or 'No change is recommended')}</dd></div>"
        for name, text in (("First", first), ("Second", second))
    )
    return f'<section class="card"><h3>Recommended change</h3><dl class="facts">{rows}</dl></section>'


def _id(pair: tuple[Metric | None, Metric | None]) -> str:
    known = pair[1] or pair[0]
    return known.id if known else ""
