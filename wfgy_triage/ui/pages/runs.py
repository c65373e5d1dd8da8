"""The page of recorded sessions, at `/runs`; `?compare=ID,ID`: two beside each other, `?audit=1`: who did what."""

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
from wfgy_triage.ui.people.acting import context_of
from wfgy_triage.ui.people.audit import AUDIT_HEAD, audit_page
from wfgy_triage.ui.sessions import ListQuery, sessions_page

HEAD = '<div class="step-head"><h2>Sessions</h2><p>Every run is recorded. Open one to see its verdict again.</p></div>'
COMPARE_HEAD = (
    '<div class="step-head"><h2>Two sessions compared</h2><p>Only what differs is shown. Differences are second '
    "minus first.</p></div>"
)
LOADING = '<p class="empty">Loading the sessions\N{HORIZONTAL ELLIPSIS}</p>'


def build_runs_page(context: PageContext) -> None:
    """Build the page inside the current route."""
    page_frame(context)
    head = panel(HEAD)
    listing = gr.HTML(LOADING, apply_default_css=False, js_on_load=COMPARE_JS, elem_id="sessions")

    def show(request: gr.Request) -> tuple[str, str]:
        theirs = context_of(context, request)
        if asked := _parameter(request, "compare"):
            return COMPARE_HEAD, _explained(lambda: comparison(theirs, asked, pair=False))
        if _parameter(request, "audit"):
            return AUDIT_HEAD, _explained(lambda: audit_page(theirs.service, _parameter(request, "page")))
        known = list(context.catalog.symptoms)
        status, symptom, number = (_parameter(request, name) for name in ("status", "symptom", "page"))
        text, tag, owner = (_parameter(request, name) for name in ("q", "tag", "by"))
        query = ListQuery.parse(status, symptom, number, known, text, tag, owner)
        return HEAD, _explained(lambda: sessions_page(theirs, query))

    def pair(request: gr.Request) -> Any:
        """Pairing takes seconds; the rest of the comparison is on the page meanwhile."""
        asked = _parameter(request, "compare")
        theirs = context_of(context, request)
        return _explained(lambda: comparison(theirs, asked, pair=True)) if asked else gr.skip()

    blocks = gr.context.Context.root_block
    if blocks is None:
        raise RuntimeError("the sessions page is built inside a gr.Blocks route")
    blocks.load(
        show, None, [head, listing], queue=False, show_progress="hidden", api_visibility="private"
    ).then(pair, None, [listing], queue=False, show_progress="hidden", api_visibility="private")


def _parameter(request: gr.Request, name: str) -> str:
    return str(request.query_params.get(name, ""))


def _explained(show: Callable[[], str]) -> str:
    try:
        return show()
    except TriageError as error:
        return error_callout(error)
