"""Where one may go from a session: its questions, and the trend that it is part of."""

from __future__ import annotations

from html import escape

from wfgy_triage.store.records import RunRecord
from wfgy_triage.ui.permalinks import question_url
from wfgy_triage.ui.trend import trend_link


def session_links(record: RunRecord) -> str:
    """Return the links beside the export menu."""
    questions = f'<a class="trend-link" href="{escape(question_url(record.id))}">All questions</a>'
    return f'<span class="session-links">{questions}{trend_link(record, "Trend of this pair")}</span>'
