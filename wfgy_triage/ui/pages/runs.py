"""The page of recorded sessions, at `/runs`."""

from __future__ import annotations

import gradio as gr

from wfgy_triage.errors import TriageError
from wfgy_triage.ui.choice import panel
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import error_callout
from wfgy_triage.ui.pages.frame import page_frame
from wfgy_triage.ui.sessions import ListQuery, sessions_page

HEAD = '<div class="step-head"><h2>Sessions</h2><p>Every run is recorded. Open one to see its verdict again.</p></div>'


def build_runs_page(context: PageContext) -> None:
    """Build the page inside the current route."""
    page_frame()
    panel(HEAD)
    listing = panel('<p class="empty">Loading the sessions\N{HORIZONTAL ELLIPSIS}</p>', elem_id="sessions")

    def show(request: gr.Request) -> str:
        get = request.query_params.get
        known = list(context.catalog.symptoms)
        query = ListQuery.parse(get("status", ""), get("symptom", ""), get("page", ""), known)
        try:
            return sessions_page(context, query)
        except TriageError as error:
            return error_callout(error)

    blocks = gr.context.Context.root_block
    if blocks is None:
        raise RuntimeError("the sessions page is built inside a gr.Blocks route")
    blocks.load(show, None, [listing], queue=False, show_progress="hidden", api_visibility="private")
