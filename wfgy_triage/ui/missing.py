"""What a browser gets for an address that is not one of the app's: a page with a way on.

Programs keep the short JSON that they can read.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from wfgy_triage.languages.document import in_language, language_links
from wfgy_triage.ui.languages import CHOSEN_BY, asked_for

_HEADERS = {"cache-control": "no-store", "x-robots-tag": "noindex, nofollow", **CHOSEN_BY}
_MISSING = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>No such page: EXL2 triage</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"></head>'
    '<body style="font: 16px/1.5 system-ui; margin: 15vh auto; max-width: 32em; padding: 0 1em">'
    '<header style="text-align: right">{links}</header>'
    "<main><h1>There is no such page</h1><p>The address may be mistyped, or a part of it is missing.</p>"
    '<p><a href="{home}">Start a triage</a> &middot; <a href="{home}runs">All sessions</a></p></main></body></html>\n'
)


async def missing(request: Request, error: Exception) -> Response:
    """Answer a request that found nothing: a page where a browser wants one, else the usual JSON."""
    if not isinstance(error, HTTPException):
        raise error
    wants_page = "text/html" in request.headers.get("accept", "")
    if request.method not in ("GET", "HEAD") or not wants_page:
        return await http_exception_handler(request, error)
    language = asked_for(request)
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    # Relative, so that it holds under any root path.
    home = "../" * (path.count("/") - 1) or "./"
    page = _MISSING.format(links=language_links(language), home=home)
    return HTMLResponse(in_language(page, language), status_code=error.status_code, headers=_HEADERS)
