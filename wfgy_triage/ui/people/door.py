"""Who sent a request. Decided once, at the door (`gate.py`); everything behind it asks `actor_of`."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from starlette.requests import HTTPConnection

from wfgy_triage.access import LOCAL, NOBODY, VISITOR, Actor, Role
from wfgy_triage.runs.sign_in import SignInDesk
from wfgy_triage.runs.team import Mode

SESSION_COOKIE, VISITOR_COOKIE = "wfgy-session", "wfgy-visitor"
OAUTH_INFO = "oauth_info"
"""Where Gradio's sign-in with Hugging Face keeps the account, in the signed session of the browser."""
VISITOR_DAYS = 30
_ACTOR = "wfgy_actor"
_VISITOR_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Door:
    """Tells who somebody is.

    Attributes:
        desk: where people sign in.
        on_space: the page is shown in a frame of another site, so its cookies have to be allowed there.
    """

    desk: SignInDesk
    on_space: bool = False

    def knock(self, request: HTTPConnection) -> tuple[Actor, str]:
        """Who sent a request, and the token that a new visitor's browser is to keep (else empty).

        Raises:
            PrerequisiteError: the list of users cannot be used.
        """
        team = self.desk.team
        if team.mode is Mode.OPEN:
            return LOCAL, ""
        known = self._signed_in(request)
        if known is not None and known.role is not Role.NONE:
            return known, ""
        if team.anonymous is Role.NONE:
            return known or NOBODY, ""
        token = request.cookies.get(VISITOR_COOKIE, "")
        new = "" if _VISITOR_TOKEN.fullmatch(token) else secrets.token_urlsafe(32)
        return Actor(visitor_name(new or token), team.anonymous), new

    def cookie(self, name: str, value: str, days: int, secure: bool) -> str:
        """A `Set-Cookie` header that scripts cannot read; `days` of 0 removes the cookie."""
        kind = "SameSite=None; Secure; Partitioned" if self.on_space else "SameSite=Lax"
        if secure and not self.on_space:
            kind += "; Secure"
        return f"{name}={value}; Path=/; Max-Age={days * 86400}; HttpOnly; {kind}"

    def _signed_in(self, request: HTTPConnection) -> Actor | None:
        mode = self.desk.team.mode
        if mode is Mode.PASSWORDS:
            token = request.cookies.get(SESSION_COOKIE, "")
            return self.desk.who(token) if token else None
        name = account_of(request) if mode is Mode.HUGGING_FACE else ""
        return self.desk.from_hugging_face(name) if name else None


def visitor_name(token: str) -> str:
    """What a visitor is called: nobody can find a token for a name, and no user's name has a space in it."""
    return f"{VISITOR}{hashlib.sha256(token.encode()).hexdigest()[:16]}"


def account_of(request: HTTPConnection) -> str:
    """Name of the Hugging Face account that a browser is signed in with; empty for none.

    The session is signed by Gradio's middleware; one that is over counts as none.
    """
    info = (request.scope.get("session") or {}).get(OAUTH_INFO) or {}
    over = info.get("expires_at") is not None and info["expires_at"] < time.time()
    return "" if over else str((info.get("userinfo") or {}).get("preferred_username") or "")


def remember(scope: MutableMapping[str, Any], actor: Actor) -> None:
    """Keep with a request who sent it."""
    scope[_ACTOR] = actor


def actor_of(request: HTTPConnection | gr.Request | None) -> Actor:
    """Who sent a request; nobody where the door was not passed."""
    inner = request.request if isinstance(request, gr.Request) else request
    found = inner.scope.get(_ACTOR) if inner is not None else None
    return found if isinstance(found, Actor) else NOBODY
