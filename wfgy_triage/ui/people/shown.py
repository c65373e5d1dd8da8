"""What the page shows to whom. It only hides: the store refuses whatever is asked for all the same."""

from __future__ import annotations

from collections.abc import Callable, Container
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from wfgy_triage.access import VISITOR, Action, Actor, Role
from wfgy_triage.report.icons import icon
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Mode, Team
from wfgy_triage.store.records import OPEN_STATUSES, RunRecord

if TYPE_CHECKING:
    from wfgy_triage.ui.context import PageContext
    from wfgy_triage.ui.pages.parts import Parts

_WITH_ROLE = {
    Action.START: ("start", "again", "more", "more_again"),
    Action.UPLOAD: ("own_questions", "own_passages"),
}
"""Parts of the page that take a role and belong to nobody."""
MOST_NAMES = 12
"""Names in the filter of the list; a name that is not among them can be in the address."""
_VISITOR_SHOWN = len(VISITOR) + 6
_ROLE_WORDS = {
    Role.VIEWER: "You can look, compare and export. Starting runs takes the role operator.",
    Role.OPERATOR: "You can start runs, and stop, describe, share and delete your own.",
    Role.ADMIN: "You can do everything, on all sessions.",
}
_EXPOSED = (
    f'<p class="callout tone-warn" role="status">{icon("warning")}<span><b>Nobody has to sign in here.</b> Everybody '
    "who reaches this address can start, share and delete. Add users with <code>python -m wfgy_triage users add</code>."
    "</span></p>"
)


def person(name: str) -> str:
    """A name as it is shown; visitors are told apart by a few characters."""
    return name[:_VISITOR_SHOWN] if name.startswith(VISITOR) else name


def with_who_line(team: Team) -> bool:
    """Whether there is anything to say about who is there."""
    return team.mode is not Mode.OPEN or team.exposed


def who_line(team: Team, actor: Actor) -> str:
    """Return who is there, what they may do, and the way in or out."""
    if team.mode is Mode.OPEN:
        return _EXPOSED if team.exposed else ""
    may = f"<span>{_ROLE_WORDS.get(actor.role, '')}</span>"
    if actor.name.startswith(VISITOR):
        way = ' <a href="./sign-in">Sign in</a>' if team.signs_in else ""
        return f'<p class="who">You are <b translate="no">{escape(person(actor.name))}</b>. {may}{way}</p>'
    trail = '<a href="./runs?audit=1">Audit trail</a>' if actor.role is Role.ADMIN else ""
    return (
        f'<div class="who"><span>Signed in as <b translate="no">{escape(actor.name)}</b>, '
        f"{actor.role}. {may}</span>{trail}"
        '<form method="post" action="./sign-out"><button type="submit">Sign out</button></form></div>'
    )


def by_person(
    service: TriageService, chosen: str, url: Callable[..., str]
) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Return the filter of the list by who started a session, where there is a choice: word, address, chosen.

    Args:
        service: acts for the visitor.
        chosen: the name in the address.
        url: the list's address with `by` and `page` changed.
    """
    mine = service.actor.name
    others = [name for name in service.owners() if name != mine and not name.startswith(VISITOR)]
    names = [("Anybody", ""), ("Mine", mine), *((name, name) for name in others[:MOST_NAMES])]
    if chosen and chosen not in dict(names).values():
        names.append((person(chosen), chosen))
    links = [(word, url(by=name, page=1), name == chosen) for word, name in names]
    return [("By person", links)] if others or chosen else []


def owner_line(record: RunRecord, actor: Actor) -> str:
    """Return whose session it is."""
    did = "Imported" if record.imported else "Started"
    if not record.owner:
        return f'<p class="dim">{did} by: not known.</p>'
    you = " (you)" if record.owner == actor.name else ""
    return f'<p class="dim">{did} by <b translate="no">{escape(person(record.owner))}</b>{you}.</p>'


def session_updates(context: PageContext, parts: Parts, record: RunRecord) -> dict[Any, Any]:
    """Whose session it is, and of its controls those that the visitor may use."""
    service, owner = context.service, record.owner
    ended = record.status not in OPEN_STATUSES
    return {
        parts.session_people: gr.Column(visible=True),
        parts.owner_line: owner_line(record, service.actor),
        parts.delete_sure: gr.Column(visible=False),
        parts.delete_ask: gr.Button(visible=ended and service.may(Action.DELETE, owner)),
        parts.describe_save: gr.Button(visible=service.may(Action.DESCRIBE, owner)),
        parts.share_make: gr.Button(visible=service.may(Action.SHARE, owner)),
    }


def withheld(
    parts: Parts, service: TriageService, updates: Container[Any], all_of_them: bool = False
) -> dict[Any, Any]:
    """Hide what takes a role that the visitor does not have.

    Args:
        parts: of the page.
        service: acts for the visitor.
        updates: what a handler said; only what it touches can have appeared.
        all_of_them: everything, for a page that is just loaded.
    """
    found = {}
    for action, names in _WITH_ROLE.items():
        if service.may(action):
            continue
        for part in (getattr(parts, name) for name in names):
            if all_of_them or part in updates:
                found[part] = gr.update(visible=False)
    return found
