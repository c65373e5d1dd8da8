"""Passwords: hashed with scrypt, compared in constant time.

The cost is OWASP's setting with 32 MB (N = 2^15, r = 8, p = 3): about a fifth of a second on one core.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata

from wfgy_triage.errors import InputError

SHORTEST, LONGEST = 10, 1024
"""Characters of a password."""
_N, _R, _P, _SALT, _LENGTH = 2**15, 8, 3, 16, 32
_N_RANGE, _R_RANGE, _P_RANGE = (2**14, 2**20), (8, 32), (1, 16)
"""What is accepted from a file: nothing weaker than any published advice, nothing that would fill the memory."""
_FORM = re.compile(
    r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/=]{8,200})\$([A-Za-z0-9+/=]{8,200})"
)


def hashed(password: str) -> str:
    """The form in which a password is kept: `scrypt$N$r$p$salt$hash`, the last two in base64.

    Raises:
        InputError: it is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputError(
            f"The password has {len(password)} characters.", f"Use {SHORTEST} to {LONGEST:,} of them."
        )
    salt = secrets.token_bytes(_SALT)
    made = _scrypt(password, salt, _N, _R, _P, _LENGTH)
    return f"scrypt${_N}${_R}${_P}${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


def well_formed(stored: str) -> bool:
    """Whether a text is a hash of ours, of a cost that is neither too low nor too high."""
    return _parts(stored) is not None


def fits(password: str, stored: str | None) -> bool:
    """Whether a password is the one whose hash is kept. Costs as much where there is none to compare with."""
    parts = _parts(stored or _NONE)
    if parts is None or len(password) > LONGEST:
        return False
    n, r, p, salt, kept = parts
    made = _scrypt(password, salt, n, r, p, len(kept))
    return hmac.compare_digest(made, kept) and stored is not None


def _parts(stored: str) -> tuple[int, int, int, bytes, bytes] | None:
    match = _FORM.fullmatch(stored)
    if match is None:
        return None
    n, r, p = (int(match[i]) for i in (1, 2, 3))
    ranges = ((n, _N_RANGE), (r, _R_RANGE), (p, _P_RANGE))
    if n & (n - 1) or not all(low <= value <= high for value, (low, high) in ranges):
        return None
    try:
        salt, kept = (base64.b64decode(match[i], validate=True) for i in (4, 5))
    except binascii.Error:
        return None
    return (n, r, p, salt, kept) if len(salt) >= 8 and len(kept) >= _LENGTH else None


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    # The same letter can be typed as one character or as two.
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, dklen=length, maxmem=128 * r * (n + p + 2) + 2**20)


_NONE = f"scrypt${_N}${_R}${_P}${base64.b64encode(bytes(_SALT)).decode()}${base64.b64encode(bytes(_LENGTH)).decode()}"
"""Stands in for the hash of a name that is not there; its result counts for nothing."""
