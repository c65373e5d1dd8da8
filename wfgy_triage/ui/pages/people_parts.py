"""The components that are about people: who is there, whose session it is, deleting it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.ui.choice import panel
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.people.door import actor_of
from wfgy_triage.ui.people.shown import who_line, with_who_line

SURE = (
    "<p><b>Delete this session for good?</b> Its verdict, all answers that were measured, its notes and "
    "its links go. The audit trail keeps that it was deleted, and by whom.</p>"
)


def build_who(context: PageContext) -> None:
    """Say on the page who is there, where that makes a difference."""
    blocks = gr.context.Context.root_block
    if not with_who_line(context.team) or blocks is None:
        return
    who = panel(elem_id="who")

    def whoever(request: gr.Request) -> str:
        return who_line(context.team, actor_of(request))

    blocks.load(whoever, None, [who], queue=False, show_progress="hidden", api_visibility="private")


def build_session_people() -> dict[str, Any]:
    """Make the block below the steps; it is shown while the page is attached to a session."""
    with gr.Column(visible=False, elem_id="session-people", elem_classes="card") as session_people:
        owner_line = panel(elem_id="session-owner")
        with gr.Row(elem_classes="actions"):
            ask = gr.Button("Delete this session", visible=False, scale=0, elem_id="delete-ask")
        with gr.Column(visible=False, elem_id="delete-sure") as sure:
            panel(SURE)
            with gr.Row(elem_classes="actions"):
                yes = gr.Button("Delete for good", variant="stop", scale=0, elem_id="delete-yes")
                no = gr.Button("Keep it", scale=0, elem_id="delete-no")
    return {
        "session_people": session_people,
        "owner_line": owner_line,
        "delete_ask": ask,
        "delete_sure": sure,
        "delete_yes": yes,
        "delete_no": no,
    }
