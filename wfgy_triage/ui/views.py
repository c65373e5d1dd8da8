"""One run as the page shows it: everything read from the store once, then turned into component updates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components.plot import PlotData

from wfgy_triage.access import Action
from wfgy_triage.report.answers import Row, answers_table, both_answers, collect_rows
from wfgy_triage.report.answers_changed import Changed, changed_answers, collect_changed
from wfgy_triage.report.charts import Figure
from wfgy_triage.report.diagnosis import cause_card
from wfgy_triage.report.doctor import checks_so_far, doctor_panel, exact_changes
from wfgy_triage.report.figures import build_figures, figure_table, fix_figure
from wfgy_triage.report.files import files_card
from wfgy_triage.report.fix import fix_head, fix_rest
from wfgy_triage.report.guide import guide_track, live_track
from wfgy_triage.report.provenance import provenance_panel
from wfgy_triage.report.recheck import recheck_line
from wfgy_triage.report.verdict import baseline_note, metrics_table, verdict_header
from wfgy_triage.result import Result, State
from wfgy_triage.runs.sessions import changed_sides, file_kinds
from wfgy_triage.runs.watching import LiveRun
from wfgy_triage.store.records import RunRecord, RunStatus
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import export_menu
from wfgy_triage.ui.live import answers_so_far, stage_name, status_card, trials_so_far
from wfgy_triage.ui.own_file import kinds_line, own_file_kinds
from wfgy_triage.ui.pages.layout import AGAIN, APPLIED, CHANGED
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.people.shown import session_updates
from wfgy_triage.ui.permalinks import question_link
from wfgy_triage.ui.session_links import session_links
from wfgy_triage.ui.trial_choice import trial_choice
from wfgy_triage.workload.stored import BUILTIN

Updates = dict[Any, Any]
MEASURING_S, IN_LINE_S = 1.0, 5.0
"""How often the page looks at its run: while it is worked on, and while others come first."""


@dataclass(frozen=True)
class RunView:
    """A run with its answers. `result` is there once it has been evaluated.

    `changed` are the answers before and after the recommended change.
    """

    record: RunRecord
    rows: list[Row]
    result: Result | None
    changed: tuple[Changed, ...] = ()

    def row(self, key: str) -> Row | None:
        """The question with this key; without a key, the most telling: EXL2 invalid, else the texts differ."""
        if key:
            return next((row for row in self.rows if row.key == key), None)
        different = [row for row in self.rows if row.different]
        return next((row for row in different if "exl2-invalid" in row.classes), next(iter(different), None))


def read_run(context: PageContext, run_id: str) -> RunView:
    """Read a run from the store, whole.

    Raises:
        InputError: there is no such run.
    """
    record = context.service.get(run_id)
    samples = context.service.samples(run_id)
    texts = context.texts(record.spec.symptom, record.spec.workload_id)
    result = Result.from_json(record.result) if record.result else None
    sides = changed_sides(result, samples) if result else None
    changed = tuple(collect_changed(samples, texts, *sides)) if sides else ()
    return RunView(record, collect_rows(samples, texts), result, changed)


def live_updates(context: PageContext, parts: Parts, run: LiveRun) -> Updates:
    """Fill step 3; the timer runs as long as the run is open."""
    record, log = run.record, run.measured.log
    ended, may = not run.open, context.service.may
    stoppable = run.open and may(Action.CANCEL, record.owner)
    asks = context.asks_questions(record.spec.symptom)
    resumable = record.status in (RunStatus.CANCELLED, RunStatus.FAILED) and not record.imported
    return {
        parts.live: status_card(record, log, run.place, run.worker_alive, asks),
        parts.so_far: live_track(record.spec.symptom, record.timings, stage_name(log), ended)
        + trials_so_far(run.measured.trials, log, ended)
        + (_answers_so_far(context, run) if asks else checks_so_far(run.measured.findings, ended)),
        parts.live_title: _live_title(run),
        parts.stop: gr.Button(visible=stoppable, interactive=not record.cancel_requested),
        parts.resume: gr.Button(visible=resumable and may(Action.RESUME, record.owner)),
        parts.retry: gr.Button(visible=ended),
        # Who waits in line looks less often: the place in line changes slowly, and many may wait.
        parts.run_timer: gr.Timer(IN_LINE_S if run.place else MEASURING_S, active=run.open),
        **session_updates(context, parts, record),
    }


def verdict_updates(context: PageContext, parts: Parts, view: RunView) -> Updates:
    """Fill steps 4 and 5 from a stored result."""
    result = view.result
    if result is None:
        return {}
    catalog = context.catalog
    first = view.row("")
    asks = context.asks_questions(result.symptom)
    stopped = view.record.status is not RunStatus.DONE
    undecided = _undecided(context, result)
    return {
        parts.verdict: verdict_header(result, catalog, stopped)
        + guide_track(result, catalog)
        + baseline_note(result),
        parts.recheck: recheck_line(result),
        parts.verdict_actions: gr.Row(visible=True),
        parts.to_fix: gr.Button(
            "See what to change" if result.state is not State.PASS else "See the fix pages",
            variant=_beside(undecided),
        ),
        parts.export: export_menu(view.record.id) + session_links(view.record, asks),
        parts.metrics: metrics_table(result, catalog),
        parts.cause: cause_card(result, catalog, with_checks=asks),
        parts.doctor: doctor_panel(result, asks),
        parts.answers_block: gr.Column(visible=asks and bool(view.rows)),
        parts.more: gr.Button(visible=asks, variant=_first(undecided)),
        parts.more_again: gr.Button(visible=asks, variant=_first(undecided)),
        **_chart_updates(parts, result),
        parts.answers: gr.HTML(options=answers_table(view.rows), value=first.key if first else ""),
        parts.both: both_panel(first, view.record.id),
        parts.provenance: provenance_panel(result),
        **_fix_updates(context, parts, view, result),
    }


def _undecided(context: PageContext, result: Result) -> bool:
    """Whether more questions are the next step: the same ones again would decide no more than they did."""
    tried = (result.recommendation or {}).get("candidate")
    return result.state is State.INCONCLUSIVE and not tried and context.asks_questions(result.symptom)


def _first(leads: bool) -> Literal["primary", "secondary"]:
    return "primary" if leads else "secondary"


def _beside(other_leads: bool) -> Literal["primary", "secondary"]:
    """The look of the usual first action: a step has one."""
    return _first(not other_leads)


def both_panel(row: Row | None, run_id: str) -> str:
    """Both answers of a question with its link, or a word on how to get them."""
    if row is None:
        return '<p class="empty card">Choose a question in the list.</p>'
    return both_answers(row) + question_link(run_id, row)


def choice_updates(parts: Parts, record: RunRecord) -> Updates:
    """Set steps 1 and 2 to what this run used, so that going back shows it."""
    return {
        parts.symptom: gr.HTML(value=record.spec.symptom),
        parts.questions: record.spec.questions,
        parts.seed: record.spec.seed,
        parts.trials: gr.HTML(value=trial_choice(record.spec.options)),
        parts.workload: "" if record.spec.workload_id == BUILTIN else record.spec.workload_id,
    }


def _answers_so_far(context: PageContext, run: LiveRun) -> str:
    spec = run.record.spec
    rows = collect_rows(run.measured.newest, context.texts(spec.symptom, spec.workload_id))
    return answers_so_far(rows, run.measured.tallies, not run.open)


def _live_title(run: LiveRun) -> str:
    titles = {
        RunStatus.QUEUED: "Waiting to start",
        RunStatus.RUNNING: "Measuring",
        RunStatus.DONE: "Measured",
        RunStatus.CANCELLED: "Stopped",
        RunStatus.FAILED: "This run could not finish",
    }
    text = (
        "You can close this tab. The run goes on, and this address brings you back to it."
        if run.open
        else "Everything that was measured is kept under this address."
    )
    return f'<div class="step-head"><h2>{titles[run.record.status]}</h2><p>{text}</p></div>'


def _chart_updates(parts: Parts, result: Result) -> Updates:
    figures = build_figures(result.charts)
    updates: Updates = {}
    for name, column in parts.chart_columns.items():
        updates[column] = gr.Column(visible=name in figures)
        updates[parts.plots[name]] = plot_data(figures[name]) if name in figures else None
        updates[parts.chart_notes[name]] = figure_table(name, result.charts)
    return updates


def _fix_updates(context: PageContext, parts: Parts, view: RunView, result: Result) -> Updates:
    figure, numbers = fix_figure(result)
    applied = APPLIED if (result.recommendation or {}).get("candidate") else CHANGED
    due = result.state is State.FAIL or applied == APPLIED
    rest = changed_answers(view.changed) + fix_rest(result, context.catalog)
    return {
        parts.fix: fix_head(result, context.catalog) + baseline_note(result),
        parts.fix_column: gr.Column(visible=figure is not None),
        parts.fix_plot: plot_data(figure) if figure else None,
        parts.fix_note: numbers,
        parts.files: files_card(result, file_kinds()) + exact_changes(result),
        **_own_file_updates(parts, result),
        parts.again: gr.Button(applied if due else AGAIN, variant=_beside(_undecided(context, result))),
        parts.fix_rest: f'<div class="stack">{rest}</div>',
    }


def _own_file_updates(parts: Parts, result: Result) -> Updates:
    kinds = own_file_kinds(result)
    return {
        parts.own_file: gr.Column(visible=bool(kinds)),
        parts.own_file_kinds: kinds_line(kinds),
        parts.own_file_shown: "",
    }


def plot_data(figure: Figure) -> PlotData:
    """A figure as the component's own data: only this form carries Plotly's `config`."""
    return PlotData(type="plotly", plot=json.dumps(figure))
