"""A user's own questions and passages on step 2: what was read, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.report.icons import icon
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.received import MAX_UPLOAD, receive
from wfgy_triage.workload.passages import PASSAGES, kept_passages, read_passages
from wfgy_triage.workload.plain_index import PLAIN_KINDS
from wfgy_triage.workload.stored import BUILTIN, KIND_WORDS, KINDS, StoredWorkload, needs
from wfgy_triage.workload.upload import MAX_BYTES, Upload, read_upload
from wfgy_triage.workload.upload_formats import UploadedFile, UploadError

PASSAGES_TEMPLATE = "passages.jsonl"
QUESTION_TEMPLATES = ("questions.jsonl", "questions.csv", "questions.md", "records.jsonl")
TEMPLATES = (*QUESTION_TEMPLATES, PASSAGES_TEMPLATE)
"""Files in assets/templates that the page offers."""

UPLOAD_HELP = (
    '<p class="dim small">A file with questions, right answers and the texts that hold them (JSON lines, CSV or '
    "Markdown), or JSON records with their schema (JSON lines). It is read here and kept on this machine. Templates: "
    + ", ".join(f'<a href="./templates/{name}" download>{name}</a>' for name in QUESTION_TEMPLATES)
    + "</p>"
)
PASSAGES_HELP = (
    '<p class="dim small">The passages of your own search, one JSON object a line: an id, the text, and if you like '
    "the questions that it answers. Without questions, each passage asks for itself with its rarest words. Template: "
    f'<a href="./templates/{PASSAGES_TEMPLATE}" download>{PASSAGES_TEMPLATE}</a></p>'
    '<p class="dim small">Then, if you like, the FAISS index that your server searches, with one vector for each '
    f"passage in the same order ({PLAIN_KINDS}). Up to {MAX_UPLOAD // 2**20} MB a file. Both are kept on this "
    "machine.</p>"
)
BUILTIN_USED = "The built-in questions are used."


def take_upload(context: PageContext, symptom: str, paths: Sequence[str]) -> tuple[Upload, StoredWorkload]:
    """Read and keep uploaded files.

    Raises:
        UploadError: with every problem, by file and line.
        InputError: the set is too large, or of a kind that the symptom's probe does not read.
    """
    upload = read_upload(receive(paths, MAX_BYTES))
    if symptom and upload.kind not in KINDS.get(symptom, ()):
        raise InputError(
            f"These are {KIND_WORDS[upload.kind]}, but the chosen symptom needs {needs(symptom)}.",
            "Choose another file, or another symptom in step 1.",
        )
    return upload, context.service.keep_workload(upload)


def take_passages(context: PageContext, symptom: str, path: str) -> StoredWorkload:
    """Read and keep passages.

    Raises:
        InputError: the file cannot be used, or the symptom's probe searches nothing.
    """
    file, *_ = receive(path, MAX_UPLOAD)
    if PASSAGES not in KINDS.get(symptom, ()):
        raise InputError("The chosen symptom searches no passages.", "Choose another symptom in step 1.")
    return context.service.keep_passages(read_passages(file))


def take_index(context: PageContext, workload_id: str, path: str) -> StoredWorkload:
    """Read an index of the passages in use, and keep both as one set.

    Raises:
        InputError: there are no passages, or the index cannot be used with them.
    """
    index, *_ = receive(path, MAX_UPLOAD)
    stored = known_workload(context, workload_id)
    kept = kept_passages(stored.path) if stored is not None else None
    if stored is None or kept is None:
        raise InputError("An index was given without its passages.", "Choose the passages first.")
    passages = UploadedFile(stored.name, kept.raw_passages())
    return context.service.keep_passages(read_passages(passages, index))


def set_of_run(options: Mapping[str, Any], own: StoredWorkload | None) -> str:
    """Return what the visitor brought to a run that is shown again; empty where it was nothing."""
    if own is not None:
        return passages_summary(own) if own.kind == PASSAGES else kept_summary(own)
    if options.get("chunks"):
        return (
            f'<p class="callout tone-warn">{icon("warning")}<span><b>This run searched passages from the command '
            "line.</b> They are not kept here: a new run from this page searches the built-in ones unless you choose "
            "the file again.</span></p>"
        )
    return ""


def passages_summary(stored: StoredWorkload) -> str:
    """Return what will be searched instead of the built-in passages."""
    vectors = (
        f"Its vectors: {stored.vectors}."
        if stored.vectors
        else "No vectors came with them, so an index is built from FP16. You can add your own."
    )
    return (
        f'<p class="callout tone-ok" role="status">{icon("check")}<span><b>Your own passages are searched: '
        f"“{escape(stored.name)}”, {stored.passages:,} passages, {stored.questions:,} questions.</b> {escape(vectors)} "
        "Every fourth question only chooses the layer and is not judged.</span></p>"
    )


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


def refused_summary(error: TriageError, then: str = BUILTIN_USED) -> str:
    """Return why a file cannot be used, with every problem in a list, and what is used (`then`)."""
    problems = error.problems if isinstance(error, UploadError) else ()
    message = "The question set cannot be used." if problems else error.message
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return (
        f'<div class="callout tone-bad" role="alert">{icon("warning")}<div><b>{escape(message)}</b>'
        f"{f'<ul>{listed}</ul>' if listed else ''} {escape(error.hint)} {then}</div></div>"
    )


def known_workload(context: PageContext, workload_id: str) -> StoredWorkload | None:
    """The kept question set of an id; None for the built-in questions and for one that is gone."""
    if workload_id in ("", BUILTIN):
        return None
    try:
        return context.service.workload(workload_id)
    except TriageError:
        return None
