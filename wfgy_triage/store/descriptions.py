"""What people write about a session: name, notes, tags.

Tags are kept in one column as `,first,second,`: one that is looked for is found between its commas, in every database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wfgy_triage.errors import InputError

LONGEST_TITLE, LONGEST_NOTE, MOST_TAGS, LONGEST_TAG = 120, 4000, 10, 30
_TAG = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Description:
    """A name of one line, notes of any lines, tags in lower case."""

    title: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()


def described(title: str, note: str, tags: str) -> Description:
    """Read what a person typed; tags are parted by commas or white space.

    Raises:
        InputError: too long, too many, or a tag with other signs than letters, digits, dot, dash and underscore.
    """
    title, note = " ".join(title.split()), note.strip()
    found = tuple(dict.fromkeys(t.casefold() for t in re.split(r"[\s,]+", tags) if t))
    for what, length, limit in (
        ("The name", len(title), LONGEST_TITLE),
        ("The note", len(note), LONGEST_NOTE),
        ("A tag", max((len(t) for t in found), default=0), LONGEST_TAG),
    ):
        if length > limit:
            raise InputError(f"{what} has {length:,} characters.", f"At most {limit:,} are kept.")
    if len(found) > MOST_TAGS:
        raise InputError(f"{len(found)} tags were given.", f"At most {MOST_TAGS} are kept.")
    wrong = next((t for t in found if not _TAG.fullmatch(t)), None)
    if wrong is not None:
        raise InputError(
            f"{wrong[:40]!r} cannot be a tag.", "A tag has letters, digits, dots, dashes and underscores."
        )
    return Description(title, note, found)


def joined(tags: Sequence[str]) -> str:
    """Tags as the column holds them."""
    return f",{','.join(tags)}," if tags else ""


def parted(column: str) -> tuple[str, ...]:
    """And back."""
    return tuple(t for t in column.split(",") if t)
