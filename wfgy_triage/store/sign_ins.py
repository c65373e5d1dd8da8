"""Browsers that are signed in, and wrong passwords of the last minutes.

A token is 32 random bytes; only its SHA-256 is stored, as for read-only links. Both survive a restart.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import FailedSignInRow, SignInRow
from wfgy_triage.store.rows import now

LASTS = timedelta(days=7)
"""How long a browser stays signed in."""
WINDOW = timedelta(minutes=15)
"""How long a wrong password counts."""
MOST_FOR_NAME, MOST_FROM_ADDRESS = 5, 30
"""Wrong passwords within the window: for one name from one address, and from one address in all."""


@dataclass(frozen=True)
class SignIn:
    """Who is signed in; `stamp` is that of the password that was used."""

    name: str
    stamp: str


class SignInRepository:
    """Sign-ins and failures."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def open(self, name: str, stamp: str) -> str:
        """Sign a browser in and return its token; sign-ins that are over are forgotten."""
        token, moment = secrets.token_urlsafe(32), now()
        with self._db.write() as session:
            session.execute(delete(SignInRow).where(SignInRow.expires_at <= moment))
            session.add(SignInRow(token_hash=_hash(token), name=name, stamp=stamp, expires_at=moment + LASTS))
        return token

    def find(self, token: str) -> SignIn | None:
        """Whose token it is; None for any other text and for one that is over."""
        with self._db.read() as session:
            row = session.get(SignInRow, _hash(token))
            return SignIn(row.name, row.stamp) if row is not None and row.expires_at > now() else None

    def close(self, token: str) -> None:
        """Sign the browser out."""
        with self._db.write() as session:
            session.execute(delete(SignInRow).where(SignInRow.token_hash == _hash(token)))

    def held_until(self, name: str, address: str) -> datetime | None:
        """Until when no password is looked at for this name from this address; None while there is no such time."""
        since = now() - WINDOW
        with self._db.read() as session:
            for counted, most in (
                (FailedSignInRow.key == _key(name, address), MOST_FOR_NAME),
                (FailedSignInRow.address == address[:64], MOST_FROM_ADDRESS),
            ):
                query = select(func.count(), func.min(FailedSignInRow.at))
                count, first = session.execute(query.where(counted, FailedSignInRow.at > since)).one()
                if count >= most:
                    return first + WINDOW
        return None

    def failed(self, name: str, address: str) -> None:
        """Note a wrong password; those that no longer count are forgotten."""
        moment = now()
        with self._db.write() as session:
            session.execute(delete(FailedSignInRow).where(FailedSignInRow.at <= moment - WINDOW))
            session.add(FailedSignInRow(at=moment, key=_key(name, address), address=address[:64]))

    def succeeded(self, name: str, address: str) -> None:
        """Forget this name's wrong passwords from this address."""
        with self._db.write() as session:
            session.execute(delete(FailedSignInRow).where(FailedSignInRow.key == _key(name, address)))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _key(name: str, address: str) -> str:
    return _hash(f"{address}\n{name}")
