"""Downloads of a recorded session: the menu on the verdict, and the addresses behind it."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from wfgy_triage.errors import AccessDenied, InputError
from wfgy_triage.languages.known import ENGLISH, NAMES
from wfgy_triage.report.export.formats import FORMATS, Format
from wfgy_triage.report.icons import icon
from wfgy_triage.runs.service import TriageService
from wfgy_triage.ui.people.door import actor_of

SESSION_ID = re.compile(r"[0-9A-Za-z_-]{1,32}")


def export_menu(run_id: str) -> str:
    """Return the menu: one link for each language of a format, and the same without the texts."""
    items = "".join(
        f"<li><div><b>{escape(f.title)}</b><span>{escape(f.about)}</span></div><p>{_links(run_id, f)}</p></li>"
        for f in FORMATS.values()
    )
    return (
        f'<details class="export"><summary>{icon("download")}Export</summary><div class="export-menu">'
        f'<ul>{items}</ul><label class="export-redact"><input type="checkbox" class="redact">'
        "<span>Leave out the texts of questions and answers</span></label></div></details>"
    )


def add_export_routes(app: FastAPI, service: TriageService) -> None:
    """Serve `GET /sessions/{id}/export/{format}`.

    With `?redact=1` without the texts of questions and answers; with `?language=zh` the report in Chinese.
    """

    @app.get("/sessions/{run_id}/export/{form}", response_class=PlainTextResponse)
    def download(
        request: Request, run_id: str, form: str, redact: str = "", language: str = ENGLISH
    ) -> Response:
        """Give one session as a file."""
        if not SESSION_ID.fullmatch(run_id) or form not in FORMATS:
            return _refused("There is no such session or format.")
        try:
            found = service.acting(actor_of(request)).export(run_id, form, redact == "1", language)
        except AccessDenied as error:
            return _refused(error.message, 403)
        except InputError as error:
            return _refused(str(error))
        headers = {"content-disposition": f'attachment; filename="{found.name}"', "cache-control": "no-store"}
        return Response(found.text, media_type=f"{found.media_type}; charset=utf-8", headers=headers)


def _refused(text: str, status: int = 404) -> Response:
    return PlainTextResponse(text, status_code=status, headers={"cache-control": "no-store"})


def _links(run_id: str, form: Format) -> str:
    """A form that is written in several languages names them, instead of the download."""
    several = len(form.languages) > 1
    return "".join(
        _link(run_id, form, language if several else "", redact)
        for redact in (False, True)
        for language in form.languages
    )


def _link(run_id: str, form: Format, language: str, redact: bool) -> str:
    """Relative, so that it holds under any root path."""
    kind, without = ("bare", " without texts") if redact else ("full", "")
    asked = {"language": language} if language else {}
    query = urlencode(asked | ({"redact": "1"} if redact else {}))
    word = NAMES.get(language, "Download")
    title = f"{form.title} ({word})" if language else form.title
    href = f"./sessions/{run_id}/export/{form.id}{'?' if query else ''}{query}"
    return (
        f'<a class="{kind}" download href="{escape(href)}" '
        f'aria-label="Download: {escape(title)}{without}">{escape(word)}</a>'
    )
