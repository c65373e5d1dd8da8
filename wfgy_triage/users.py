"""The file of people: names, roles, password hashes. `python -m wfgy_triage users` writes it; a person may too.

```yaml
users:
  - {name: maker, role: operator, password: scrypt$32768$8$3$...}
  - {name: their-name-on-hugging-face, role: admin}
others: viewer   # signed in with Hugging Face and not listed
```
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from wfgy_triage.access import LOCAL, Role
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.passwords import well_formed

LARGEST = 1_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
_HINT = "Correct it, or put a copy of it back. Until then nobody is let in. See docs/people.md for its form."


@dataclass(frozen=True)
class User:
    """Somebody who may sign in; `password` is the hash, empty for those who sign in elsewhere."""

    name: str
    role: Role
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Users:
    """Everybody in the file, by name. `others` is the role of those who signed in elsewhere and are not listed."""

    by_name: Mapping[str, User] = field(default_factory=dict)
    others: Role = Role.NONE


def plain_name(text: str) -> str:
    """A name as it is kept and compared: capitals make no difference."""
    return text.strip().casefold()


def checked_name(text: str) -> str:
    """A name that a user can have.

    Raises:
        InputError: it cannot be one.
    """
    name = plain_name(text)
    if not _NAME.fullmatch(name) or name == LOCAL.name:
        raise InputError(
            f"{text[:64]!r} cannot be a user's name.",
            "Use letters a to z, digits, '.', '-' and '_', at most 63; 'local' is taken.",
        )
    return name


def checked_role(text: str) -> Role:
    """A role that a user can have; InputError for any other word."""
    if text not in _ROLES:
        raise InputError(f"There is no role {text[:32]!r}.", f"Roles: {', '.join(_ROLES)}.")
    return Role(text)


def read_users(path: Path) -> Users:
    """Read the file.

    Raises:
        PrerequisiteError: it is missing, cannot be read, or is damaged; says where. Hashes are not repeated.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise _damaged(path, f"it is larger than {LARGEST:,} bytes")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PrerequisiteError(
            f"The list of users {path} cannot be read: {error.strerror or error}.",
            "Set WFGY_TRIAGE_USERS to the right file, or make it with 'python -m wfgy_triage users add'.",
        ) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, "it is not UTF-8 text") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise _damaged(path, f"it is not valid YAML{where}") from error
    return _users(path, data)


class UsersFile:
    """The file as it is now: read again when it has changed, so that a role or a removal counts at once.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._users = Users()

    def now(self) -> Users:
        """Everybody in it.

        Raises:
            PrerequisiteError: it cannot be used (any more); nobody may be let in then.
        """
        with self._lock:
            try:
                facts = self.path.stat()
            except OSError:
                facts = None  # reading it says what is wrong
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino) if facts is not None else None
            if seen is None or seen != self._seen:
                self._seen = None
                self._users = read_users(self.path)
                self._seen = seen
            return self._users

    def change(self, new: Iterable[User] = (), remove: str = "") -> None:
        """Add or replace users, and take one out; written whole, for the owner of the file alone.

        Raises:
            InputError: the user to take out is not there.
            PrerequisiteError: the file is damaged or cannot be written; it stays as it was.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                users = read_users(self.path) if self.path.exists() else Users()
                people = dict(users.by_name)
                if remove and people.pop(remove, None) is None:
                    raise unknown_user(remove)
                people.update({user.name: user for user in new})
                self._write(Users(people, users.others))
        except OSError as error:
            raise PrerequisiteError(
                f"The list of users {self.path} cannot be written: {error.strerror or error}.",
                "Set WFGY_TRIAGE_USERS to a file in a folder that can be written.",
            ) from error

    def _write(self, users: Users) -> None:
        data: dict[str, Any] = {"users": [_entry(user) for user in users.by_name.values()]}
        if users.others is not Role.NONE:
            data["others"] = str(users.others)
        # Made with mode 0600, and complete on the disk before it takes the place of the old one.
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as part:
            yaml.safe_dump(data, part, sort_keys=False)
            part.flush()
            os.fsync(part.fileno())
        os.replace(part.name, self.path)


def unknown_user(name: str) -> InputError:
    """The error for a name that is not in the file."""
    return InputError(f"There is no user {name[:64]!r}.", "See 'python -m wfgy_triage users list'.")


def _users(path: Path, data: Any) -> Users:
    if not isinstance(data, dict) or not isinstance(data.get("users"), list):
        raise _damaged(path, "it has no list named 'users'")
    if unknown := sorted(str(key) for key in set(data) - {"users", "others"}):
        raise _damaged(path, f"{unknown[0][:40]!r} is not known in it")
    try:
        others = checked_role(str(data["others"])) if data.get("others", "none") != "none" else Role.NONE
        found = [_user(entry, number) for number, entry in enumerate(data["users"], 1)]
    except InputError as error:
        raise _damaged(path, error.message.rstrip(".")) from error
    people = {user.name: user for user in found}
    if len(people) != len(found):
        raise _damaged(path, "a name is in it twice")
    return Users(people, others)


def _user(entry: Any, number: int) -> User:
    if not isinstance(entry, dict) or not {"name", "role"} <= set(entry) <= {"name", "role", "password"}:
        raise InputError(f"entry {number} needs 'name' and 'role', may have 'password', and nothing else")
    name, role = checked_name(str(entry["name"])), checked_role(str(entry["role"]))
    password = entry.get("password") or ""
    if password and not (isinstance(password, str) and well_formed(password)):
        raise InputError(f"the password of {name} is not a hash that 'users passwd' makes")
    return User(name, role, password)


def _entry(user: User) -> dict[str, str]:
    entry = {"name": user.name, "role": str(user.role)}
    return {**entry, "password": user.password} if user.password else entry


def _damaged(path: Path, what: str) -> PrerequisiteError:
    return PrerequisiteError(f"The list of users {path} cannot be used: {what}.", _HINT)
