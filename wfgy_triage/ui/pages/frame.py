"""What every page has: the navigation and the masthead with the page's only top-level heading."""

from __future__ import annotations

from gradio.components.navbar import Navbar

from wfgy_triage.report.icons import icon
from wfgy_triage.ui.choice import panel
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.pages.people_parts import build_who

MASTHEAD = (
    f'<header class="masthead"><span class="logo">{icon("pulse")}</span><div><h1>EXL2 triage</h1>'
    "<p>Find out whether your quantized model really got worse, and what to change.</p></div>"
    '<button type="button" class="language" data-language translate="no"></button></header>'
)
"""The button's word is the language that it turns to; the script that does it writes the word."""


def page_frame(context: PageContext) -> None:
    """Add navigation, masthead and who is there; call it first inside a page."""
    Navbar(main_page_name="Triage")
    panel(MASTHEAD)
    build_who(context)
