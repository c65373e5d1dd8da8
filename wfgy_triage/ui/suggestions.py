"""Step 1's free text: the symptoms that fit a complaint, as choices, or plainly that none fits."""

from __future__ import annotations

from html import escape

import gradio as gr

from wfgy_triage.complaints import Match
from wfgy_triage.errors import TriageError
from wfgy_triage.report.icons import icon
from wfgy_triage.report.words import FIT_WORDS, NEAREST_FIT, NO_FIT, NO_FIT_NEXT
from wfgy_triage.ui.context import PageContext

# Buttons, not radios: they set the cards below, which stay the page's one choice of a symptom.
_JS = """
element.setAttribute('role', 'status');
const mark = () => element.querySelectorAll('button[data-symptom]').forEach(
  b => b.setAttribute('aria-pressed', b.dataset.symptom === props.value));
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-symptom]');
  if (button) { props.value = button.dataset.symptom; mark(); trigger('input'); }
});
watch(['value', 'options'], mark);
mark();
"""

READ_BY = (
    '<p class="dim small">Gemma 3 270M reads it on the machine of this page; it goes nowhere else. Some uses are '
    'restricted: <a href="https://ai.google.dev/gemma/terms" target="_blank" rel="noopener">Gemma terms of use</a></p>'
)
"""Who hosts the model for others has to say so to them (fixmap/NOTICE)."""


def suggestion_list(elem_id: str) -> gr.HTML:
    """Make the area for suggestions. Its value is the chosen symptom's id; `.input` fires when the user chooses.

    It is a live region, so that screen readers say what appears in it.
    """
    return gr.HTML(
        value="",
        html_template="${options}",
        js_on_load=_JS,
        apply_default_css=False,
        elem_id=elem_id,
        options="",
    )


def suggestions(context: PageContext, match: Match) -> str:
    """Return the symptoms that fit, best first, each with a word for how well; else that none does, and the nearest."""
    if match.offered:
        rows = "".join(_choice(context, symptom, FIT_WORDS[fit]) for symptom, fit in match.offered)
        return f'<p class="eyebrow">Closest to your words, best first</p><ol class="suggestions">{rows}</ol>'
    none = f"<span><b>{escape(NO_FIT)}</b> {escape(NO_FIT_NEXT)}</span>"
    said = f'<p class="callout tone-mute">{icon("question")}{none}</p>'
    if not match.nearest:
        return said
    rows = "".join(_choice(context, s, context.catalog.symptoms[s].summary) for s in match.nearest)
    return f'{said}<p class="eyebrow">{escape(NEAREST_FIT)}</p><ol class="suggestions">{rows}</ol>'


def _choice(context: PageContext, symptom: str, beside: str) -> str:
    return (
        f'<li><button type="button" class="suggestion" data-symptom="{escape(symptom)}" aria-pressed="false">'
        f"<b>{escape(context.symptom_title(symptom))}</b><span>{escape(beside)}</span></button></li>"
    )


def not_matched(error: TriageError) -> str:
    """Return why there are no suggestions, and what to do."""
    return (
        f'<p class="callout tone-warn">{icon("clock")}<span><b>{escape(error.message)}</b> {escape(error.hint)}'
        "</span></p>"
    )
