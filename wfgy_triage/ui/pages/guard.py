"""The page of the runtime guard, at `/guard`: it reads what a running guard has stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

from wfgy_triage.access import Action, demand
from wfgy_triage.errors import TriageError
from wfgy_triage.guard.overview import Overview, read_overview
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.report.charts_guard import courses_figure, courses_table
from wfgy_triage.report.guard import NOT_STARTED, guard_rest, guard_state, ops_card
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.guard import GuardRepository
from wfgy_triage.ui.choice import folding_panel, panel
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import error_callout
from wfgy_triage.ui.pages.frame import page_frame
from wfgy_triage.ui.people.door import actor_of

HEAD = (
    '<div class="step-head"><h2>Guard</h2><p>What the answers of a model in use are worth now: JSON, citations and '
    "coverage, against the gates.</p></div>"
)
LOADING = '<p class="empty">Loading\N{HORIZONTAL ELLIPSIS}</p>'
EVERY_S = 10


def build_guard_page(context: PageContext) -> None:
    """Build the page inside the current route."""
    page_frame(context)
    panel(HEAD)
    state = folding_panel(LOADING, elem_id="guard-state")
    with gr.Column(visible=False, elem_classes="chart card") as column:
        panel("<h3>Rates over time</h3>")
        plot = gr.Plot(show_label=False, label="Rates over time", container=False, elem_id="plot-guard")
        table = folding_panel()
    rest = folding_panel(elem_id="guard-rest")
    outputs = [state, column, plot, table, rest]

    def show(request: gr.Request) -> list[Any]:
        try:
            demand(actor_of(request), Action.READ)
            return _shown(context)
        except TriageError as error:
            return [error_callout(error), gr.Column(visible=False), None, "", ""]

    timer = gr.Timer(EVERY_S)
    blocks = gr.context.Context.root_block
    if blocks is None:
        raise RuntimeError("the guard's page is built inside a gr.Blocks route")
    for event in (blocks.load, timer.tick):
        event(show, None, outputs, queue=False, show_progress="hidden", api_visibility="private")


def _shown(context: PageContext) -> list[Any]:
    watched, catalog, now = load_watched(), context.catalog, datetime.now(UTC)
    view = _view(context, now)
    if view.empty:
        return [NOT_STARTED, gr.Column(visible=False), None, "", ops_card(view, watched, catalog)]
    figure = courses_figure(view.courses)
    drawn = PlotData(type="plotly", plot=json.dumps(figure)) if figure else None
    return [
        guard_state(view, watched, catalog, now),
        gr.Column(visible=figure is not None),
        drawn,
        courses_table(view.courses),
        guard_rest(view, watched, catalog),
    ]


def _view(context: PageContext, now: datetime) -> Overview:
    return read_overview(GuardRepository(_database(context.settings.database_url)), load_watched(), now)


@lru_cache(maxsize=4)
def _database(url: str) -> Database:
    """The log is the sessions' database; opened when the page is first looked at."""
    return open_database(url)
