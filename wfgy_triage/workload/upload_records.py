"""Rows with JSON records: a note, the record it states, and the schema the answer has to fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.measure.schema_guard import schema_errors
from wfgy_triage.workload.upload_fields import MAX_TEXT, Fields
from wfgy_triage.workload.upload_formats import Problems, Row

_RECORD = ("id", "text", "record", "schema", "example")
MAX_RECORD = 8_000
"""Characters of a record written as JSON."""


def records_file(
    name: str, rows: Sequence[Row], problems: Problems
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A record file (format of assets/workloads/json_records.json) from rows, and notes for the reader."""
    classes: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    records: dict[str, dict[str, Any]] = {}
    for row in rows:
        fields = Fields(row, _RECORD, problems)
        found, text = fields.id("id", default=f"r{len(records) + 1}"), fields.text("text", MAX_TEXT)
        record, schema = row.fields.get("record"), row.fields.get("schema")
        if found in records:
            fields.complain(f"the record id {found!r} is there twice.")
        _check_record(fields, record, schema)
        if not fields.ok:
            continue
        key = json.dumps(schema, sort_keys=True)
        kind = names.setdefault(key, f"schema-{len(names) + 1}")
        group = classes.setdefault(kind, {"schema": schema, "examples": []})
        if row.fields.get("example") is True:
            group["examples"].append({"text": text, "record": record})
        else:
            records[found] = {"id": found, "class": kind, "text": text, "record": record}
    if not problems.found and not records:
        problems.found.append("There is no record to ask for; all rows are examples.")
    content = {"kind": "records", "id": name, "classes": classes, "records": list(records.values())}
    return content, _notes(classes)


def _check_record(fields: Fields, record: Any, schema: Any) -> None:
    if not isinstance(schema, dict):
        fields.complain("'schema' must be a JSON Schema object.")
        return
    if not isinstance(record, dict | list):
        fields.complain("'record' must be a JSON object or array: the right answer.")
        return
    if len(json.dumps(record, ensure_ascii=False)) > MAX_RECORD:
        fields.complain(f"'record' is longer than {MAX_RECORD:,} characters.")
        return
    try:
        errors = schema_errors(schema, record)
    except InputError as refused:
        fields.complain(f"{refused}")
        return
    if errors:
        fields.complain(f"the record does not fit its own schema: {errors[0].message[:160]}.")


def _notes(classes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    bare = sum(not c["examples"] for c in classes.values())
    if not bare:
        return ()
    return (
        f"{bare} of {len(classes)} schemas have no solved example; the schema itself is put into the prompt instead. "
        "Small models do better with two or three rows marked as examples.",
    )
