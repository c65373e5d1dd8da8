"""The components for what a visitor brings: questions, passages and settings on step 2, a file to change on step 5."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.ui.choice import copy_panel, fixed_select, panel
from wfgy_triage.ui.option_fields import option_fields
from wfgy_triage.ui.own_file import BY_NAME, OWN_FILE_HEAD, kind_field
from wfgy_triage.ui.upload import PASSAGES_HELP, UPLOAD_HELP
from wfgy_triage.workload.upload import SUFFIXES


def build_own_workload() -> dict[str, Any]:
    """Make the accordions for a visitor's own questions and passages, and what is said of them."""
    with gr.Accordion("Ask your own questions instead", open=False, elem_id="own-questions") as own_questions:
        panel(UPLOAD_HELP)
        with gr.Row(elem_classes="actions"):
            # A plain button: Gradio's drop zone nests buttons, which screen readers cannot use.
            upload = gr.UploadButton(
                "Choose question files",
                file_count="multiple",
                file_types=list(SUFFIXES),
                scale=0,
                elem_id="upload",
            )
    with gr.Accordion(
        "Search your own passages instead", open=False, visible=False, elem_id="own-passages"
    ) as own_passages:
        panel(PASSAGES_HELP)
        with gr.Row(elem_classes="actions"):
            passages = gr.UploadButton("Choose passages", scale=0, elem_id="upload-passages")
            index = gr.UploadButton("Add a FAISS index", visible=False, scale=0, elem_id="upload-index")
    upload_note = panel(elem_id="upload-note")
    with gr.Row(elem_classes="actions"):
        builtin = gr.Button("Use the built-in questions", visible=False, scale=0, elem_id="builtin")
    return {
        "own_questions": own_questions,
        "upload": upload,
        "own_passages": own_passages,
        "upload_passages": passages,
        "upload_index": index,
        "upload_note": upload_note,
        "builtin": builtin,
        "workload": gr.Textbox(visible="hidden", label="Question set", elem_id="workload"),
    }


def build_engineer() -> dict[str, Any]:
    """Make the accordion with the seed and the settings of the chosen symptom's probe."""
    with gr.Accordion("Details for engineers", open=False, elem_id="engineer") as engineer:
        options = option_fields("options")
        seed = gr.Number(
            0,
            label="Seed",
            precision=0,
            minimum=0,
            info="Base seed of every request, the same on both sides.",
        )
    return {"engineer": engineer, "options": options, "seed": seed}


def build_own_file() -> dict[str, Any]:
    """Make the block in which a recommended change is made in the visitor's own file."""
    with gr.Column(elem_classes="card own-file", visible=False, elem_id="own-file") as block:
        panel(OWN_FILE_HEAD)
        kinds = panel(elem_id="own-file-kinds")
        kind = fixed_select(kind_field(), BY_NAME, "own-kind")
        with gr.Row(elem_classes="actions"):
            give = gr.UploadButton("Choose your file", scale=0, elem_id="give-file")
        shown = copy_panel(elem_id="own-file-shown")
    return {
        "own_file": block,
        "own_file_kinds": kinds,
        "own_file_kind": kind,
        "own_file_give": give,
        "own_file_shown": shown,
    }
