"""Which runs a list shows."""

from __future__ import annotations

import re
from typing import Any, TypedDict, TypeVar

from sqlalchemy import ColumnElement, Select, or_

from wfgy_triage.store.models import RunRow, storable
from wfgy_triage.store.records import RunStatus

LONGEST_SEARCH = 100
"""Characters of a search that are looked at."""
_ESCAPE = "\\"
_Query = TypeVar("_Query", bound=Select[Any])


class Which(TypedDict, total=False):
    """Which runs are meant; what is left out, None or empty narrows nothing.

    `text` stands in name, notes, tags, symptom, pair or id; `tag` is one of theirs; `owner` started them.
    """

    symptom: str | None
    status: RunStatus | None
    pair_id: str | None
    text: str
    tag: str
    owner: str


def matching(query: _Query, which: Which) -> _Query:
    """The query with the conditions that are given."""
    conditions: list[ColumnElement[bool]] = []
    for column, wanted in (
        (RunRow.symptom, which.get("symptom")),
        (RunRow.status, which.get("status")),
        (RunRow.pair_id, which.get("pair_id")),
    ):
        conditions += [column == wanted] if wanted is not None else []
    conditions += [_with_text(which["text"])] if which.get("text") else []
    conditions += [_with_tag(which["tag"])] if which.get("tag") else []
    conditions += [RunRow.owner == which["owner"]] if which.get("owner") else []
    return query.where(*conditions)


def _with_text(text: str) -> ColumnElement[bool]:
    """A text in name, notes, tags, symptom, pair or id, whatever the case."""
    wanted = f"%{_plain(text[:LONGEST_SEARCH])}%"
    columns = (RunRow.title, RunRow.note, RunRow.tags, RunRow.symptom, RunRow.pair_id, RunRow.id)
    return or_(*(c.ilike(wanted, escape=_ESCAPE) for c in columns))


def _with_tag(tag: str) -> ColumnElement[bool]:
    return RunRow.tags.like(f"%,{_plain(tag[:LONGEST_SEARCH].casefold())},%", escape=_ESCAPE)


def _plain(text: str) -> str:
    """A text in which nothing is a wildcard."""
    return re.sub(r"([%_\\])", r"\\\1", storable(text))
