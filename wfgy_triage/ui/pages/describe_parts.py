"""The components of the block "Name and notes" on the verdict."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.store.descriptions import LONGEST_NOTE, LONGEST_TITLE
from wfgy_triage.ui.choice import panel
from wfgy_triage.ui.described import DESCRIBE_HELP


def build_describe() -> dict[str, Any]:
    """Make the block."""
    with gr.Column(elem_id="describe-block", elem_classes="card"):
        panel(f"<h3>Name and notes</h3>{DESCRIBE_HELP}")
        with gr.Row(equal_height=False):
            title = gr.Textbox(label="Name", max_length=LONGEST_TITLE, elem_id="describe-title")
            tags = gr.Textbox(
                label="Tags", placeholder="parted by commas", max_length=400, elem_id="describe-tags"
            )
        note = gr.Textbox(label="Notes", lines=3, max_length=LONGEST_NOTE, elem_id="describe-note")
        with gr.Row(elem_classes="actions"):
            save = gr.Button("Save", scale=0, elem_id="describe-save")
            saved = panel(elem_id="describe-saved")
    return {
        "describe_title": title,
        "describe_tags": tags,
        "describe_note": note,
        "describe_save": save,
        "describe_saved": saved,
    }
