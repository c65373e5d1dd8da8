"""Other languages in the browser: the dictionaries, the script that puts them in place, and what a reader asks for.

The server writes English and records it, so that a session reads the same wherever it is opened. On the page the
browser exchanges what is shown, of which only it sees all: the page, charts, hints, and what an older session says.
Pages that run no script are exchanged before they are sent.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from wfgy_triage.languages.known import LANGUAGES, NAMES, TEXTS, dictionary, preferred

SCRIPT_TAG = '<script src="./texts/translate.js" defer></script>'
"""Relative, as the icon: the page may be served below a path."""
CHOSEN_BY = {"vary": "Accept-Language"}
"""A header of what `asked_for` decided."""
# Asked for again at every visit, sent again only when it has changed.
_FRESH = {"cache-control": "no-cache"}


def asked_for(request: Request, chosen: str = "") -> str:
    """Return the language that a page without a script is shown in.

    Args:
        request: `?language=` of its address counts, then the browser's languages.
        chosen: counts before both where it is a language.
    """
    for wanted in (chosen, request.query_params.get("language", "")):
        if wanted in NAMES:
            return wanted
    return preferred(request.headers.get("accept-language", ""))


@cache
def _as_json(language: str) -> bytes:
    return json.dumps(dictionary(language), ensure_ascii=False).encode()


def add_language_routes(app: FastAPI) -> None:
    """Serve `/texts/translate.js` and `/texts/LANGUAGE.json`."""

    @app.get("/texts/{name}", response_class=FileResponse)
    def texts(name: str, request: Request) -> Response:
        """Give the script or a dictionary; nothing else is there."""
        if name == "translate.js":
            return FileResponse(TEXTS / name, media_type="text/javascript", headers=_FRESH)
        language = name.removesuffix(".json")
        if language not in LANGUAGES or language == name:
            return PlainTextResponse("There is no such language.", status_code=404)
        body = _as_json(language)
        headers = _FRESH | {"etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)
