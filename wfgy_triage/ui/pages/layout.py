"""The triage page's components, step by step. No behaviour here: `handlers.py` has it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.report.figures import FIGURES, FIX_FIGURE, FigureKind
from wfgy_triage.ui.cards import WELCOME, symptom_cards
from wfgy_triage.ui.choice import choice, copy_panel, panel
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.pages.comment_parts import build_comments
from wfgy_triage.ui.pages.describe_parts import build_describe
from wfgy_triage.ui.pages.frame import page_frame
from wfgy_triage.ui.pages.own_parts import build_engineer, build_own_file, build_own_workload
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.pages.people_parts import build_session_people
from wfgy_triage.ui.pages.share_parts import build_share
from wfgy_triage.ui.permalinks import COPY_LINK_JS
from wfgy_triage.ui.suggestions import READ_BY, suggestion_list
from wfgy_triage.ui.trial_choice import USUAL

MODELS_HEADS = {
    True: ("Which models, and how many questions?", "Both sides get exactly the same questions."),
    False: (
        "Which models are to be checked?",
        "Their folders, the loaded models and this machine are checked. No question is asked.",
    ),
}
"""Heading of step 2, by whether the symptom asks questions."""
APPLIED, CHANGED, AGAIN = (
    "I have applied it: check again",
    "I have changed something: check again",
    "Run again",
)
"""Words of the button that starts the linked run: after a recommendation, after a FAIL without one, otherwise."""
MIN_QUESTIONS, MAX_QUESTIONS, USUAL_QUESTIONS = 5, 200, 20


def build_layout(context: PageContext) -> Parts:
    """Make all components of the page inside the current Blocks."""
    page_frame(context)
    made: dict[str, Any] = {
        "notice": panel(elem_id="notice"),
        "run_id": gr.Textbox(visible="hidden", label="Run", elem_id="run-id"),
        "ended": gr.Textbox(visible="hidden", label="Ended", elem_id="run-ended"),
        "step": gr.Textbox("1", visible="hidden", label="Step", elem_id="step-in-view"),
        "run_timer": gr.Timer(1.0, active=False),
        "pairs_timer": gr.Timer(5.0),
    }
    steps: list[gr.Step] = []
    with gr.Walkthrough(selected=1, elem_id="steps") as made["walk"]:
        for number, (label, build) in enumerate(_STEPS, 1):
            with gr.Step(label, id=number, elem_id=f"step{number}") as step:
                made |= build(context)
            steps.append(step)
    made |= build_session_people()
    return Parts(**made, steps=tuple(steps))


def step_head(title: str, text: str = "") -> str:
    """Return the heading of a step."""
    lead = f"<p>{text}</p>" if text else ""
    return f'<div class="step-head"><h2>{title}</h2>{lead}</div>'


def _heading(title: str, text: str = "", elem_id: str | None = None) -> gr.HTML:
    return panel(step_head(title, text), elem_id=elem_id)


def _symptom_step(context: PageContext) -> dict[str, Any]:
    _heading(
        "What looks wrong?",
        "Describe it, or pick the closest card. It decides what is measured; you can measure the others later.",
    )
    with gr.Row(elem_classes="split-row"):
        with gr.Column(scale=5, min_width=340):
            with gr.Row(elem_classes="ask", equal_height=False):
                complaint = gr.Textbox(
                    label="Describe it in your own words",
                    placeholder="For example: after quantizing, my tool calls stop parsing",
                    lines=1,
                    max_lines=4,
                    scale=1,
                    min_width=220,
                    elem_id="complaint",
                )
                find = gr.Button("Find the symptom", scale=0, min_width=160, elem_id="find")
            panel(READ_BY, elem_id="read-by")
            suggested = suggestion_list("suggested")
            cards = symptom_cards(context.catalog.symptoms.values(), context.probed)
            symptom = choice("symptom", cards)
        with gr.Column(scale=3, min_width=300):
            detail = panel(WELCOME, elem_id="symptom-detail")
            with gr.Row(elem_classes="actions"):
                go = gr.Button("Continue", variant="primary", interactive=False, scale=0, elem_id="to-models")
    return {
        "complaint": complaint,
        "find": find,
        "suggested": suggested,
        "symptom": symptom,
        "symptom_detail": detail,
        "to_models": go,
    }


def _models_step(context: PageContext) -> dict[str, Any]:
    title = _heading(*MODELS_HEADS[True], elem_id="models-title")
    with gr.Row(elem_classes="split-row"):
        with gr.Column(scale=5, min_width=340):
            pair = choice("pair", "")
            questions = gr.Slider(
                MIN_QUESTIONS,
                MAX_QUESTIONS,
                value=USUAL_QUESTIONS,
                step=1,
                label="Questions",
                info="More questions take longer and decide smaller differences.",
                elem_id="questions",
            )
            trials = choice("trials", "", USUAL)
            own = build_own_workload() | build_engineer()
        with gr.Column(scale=3, min_width=300):
            plan = panel(elem_id="plan")
            with gr.Row(elem_classes="actions"):
                start = gr.Button(
                    "Start measuring", variant="primary", interactive=False, scale=0, elem_id="start"
                )
    return {
        "models_title": title,
        "pair": pair,
        "questions": questions,
        "trials": trials,
        "plan": plan,
        "start": start,
        **own,
    }


def _measure_step(context: PageContext) -> dict[str, Any]:
    title = _heading("Measuring", "", elem_id="live-title")
    with gr.Row(elem_classes="split-row", equal_height=False):
        with gr.Column(scale=3, min_width=320):
            live = panel(elem_id="live")
            with gr.Row(elem_classes="actions"):
                stop = gr.Button("Stop and keep what is done", scale=0, elem_id="stop")
                resume = gr.Button(
                    "Go on where it stopped", variant="primary", visible=False, scale=0, elem_id="resume"
                )
                retry = gr.Button("Change the settings", visible=False, scale=0, elem_id="retry")
        with gr.Column(scale=5, min_width=320):
            so_far = panel(elem_id="so-far")
    return {
        "live_title": title,
        "live": live,
        "so_far": so_far,
        "stop": stop,
        "resume": resume,
        "retry": retry,
    }


def _verdict_step(context: PageContext) -> dict[str, Any]:
    verdict = panel('<p class="empty">No verdict yet.</p>', elem_id="verdict")
    recheck = panel(elem_id="recheck")
    with gr.Row(elem_classes="actions", visible=False) as actions:
        to_fix = gr.Button("See what to change", variant="primary", scale=0, elem_id="to-fix")
        more = gr.Button("Check with more questions", scale=0, elem_id="more")
        export = panel(elem_id="export")
    metrics = panel(elem_id="metrics")
    columns, plots, notes = {}, {}, {}
    with gr.Column(elem_id="findings"):
        cause = panel(elem_id="cause")
        for kind in FIGURES:
            columns[kind.name], plots[kind.name], notes[kind.name] = _chart(kind)
    doctor = copy_panel(elem_id="doctor")
    with gr.Column(elem_id="answers-block") as answers_block:
        panel(
            '<div class="step-head"><h3>Answers side by side</h3><p>Choose a question to read both in full.</p></div>'
        )
        with gr.Row(elem_classes="split-row", equal_height=False):
            with gr.Column(scale=1, min_width=320):
                answers = choice("answer", "", elem_id="answers")
            with gr.Column(scale=1, min_width=320):
                both = gr.HTML(apply_default_css=False, js_on_load=COPY_LINK_JS, elem_id="both")
    provenance = panel(elem_id="provenance")
    return {
        **build_describe(),
        **build_comments(),
        **build_share(),
        "verdict": verdict,
        "recheck": recheck,
        "verdict_actions": actions,
        "to_fix": to_fix,
        "more": more,
        "export": export,
        "metrics": metrics,
        "cause": cause,
        "chart_columns": columns,
        "plots": plots,
        "chart_notes": notes,
        "doctor": doctor,
        "answers_block": answers_block,
        "answers": answers,
        "both": both,
        "provenance": provenance,
    }


def _chart(kind: FigureKind, visible: bool = False) -> tuple[gr.Column, gr.Plot, gr.HTML]:
    with gr.Column(elem_classes="card chart", visible=visible, elem_id=f"chart-{kind.name}") as column:
        panel(f'<h3>{kind.title}</h3><p class="dim small">{kind.caption}</p>')
        plot = gr.Plot(show_label=False, label=kind.title, container=False, elem_id=f"plot-{kind.name}")
        note = panel()
    return column, plot, note


def _fix_step(context: PageContext) -> dict[str, Any]:
    _heading(
        "What to change, and how to check it", "Change one thing, then measure again on the same questions."
    )
    with gr.Row(elem_classes="split-row", equal_height=False):
        with gr.Column(scale=5, min_width=320):
            fix = panel('<p class="empty">Measure first.</p>', elem_id="fix")
        with gr.Column(scale=3, min_width=320, visible=False) as fix_column:
            _, fix_plot, fix_note = _chart(FIX_FIGURE, visible=True)
    files = copy_panel(elem_id="files")
    own_file = build_own_file()
    with gr.Row(elem_classes="actions"):
        again = gr.Button(APPLIED, variant="primary", scale=0, elem_id="again")
        more = gr.Button("Check with more questions", scale=0, elem_id="more-again")
        other = gr.Button("Another symptom", scale=0, elem_id="other")
    rest = panel(elem_id="fix-rest")
    return {
        "fix": fix,
        "fix_column": fix_column,
        "fix_plot": fix_plot,
        "fix_note": fix_note,
        "files": files,
        **own_file,
        "again": again,
        "more_again": more,
        "other": other,
        "fix_rest": rest,
    }


_STEPS = (
    ("Symptom", _symptom_step),
    ("Models", _models_step),
    ("Measure", _measure_step),
    ("Verdict", _verdict_step),
    ("Fix and re-check", _fix_step),
)
