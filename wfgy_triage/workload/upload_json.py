r"""What a line of uploaded JSON may hold.

More than `strict_json` reads of a model by itself: 20,000 Chinese characters have 120,000 when their writer escapes
them (`\u4e2d`), and writers do that by default.
"""

from __future__ import annotations

import json
from typing import Any

MAX_LINE = 500_000
"""Characters of a line. The longest row has 200,000; a text of 20,000 has at most 240,000 in escapes."""


def half_character(value: Any) -> str:
    r"""The first half of a surrogate pair that stands alone in a JSON value, as `\ud800`; empty without one.

    JSON can write it as an escape, UTF-8 cannot hold it: neither a kept file nor a tokenizer takes such a text.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""
