"""Where one may go from a session: its questions, and the trend that it is part of."""

from __future__ import annotations

from html import escape

from wfgy_triage.store.records import RunRecord
from wfgy_triage.ui.permalinks import question_url
from wfgy_triage.ui.trend import trend_link


def session_links(record: RunRecord, asks: bool) -> str:
    """Return the links beside the export menu; `asks`: whether there are questions to look at."""
    all_of_them = f'<a class="trend-link" href="{escape(question_url(record.id))}">All questions</a>'
    questions = all_of_them if asks else ""
    return f'<span class="session-links">{questions}{trend_link(record, "Trend of this pair")}</span>'
