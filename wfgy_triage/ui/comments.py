"""What happens in the block "Comments" on the verdict."""

from __future__ import annotations

import gradio as gr

from wfgy_triage.access import Action
from wfgy_triage.report.comments import comment_list
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import explained
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.views import Updates

NONE_YET = '<p class="empty">Nobody has said anything yet.</p>'


class CommentHandlers:
    """The behaviour of the block."""

    context: PageContext
    parts: Parts

    @explained
    def add_comment(self, run_id: str, who: str, text: str) -> Updates:
        """Add what was written; what cannot be kept stays in the field."""
        self.context.service.comment(run_id, who or "", text or "")
        return {**self.comments(run_id), self.parts.comment_text: ""}

    def comments(self, run_id: str) -> Updates:
        """The comments as they are now, and the fields for one more for who may write one."""
        service = self.context.service
        may = service.may(Action.COMMENT)
        return {
            self.parts.comment_list: comment_list(service.comments(run_id)) or NONE_YET,
            self.parts.comment_who: gr.Textbox(visible=may and not service.named),
            self.parts.comment_text: gr.Textbox(visible=may),
            self.parts.comment_add: gr.Button(visible=may),
        }
