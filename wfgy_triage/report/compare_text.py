"""Two sessions beside each other in the terminal: only what differs."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wfgy_triage.report.compare import Comparison, metric_pairs
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.format import MISSING, difference, interval, moment, quantity
from wfgy_triage.report.terminal import STYLES
from wfgy_triage.result import Effect, Metric

READINGS = {True: "[green]better[/]", False: "[bold red]worse[/]", None: "no clear change"}


def show_comparison(console: Console, found: Comparison) -> None:
    """Print verdicts, paired metrics, the other metrics, questions, configuration and recommendation."""
    for name, session in (("First", found.first), ("Second", found.second)):
        console.print(f"[bold]{name}[/]  {_head(session)}", highlight=False)
    _show_metrics(console, found)
    if found.same_symptom and found.shared:
        console.print(
            f"[bold]Questions:[/] of {found.shared} that both asked, EXL2 answers {len(found.gained)} well only in "
            f"the second session and {len(found.dropped)} only in the first.",
            highlight=False,
        )
        for title, pairs in (("only in the second", found.gained), ("only in the first", found.dropped)):
            for _, row in pairs:
                console.print(f"  well {title}: {escape(_line(row.question))}", style="dim", highlight=False)
    if found.differences:
        table = _table("Part", "What", "First", "Second")
        for d in found.differences:
            table.add_row(d.section, *(escape(t) or MISSING for t in (d.name, d.first, d.second)))
        console.print(table)
    else:
        console.print("Models, settings and versions are the same in both.")
    if found.changes[0] != found.changes[1]:
        first, second = (escape(t) or "no change" for t in found.changes)
        console.print(f"[bold]Recommended:[/] first {first}; second {second}", highlight=False)


def _head(session: Session) -> str:
    result = session.result
    return (
        f"{session.record.id}  [{STYLES[result.state]}]{result.state}[/]  {result.symptom}  "
        f"{escape(str(result.pair['id']))}  {moment(session.record.created_at)}\n  {escape(result.headline)}"
    )


def _show_metrics(console: Console, found: Comparison) -> None:
    if found.pairing.reason:
        console.print(escape(found.pairing.reason))
    shown = [m for m in found.pairing.metrics if m.difference or m.better is not None]
    if found.pairing.metrics and not shown:
        console.print("No metric differs on the questions that both asked.")
    if shown:
        level = f"{100 * shown[0].level:.4g} % interval"
        table = _table("Metric (paired)", "First", "Second", "Difference", level, "Reading")
        for m in shown:
            table.add_row(*_paired(m))
        console.print(table)
    paired = {m.id for m in found.pairing.metrics}
    rest = [
        (a, b)
        for a, b in metric_pairs(found.first.result, found.second.result)
        if found.same_symptom and not {m.id for m in (a, b) if m} & paired
    ]
    if rest:
        table = _table("Metric (not paired)", "First FP16", "First EXL2", "Second FP16", "Second EXL2")
        for a, b in rest:
            table.add_row(escape((b or a).label) if b or a else "", *_sides(a), *_sides(b))  # type: ignore[union-attr]
        console.print(table)


def _paired(m: Effect) -> tuple[str, ...]:
    return (
        escape(m.label),
        quantity(m.before, m.unit),
        quantity(m.after, m.unit),
        difference(m.difference, m.unit),
        interval(m.interval, m.unit),
        READINGS[m.better],
    )


def _sides(metric: Metric | None) -> tuple[str, str]:
    if metric is None:
        return MISSING, MISSING
    return quantity(metric.fp16, metric.unit), quantity(metric.exl2, metric.unit)


def _line(text: str) -> str:
    """A question on one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
