"""Rows of question sets, and how tests read them."""

from __future__ import annotations

import json

import pytest

from wfgy_triage.workload.upload import UploadedFile, read_upload
from wfgy_triage.workload.upload_formats import UploadError

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def read(name: str, text: str | bytes):
    return read_upload([UploadedFile(name, text if isinstance(text, bytes) else text.encode())])


def lines(*rows: object) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def problems(name: str, text: str | bytes) -> list[str]:
    with pytest.raises(UploadError) as caught:
        read(name, text)
    return list(caught.value.problems)


RECORD = {"text": "a", "record": {"n": 1}, "schema": SCHEMA}
GOOD = {"question": "How many?", "answer": "7 pens", "context": "The box holds 7 pens. It is red."}
OTHER = {"question": "Which?", "answer": "the red one", "context": "Take the red one. It is new."}
