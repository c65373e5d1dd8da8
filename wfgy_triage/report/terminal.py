"""A result, an inspection and a session list as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.doctor.finding import Finding, Outcome, failures, unchecked
from wfgy_triage.report.doctor import GROUPS, OUTCOME_LOOKS, counts_words, findings_of
from wfgy_triage.report.fix import why_not_tried
from wfgy_triage.report.format import shift, spread
from wfgy_triage.report.guide import clock, steps_of
from wfgy_triage.report.trials import chosen, trials_of
from wfgy_triage.report.words import FIT_WORDS, NEAREST_FIT, NO_FIT, NO_FIT_NEXT
from wfgy_triage.result import Metric, Result, State
from wfgy_triage.store.records import RunRecord

if TYPE_CHECKING:
    from wfgy_triage.exl2.inspect import CheckpointReport
    from wfgy_triage.pairs import Pair

STYLES = {
    State.PASS: "bold green",
    State.FAIL: "bold red",
    State.INCONCLUSIVE: "bold yellow",
    State.NOT_MEASURED: "bold dim",
}

OUTCOME_STYLES = {
    Outcome.PASS: "green",
    Outcome.WARN: "bold yellow",
    Outcome.FAIL: "bold red",
    Outcome.SKIPPED: "dim",
}


def show_result(console: Console, result: Result) -> None:
    """Print verdict, metrics, cause, modules; plain words first."""
    catalog = load_catalog()
    console.print()
    console.print(f"[{STYLES[result.state]}]{result.state}[/]  {escape(result.headline)}")
    console.print(escape(result.page_rule), style="dim")
    show_guide(console, result)
    console.print(_metrics_table(result.metrics))
    cause = catalog.causes[result.diagnosis.cause]
    console.print(f"[bold]Cause:[/] {escape(cause.title)} ({result.diagnosis.confidence} confidence)")
    console.print(escape(cause.explanation))
    listed = catalog.symptoms[result.symptom].asks_questions
    for check in result.diagnosis.evidence if listed else ():
        console.print(f"  {check.result:<13}{escape(check.detail)}", style="dim")
    console.print(f"[bold]What to do:[/] {escape(cause.what_to_do)}")
    show_trials(console, result)
    if not listed:
        show_findings(console, findings_of(result.charts))
    console.print("[bold]Fix modules:[/]")
    for module in result.modules:
        numbers = ", ".join(f"No. {n}" for n in module.problem_numbers)
        console.print(f"  {escape(module.title)}{f' ({numbers})' if numbers else ''}  {module.url}")
    if note := result.pair.get("note"):
        console.print(f"[bold]Baseline:[/] {escape(str(note))}", style="dim")
    console.print(f"Session {result.run_id}", style="dim")


def show_guide(console: Console, result: Result) -> None:
    """Print the four steps of "Fix in 60 seconds": how each stands and what it took; nothing for other symptoms."""
    steps = steps_of(result, load_catalog())
    for number, shown in enumerate(steps, 1):
        took = clock(shown.seconds) if shown.seconds else ""
        console.print(
            f"  {number} {escape(shown.step.title):<20}{took:>6}  {escape(shown.look.word)}", highlight=False
        )
    if steps:
        console.print(f"  It took {clock(result.timings.get('total', 0.0))}.", highlight=False)


def show_trials(console: Console, result: Result) -> None:
    """Print what was recommended, every change that was tried, and the comparison with an earlier run."""
    catalog, best = load_catalog(), chosen(result)
    if result.recheck is not None:
        effect = result.recheck["effect"]
        moved = f"  {shift(effect)}  {spread(effect)}" if effect else ""
        console.print(
            f"[bold]Before the change:[/] {result.recheck['state_before']} (session {result.recheck['run_id']}), "
            f"now: {result.state}{escape(moved)}",
            highlight=False,
        )
    if result.recommendation is None:
        if result.state is State.FAIL:
            console.print(f"[bold]Changes:[/] {why_not_tried(result, catalog)}")
        return
    console.print(f"[bold]Recommended:[/] {escape(str(result.recommendation['summary']))}", highlight=False)
    for target, text in (result.recommendation.get("renders") or {}).items():
        if text:
            console.print(f"  {target}:", style="dim")
            console.print(text, style="cyan", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("Change", "Outcome", "Before and after", "Why"):
        table.add_column(column)
    for trial in trials_of(result):
        name = escape(str(trial["label"]))
        moved = "" if trial["effect"] is None else shift(trial["effect"])
        style = "bold" if trial is best else None
        table.add_row(name, str(trial["words"]), moved, escape(str(trial["reason"])), style=style)
    console.print(table)


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print the doctor's list: what needs attention in full, the rest one line a check."""
    for group, title, _ in GROUPS:
        rows = [f for f in findings if f.group == group]
        if rows:
            console.print(f"\n[bold]{title}[/]  [dim]{escape(counts_words(rows))}[/]")
        for f in rows:
            word = f"[{OUTCOME_STYLES[f.state]}]{OUTCOME_LOOKS[f.state].word:<12}[/]"
            console.print(f"{word}{escape(f.title)}  [dim]{escape(f.seen)}[/]", highlight=False)
            if f.state in (Outcome.FAIL, Outcome.WARN):
                console.print(f"            {escape(f.means)}\n            {escape(f.do)}", highlight=False)
                if f.patch:
                    text = f.patch.text.replace("\n", "\n            ")
                    console.print(
                        f"            {f.patch.target}: {text}", style="cyan", markup=False, highlight=False
                    )


def doctor_object(findings: Sequence[Finding], pair: Pair | None) -> dict[str, Any]:
    """The JSON object of the command `doctor` (`wfgy-triage/doctor-1`).

    Its state is that of a run of `deploy_mismatch`: where an essential check was not made, nothing is said to be right.
    Without a pair there are the checks of the machine alone, none of which is essential.
    """
    state = State.PASS
    if failures(findings):
        state = State.FAIL
    elif pair is not None and unchecked(findings):
        state = State.NOT_MEASURED
    folders = {"id": pair.id, "fp16": pair.fp16.name, "exl2": pair.exl2.name} if pair else None
    return {
        "schema": "wfgy-triage/doctor-1",
        "state": str(state),
        "pair": folders,
        "findings": [f.to_json() for f in findings],
    }


def show_match(console: Console, match: Match) -> None:
    """Print the symptoms that fit a complaint, best first, or that none does and what to do then."""
    symptoms = load_catalog().symptoms
    for symptom_id, confidence in match.offered:
        symptom = symptoms[symptom_id]
        console.print(f"[bold]{symptom_id}[/]  {escape(symptom.title)}  [dim]({FIT_WORDS[confidence]})[/]")
        console.print(f"  {escape(symptom.summary)}", style="dim")
    if not match.offered:
        console.print(f"[bold]none[/]  {NO_FIT}")
        console.print(f"  {NO_FIT_NEXT}", style="dim")
        if match.nearest:
            console.print(f"  {NEAREST_FIT}:", style="dim")
        for symptom_id in match.nearest:
            console.print(f"    {symptom_id}  {escape(symptoms[symptom_id].title)}", style="dim")


def show_sessions(console: Console, runs: Sequence[RunRecord]) -> None:
    """Print recorded sessions, newest first."""
    if not runs:
        console.print("No sessions are recorded yet.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Session", no_wrap=True)  # other commands take the whole id
    for column in ("Started (UTC)", "Symptom", "Pair", "Questions", "Status", "Verdict"):
        table.add_column(column)
    for run in runs:
        table.add_row(
            run.id,
            run.created_at.strftime("%Y-%m-%d %H:%M"),
            run.spec.symptom,
            run.spec.pair_id,
            str(run.spec.questions),
            f"{run.status}, imported" if run.imported else str(run.status),
            run.state or "–",
        )
    console.print(table)


def show_inspection(console: Console, report: CheckpointReport) -> None:
    """Print bits per layer, totals and anomalies of a checkpoint."""
    table = Table(box=None, pad_edge=False)
    for column in ("Layer", "In", "Out", "Bits (rows)", "Group", "bpw"):
        table.add_column(column, justify="left" if column in ("Layer", "Bits (rows)") else "right")
    for layer in report.layers:
        bits = ", ".join(f"{b} ({rows})" for b, rows in layer.bits)
        table.add_row(
            layer.key,
            str(layer.in_features),
            str(layer.out_features),
            bits,
            str(layer.group_size),
            f"{layer.bpw:.2f}",
        )
    if report.layers:
        console.print(table)
    console.print(f"Kind: {report.kind}   Architecture: {report.architecture}")
    console.print(
        f"Decoder: {_bpw(report.decoder_bpw)}   Head: {_bpw(report.head_bpw)}   "
        f"Size: {report.total_bytes / 1e6:.1f} MB"
    )
    if not report.anomalies:
        console.print("No anomalies.", style="green")
    for anomaly in report.anomalies:
        console.print(f"Anomaly: {escape(anomaly)}", style="red")


def _bpw(value: float | None) -> str:
    return "not quantized" if value is None else f"{value:.2f} bits per weight"


def _metrics_table(metrics: Sequence[Metric]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("Metric", "FP16", "EXL2", "Difference (95 %)", "Floor", "Gate", "State"):
        table.add_column(column)
    for m in metrics:
        lo_hi = "" if m.interval is None else f" ({m.interval[0]:+.3f} to {m.interval[1]:+.3f})"
        difference = _number(m.difference) if m.difference is not None else _number(m.exl2)
        gate = "" if m.gate is None else f"{m.gate.op} {m.gate.value:g}"
        state = "" if m.state is None else f"[{STYLES[m.state]}]{m.state}[/]"
        name = f"[bold]{escape(m.label)}[/]" if m.primary else escape(m.label)
        table.add_row(
            name, _number(m.fp16), _number(m.exl2), difference + lo_hi, _number(m.floor), gate, state
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
