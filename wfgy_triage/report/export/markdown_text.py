"""Foreign text inside Markdown, so that nothing in it can break out, be rendered, call a person or link anywhere."""

from __future__ import annotations

import re

_ZERO_WIDTH = "\u200b"
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|!~$^])")
_RUNS = re.compile(r"`+")
_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text around."""


def plain(text: str) -> str:
    """A text on one line: shown as it is, with nothing in it that Markdown or a tracker acts on."""
    flat = _SPACE.sub(" ", _CONTROL.sub("", text)).strip()
    marked = _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;")).replace("<", "&lt;").replace(">", "&gt;")
    # Mentions, issue numbers and bare addresses are found after rendering, so escapes do not stop them.
    marked = marked.replace("@", f"@{_ZERO_WIDTH}").replace("\\#", f"\\#{_ZERO_WIDTH}")
    marked = marked.replace("://", f":{_ZERO_WIDTH}//").replace("www.", f"www{_ZERO_WIDTH}.")
    return re.sub(r"^([-+=]|\d+[.)])", rf"{_ZERO_WIDTH}\1", marked)


def code(text: str, in_table: bool = False) -> str:
    """A text on one line as code."""
    flat = _SPACE.sub(" ", _CONTROL.sub("", text)).strip()
    if not flat:
        return ""
    if in_table:
        flat = flat.replace("\\", "\\\\").replace("|", "\\|")
    fence = "`" * (_longest_run(flat) + 1)
    room = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{room}{flat}{room}{fence}"


def fenced(text: str, language: str = "") -> str:
    """A text of several lines in a fence that is longer than any in it."""
    fence = "`" * max(3, _longest_run(text) + 1)
    body = _CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _RUNS.findall(text)), default=0)
