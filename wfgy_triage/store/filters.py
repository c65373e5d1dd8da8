"""Which runs a list shows."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, or_

from wfgy_triage.store.models import RunRow, storable
from wfgy_triage.store.records import RunStatus

LONGEST_SEARCH = 100
"""Characters of a search that are looked at."""
_ESCAPE = "\\"
_Query = TypeVar("_Query", bound=Select[Any])


def matching(
    query: _Query,
    symptom: str | None = None,
    status: RunStatus | None = None,
    pair_id: str | None = None,
    text: str = "",
    tag: str = "",
    owner: str = "",
) -> _Query:
    """The query with the conditions that are given; see `RunRepository.list`."""
    conditions: list[ColumnElement[bool]] = []
    for column, wanted in ((RunRow.symptom, symptom), (RunRow.status, status), (RunRow.pair_id, pair_id)):
        conditions += [column == wanted] if wanted is not None else []
    conditions += [_with_text(text)] if text else []
    conditions += [_with_tag(tag)] if tag else []
    conditions += [RunRow.owner == owner] if owner else []
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
