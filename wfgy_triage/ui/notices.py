"""How the page shows an error that is meant for users."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, Protocol

from wfgy_triage.errors import TriageError
from wfgy_triage.report.icons import icon
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.views import Updates


class _HasParts(Protocol):
    parts: Parts


def explained(method: Callable[..., Updates]) -> Callable[..., Updates]:
    """Turn an error meant for users into the page's notice; clear the notice when all went well."""

    @wraps(method)
    def wrapper(self: _HasParts, *args: Any) -> Updates:
        try:
            return {self.parts.notice: "", **method(self, *args)}
        except TriageError as error:
            return {self.parts.notice: error_callout(error)}

    return wrapper


def error_callout(error: TriageError) -> str:
    """Return an error as the page shows it: what happened, and what to do."""
    hint = f" {escape(error.hint)}" if error.hint else ""
    return (
        f'<p class="callout tone-bad" role="alert">{icon("warning")}<span><b>{escape(error.message)}</b>{hint}'
        "</span></p>"
    )
