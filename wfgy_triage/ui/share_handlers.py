"""What happens in the blocks "Name and notes" and "Share a read-only link" on the verdict."""

from __future__ import annotations

import gradio as gr

from wfgy_triage.access import Action
from wfgy_triage.errors import InputError
from wfgy_triage.store.records import RunRecord
from wfgy_triage.store.rows import now
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import explained
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.sharing import DAYS, any_open, share_list
from wfgy_triage.ui.views import Updates


class ShareHandlers:
    """The behaviour of the blocks."""

    context: PageContext
    parts: Parts

    @explained
    def describe(self, run_id: str, title: str, tags: str, note: str) -> Updates:
        """Keep what was written about the session."""
        record = self.context.service.describe(run_id, title or "", note or "", tags or "")
        return {**self.written(record), self.parts.describe_saved: '<p class="dim" role="status">Saved.</p>'}

    def written(self, record: RunRecord) -> Updates:
        """What is kept of it, as it is shown: in fields for who may change it."""
        may = self.context.service.may(Action.DESCRIBE, record.owner)
        return {
            self.parts.describe_title: gr.Textbox(record.title, interactive=may),
            self.parts.describe_tags: gr.Textbox(", ".join(record.tags), interactive=may),
            self.parts.describe_note: gr.Textbox(record.note, interactive=may),
            self.parts.describe_saved: "",
        }

    @explained
    def make_link(self, run_id: str, days: str, redacted: bool) -> Updates:
        """Make a link and show it, once."""
        if days not in DAYS:
            raise InputError(
                "How long the link is to open is not known.", f"Choose one of: {', '.join(DAYS.values())}."
            )
        _, token = self.context.service.share(run_id, int(days), bool(redacted))
        return {**self.links(run_id), self.parts.share_path: f"s/{token}"}

    @explained
    def take_back(self, run_id: str, share_id: str) -> Updates:
        """Take the chosen link back; the one that was just made is no longer shown."""
        if not share_id:
            raise InputError("No link was chosen.", "Choose the link that is to be taken back.")
        self.context.service.revoke(run_id, share_id)
        return {**self.links(run_id), self.parts.share_path: ""}

    def links(self, run_id: str) -> Updates:
        """The list of links as it is now."""
        shares = self.context.service.shares(run_id) if run_id else ()
        moment = now()
        return {
            self.parts.share_list: gr.HTML(options=share_list(shares, moment), value=""),
            self.parts.share_back: gr.Button(
                visible=any_open(shares, moment) and self.context.may_with(run_id, Action.UNSHARE)
            ),
        }
