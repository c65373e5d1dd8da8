"""Who may do what: one table and one question. The store asks it before every read and write.

Everybody with a role sees every session: a team looks at its models together. What a person started is theirs: they
and admins may stop, describe, share and delete it.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wfgy_triage.errors import AccessDenied


class Role(StrEnum):
    """What somebody is here, from the least to the most. `none` may do nothing at all."""

    NONE = "none"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Action(StrEnum):
    """What is asked for; also the word for it in the audit trail."""

    READ = "read"
    EXPORT = "export"
    START = "start"
    UPLOAD = "upload"
    IMPORT = "import"
    CANCEL = "cancel"
    RESUME = "resume"
    DESCRIBE = "describe"
    COMMENT = "comment"
    SHARE = "share"
    UNSHARE = "unshare"
    DELETE = "delete"
    AUDIT = "audit"


@dataclass(frozen=True)
class Rule:
    """The least role for an action.

    Attributes:
        words: the action, after "may".
        anyone: on what belongs to anybody.
        own: on what one has started oneself; None where whose it is makes no difference.
    """

    words: str
    anyone: Role
    own: Role | None = None


RULES: Mapping[Action, Rule] = {
    Action.READ: Rule("see sessions, compare them", Role.VIEWER),
    Action.EXPORT: Rule("export sessions, with all texts", Role.VIEWER),
    Action.START: Rule("start a run, check again", Role.OPERATOR),
    Action.UPLOAD: Rule("bring their own questions or passages", Role.OPERATOR),
    Action.IMPORT: Rule("import a session", Role.OPERATOR),
    Action.CANCEL: Rule("stop a run", Role.ADMIN, Role.OPERATOR),
    Action.RESUME: Rule("let a stopped run go on", Role.ADMIN, Role.OPERATOR),
    Action.DESCRIBE: Rule("name a session, write notes and tags", Role.ADMIN, Role.OPERATOR),
    Action.COMMENT: Rule("comment on a session", Role.OPERATOR),
    Action.SHARE: Rule("make a read-only link", Role.ADMIN, Role.OPERATOR),
    Action.UNSHARE: Rule("take a link back", Role.ADMIN, Role.OPERATOR),
    Action.DELETE: Rule("delete a session", Role.ADMIN, Role.OPERATOR),
    Action.AUDIT: Rule("see the audit trail", Role.ADMIN),
}

_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True)
class Actor:
    """Somebody who acts. `name` is what sessions belong to; nobody without a name owns anything."""

    name: str
    role: Role


NOBODY = Actor("", Role.NONE)
"""What a request is until it is known who sent it."""
VISITOR, PROGRAM = "visitor ", "program "
"""Begin the names of those who are known by their browser, or by their token, alone; no user's name has a space."""
LONGEST_NAME = 64
"""Of anybody who acts, as the store keeps it."""
LOCAL = Actor("local", Role.ADMIN)
"""Whoever uses a page that knows no users."""


def command_line() -> Actor:
    """Whoever runs a command: they can read the database anyway."""
    try:
        return Actor(getpass.getuser()[:LONGEST_NAME], Role.ADMIN)
    except (OSError, KeyError):  # no login name, and no entry for the user id
        return Actor("command line", Role.ADMIN)


def may(actor: Actor, action: Action, owner: str | None = None) -> bool:
    """Whether somebody may do something.

    Args:
        actor: who.
        action: what.
        owner: whose it is that the action is done to; empty where that is not known, None where nothing is owned.
    """
    rule, rank = RULES[action], _RANK[actor.role]
    if rank >= _RANK[rule.anyone]:
        return True
    return rule.own is not None and rank >= _RANK[rule.own] and bool(owner) and owner == actor.name


def demand(actor: Actor, action: Action, owner: str | None = None) -> None:
    """Do nothing where `may` says yes.

    Raises:
        AccessDenied: where it says no; tells which role would do, or whose it is.
    """
    if may(actor, action, owner):
        return
    rule = RULES[action]
    if actor.role is Role.NONE:
        raise AccessDenied(
            "Nobody with a role here is signed in.", "Sign in, or ask an admin of this page for a role."
        )
    if rule.own is not None and _RANK[actor.role] >= _RANK[rule.own]:
        whose = f"It belongs to {owner}." if owner else "Nobody is known to have started it."
        raise AccessDenied(
            f"{whose} Only its owner and admins may {rule.words}.",
            "Ask one of them; or start the same run yourself.",
        )
    raise AccessDenied(
        f"With the role {actor.role} one may not {rule.words}.",
        f"Ask an admin of this page for the role {rule.own or rule.anyone}.",
    )


def rules_table() -> str:
    """The rules as a Markdown table, as the documentation has it."""
    roles = [role for role in Role if role is not Role.NONE]
    head = f"| may | {' | '.join(roles)} |\n|---|{'---|' * len(roles)}\n"
    return head + "".join(
        f"| {rule.words} | {' | '.join(_cell(role, rule) for role in roles)} |\n" for rule in RULES.values()
    )


def _cell(role: Role, rule: Rule) -> str:
    if _RANK[role] >= _RANK[rule.anyone]:
        return "yes"
    return "own" if rule.own is not None and _RANK[role] >= _RANK[rule.own] else "no"
