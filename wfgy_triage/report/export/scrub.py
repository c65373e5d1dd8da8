"""Takes this machine's paths and its name out of what leaves the program.

Known folders (the home of the program, the models' folders, the user's own) are taken out everywhere, also out of
questions and answers. In the program's own sentences any absolute path goes, down to its last part: a path that a
question asks about is content, one in an error message tells how the machine is laid out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from wfgy_triage.report.export.session import OWN_SIDES, Session
from wfgy_triage.result import Result
from wfgy_triage.store.records import Sample

GONE = "\N{HORIZONTAL ELLIPSIS}"
HOST = "this-machine"
SHORTEST = 4
"""Folders and host names shorter than this are words that stand in any text."""
CONTENT = frozenset({"text", "question", "answer", "quote", "patch"})
"""Keys whose strings are content: questions, answers, settings."""
IDS = frozenset(
    {"id", "pair_id", "symptom", "cause", "check", "metric", "remedy", "candidate", "run_id", "kind"}
)
_PART = r"[^\s/\\\"'<>|*?,;:()\[\]{}`]+"
_PATHS = re.compile(
    rf"file://[^\s\"'<>]*?(?P<a>{_PART})/?(?=[\s\"'<>]|$)"
    rf"|(?<![\w/.#\\{GONE}])~?(?:/{_PART})+/(?P<b>{_PART})/?"
    rf"|(?<![\w\\])(?:[A-Za-z]:|\\\\{_PART})(?:\\{_PART})*\\(?P<c>{_PART})"
)


class Scrubber:
    """Takes paths and host names out of texts.

    Args:
        folders: absolute paths that are known; their beginnings are taken out wherever they stand.
        hosts: names of this machine.
    """

    def __init__(self, folders: Iterable[str], hosts: Iterable[str]) -> None:
        self._folders = _any_of(folders, r"(?<![\w.~-])", r"(?=[/\\\s\"'<>),:;\]}`]|$)")
        self._hosts = _any_of((h for h in hosts if h != "localhost"), r"(?<![\w.-])", r"(?![\w-])")

    def content(self, text: str) -> str:
        """Take out what is known of this machine."""
        if self._folders:
            text = self._folders.sub(GONE, text)
        return self._hosts.sub(HOST, text) if self._hosts else text

    def prose(self, text: str) -> str:
        """Take out every absolute path but its last part, and what is known of this machine."""
        shorter = _PATHS.sub(lambda m: f"{GONE}/{next(p for p in m.groups() if p)}", text)
        return self.content(shorter)

    def value(self, value: Any, content: bool = False, key: str = "") -> Any:
        """The same for plain JSON. Strings under the keys of `CONTENT` are content, ids are left as they are."""
        if isinstance(value, str):
            return value if key in IDS else self.content(value) if content else self.prose(value)
        if isinstance(value, Mapping):
            return {k: self.value(v, content or k in CONTENT, k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v, content, key) for v in value]
        return value


def scrubbed(session: Session, scrubber: Scrubber) -> Session:
    """The session without paths and names of this machine."""
    record = session.record
    options = scrubber.value(dict(record.spec.options))
    return replace(
        session,
        record=replace(
            record,
            spec=replace(record.spec, options=options),
            result=None,
            error_message=scrubber.prose(record.error_message),
            error_hint=scrubber.prose(record.error_hint),
            title=scrubber.prose(record.title),
        ),
        comments=tuple(
            replace(c, who=scrubber.prose(c.who), text=scrubber.prose(c.text)) for c in session.comments
        ),
        result=Result.from_json(scrubber.value(session.result.to_json())),
        samples=tuple(
            Sample(s.key, scrubber.value(dict(s.payload), content=s.key.side not in OWN_SIDES))
            for s in session.samples
        ),
        texts={q: scrubber.content(text) for q, text in session.texts.items()},
    )


def _any_of(words: Iterable[str], before: str, after: str) -> re.Pattern[str] | None:
    """A pattern for any of the words that are long enough, the longest first."""
    known = sorted({w.rstrip("/\\") for w in words if len(w) >= SHORTEST}, key=len, reverse=True)
    return re.compile(f"{before}(?:{'|'.join(map(re.escape, known))}){after}") if known else None
