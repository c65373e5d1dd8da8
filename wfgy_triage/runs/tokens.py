"""Tokens of programs: who holds one, what they may do. Only the SHA-256 of a token is kept.

`WFGY_TRIAGE_API_TOKENS` is the path of a file or the entries themselves. An entry is `NAME ROLE sha256:HEX`; a file
has one a line and comments after `#`, the variable has them parted by commas. A token is 32 random bytes, so that
nobody can go back from its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.access import LONGEST_NAME, PROGRAM, Actor, Role
from wfgy_triage.errors import InputError, PrerequisiteError, TriageError

VARIABLE = "WFGY_TRIAGE_API_TOKENS"
ROLES = (Role.VIEWER, Role.OPERATOR)
"""What a program can be."""
PREFIX = "wfgy_"
"""Begins every token, so that one is recognised where it should not be: in a log, in a repository."""
_TOKEN_BYTES = 32
_LONGEST_NAME = LONGEST_NAME - len(PROGRAM)
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_NAME - 1}}}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_MAKE_ONE = "Make one with 'python -m wfgy_triage token NAME'."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """An entry: who holds the token, and its SHA-256 in hexadecimal."""

    holder: Actor
    sha256: str


def new_token(name: str, role: str) -> tuple[str, str]:
    """Make a token and return it, which is not kept anywhere, with its entry.

    Raises:
        InputError: the name or the role is not possible.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:64]!r} cannot be a name.",
            f"Use 1 to {_LONGEST_NAME} letters, digits, dots, dashes and underscores.",
        )
    token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    line = f"{name} {role} sha256:{_hash(token)}"
    _entry(line, "The new entry")
    return token, line


class TokenList:
    """The tokens that are valid now. A file is read again when it changes: a line that is taken out closes at once.

    Args:
        given: the value of `WFGY_TRIAGE_API_TOKENS`; empty for no tokens.

    Raises:
        InputError: an entry is malformed.
        PrerequisiteError: the file cannot be read.
    """

    def __init__(self, given: str) -> None:
        self._lock = threading.Lock()
        self._path = None if not given.strip() or "sha256:" in given else Path(given.strip()).expanduser()
        self._stamp: tuple[int, int] | None = None
        self._tokens = _entries(given.replace(",", "\n"), VARIABLE) if self._path is None else ()
        if self._path is not None:
            self._read(self._path)

    @property
    def required(self) -> bool:
        """Whether tokens are in use: then nobody is let in without one, also when the file has become empty."""
        return self._path is not None or bool(self._tokens)

    def find(self, token: str) -> Actor | None:
        """Who holds a token; None for any other text. Takes the same time whichever entry fits."""
        asked = _hash(token)
        found = None
        for entry in self._now():
            if hmac.compare_digest(entry.sha256, asked):
                found = entry.holder
        return found

    def _now(self) -> tuple[Token, ...]:
        if self._path is None:
            return self._tokens
        with self._lock:
            try:
                self._read(self._path)
            except TriageError as error:
                # A list that cannot be read opens nothing, rather than what it opened before.
                _log.warning("no token is valid: %s", error)
                self._tokens, self._stamp = (), None
            return self._tokens

    def _read(self, path: Path) -> None:
        try:
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            if stamp != self._stamp:
                self._tokens = _entries(path.read_text(encoding="utf-8"), path.name)
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise PrerequisiteError(
                f"The list of tokens {path} cannot be read: {reason}.", f"Check {VARIABLE}. {_MAKE_ONE}"
            ) from error


def load_tokens(environment: Mapping[str, str] | None = None) -> TokenList:
    """The tokens of the environment; see `TokenList` for the errors."""
    return TokenList((os.environ if environment is None else environment).get(VARIABLE, ""))


def _entries(text: str, where: str) -> tuple[Token, ...]:
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1)]
    found = tuple(_entry(line, f"Entry {number} of {where}") for number, line in lines if line)
    names = [token.holder.name for token in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{where} has two tokens with the name {twice!r}.", "Give each its own, to tell them apart."
        )
    return found


def _entry(line: str, where: str) -> Token:
    """Read an entry. What stands in it is not repeated: it may be a token that was put there by mistake."""
    parts = line.split()
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or not _HASH.fullmatch(parts[2]):
        raise InputError(
            f"{where} is not of the form NAME ROLE sha256:HEX.",
            f"The hash is listed, not the token. {_MAKE_ONE}",
        )
    if parts[1] not in ROLES:
        raise InputError(f"{where} has an unknown role.", f"Roles: {', '.join(ROLES)}.")
    return Token(Actor(parts[0], Role(parts[1])), parts[2].removeprefix("sha256:"))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
