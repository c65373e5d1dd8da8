"""A user's own questions on step 2: what was read, or why it cannot be used, and what that changes on the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.report.icons import icon
from wfgy_triage.ui.context import PageContext
from wfgy_triage.workload.stored import BUILTIN, KINDS, StoredWorkload
from wfgy_triage.workload.upload import Upload, read_upload
from wfgy_triage.workload.upload_formats import UploadedFile, UploadError

TEMPLATES = ("questions.jsonl", "questions.csv", "questions.md", "records.jsonl")
"""Files in assets/templates that the page offers."""

UPLOAD_HELP = (
    '<p class="dim small">A file with questions, right answers and the texts that hold them (JSON lines, CSV or '
    "Markdown), or JSON records with their schema (JSON lines). It is read here and kept on this machine. Templates: "
    + ", ".join(f'<a href="./templates/{name}" download>{name}</a>' for name in TEMPLATES)
    + "</p>"
)


def take_upload(context: PageContext, symptom: str, paths: Sequence[str]) -> tuple[Upload, StoredWorkload]:
    """Read and keep uploaded files.

    Raises:
        UploadError: with every problem, by file and line.
        InputError: the set is too large, or of a kind that the symptom's probe does not read.
    """
    upload = read_upload([UploadedFile(Path(p).name, Path(p).read_bytes()) for p in paths])
    wanted = KINDS.get(symptom)
    if symptom and wanted != upload.kind:
        needs = {"records": "JSON records", "questions": "questions about texts"}.get(wanted or "", "none")
        raise InputError(
            f"These are {upload.kind}, but the chosen symptom needs {needs}.",
            "Choose another file, or another symptom in step 1.",
        )
    return upload, context.service.keep_workload(upload)


def kept_summary(stored: StoredWorkload) -> str:
    """Return what will be asked instead of the built-in questions."""
    return (
        f'<p class="callout tone-ok">{icon("check")}<span><b>Your own questions are used: “{escape(stored.name)}”, '
        f"{stored.questions} questions.</b> The slider says how many of them; the first ones are asked.</span></p>"
    )


def upload_summary(upload: Upload, stored: StoredWorkload) -> str:
    """Return what was read, in full."""
    first = upload.content["questions" if upload.kind == "questions" else "records"][0]
    shown = first["paraphrases"][0] if upload.kind == "questions" else first["text"]
    of_what = "texts" if upload.kind == "questions" else "different schemas"
    facts = (
        f"{upload.questions} questions on {upload.passages} {of_what}.",
        f"The first one: “{shown[:200]}”",
        *upload.notes,
    )
    listed = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f'{kept_summary(stored)}<ul class="plain small">{listed}</ul>'


def refused_summary(error: TriageError) -> str:
    """Return why a file cannot be used, with every problem in a list."""
    problems = error.problems if isinstance(error, UploadError) else ()
    message = "The question set cannot be used." if problems else error.message
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return (
        f'<div class="callout tone-bad" role="alert">{icon("warning")}<div><b>{escape(message)}</b>'
        f"{f'<ul>{listed}</ul>' if listed else ''} {escape(error.hint)} The built-in questions are used.</div></div>"
    )


def known_workload(context: PageContext, workload_id: str) -> StoredWorkload | None:
    """The kept question set of an id; None for the built-in questions and for one that is gone."""
    if workload_id in ("", BUILTIN):
        return None
    try:
        return context.service.workload(workload_id)
    except TriageError:
        return None
