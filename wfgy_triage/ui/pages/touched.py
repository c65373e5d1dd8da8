"""Which components an event may change.

Gradio makes every output of an event anew, also those that a handler leaves as they are; with all of the page's 130 an
answer costs a tenth of a second of the web process. So what people do most often names what it touches, and only what
shows another run names everything (`Parts.every`).
"""

from __future__ import annotations

from gradio.blocks import Block

from wfgy_triage.ui.pages.parts import Parts


def by_symptom(parts: Parts) -> list[Block]:
    """What depends on the chosen symptom on step 1."""
    return [
        parts.notice,
        parts.suggested,
        parts.symptom,
        parts.symptom_detail,
        parts.to_models,
        parts.options,
    ]


def by_choices(parts: Parts) -> list[Block]:
    """What depends on the choices of step 2."""
    return [
        parts.notice,
        parts.pair,
        parts.plan,
        parts.models_title,
        parts.questions,
        parts.trials,
        parts.own_questions,
        parts.own_passages,
        parts.engineer,
        parts.start,
        parts.pairs_timer,
    ]


def by_own_files(parts: Parts) -> list[Block]:
    """What depends on the visitor's own questions, passages and index."""
    return [*by_choices(parts), parts.workload, parts.upload_note, parts.builtin, parts.upload_index]


def by_progress(parts: Parts) -> list[Block]:
    """What changes while a run is measured, and what its state allows."""
    return [
        parts.notice,
        parts.run_timer,
        parts.ended,
        parts.live_title,
        parts.live,
        parts.so_far,
        parts.stop,
        parts.resume,
        parts.retry,
        parts.session_people,
        parts.owner_line,
        parts.delete_ask,
        parts.delete_sure,
        parts.describe_save,
        parts.share_make,
    ]


def by_new_run(parts: Parts) -> list[Block]:
    """What changes when the page is attached to a run that was just queued, or to none."""
    return [*by_progress(parts), parts.run_id, parts.step, parts.walk]


def by_links(parts: Parts) -> list[Block]:
    """What depends on the links of a session."""
    return [parts.notice, parts.share_list, parts.share_back, parts.share_path]


def by_description(parts: Parts) -> list[Block]:
    """What was written about a session."""
    return [
        parts.notice,
        parts.describe_title,
        parts.describe_tags,
        parts.describe_note,
        parts.describe_saved,
    ]


def by_comments(parts: Parts) -> list[Block]:
    """The comments, and the fields for one more."""
    return [parts.notice, parts.comment_list, parts.comment_who, parts.comment_text, parts.comment_add]
