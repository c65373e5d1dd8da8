"""Downloads of a recorded session: the menu on the verdict, and the addresses behind it."""

from __future__ import annotations

import re
from html import escape

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from wfgy_triage.errors import AccessDenied, InputError
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.report.icons import icon
from wfgy_triage.runs.service import TriageService
from wfgy_triage.ui.people.door import actor_of

SESSION_ID = re.compile(r"[0-9A-Za-z_-]{1,32}")


def export_menu(run_id: str) -> str:
    """Return the menu: one link a format, and the same without the texts."""
    items = "".join(
        f"<li><div><b>{escape(f.title)}</b><span>{escape(f.about)}</span></div>"
        f"{_link(run_id, f.id, f.title, redact=False)}{_link(run_id, f.id, f.title, redact=True)}</li>"
        for f in FORMATS.values()
    )
    return (
        f'<details class="export"><summary>{icon("download")}Export</summary><div class="export-menu">'
        f'<ul>{items}</ul><label class="export-redact"><input type="checkbox" class="redact">'
        "<span>Leave out the texts of questions and answers</span></label></div></details>"
    )


def add_export_routes(app: FastAPI, service: TriageService) -> None:
    """Serve `GET /sessions/{id}/export/{format}`; with `?redact=1` without the texts of questions and answers."""

    @app.get("/sessions/{run_id}/export/{form}", response_class=PlainTextResponse)
    def download(request: Request, run_id: str, form: str, redact: str = "") -> Response:
        """Give one session as a file."""
        if not SESSION_ID.fullmatch(run_id) or form not in FORMATS:
            return _refused("There is no such session or format.")
        try:
            found = service.acting(actor_of(request)).export(run_id, form, redact == "1")
        except AccessDenied as error:
            return _refused(error.message, 403)
        except InputError as error:
            return _refused(error.message)
        headers = {"content-disposition": f'attachment; filename="{found.name}"', "cache-control": "no-store"}
        return Response(found.text, media_type=f"{found.media_type}; charset=utf-8", headers=headers)


def _refused(text: str, status: int = 404) -> Response:
    return PlainTextResponse(text, status_code=status, headers={"cache-control": "no-store"})


def _link(run_id: str, form: str, title: str, redact: bool) -> str:
    """Relative, so that it holds under any root path."""
    query, kind, without = ("?redact=1", "bare", " without texts") if redact else ("", "full", "")
    return (
        f'<a class="{kind}" download href="./sessions/{escape(run_id)}/export/{form}{query}" '
        f'aria-label="Download: {escape(title)}{without}">Download</a>'
    )
