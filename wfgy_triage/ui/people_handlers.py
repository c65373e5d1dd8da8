"""What happens in the block below the steps: whose session it is, and deleting it."""

from __future__ import annotations

import gradio as gr

from wfgy_triage.report.icons import icon
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import explained
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.views import Updates

DELETED = (
    f'<p class="callout tone-ok" role="status">{icon("check")}<span><b>The session was deleted.</b> Its measurements '
    "and its links went with it.</span></p>"
)


class PeopleHandlers:
    """The behaviour of the block."""

    context: PageContext
    parts: Parts

    def ask_delete(self) -> Updates:
        """Ask once more before anything is gone."""
        return {
            self.parts.delete_sure: gr.Column(visible=True),
            self.parts.delete_ask: gr.Button(visible=False),
        }

    def keep_session(self) -> Updates:
        """Not deleted after all."""
        return {
            self.parts.delete_sure: gr.Column(visible=False),
            self.parts.delete_ask: gr.Button(visible=True),
        }

    @explained
    def delete_session(self, run_id: str) -> Updates:
        """Delete the session and go back to step 1."""
        self.context.service.delete(run_id)
        parts = self.parts
        return {
            parts.notice: DELETED,
            parts.run_id: "",
            parts.run_timer: gr.Timer(active=False),
            parts.walk: gr.Walkthrough(selected=1),
            **self.no_session(),
        }

    def no_session(self) -> Updates:
        """Nothing of a session is shown in the block."""
        return {
            self.parts.session_people: gr.Column(visible=False),
            self.parts.delete_sure: gr.Column(visible=False),
        }
