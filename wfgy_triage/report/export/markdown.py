"""A session as Markdown for an issue tracker: verdict, metrics, cause, change, the lost questions, versions."""

from __future__ import annotations

from collections.abc import Iterator

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.answers import Answer
from wfgy_triage.report.comments import comments_markdown
from wfgy_triage.report.export.markdown_text import code, fenced, plain
from wfgy_triage.report.export.session import Session, lost, telling
from wfgy_triage.report.fix import why_not_tried
from wfgy_triage.report.format import (
    STATE_LOOKS,
    difference,
    gate_text,
    interval,
    moment,
    quantity,
    shift,
    spread,
)
from wfgy_triage.report.trials import chosen, trials_of, tried
from wfgy_triage.report.verdict import floor_text
from wfgy_triage.report.words import check_words, class_words
from wfgy_triage.result import Metric

SHOWN_QUESTIONS = 5
SHOWN_CHARACTERS = 4000
"""Of one answer: trackers take about 65,000 characters in all."""
LANGUAGES = {"python": "python", "shell": "sh", "tabbyapi": "yaml", "sampler_preset": "yaml"}
"""Highlighting by kind of file, where the change is no diff."""


def session_markdown(session: Session, catalog: Catalog) -> str:
    """Return the report."""
    parts = [*_verdict(session, catalog), *_metrics(session), *_cause(session, catalog)]
    parts += [*_change(session, catalog), *_questions(session)]
    parts += [*comments_markdown(session.comments), *_origin(session)]
    return "\n\n".join(parts) + "\n"


def _verdict(session: Session, catalog: Catalog) -> Iterator[str]:
    result = session.result
    symptom = catalog.symptoms.get(result.symptom)
    title = symptom.title if symptom else result.symptom
    yield f"## {STATE_LOOKS[result.state].word}: {plain(title)}"
    early = " The run was stopped early: partial data." if session.stopped else ""
    yield f"**{plain(result.headline or str(result.state))}**{early}"
    if result.page_rule:
        yield plain(result.page_rule)
    bits = result.pair["exl2"].get("decoder_bpw")
    rate = f", {quantity(bits, 'bits per weight')}" if isinstance(bits, int | float) else ""
    yield (
        f"Model pair: {code(str(result.pair.get('name') or result.pair['id']))}{rate}. "
        f"Questions: {int(result.workload['questions'])}. Measured {moment(session.record.created_at)}."
    )
    if note := result.pair.get("note"):
        yield f"> {plain(str(note))}"


def _metrics(session: Session) -> Iterator[str]:
    metrics = sorted(session.result.metrics, key=lambda m: (not m.primary, m.gate is None))
    if not metrics:
        return
    yield "### What was measured"
    head = "| Metric | FP16 | EXL2 | Difference (interval) | Noise floor | Gate | State |"
    yield "\n".join([head, "|---|---|---|---|---|---|---|", *(_row(m) for m in metrics)])
    notes = [f"- {plain(m.label)}: {plain(m.note)}" for m in metrics if m.note]
    if notes:
        yield "\n".join(notes)


def _row(m: Metric) -> str:
    bounds = interval(m.interval, m.unit)
    spread_of = f" ({bounds}{'' if m.difference is not None else ', EXL2 value'})" if bounds else ""
    name = f"**{plain(m.label)}**" if m.primary else plain(m.label)
    state = STATE_LOOKS[m.state].word if m.state else ""
    cells = [
        name, quantity(m.fp16, m.unit), quantity(m.exl2, m.unit), difference(m.difference, m.unit) + spread_of,
        floor_text(m), gate_text(m.gate, m.unit), state,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _cause(session: Session, catalog: Catalog) -> Iterator[str]:
    found = session.result.diagnosis
    cause = catalog.causes.get(found.cause)
    yield f"### Cause: {plain(cause.title if cause else found.cause)} ({found.confidence} confidence)"
    if cause:
        yield plain(cause.explanation)
    if found.evidence:
        words = {"ok": "yes", "fault": "**no**", "inconclusive": "too few questions to say"}
        yield "\n".join(
            f"- {plain(check_words(c.check))}: {words.get(c.result, 'not known')}. {plain(c.detail)}"
            for c in found.evidence
        )
    if found.ruled_out:
        names = [catalog.causes[i].title if i in catalog.causes else i for i in found.ruled_out]
        yield f"Ruled out: {plain(', '.join(names))}."


def _change(session: Session, catalog: Catalog) -> Iterator[str]:
    result, trial = session.result, chosen(session.result)
    fix = result.recommendation
    if fix is None or trial is None:
        yield "### No change is recommended"
        yield plain(str(fix["summary"]) if fix else why_not_tried(result, catalog))
    else:
        stand = "verified" if fix["verified"] else "not verified"
        yield f"### Recommended change ({stand}): {plain(str(fix['label']))}"
        yield plain(str(fix["summary"]))
        if trial["effect"] is not None:
            yield f"{plain(str(trial['effect']['label']))}: {shift(trial['effect'])}, {spread(trial['effect'])}."
        files = {k.id: k for k in session.kinds}
        for target, text in (fix.get("renders") or {}).items():
            if text:
                yield f"{code(files[target].file if target in files else target)}:"
                yield fenced(str(text), "diff" if "\n@@ " in str(text) else LANGUAGES.get(target, ""))
    others = [t for t in tried(trials_of(result)) if t is not trial]
    if others:
        yield "Also tried:"
        yield "\n".join(
            f"- {plain(str(t['label']))}: {plain(str(t['words']))}"
            + (f" ({shift(t['effect'])})" if t["effect"] else "")
            for t in others
        )
    if result.modules:
        yield "Fix pages: " + ", ".join(f"[{plain(m.title)}]({_address(m.url)})" for m in result.modules)


def _questions(session: Session) -> Iterator[str]:
    rows = telling(session.rows)
    if not rows:
        return
    lost_ones = sum(lost(r) for r in rows)
    yield f"### Questions: {lost_ones} lost, {sum(r.different for r in rows)} answered differently"
    if session.redacted:
        yield "The texts of questions and answers were left out."
        return
    for row in rows[:SHOWN_QUESTIONS]:
        yield f"**Question** {code(row.key)}"
        yield fenced(row.question[:SHOWN_CHARACTERS])
        yield from _answer("FP16", row.fp16)
        yield from _answer("EXL2", row.exl2)
    if len(rows) > SHOWN_QUESTIONS:
        yield f"{len(rows) - SHOWN_QUESTIONS} more are in the session."


def _answer(side: str, answer: Answer | None) -> Iterator[str]:
    if answer is None:
        return
    facts = " · ".join(t for t in (class_words(answer.kind) if answer.kind else "", answer.detail) if t)
    yield f"{side}{f' ({plain(facts)})' if facts else ''}:"
    yield fenced(answer.text[:SHOWN_CHARACTERS])


def _origin(session: Session) -> Iterator[str]:
    result = session.result
    yield "### Versions"
    yield "\n".join(
        ["| Part | Version |", "|---|---|"]
        + [f"| {code(k, True)} | {code(v, True)} |" for k, v in result.versions.items()]
    )
    sides = [
        f"- {side.upper()}: " + ", ".join(code(str(v)) for v in _side(result.pair[side]))
        for side in ("fp16", "exl2")
    ]
    seed = int(result.settings["seed"])
    yield "\n".join([*sides, f"- Seed {seed}, question set {code(str(result.workload['id']))}"])
    yield f"Session {code(session.record.id)}, made with EXL2 triage."


def _side(side: dict[str, object]) -> list[object]:
    return [side[k] for k in ("folder", "architecture", "engine", "device", "compute_dtype") if side.get(k)]


def _address(url: str) -> str:
    """An address as it may stand in brackets; results carry only https ones without spaces."""
    return url.replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace(">", "%3E")
