"""How people come in here: nobody signs in, passwords, Hugging Face; and what visitors may do."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wfgy_triage.access import Role
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.settings import Settings
from wfgy_triage.users import UsersFile, checked_name, plain_name

USERS, ANONYMOUS, ADMINS = "WFGY_TRIAGE_USERS", "WFGY_TRIAGE_ANONYMOUS", "WFGY_TRIAGE_ADMINS"
_ANONYMOUS_ROLES = (Role.NONE, Role.VIEWER, Role.OPERATOR)


class Mode(StrEnum):
    """How it is known who somebody is."""

    OPEN = "open"
    """Nobody is asked; everybody is "local" and may do everything."""
    VISITORS = "visitors"
    """Nobody is asked; every browser is a visitor with a role of its own."""
    PASSWORDS = "passwords"  # noqa: S105 - the name of a way in
    """A name and a password from the file of users."""
    HUGGING_FACE = "hugging_face"
    """A Hugging Face account, on a Space."""


@dataclass(frozen=True)
class Team:
    """Who may come in.

    Attributes:
        mode: how it is known who somebody is.
        anonymous: role of those who are not signed in.
        users: the file of users, where there is one.
        exposed: everybody who reaches the server's address may do everything.
        others: role of those who signed in with Hugging Face where there is no file of users.
        admins: accounts that are admins there: the Space's owner, and those that the environment names.
    """

    mode: Mode = Mode.OPEN
    anonymous: Role = Role.NONE
    users: UsersFile | None = None
    exposed: bool = False
    others: Role = Role.OPERATOR
    admins: frozenset[str] = frozenset()

    @property
    def signs_in(self) -> bool:
        """Whether there is a way to sign in."""
        return self.mode in (Mode.PASSWORDS, Mode.HUGGING_FACE)


def users_path(settings: Settings, environment: Mapping[str, str] = os.environ) -> Path:
    """The file of users, whether it is there or not."""
    return Path(environment.get(USERS) or settings.home / "users.yaml").expanduser()


def load_team(settings: Settings, environment: Mapping[str, str] = os.environ) -> Team:
    """Read the environment and the file of users.

    Raises:
        InputError: a setting is no role or no list of accounts, would not count here, or nobody could come in.
        PrerequisiteError: the file of users was named and is not there, or cannot be used; or Hugging Face sign-in
            is asked for where it cannot work.
    """
    path = users_path(settings, environment)
    # Not only an existing file: one that was named and is gone must never leave the door open.
    users = UsersFile(path) if environment.get(USERS) or os.path.lexists(path) else None
    if users is not None and not users.now().by_name and users.now().others is Role.NONE:
        raise PrerequisiteError(f"The list of users {path} names nobody.", "Add somebody: 'users add NAME'.")
    on_space = bool(environment.get("SPACE_ID"))
    anonymous, admins = _anonymous(environment), _admins(environment)
    if environment.get("OAUTH_CLIENT_ID"):
        _must_be_a_space(environment)
        if users is None:
            return Team(Mode.HUGGING_FACE, anonymous or Role.NONE, admins=admins | _owner(environment))
        if admins:
            raise _ignored(f"Give them the role admin in {path}, and unset {ADMINS}.")
        return Team(Mode.HUGGING_FACE, anonymous or Role.NONE, users)
    if admins:
        raise _ignored("Unset it; or, on a Space, put 'hf_oauth: true' into the front matter of its README.")
    if users is not None:
        return Team(Mode.PASSWORDS, anonymous or Role.NONE, users)
    if anonymous is Role.NONE:
        raise InputError(
            f"{ANONYMOUS} is none, but nobody can sign in here.",
            f"Add users ('python -m wfgy_triage users add NAME'), or set {ANONYMOUS} to viewer.",
        )
    if on_space or anonymous is not None:
        return Team(Mode.VISITORS, anonymous or Role.OPERATOR)
    return Team(Mode.OPEN, exposed=not _is_local(settings.host))


def _anonymous(environment: Mapping[str, str]) -> Role | None:
    text = environment.get(ANONYMOUS, "")
    if not text:
        return None
    if text not in _ANONYMOUS_ROLES:
        raise InputError(
            f"{ANONYMOUS} is {text[:32]!r}.", f"Set it to one of: {', '.join(reversed(_ANONYMOUS_ROLES))}."
        )
    return Role(text)


def _admins(environment: Mapping[str, str]) -> frozenset[str]:
    names = (name.strip() for name in environment.get(ADMINS, "").split(","))
    try:
        return frozenset(checked_name(name) for name in names if name)
    except InputError as error:
        raise InputError(
            f"{ADMINS} cannot be read: {error.message}",
            "Write names of Hugging Face accounts, with commas between them: chief,maker.",
        ) from error


def _owner(environment: Mapping[str, str]) -> frozenset[str]:
    """The account in "owner/name". An organisation's name does no harm: nobody signs in with it."""
    owner, slash, _ = environment.get("SPACE_ID", "").partition("/")
    return frozenset({plain_name(owner)} if slash and owner.strip() else ())


def _ignored(hint: str) -> InputError:
    # Whom a setting names that does not count would look like an admin and be none.
    return InputError(
        f"{ADMINS} is set, but counts only where people sign in with Hugging Face and there is no list of users.",
        hint,
    )


def _must_be_a_space(environment: Mapping[str, str]) -> None:
    # Off a Space, Gradio's routes are stand-ins that let everybody in as the account of the machine.
    if not environment.get("SPACE_ID") or environment.get("SYSTEM") != "spaces":
        raise PrerequisiteError(
            "OAUTH_CLIENT_ID is set, but signing in with Hugging Face works on a Space only.",
            "Unset it, and add users with 'python -m wfgy_triage users add NAME'.",
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
