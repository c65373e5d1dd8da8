"""The components of the triage page, by what they are for. `layout.py` makes them, `handlers.py` fills them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import gradio as gr


@dataclass(frozen=True)
class Parts:
    """Every component that a handler reads or writes.

    `run_id` holds the run the page is attached to, `ended` the run whose end was seen, and `step` the step in view;
    they are hidden fields, not server-side state, so they survive a restart of the web process.
    """

    notice: gr.HTML
    run_id: gr.Textbox
    ended: gr.Textbox
    step: gr.Textbox
    run_timer: gr.Timer
    pairs_timer: gr.Timer
    walk: gr.Walkthrough
    steps: tuple[gr.Step, ...]
    # 1 Symptom
    complaint: gr.Textbox
    find: gr.Button
    suggested: gr.HTML
    symptom: gr.HTML
    symptom_detail: gr.HTML
    to_models: gr.Button
    # 2 Models and questions
    models_title: gr.HTML
    pair: gr.HTML
    questions: gr.Slider
    trials: gr.HTML
    engineer: gr.Accordion
    options: gr.HTML
    seed: gr.Number
    workload: gr.Textbox
    own_questions: gr.Accordion
    upload: gr.UploadButton
    own_passages: gr.Accordion
    upload_passages: gr.UploadButton
    upload_index: gr.UploadButton
    builtin: gr.Button
    upload_note: gr.HTML
    plan: gr.HTML
    start: gr.Button
    # 3 Measure
    live_title: gr.HTML
    live: gr.HTML
    so_far: gr.HTML
    stop: gr.Button
    resume: gr.Button
    retry: gr.Button
    # 4 Verdict
    verdict: gr.HTML
    recheck: gr.HTML
    verdict_actions: gr.Row
    to_fix: gr.Button
    more: gr.Button
    export: gr.HTML
    metrics: gr.HTML
    cause: gr.HTML
    doctor: gr.HTML
    chart_columns: dict[str, gr.Column]
    plots: dict[str, gr.Plot]
    chart_notes: dict[str, gr.HTML]
    answers_block: gr.Column
    answers: gr.HTML
    both: gr.HTML
    provenance: gr.HTML
    describe_title: gr.Textbox
    describe_tags: gr.Textbox
    describe_note: gr.Textbox
    describe_save: gr.Button
    describe_saved: gr.HTML
    comment_list: gr.HTML
    comment_who: gr.Textbox
    comment_text: gr.Textbox
    comment_add: gr.Button
    share_days: gr.HTML
    share_redact: gr.Checkbox
    share_make: gr.Button
    share_path: gr.Textbox
    share_link: gr.HTML
    share_list: gr.HTML
    share_back: gr.Button
    session_people: gr.Column
    owner_line: gr.HTML
    delete_ask: gr.Button
    delete_sure: gr.Column
    delete_yes: gr.Button
    delete_no: gr.Button
    # 5 Fix and re-check
    fix: gr.HTML
    fix_column: gr.Column
    fix_plot: gr.Plot
    fix_note: gr.HTML
    files: gr.HTML
    own_file: gr.Column
    own_file_kinds: gr.HTML
    own_file_kind: gr.HTML
    own_file_give: gr.UploadButton
    own_file_shown: gr.HTML
    again: gr.Button
    more_again: gr.Button
    other: gr.Button
    fix_rest: gr.HTML

    def every(self) -> list[gr.blocks.Block]:
        """All but the steps themselves, as the outputs of a handler that may touch anything."""
        found: list[gr.blocks.Block] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                found.extend(value.values())
            elif not isinstance(value, tuple):
                found.append(value)
        return found
