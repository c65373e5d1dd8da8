"""The page of recorded sessions, at `/runs`.

With `?compare=ID,ID` two of them beside each other, with `?run=ID&question=Q` the questions of one, with
`?trend=PAIR&symptom=S` a pair over time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from wfgy_triage.errors import TriageError
from wfgy_triage.ui.choice import panel
from wfgy_triage.ui.compare import COMPARE_JS, comparison
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import error_callout
from wfgy_triage.ui.pages.frame import page_frame
from wfgy_triage.ui.permalinks import COPY_LINK_JS
from wfgy_triage.ui.questions import QUESTIONS_HEAD, TO_ASKED_JS, session_questions
from wfgy_triage.ui.sessions import ListQuery, sessions_page
from wfgy_triage.ui.trend import TrendView, trend_view
from wfgy_triage.ui.views import plot_data

HEAD = '<div class="step-head"><h2>Sessions</h2><p>Every run is recorded. Open one to see its verdict again.</p></div>'
COMPARE_HEAD = (
    '<div class="step-head"><h2>Two sessions compared</h2><p>Only what differs is shown. Differences are second '
    "minus first.</p></div>"
)
TREND_HEAD = '<div class="step-head"><h2>A pair over time</h2></div>'
LOADING = '<p class="empty">Loading the sessions\N{HORIZONTAL ELLIPSIS}</p>'


def build_runs_page(context: PageContext) -> None:
    """Build the page inside the current route."""
    page_frame()
    head = panel(HEAD)
    with gr.Column(visible=False, elem_classes="card chart", elem_id="trend") as column:
        plot = gr.Plot(show_label=False, label="Trend", container=False, elem_id="plot-trend")
    listing = gr.HTML(
        LOADING, apply_default_css=False, js_on_load=COMPARE_JS + COPY_LINK_JS, elem_id="sessions"
    )

    def show(request: gr.Request) -> dict[Any, Any]:
        if pair_id := _parameter(request, "trend"):
            return trend(pair_id, _parameter(request, "symptom"))
        if asked := _parameter(request, "compare"):
            body = _explained(lambda: comparison(context, asked, pair=False))
            return {head: COMPARE_HEAD, listing: body}
        if run_id := _parameter(request, "run"):
            question = _parameter(request, "question")
            return {
                head: QUESTIONS_HEAD,
                listing: _explained(lambda: session_questions(context, run_id, question)),
            }
        known = list(context.catalog.symptoms)
        status, symptom, number = (_parameter(request, name) for name in ("status", "symptom", "page"))
        text, tag = (_parameter(request, name) for name in ("q", "tag"))
        query = ListQuery.parse(status, symptom, number, known, text, tag)
        return {head: HEAD, listing: _explained(lambda: sessions_page(context, query))}

    def trend(pair_id: str, symptom: str) -> dict[Any, Any]:
        try:
            view = trend_view(context, pair_id, symptom)
        except TriageError as error:
            view = TrendView(TREND_HEAD, error_callout(error))
        drawn = plot_data(view.figure) if view.figure else None
        return {
            head: view.head,
            listing: view.body,
            column: gr.Column(visible=drawn is not None),
            plot: drawn,
        }

    def pair(request: gr.Request) -> Any:
        """Pairing takes seconds; the rest of the comparison is on the page meanwhile."""
        asked = _parameter(request, "compare")
        return _explained(lambda: comparison(context, asked, pair=True)) if asked else gr.skip()

    blocks = gr.context.Context.root_block
    if blocks is None:
        raise RuntimeError("the sessions page is built inside a gr.Blocks route")
    shown = blocks.load(
        show,
        None,
        [head, listing, column, plot],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    shown.then(None, None, None, js=TO_ASKED_JS)
    shown.then(pair, None, [listing], queue=False, show_progress="hidden", api_visibility="private")


def _parameter(request: gr.Request, name: str) -> str:
    return str(request.query_params.get(name, ""))


def _explained(show: Callable[[], str]) -> str:
    try:
        return show()
    except TriageError as error:
        return error_callout(error)
