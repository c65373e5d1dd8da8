"""The log of a process: one line an event, as text or as JSON, without what users wrote and without secrets.

Messages of exceptions may quote a question or an answer, so that below level debug only their kind and place are
logged. Passwords, tokens and share links are taken out of every line, whoever wrote it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from wfgy_triage.errors import TriageError
from wfgy_triage.hosting import Hosting, load_hosting

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
HIDDEN = "…"
_PATTERNS = (
    (re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),  # user:password@ in an address
    (re.compile(r"/s/[A-Za-z0-9_-]{43}"), f"/s/{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|token[=:])\s*[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
)
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|_KEY$")
_LONGEST_NAME_S = 8
_run: ContextVar[str | None] = ContextVar("run", default=None)


def begin(process: str) -> None:
    """Write this process's log to standard error, in the form and from the level on that the environment says.

    Args:
        process: its name in JSON lines (`web`, `worker`).

    Raises:
        InputError: the environment names a form or level that there is not.
    """
    hosting = load_hosting()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(hosting, process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("wfgy_triage").setLevel(hosting.log_level.upper())
    logging.captureWarnings(True)


def formatter(hosting: Hosting, process: str) -> logging.Formatter:
    """What makes a line of a record."""
    kind = _Json if hosting.log_form == "json" else _Text
    return kind(process, hosting.log_level == "debug")


@contextmanager
def about_run(run_id: str) -> Iterator[None]:
    """Lines of this thread within the block belong to a run."""
    token = _run.set(run_id)
    try:
        yield
    finally:
        _run.reset(token)


def hidden(text: str) -> str:
    """A text without passwords, tokens and share links."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _LONGEST_NAME_S:
            text = text.replace(value, HIDDEN)
    return text


class _Text(logging.Formatter):
    """A line for people."""

    def __init__(self, process: str, whole: bool) -> None:
        super().__init__(TEXT_FORMAT)
        self._process, self._whole = process, whole

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that logging calls
        return "".join(_trace(ei[1], self._whole)).rstrip()


class _Json(_Text):
    """A line for machines. `run`, `event`, `seq` and what else is told of an event are fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": hidden(record.getMessage()),
        }
        if run := _run.get():
            line["run"] = run
        line.update(getattr(record, "told", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = hidden(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _trace(error: BaseException | None, whole: bool) -> Iterator[str]:
    """An exception as lines: where it came from, and its message only where that is wanted or meant for people."""
    if error is None:
        return
    if whole:
        yield from traceback.format_exception(error)
        return
    if error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        yield from _trace(error.__cause__ or error.__context__, whole)
        yield "which led to\n"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n'
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{kind}: {error}\n" if isinstance(error, (TriageError, OSError, ImportError)) else f"{kind}\n"
