r"""One line of an uploaded file as JSON: as strict as `strict_json`, with room for all that a row may hold.

`strict_json` reads what a model wrote and stops at 32,768 characters. A row may hold more: 20,000 Chinese characters
have 120,000 when their writer escapes them (`\u4e2d`), and writers do that by default.
"""

from __future__ import annotations

import json
from typing import Any

from wfgy_triage.measure.strict_json import parse_json

MAX_LINE = 500_000
"""Characters of a line. The longest row has 200,000; a text of 20,000 has at most 240,000 in escapes."""


def parse_line(line: str) -> Any:
    """Parse a whole line as one JSON value.

    Raises:
        JsonRefused: see `strict_json.parse_json`.
    """
    return parse_json(line, MAX_LINE)


def half_character(value: Any) -> str:
    r"""The first half of a surrogate pair that stands alone in a JSON value, as `\ud800`; empty without one.

    JSON can write it as an escape, UTF-8 cannot hold it: neither a kept file nor a tokenizer takes such a text.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""
