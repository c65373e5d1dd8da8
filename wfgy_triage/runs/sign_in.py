"""Signing in with a name and a password: checked one at a time, counted, and written down."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wfgy_triage.access import Actor, Role
from wfgy_triage.errors import AccessDenied
from wfgy_triage.passwords import fits
from wfgy_triage.runs.team import Mode, Team
from wfgy_triage.store.audit import SIGN_IN, SIGN_IN_FAILED, SIGN_IN_HELD, SIGN_OUT, AuditRepository
from wfgy_triage.store.database import Database
from wfgy_triage.store.rows import now
from wfgy_triage.store.sign_ins import SignInRepository
from wfgy_triage.users import User, Users, plain_name

MOST_WAITING = 8
"""Passwords that are looked at or wait for it; each takes a fifth of a second and 32 MB."""
UNKNOWN = "unknown name"
"""Stands in the audit trail for a name that nobody has: it may be a password in the wrong field."""


class SignInDesk:
    """Signs people in and out, and knows who is. Thread-safe.

    Args:
        team: who may come in.
        database: where sign-ins, failures and the audit trail are.
    """

    def __init__(self, team: Team, database: Database) -> None:
        self.team = team
        self._sign_ins = SignInRepository(database)
        self._audit = AuditRepository(database)
        self._one_at_a_time = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Check a password and return the token of a browser that is signed in.

        Args:
            name: as it was typed.
            password: as it was typed.
            address: where the request came from.

        Raises:
            AccessDenied: wrong name or password (it is not said which), or too many of them.
            PrerequisiteError: the file of users cannot be used.
        """
        name, place = plain_name(name), network_of(address)
        with self._turn():
            users = self._users()
            self._not_held(name, place)
            user = users.by_name.get(name)
            # A name that nobody has takes as long as one that somebody has.
            if not fits(password, (user.password or None) if user else None) or user is None:
                self._sign_ins.failed(name, place)
                self._write_down(user, SIGN_IN_FAILED, place)
                raise AccessDenied("Name or password is wrong.", "Try again; capitals of the password count.")
        self._sign_ins.succeeded(name, place)
        self._audit.add(Actor(user.name, user.role), SIGN_IN)
        return self._sign_ins.open(user.name, _stamp(user))

    def who(self, token: str) -> Actor | None:
        """Who is signed in with a token: with today's role, and only while the password is the same.

        Raises:
            PrerequisiteError: the file of users cannot be used; nobody is let in then.
        """
        found = self._sign_ins.find(token)
        user = self._users().by_name.get(found.name) if found is not None else None
        if found is None or user is None or not user.password or found.stamp != _stamp(user):
            return None
        return Actor(user.name, user.role)

    def sign_out(self, token: str, actor: Actor) -> None:
        """Forget a browser."""
        self._sign_ins.close(token)
        self._audit.add(actor, SIGN_OUT)

    def from_hugging_face(self, name: str) -> Actor:
        """Who an account is here; with the role `none` where it has none."""
        name, team = plain_name(name), self.team
        if team.users is None:
            return Actor(name, Role.ADMIN if name in team.admins else team.others)
        users = team.users.now()
        user = users.by_name.get(name)
        return Actor(name, user.role if user is not None else users.others)

    def arrived(self, actor: Actor) -> None:
        """Write down that somebody came in from Hugging Face."""
        self._audit.add(actor, SIGN_IN if actor.role is not Role.NONE else SIGN_IN_FAILED)

    def _users(self) -> Users:
        if self.team.mode is not Mode.PASSWORDS or self.team.users is None:
            return Users()
        return self.team.users.now()

    def _not_held(self, name: str, place: str) -> None:
        until = self._sign_ins.held_until(name, place)
        if until is not None:
            minutes = max(1, math.ceil((until - now()).total_seconds() / 60))
            raise AccessDenied(
                "Too many wrong passwords came from your address.",
                f"Try again in {minutes} minute{'s' if minutes > 1 else ''}.",
            )

    def _write_down(self, user: User | None, action: str, place: str) -> None:
        actor = Actor(user.name, user.role) if user is not None else Actor(UNKNOWN, Role.NONE)
        self._audit.add(actor, action, details={"from": place})
        if user is not None and self._sign_ins.held_until(user.name, place) is not None:
            self._audit.add(actor, SIGN_IN_HELD, details={"from": place})

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One password after the other: no two requests are both the last one that is allowed."""
        if not self._places.acquire(blocking=False):
            raise AccessDenied("Many people are signing in right now.", "Try again in a moment.")
        try:
            with self._one_at_a_time:
                yield
        finally:
            self._places.release()


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the 64 bits of an IPv6 address that one household has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64] or "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _stamp(user: User) -> str:
    """Changes with the password: whoever knew the old one is signed out."""
    return hashlib.sha256(user.password.encode()).hexdigest()
