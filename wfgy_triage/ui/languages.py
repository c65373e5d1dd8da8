"""Other languages of the page: dictionaries from `assets/texts`, and the script that puts them in place.

The server writes English and records it, so that a session reads the same wherever it is opened. The browser exchanges
what is shown, of which only it sees all: the page, charts, hints, and what an older session says.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import yaml
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from wfgy_triage.settings import REPO_ROOT

LANGUAGES = ("zh",)
"""Folders of `assets/texts`; the script has the same ones."""
TEXTS = REPO_ROOT / "assets" / "texts"
SCRIPT_TAG = '<script src="./texts/translate.js" defer></script>'
"""Relative, as the icon: the page may be served below a path."""
# Asked for again at every visit, sent again only when it has changed.
_FRESH = {"cache-control": "no-cache"}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def dictionary(language: str) -> bytes:
    """Return English to that language as JSON, in UTF-8; a text that stays as it is stands for itself.

    Args:
        language: one of `LANGUAGES`.
    """
    found: dict[str, str] = {}
    for path in sorted((TEXTS / language).glob("*.yaml")):
        texts = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
        found |= {english: english if other is None else other for english, other in texts.items()}
    return json.dumps(found, ensure_ascii=False).encode()


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
        body = dictionary(language)
        headers = _FRESH | {"etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)
