"""The forms in which a session leaves the program, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wfgy_triage.catalog import Catalog
from wfgy_triage.errors import InputError
from wfgy_triage.languages.document import in_language
from wfgy_triage.languages.known import ENGLISH, NAMES, checked
from wfgy_triage.report.export.html import session_html
from wfgy_triage.report.export.markdown import session_markdown
from wfgy_triage.report.export.packet import packets_json
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.export.session_file import session_file
from wfgy_triage.report.export.tables import answers_csv, metrics_csv


@dataclass(frozen=True)
class Format:
    """One form.

    Attributes:
        id: stable name, in addresses and on the command line.
        title: what it is, in words.
        about: one plain sentence: what it is for.
        suffix: end of the file's name.
        media_type: as servers say it.
        write: from a session to the file's text, in English.
        languages: those that it can be written in.
    """

    id: str
    title: str
    about: str
    suffix: str
    media_type: str
    write: Callable[[Session, Catalog], str]
    languages: tuple[str, ...] = (ENGLISH,)


def _result_json(session: Session, catalog: Catalog) -> str:
    return json.dumps(session.result.to_json(), indent=2, ensure_ascii=False) + "\n"


def _session_json(session: Session, catalog: Catalog) -> str:
    return json.dumps(session_file(session), ensure_ascii=False) + "\n"


_ALL = (
    Format("html", "Report", "One page with charts and answers. Opens from disk, prints.", ".html",
           "text/html", session_html, tuple(NAMES)),
    Format("markdown", "Markdown", "For an issue: verdict, cause, change, lost questions.", ".md",
           "text/markdown", session_markdown),
    Format("session", "Session file", "Everything that was measured. Can be imported again.", "-session.json",
           "application/json", _session_json),
    Format("json", "Result", "The result object, for programs.", ".json", "application/json", _result_json),
    Format("csv", "Metrics table", "One line a metric, for spreadsheets.", "-metrics.csv", "text/csv",
           lambda session, _: metrics_csv(session)),
    Format("answers-csv", "Answers table", "One line a question, both answers.", "-answers.csv", "text/csv",
           lambda session, _: answers_csv(session)),
    Format("packet", "Debug packets", "WFGY debug packets of the questions that differ.", "-packets.json",
           "application/json", packets_json),
)  # fmt: skip
FORMATS: Mapping[str, Format] = {f.id: f for f in _ALL}
"""By id, in the order in which they are offered."""


@dataclass(frozen=True)
class Exported:
    """A file: its name, its kind, its text."""

    name: str
    media_type: str
    text: str


def export(session: Session, form: str, catalog: Catalog, language: str = ENGLISH) -> Exported:
    """Write a session in one of the forms.

    Args:
        session: what is written.
        form: id of the form.
        catalog: the fix map.
        language: the one to write it in.

    Raises:
        InputError: there is no such form or language, or the form is not written in it.
    """
    if form not in FORMATS:
        raise InputError(f"There is no format {form[:40]!r}.", f"Formats: {', '.join(FORMATS)}.")
    found = FORMATS[form]
    if checked(language) not in found.languages:
        spoken = ", ".join(f.id for f in FORMATS.values() if language in f.languages)
        raise InputError(f"The format {form} is written in English only.", f"In {language}: {spoken}.")
    left_out = "-redacted" if session.redacted else ""
    said_in = "" if language == ENGLISH else f"-{language}"
    name = f"{session.result.symptom}-{session.record.id}{left_out}{said_in}{found.suffix}"
    return Exported(name, found.media_type, in_language(found.write(session, catalog), language))
