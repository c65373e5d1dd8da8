"""The guard's page as HTML: gates now, what failed, the ops checklist, and how to start it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from wfgy_triage.catalog import Catalog
from wfgy_triage.guard.overview import Overview, symptom_of
from wfgy_triage.guard.states import LEFT, GateState
from wfgy_triage.guard.watched import OpsView, Watched
from wfgy_triage.report.fix import outside_link
from wfgy_triage.report.format import (
    MISSING,
    Look,
    chip,
    gate_text,
    interval,
    moment,
    number,
    quantity,
    state_chip,
)
from wfgy_triage.report.icons import icon
from wfgy_triage.report.words import class_words
from wfgy_triage.result import State
from wfgy_triage.store.guard import GuardedAnswer

START = "python -m wfgy_triage guard --upstream http://127.0.0.1:5000"
NOT_STARTED = (
    '<section class="card"><h3>No guard has run here yet</h3><p>The guard stands between your programs and the model '
    "server. It passes everything through unchanged, checks each JSON answer against its schema and each citation "
    "against the passages that were given, and says when a rate leaves its gate.</p>"
    f'<div class="file"><div class="file-head"><b>Start it</b></div><pre tabindex="0">{START}</pre></div>'
    "<p>Then point your programs at http://127.0.0.1:8001/v1 instead of the model server.</p></section>"
)
_WATCHED = Look("Watched", "ok", "check")
_WAITING = Look("Nothing to watch yet", "mute", "clock")
_NOT_HERE = Look("Not watched here", "mute", "dash")
_LEFT = Look("Left its gate", "bad", "warning")
_BACK = Look("Back within", "ok", "check")


def guard_state(view: Overview, watched: Watched, catalog: Catalog, now: datetime) -> str:
    """Return the first part: servers, gates now, what changed."""
    parts = _servers(view, now) + _left(view) + _gates(view, watched, catalog) + _events(view, watched)
    return f'<div class="guard-stack">{parts}</div>'


def guard_rest(view: Overview, watched: Watched, catalog: Catalog) -> str:
    """Return the part below the figure: what failed, and the checklist."""
    failed = _failures(view.failures, watched, catalog)
    return f'<div class="guard-stack">{failed}{ops_card(view, watched, catalog)}</div>'


def ops_card(view: Overview, watched: Watched, catalog: Catalog) -> str:
    """Return the ops checklist with what the guard sees of each line."""
    views = {ops.item: ops for ops in watched.ops}
    seen = {s.watch.gate.id for s in view.states if s.answers}
    rows = "".join(
        f"<li>{_ops_chip(views.get(item.id), seen)}<div><b>{escape(item.text)}</b>"
        f"<span>{escape(item.plain)} {escape(views[item.id].here if item.id in views else '')}</span></div></li>"
        for item in catalog.ops
    )
    return f'<section class="card"><h3>The ops checklist</h3><ul class="checks wide">{rows}</ul></section>'


def _ops_chip(ops: OpsView | None, seen: set[str]) -> str:
    if ops is None or not ops.gates:
        return chip(_NOT_HERE)
    return chip(_WATCHED if seen & set(ops.gates) else _WAITING)


def _servers(view: Overview, now: datetime) -> str:
    alive = view.alive(now)
    if not alive:
        last = view.servers[0]
        return (
            f'<p class="callout tone-warn">{icon("warning")}<span><b>No guard is running.</b> The last one was seen at '
            f"{moment(last.seen_at)}. Start it with <code>{START}</code>.</span></p>"
        )
    lines = "".join(
        f"<li><b>{escape(s.address)}</b> in front of {escape(s.upstream)}: {_MODES.get(s.mode, '')} Policy "
        f"{escape(s.policy)}; {s.answers:,} answers since {moment(s.started_at)}; "
        f"{f'{s.dropped:,} could not be logged' if s.dropped else 'all of them logged'}.</li>"
        for s in alive
    )
    return f'<section class="card"><h3>Running</h3><ul class="plain">{lines}</ul></section>'


_MODES = {
    "observe": "answers go through whatever is found.",
    "enforce": "answers that fail are refused, streams excepted.",
}


def _left(view: Overview) -> str:
    failing = [s for s in view.states if s.state is State.FAIL]
    return "".join(
        f'<p class="callout tone-bad" role="status">{icon("warning")}<span><b>{escape(s.watch.label)}</b>: '
        f"{quantity(s.value, 'share')} of the last {s.answers} answers, clearly outside the gate "
        f"{gate_text(s.watch.gate.gate(), 'share')}.</span></p>"
        for s in failing
    )


def _gates(view: Overview, watched: Watched, catalog: Catalog) -> str:
    size, minutes = view.window
    rows = "".join(_gate_row(state, catalog) for state in view.states)
    distance = (
        f"{number(sum(view.distances) / len(view.distances))} on average over {len(view.distances)} answers"
        if view.distances
        else "not measured: no sentence model runs beside the guard"
    )
    return (
        '<div class="card table-card"><table class="metrics"><caption>The gates now</caption><thead><tr>'
        f'<th scope="col">Rate</th><th scope="col">Now</th><th scope="col">Interval<small>one-sided '
        f'{watched.level:.0%}</small></th><th scope="col">Gate</th><th scope="col">Answers</th>'
        f'<th scope="col">State</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="guard-note dim small">Over the last {size:,} checked answers, none older than {minutes:,} '
        "minutes. A rate has left its gate when its whole interval lies beyond it. \N{GREEK CAPITAL LETTER DELTA}S of "
        f"question and passages: {distance}. \N{GREEK SMALL LETTER LAMDA}_observe needs repeated questions and is not "
        "measured here.</p></div>"
    )


def _gate_row(state: GateState, catalog: Catalog) -> str:
    watch = state.watch
    text, symptom = catalog.metrics[watch.gate.metric], catalog.symptoms[watch.symptom]
    names = ", ".join(catalog.terms[t].name for t in symptom.wfgy)
    bounds = state.judgement.interval
    said = state.judgement.note.replace("question", "answer")  # in production an answer is the unit
    note = f'<p class="note">{escape(said)}</p>' if said and state.answers else ""
    return (
        f'<tr><th scope="row"><span class="name">{escape(watch.label)}</span>'
        f'<details class="why"><summary>What does this mean?</summary><p>{escape(text.meaning)}</p>'
        f"<p class=dim>{escape(text.detail)}</p><p class=dim>WFGY: {escape(names)}. "
        f"{escape(watch.gate.source)}</p></details>{note}</th>"
        f'<td data-l="Now">{quantity(state.value, "share")}</td>'
        f'<td data-l="Interval">{interval(bounds.bounds if bounds else None, "share") or MISSING}</td>'
        f'<td data-l="Gate">{gate_text(watch.gate.gate(), "share")}</td>'
        f'<td data-l="Answers">{state.answers}</td><td data-l="State">{state_chip(state.state)}</td></tr>'
    )


def _events(view: Overview, watched: Watched) -> str:
    if not view.events:
        return ""
    labels = {w.gate.id: w.label for w in watched.gates}
    rows = "".join(
        f"<li>{chip(_LEFT if e.change == LEFT else _BACK)}<div><b>{escape(labels.get(e.gate, e.gate))}</b>"
        f"<span>{moment(e.at)}: {quantity(e.value, 'share')} of {e.answers} answers</span></div></li>"
        for e in view.events
    )
    return f'<section class="card"><h3>What changed</h3><ul class="checks wide">{rows}</ul></section>'


def _failures(failures: Sequence[GuardedAnswer], watched: Watched, catalog: Catalog) -> str:
    if not failures:
        return '<div class="card"><p class="empty">No answer has failed so far.</p></div>'
    rows = "".join(_failure_row(f, watched, catalog) for f in failures)
    return (
        '<div class="card table-card"><table class="sessions"><caption>Answers that failed last</caption><thead><tr>'
        '<th scope="col">When</th><th scope="col">Model</th><th scope="col">What was wrong</th>'
        f'<th scope="col">Where to read on</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _failure_row(answer: GuardedAnswer, watched: Watched, catalog: Catalog) -> str:
    modules = [catalog.modules[m] for m in catalog.symptoms[symptom_of(answer, watched)].modules]
    links = "".join(f"<li>{outside_link(m.url, m.title, f'Open the page: {m.title}')}</li>" for m in modules)
    kept = (
        f'<details class="why"><summary>The answer</summary><pre>{escape(answer.text)}</pre></details>'
        if answer.text
        else ""
    )
    return (
        f'<tr><th scope="row">{moment(answer.at)}</th><td data-l="Model">'
        f'<span translate="no">{escape(answer.model) or MISSING}</span></td>'
        f'<td data-l="What was wrong"><div><b>{escape(class_words(answer.failure))}</b><br>'
        f"{escape(answer.reason)}{kept}</div></td>"
        f'<td data-l="Where to read on"><ul class="guard-links">{links}</ul></td></tr>'
    )
