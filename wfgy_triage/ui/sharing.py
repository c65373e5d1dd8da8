"""Read-only links: what the page says of them, and the address that they open.

The opened page is the session's report as a file would hold it: it asks nothing of the server and starts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from wfgy_triage.errors import InputError
from wfgy_triage.languages.document import in_language, language_links
from wfgy_triage.report.format import Look, chip, moment
from wfgy_triage.runs.service import TriageService
from wfgy_triage.store.records import Share
from wfgy_triage.ui.languages import CHOSEN_BY, asked_for
from wfgy_triage.ui.people.shown import person

DAYS = {"1": "1 day", "7": "7 days", "30": "30 days", "365": "1 year"}
USUAL_DAYS = "7"
SHARE_HELP = (
    '<p class="dim">Whoever has the link can read this session, and nothing else. It ends by itself, and you can take '
    "it back. It is shown once: only a fingerprint of it is kept here.</p>"
)
NO_STORE = {"cache-control": "no-store", "x-robots-tag": "noindex, nofollow", **CHOSEN_BY}
_OPEN, _BACK, _OVER = (
    Look("Open", "ok", "link"),
    Look("Taken back", "mute", "dash"),
    Look("Over", "mute", "clock"),
)
_GONE = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Nothing here</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"></head>'
    '<body style="font: 16px/1.5 system-ui; margin: 15vh auto; max-width: 32em; padding: 0 1em">'
    '<header style="text-align: right">{links}</header>'
    "<main><h1>This link opens nothing</h1><p>It may have ended or been taken back, or a part of it is missing. Ask "
    "whoever sent it for a new one.</p></main></body></html>\n"
)


def days_field() -> str:
    """Return the choice of how long a link opens."""
    options = "".join(f'<option value="{v}">{escape(text)}</option>' for v, text in DAYS.items())
    return (
        '<div class="field"><label for="share-days-field">It opens for</label>'
        f'<select id="share-days-field" autocomplete="off">{options}</select></div>'
    )


def share_list(shares: Sequence[Share], now: datetime) -> str:
    """Return the links of a session, those that open as radios so that one can be taken back.

    Args:
        shares: the links.
        now: what counts as over.
    """
    if not shares:
        return '<p class="empty">No link was made yet.</p>'
    rows = "".join(_row(s, now) for s in shares)
    return f'<fieldset class="links"><legend>Links of this session</legend>{rows}</fieldset>'


def any_open(shares: Sequence[Share], now: datetime) -> bool:
    """Whether there is a link to take back."""
    return any(s.open_at(now) for s in shares)


def add_share_routes(app: FastAPI, service: TriageService) -> None:
    """Serve `GET /s/{token}`: the report of the shared session, in the reader's language or that of `?language=`.

    A wrong token looks like one that is over.
    """

    @app.get("/s/{token}", response_class=HTMLResponse)
    def shared(token: str, request: Request) -> Response:
        """Give the shared session."""
        language = asked_for(request)
        try:
            found = service.shared_report(token, language)
        except InputError:
            found = None
        if found is None:
            return HTMLResponse(_gone(language), status_code=404, headers=NO_STORE)
        return HTMLResponse(found, headers=NO_STORE)


def _gone(language: str) -> str:
    return in_language(_GONE.format(links=language_links(language)), language)


def _by(share: Share) -> str:
    return f" by {escape(person(share.made_by))}" if share.made_by else ""


def _row(share: Share, now: datetime) -> str:
    texts = "without texts" if share.redacted else "with all texts"
    made = f"Made {escape(moment(share.created_at))}{_by(share)}"
    told = f"<span>{made}, {texts}; until {escape(moment(share.expires_at))}</span>"
    if not share.open_at(now):
        return f"<p>{chip(_BACK if share.revoked_at else _OVER)} {told}</p>"
    return f'<label><input type="radio" name="share" value="{escape(share.id)}"> {chip(_OPEN)} {told}</label>'
