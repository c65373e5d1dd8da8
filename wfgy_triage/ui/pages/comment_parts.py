"""The components of the block "Comments" on the verdict."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.store.comments import LONGEST_COMMENT, LONGEST_NAME
from wfgy_triage.ui.choice import panel

COMMENTS_HEAD = (
    '<h3>Comments</h3><p class="dim">They stay with the session and go with its report, unless texts are left out. '
    "Nothing is changed or taken away again.</p>"
)


def build_comments() -> dict[str, Any]:
    """Make the block."""
    with gr.Column(elem_id="comments-block", elem_classes="card"):
        panel(COMMENTS_HEAD)
        listed = panel(elem_id="comment-list")
        who = gr.Textbox(label="Your name, if you like", max_length=LONGEST_NAME, elem_id="comment-who")
        text = gr.Textbox(label="Comment", lines=2, max_length=LONGEST_COMMENT, elem_id="comment-text")
        with gr.Row(elem_classes="actions"):
            add = gr.Button("Add the comment", scale=0, elem_id="comment-add")
    return {"comment_list": listed, "comment_who": who, "comment_text": text, "comment_add": add}
