"""The components of the block "Share a read-only link" on the verdict."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.ui.choice import choice, copy_panel, fixed_select, panel
from wfgy_triage.ui.sharing import SHARE_HELP, USUAL_DAYS, days_field

# The address is put together in the browser, which alone knows under which name the server is reached. A parsed address
# has no sign that could be markup.
LINK_JS = """(path) => path ? `<div class="copy"><div><h4>The link, shown once</h4><pre tabindex="0">${
  new URL(path, location.origin + location.pathname).href
}</pre></div><button type="button" data-copy>Copy</button></div>` : ''"""


def build_share() -> dict[str, Any]:
    """Make the block. It is on the page from the start, since a list that appears later loses its options."""
    with gr.Column(elem_id="share-block", elem_classes="card"):
        panel(f"<h3>Share a read-only link</h3>{SHARE_HELP}")
        with gr.Row(elem_classes="actions", equal_height=False):
            days = fixed_select(days_field(), USUAL_DAYS, "share-days")
            redact = gr.Checkbox(
                False,
                label="Leave out the texts of questions and answers",
                scale=0,
                min_width=260,
                elem_id="share-redact",
            )
            make = gr.Button("Make a link", scale=0, elem_id="share-make")
        path = gr.Textbox(visible="hidden", label="Path", elem_id="share-path")
        link = copy_panel(elem_id="share-link")
        shares = choice("share", "", elem_id="share-list")
        with gr.Row(elem_classes="actions"):
            back = gr.Button("Take the chosen link back", visible=False, scale=0, elem_id="share-back")
    return {
        "share_days": days,
        "share_redact": redact,
        "share_make": make,
        "share_path": path,
        "share_link": link,
        "share_list": shares,
        "share_back": back,
    }
