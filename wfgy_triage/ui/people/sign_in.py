"""The sign-in page: a plain form without a script, and the way out."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs, quote

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from wfgy_triage.access import VISITOR, Actor, Role
from wfgy_triage.errors import AccessDenied, TriageError
from wfgy_triage.languages.document import in_language, language_links
from wfgy_triage.passwords import LONGEST
from wfgy_triage.report.export.html import style_sheet
from wfgy_triage.report.icons import icon
from wfgy_triage.runs.team import Mode
from wfgy_triage.store.sign_ins import LASTS
from wfgy_triage.ui.languages import CHOSEN_BY, asked_for
from wfgy_triage.ui.people.door import OAUTH_INFO, SESSION_COOKIE, Door, account_of, actor_of
from wfgy_triage.ui.people.gate import SIGN_IN, SIGN_OUT, Gate

_LARGEST = 16 * 1024
"""Bytes of the form; a password of the longest kind, percent-encoded, fits."""
_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}")
NOT_NOW = "Nobody can sign in right now. Whoever runs this page finds the reason in its log."
_NO_STORE = {"cache-control": "no-store", "x-robots-tag": "noindex, nofollow", **CHOSEN_BY}

_log = logging.getLogger(__name__)


def add_people(app: FastAPI, door: Door, elsewhere: tuple[str, ...] = ()) -> None:
    """Put the door around the application and serve `/sign-in` and `/sign-out`; call it before anything is mounted.

    Where Hugging Face is the way in, Gradio's own addresses for it are served too. Addresses that begin as in
    `elsewhere` have a door of their own.
    """
    app.add_middleware(Gate, door=door, elsewhere=elsewhere)
    desk = door.desk
    if not desk.team.signs_in:
        return

    @app.get(SIGN_IN, response_class=HTMLResponse)
    def page(request: Request) -> Response:
        """Show the form, or who is signed in."""
        asked = _Asked(asked_for(request), request.query_params.get("next", ""))
        return _page(door, actor_of(request), asked, account_of(request))

    @app.post(SIGN_IN, response_class=HTMLResponse)
    async def sign_in(request: Request) -> Response:
        """Check name and password."""
        form = await _form(request)
        if desk.team.mode is not Mode.PASSWORDS or form is None:
            asked = _Asked(asked_for(request))
            return _page(
                door, actor_of(request), asked, error="That is not how one signs in here.", status=400
            )
        asked = _Asked(asked_for(request, form.get("language", "")), form.get("next", ""))
        address = request.client.host if request.client is not None else ""
        try:
            token = await run_sync(desk.sign_in, form.get("name", ""), form.get("password", ""), address)
        except AccessDenied as error:
            return _page(door, actor_of(request), asked, error=str(error), status=401)
        except TriageError as error:
            _log.error("nobody can sign in: %s", error)
            return _page(door, actor_of(request), asked, error=NOT_NOW, status=503)
        return _away(
            _relative(asked.target),
            door.cookie(SESSION_COOKIE, token, LASTS.days, request.url.scheme == "https"),
        )

    @app.post(SIGN_OUT)
    def sign_out(request: Request) -> Response:
        """Sign out, here and on the server."""
        request.scope.get("session", {}).pop(OAUTH_INFO, None)
        token = request.cookies.get(SESSION_COOKIE, "")
        if token and actor_of(request).role is not Role.NONE:
            desk.sign_out(token, actor_of(request))
        return _away("./sign-in", door.cookie(SESSION_COOKIE, "", 0, request.url.scheme == "https"))

    if desk.team.mode is Mode.HUGGING_FACE:
        from gradio.oauth import attach_oauth

        # Its middleware with the signed session comes around the door, which reads it.
        attach_oauth(app)


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a short form; None for anything else, of which no more is read."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            return None
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=10)
    except (UnicodeDecodeError, ValueError):
        return None
    return {name: values[-1] for name, values in found.items()}


def _relative(target: str) -> str:
    """Where to go after signing in: a path of this server, whatever was asked for."""
    return f".{target}" if _PATH.fullmatch(target) else "./"


def _away(place: str, cookie: str) -> Response:
    return RedirectResponse(place, status_code=303, headers={**_NO_STORE, "set-cookie": cookie})


@dataclass(frozen=True)
class _Asked:
    """In which language the page is asked for, and where signing in leads to."""

    language: str
    target: str = ""


def _page(
    door: Door, actor: Actor, asked: _Asked, account: str = "", *, error: str = "", status: int = 200
) -> HTMLResponse:
    kept = asked.target if _PATH.fullmatch(asked.target) else ""
    if actor.role is not Role.NONE and not actor.name.startswith(VISITOR):
        inside = (
            f'<h2>You are signed in as <span translate="no">{escape(actor.name)}</span></h2>'
            f'<p>Your role is {actor.role}.</p><p><a href="./">To the page</a></p>{_OUT}'
        )
    elif account:
        inside = (
            f'<h2><span translate="no">{escape(account)}</span> has no role here</h2>'
            f"<p>Ask whoever runs this page to add you to its list of users.</p>{_OUT}"
        )
    elif door.desk.team.mode is Mode.HUGGING_FACE:
        href = "./login/huggingface?_target_url=" + quote(kept or "/", safe="")
        inside = (
            "<h2>Sign in</h2><p>This page is for people with a Hugging Face account.</p>"
            f'<p><a class="sign-in-button" href="{escape(href)}" target="_blank">Sign in with Hugging Face</a></p>'
        )
    else:
        inside = _form_html(_Asked(asked.language, kept), error)
    document = _DOCUMENT.format(
        style=style_sheet(),
        own=_STYLE,
        icon=icon("pulse"),
        links=language_links(asked.language, next=kept),
        inside=inside,
    )
    return HTMLResponse(in_language(document, asked.language), status_code=status, headers=_NO_STORE)


def _form_html(asked: _Asked, error: str) -> str:
    told = (
        f'<p class="callout tone-bad" role="alert">{icon("warning")}<span>{escape(error)}</span></p>'
        if error
        else ""
    )
    return (
        f"<h2>Sign in</h2>{told}"
        '<form class="sign-in" method="post" action="./sign-in">'
        f'<input type="hidden" name="next" value="{escape(asked.target)}">'
        f'<input type="hidden" name="language" value="{asked.language}">'
        '<label for="name">User name</label><input id="name" name="name" autocomplete="username" maxlength="64" '
        'required autocapitalize="none" spellcheck="false" autofocus>'
        '<label for="password">Password</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" maxlength="{LONGEST}" required>'
        '<button type="submit">Sign in</button></form>'
        '<p class="dim small">No password yet, or forgotten? Ask whoever runs this page.</p>'
    )


_OUT = (
    '<form class="sign-in" method="post" action="./sign-out"><button type="submit">Sign out</button></form>'
)
_STYLE = (
    ".sign-in-card { max-width: 420px; margin: 8vh auto 0; } .sign-in { display: grid; gap: 8px; margin-top: 14px; } "
    ".sign-in label { font-weight: 700; } .sign-in input { font: inherit; min-height: 44px; padding: 0 12px; color: "
    "var(--ink); background: var(--surface); border: 1px solid var(--edge); border-radius: 9px; } .sign-in button, "
    ".sign-in-button { font: inherit; font-weight: 700; min-height: 44px; padding: 10px 20px; margin-top: 10px; color: "
    "#fff; background: #0f766e; border: 0; border-radius: 9px; cursor: pointer; text-decoration: none; display: "
    "inline-block; text-align: center; } .sign-in + p { margin-top: 12px !important; }"
)
_DOCUMENT = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Sign in: EXL2 triage</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><style>{style}{own}</style></head>'
    '<body class="gradio-container"><main class="sign-in-card"><header class="masthead"><span class="logo">{icon}'
    '</span><div><h1>EXL2 triage</h1></div>{links}</header><section class="card">{inside}</section></main></body>'
    "</html>\n"
)
