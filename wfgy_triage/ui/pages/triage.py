"""The triage page: which event calls which handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.handlers import TriageHandlers
from wfgy_triage.ui.models_handlers import MODELS_STEP
from wfgy_triage.ui.pages.layout import build_layout
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.pages.share_parts import LINK_JS
from wfgy_triage.ui.pages.touched import (
    by_choices,
    by_comments,
    by_description,
    by_links,
    by_new_run,
    by_own_files,
    by_progress,
    by_symptom,
)
from wfgy_triage.ui.people.acting import for_visitor

# Puts the run's id into the address bar, so that a reload or another tab finds it; an empty id takes it out.
ADDRESS_JS = """(id) => {
  const url = new URL(location.href);
  if (id) url.searchParams.set('run', id); else url.searchParams.delete('run');
  history.replaceState(history.state, '', url);
}"""
TO_TOP_JS = "() => window.scrollTo({top: 0})"


def build_triage_page(context: PageContext) -> Parts:
    """Build the page and its events inside the current Blocks; return its components."""
    parts = build_layout(context)
    _connect(parts, TriageHandlers(context, parts))
    return parts


def _connect(parts: Parts, handlers: TriageHandlers) -> None:
    every = parts.every()
    choices: list[Any] = [parts.symptom, parts.pair, parts.questions, parts.workload, parts.trials]

    def on(
        event: Callable[..., Any],
        fn: Callable[..., Any],
        inputs: Sequence[Any] = (),
        touches: Sequence[Any] = every,
        **more: Any,
    ) -> Any:
        return event(
            for_visitor(fn),
            list(inputs),
            list(touches),
            queue=False,
            show_progress="hidden",
            api_visibility="private",
            **more,
        )

    def choosing(event: Callable[..., Any], fn: Callable[..., Any], inputs: Any, touches: Any) -> None:
        # The last choice wins: arrow keys change radios faster than the server answers.
        on(event, fn, inputs, touches, trigger_mode="always_last")

    def moving(
        event: Callable[..., Any], fn: Callable[..., Any], inputs: Sequence[Any] = (), touches: Any = every
    ) -> None:
        done = on(event, fn, inputs, touches)
        done.then(None, [parts.run_id], None, js=ADDRESS_JS).then(None, None, None, js=TO_TOP_JS)

    blocks = gr.context.Context.root_block
    if blocks is None:
        raise RuntimeError("the triage page is built inside a gr.Blocks context")
    on(blocks.load, handlers.load)

    on(parts.find.click, handlers.find_symptom, [parts.complaint], [parts.notice, parts.suggested])
    on(parts.complaint.submit, handlers.find_symptom, [parts.complaint], [parts.notice, parts.suggested])
    by_card = by_symptom(parts)
    choosing(parts.suggested.input, handlers.choose_suggestion, [parts.suggested], by_card)
    choosing(parts.symptom.input, handlers.choose_symptom, [parts.symptom], by_card)

    chosen, own = by_choices(parts), by_own_files(parts)
    moving(parts.to_models.click, handlers.go_to_models, choices, [*chosen, parts.walk])
    choosing(parts.pair.input, handlers.models, choices, chosen)
    choosing(parts.questions.change, handlers.models, choices, chosen)
    choosing(parts.trials.input, handlers.models, choices, chosen)
    on(parts.pairs_timer.tick, handlers.models, choices, chosen)
    # Whoever comes to step 2 from a session finds it as it is now.
    on(parts.steps[MODELS_STEP - 1].select, handlers.models, choices, chosen)
    on(parts.upload.upload, handlers.upload, [*choices, parts.upload], own)
    on(parts.upload_passages.upload, handlers.upload_passages, [*choices, parts.upload_passages], own)
    on(parts.upload_index.upload, handlers.upload_index, [*choices, parts.upload_index], own)
    on(parts.builtin.click, handlers.builtin_questions, choices, own)
    on(parts.engineer.expand, handlers.show_options, [parts.symptom], [parts.options])
    progress, another = by_progress(parts), by_new_run(parts)
    moving(parts.start.click, handlers.start, [*choices, parts.seed, parts.options], another)

    on(parts.run_timer.tick, handlers.poll, [parts.run_id, parts.notice], progress)
    on(parts.ended.change, handlers.show_end, [parts.ended, parts.run_id, parts.step])
    on(parts.stop.click, handlers.stop, [parts.run_id], progress)
    on(parts.resume.click, handlers.resume, [parts.run_id], progress)
    moving(parts.retry.click, handlers.change_settings, [parts.run_id])

    moving(parts.to_fix.click, handlers.go_to_fix, (), [parts.walk])
    choosing(
        parts.answers.input, handlers.choose_answer, [parts.run_id, parts.answers], [parts.notice, parts.both]
    )
    given = [parts.run_id, parts.own_file_kind, parts.own_file_give]
    on(parts.own_file_give.upload, handlers.change_own_file, given, [parts.own_file_shown])
    _connect_session(parts, handlers, on)

    on(parts.delete_ask.click, handlers.ask_delete, (), [parts.delete_sure, parts.delete_ask])
    on(parts.delete_no.click, handlers.keep_session, (), [parts.delete_sure, parts.delete_ask])
    moving(parts.delete_yes.click, handlers.delete_session, [parts.run_id], another)

    moving(parts.again.click, handlers.check_again, [parts.run_id], another)
    moving(parts.more.click, handlers.with_more, [parts.run_id])
    moving(parts.more_again.click, handlers.with_more, [parts.run_id])
    moving(parts.other.click, handlers.another_symptom, (), another)

    for number, step in enumerate(parts.steps, 1):
        step.select(None, None, [parts.step], js=f"() => '{number}'")


def _connect_session(parts: Parts, handlers: TriageHandlers, on: Callable[..., Any]) -> None:
    """What people write about a session, and its links."""
    written = [parts.run_id, parts.describe_title, parts.describe_tags, parts.describe_note]
    on(parts.describe_save.click, handlers.describe, written, by_description(parts))
    commented = [parts.run_id, parts.comment_who, parts.comment_text]
    on(parts.comment_add.click, handlers.add_comment, commented, by_comments(parts))
    links, wanted = by_links(parts), [parts.run_id, parts.share_days, parts.share_redact]
    showing = on(parts.share_make.click, handlers.make_link, wanted, links)
    showing.then(None, [parts.share_path], [parts.share_link], js=LINK_JS)
    showing = on(parts.share_back.click, handlers.take_back, [parts.run_id, parts.share_list], links)
    showing.then(None, [parts.share_path], [parts.share_link], js=LINK_JS)
