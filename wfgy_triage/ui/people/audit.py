"""Who did what, as admins see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape

from wfgy_triage.access import Action
from wfgy_triage.report.format import moment
from wfgy_triage.runs.service import TriageService
from wfgy_triage.store.audit import (
    SIGN_IN,
    SIGN_IN_FAILED,
    SIGN_IN_HELD,
    SIGN_OUT,
    USER_ADD,
    USER_PASSWORD,
    USER_REMOVE,
    USER_ROLE,
    AuditEntry,
)
from wfgy_triage.ui.people.shown import person

PAGE_SIZE = 100
DID: Mapping[str, str] = {
    Action.EXPORT: "Exported",
    Action.START: "Started",
    Action.UPLOAD: "Uploaded",
    Action.IMPORT: "Imported",
    Action.CANCEL: "Stopped",
    Action.RESUME: "Resumed",
    Action.DESCRIBE: "Described",
    Action.COMMENT: "Commented",
    Action.SHARE: "Made a link",
    Action.UNSHARE: "Took a link back",
    Action.DELETE: "Deleted",
    SIGN_IN: "Signed in",
    SIGN_IN_FAILED: "Wrong name or password",
    SIGN_IN_HELD: "Too many wrong passwords",
    SIGN_OUT: "Signed out",
    USER_ADD: "Added a person",
    USER_ROLE: "Changed a role",
    USER_PASSWORD: "Changed a password",
    USER_REMOVE: "Removed a person",
}
"""Plain words for the codes of the trail; a code that an older version wrote is shown as it is."""
_TO_A_SESSION = frozenset({*Action} & {*DID}) - {Action.UPLOAD, Action.DELETE}
AUDIT_HEAD = (
    '<div class="step-head"><h2>Audit trail</h2><p>Who started, exported, shared, described and deleted sessions, and '
    "who signed in. Lines are only ever added.</p></div>"
)


def audit_page(service: TriageService, page: str) -> str:
    """Return the newest lines, or older ones.

    Args:
        service: acts for the visitor.
        page: number of the page, as in the address; anything else is the first.

    Raises:
        AccessDenied: the visitor is no admin.
    """
    number = max(1, int(page)) if page.isdecimal() and len(page) < 6 else 1
    found = service.audit(PAGE_SIZE + 1, (number - 1) * PAGE_SIZE)
    rows = "".join(_row(entry) for entry in found[:PAGE_SIZE])
    links = [f'<a href="./runs?audit=1&amp;page={number - 1}">Newer</a>'] if number > 1 else []
    links += [f'<a href="./runs?audit=1&amp;page={number + 1}">Older</a>'] if len(found) > PAGE_SIZE else []
    pager = f'<nav class="filter pager" aria-label="Pages">{"".join(links)}</nav>' if links else ""
    table = (
        '<div class="card table-card"><table class="sessions"><caption class="sr">Audit trail</caption><thead><tr>'
        '<th scope="col">When</th><th scope="col">Who</th><th scope="col">Role</th><th scope="col">Did</th>'
        f'<th scope="col">To</th><th scope="col">Details</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return (
        table if rows else '<div class="card"><p class="empty">Nothing is recorded yet.</p></div>'
    ) + pager


def _row(entry: AuditEntry) -> str:
    did = DID.get(entry.action, entry.action)
    details = ", ".join(f"{name} {_plain(value)}" for name, value in entry.details.items())
    return (
        f'<tr><th scope="row">{moment(entry.at)}</th>'
        f'<td data-l="Who"><span translate="no">{escape(person(entry.who))}</span></td>'
        f'<td data-l="Role">{escape(entry.role)}</td><td data-l="Did">{escape(did)}</td>'
        f'<td data-l="To">{_target(entry)}</td><td data-l="Details">{escape(details)}</td></tr>'
    )


def _target(entry: AuditEntry) -> str:
    """What it was done to; a session is a link, but where the line says that it was deleted."""
    shown = escape(entry.target[:20])
    if entry.target and entry.action in _TO_A_SESSION:
        return f'<a href="./?run={escape(entry.target)}" translate="no">{shown}</a>'
    return shown


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
