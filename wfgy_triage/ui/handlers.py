"""What happens on the triage page. Each handler reads the store or asks the service, and returns what changed.

Handlers never wait for a model: measuring is the worker's, the page only looks at what is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from wfgy_triage.errors import TriageError
from wfgy_triage.report.icons import icon
from wfgy_triage.store.records import RunSpec
from wfgy_triage.ui.cards import pair_cards, plan_card, symptom_detail
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.pages.layout import (
    MAX_QUESTIONS,
    MIN_QUESTIONS,
    MODELS_HEADS,
    USUAL_QUESTIONS,
    step_head,
)
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.suggestions import not_matched, suggestions
from wfgy_triage.ui.trial_choice import USUAL, trial_choice, trial_options, trial_pills
from wfgy_triage.ui.upload import kept_summary, known_workload, refused_summary, take_upload, upload_summary
from wfgy_triage.ui.views import (
    Updates,
    both_panel,
    choice_updates,
    live_updates,
    read_run,
    verdict_updates,
)
from wfgy_triage.workload.stored import BUILTIN

MORE_QUESTIONS = 60
MODELS_STEP, MEASURE_STEP, VERDICT_STEP, FIX_STEP = 2, 3, 4, 5


def explained(method: Callable[..., Updates]) -> Callable[..., Updates]:
    """Turn an error meant for users into the page's notice; clear the notice when all went well."""

    @wraps(method)
    def wrapper(self: TriageHandlers, *args: Any) -> Updates:
        try:
            return {self.parts.notice: "", **method(self, *args)}
        except TriageError as error:
            return {self.parts.notice: error_callout(error)}

    return wrapper


def error_callout(error: TriageError) -> str:
    """Return an error as the page shows it: what happened, and what to do."""
    hint = f" {escape(error.hint)}" if error.hint else ""
    return (
        f'<p class="callout tone-bad" role="alert">{icon("warning")}<span><b>{escape(error.message)}</b>{hint}'
        "</span></p>"
    )


class TriageHandlers:
    """The behaviour of the page: `parts` are the components it writes to."""

    def __init__(self, context: PageContext, parts: Parts) -> None:
        self.context = context
        self.parts = parts

    def load(self, request: gr.Request) -> Updates:
        """Show the pairs; attach to the run named in the address."""
        run_id = request.query_params.get("run", "")
        if not run_id:
            return self.models("", "", USUAL_QUESTIONS, "", USUAL)
        try:
            return self._attach(run_id)
        except TriageError as error:
            return self.models("", "", USUAL_QUESTIONS, "", USUAL) | {self.parts.notice: error_callout(error)}

    @explained
    def find_symptom(self, complaint: str) -> Updates:
        """Rank the symptoms for the user's own words; what cannot be answered is said beside the text."""
        try:
            shown = suggestions(self.context, self.context.match(complaint))
        except TriageError as error:
            shown = not_matched(error)
        return {self.parts.suggested: gr.HTML(options=shown, value="")}

    @explained
    def choose_suggestion(self, symptom: str) -> Updates:
        """The same as choosing its card."""
        return {self.parts.symptom: gr.HTML(value=symptom), **self.choose_symptom(symptom)}

    @explained
    def choose_symptom(self, symptom: str) -> Updates:
        """Say what is known about it; only a symptom with a probe leads on."""
        return {
            self.parts.suggested: gr.HTML(value=symptom),
            self.parts.symptom_detail: symptom_detail(self.context, symptom),
            self.parts.to_models: self._continue_button(symptom),
        }

    @explained
    def go_to_models(self, symptom: str, pair: str, questions: float, workload: str, trials: str) -> Updates:
        """Step 2."""
        return self.models(symptom, pair, questions, workload, trials) | {
            self.parts.walk: gr.Walkthrough(selected=MODELS_STEP)
        }

    def models(self, symptom: str, pair_id: str, questions: float, workload: str, trials: str) -> Updates:
        """Refresh step 2: pairs become ready while the page is open."""
        parts = self.parts
        try:
            pairs = self.context.pairs()
        except TriageError as error:
            return {
                parts.pair: gr.HTML(options=error_callout(error)),
                parts.start: gr.Button(interactive=False),
            }
        ready = [p.id for p in pairs.values() if p.ready]
        chosen = pair_id if pair_id in ready else (ready[0] if ready else "")
        asks = self.context.asks_questions(symptom)
        asked = min(_whole(questions), self.context.available(symptom, workload) or MAX_QUESTIONS)
        plan = plan_card(self.context, symptom, pairs.get(chosen), asked, trials)
        return {
            parts.pair: gr.HTML(options=pair_cards(pairs, self.context.service.warm_pairs()), value=chosen),
            parts.plan: plan,
            parts.models_title: step_head(*MODELS_HEADS[asks]),
            parts.questions: gr.Slider(visible=asks),
            parts.trials: gr.HTML(options=trial_pills()),
            parts.trial_choice: gr.Column(visible=self.context.tries_changes(symptom)),
            parts.own_questions: gr.Accordion(visible=asks),
            parts.engineer: gr.Accordion(visible=asks),
            parts.start: gr.Button(interactive=bool(chosen) and symptom in self.context.probed),
        }

    @explained
    def upload(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str, files: list[str]
    ) -> Updates:
        """Use the user's own questions; where they cannot be used, say why and use the built-in ones."""
        parts = self.parts
        try:
            upload, stored = take_upload(self.context, symptom, files)
        except TriageError as error:
            refused = {parts.upload_note: refused_summary(error)}
            return self.builtin_questions(symptom, pair, questions, "", trials) | refused
        return self.models(symptom, pair, questions, stored.id, trials) | {
            parts.workload: stored.id,
            parts.upload_note: upload_summary(upload, stored),
            parts.builtin: gr.Button(visible=True),
        }

    def builtin_questions(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str
    ) -> Updates:
        """Leave the user's own questions out again."""
        parts = self.parts
        return self.models(symptom, pair, questions, "", trials) | {
            parts.workload: "",
            parts.upload_note: "",
            parts.builtin: gr.Button(visible=False),
        }

    @explained
    def start(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str, seed: float
    ) -> Updates:
        """Queue the run and go to step 3."""
        options = trial_options(trials)
        spec = RunSpec(symptom, pair, _whole(questions), int(seed or 0), workload or BUILTIN, options)
        return self._show_new(self.context.service.start(spec))

    @explained
    def check_again(self, run_id: str) -> Updates:
        """The same run once more, as a new session that is compared with this one."""
        return self._show_new(self.context.service.check_again(run_id))

    @explained
    def with_more(self, run_id: str) -> Updates:
        """Step 2, set to this run's choices with more questions."""
        record = self.context.service.get(run_id)
        more = min(MAX_QUESTIONS, max(MORE_QUESTIONS, 3 * record.spec.questions))
        return self._prefilled(run_id, more)

    @explained
    def change_settings(self, run_id: str) -> Updates:
        """Step 2, set to this run's choices."""
        return self._prefilled(run_id, self.context.service.get(run_id).spec.questions)

    @explained
    def another_symptom(self) -> Updates:
        """Step 1 again, detached from the run."""
        parts = self.parts
        return {
            parts.run_id: "",
            parts.run_timer: gr.Timer(active=False),
            parts.walk: gr.Walkthrough(selected=1),
        }

    @explained
    def stop(self, run_id: str) -> Updates:
        """Ask the run to stop; what is done is kept."""
        self.context.service.cancel(run_id)
        return live_updates(self.context, self.parts, read_run(self.context, run_id))

    @explained
    def resume(self, run_id: str) -> Updates:
        """Queue a stopped or failed run again; nothing is measured twice."""
        self.context.service.resume(run_id)
        return live_updates(self.context, self.parts, read_run(self.context, run_id))

    def poll(self, run_id: str, step: str) -> Updates:
        """Follow the run; when it has ended, show the verdict to whoever is watching."""
        if not run_id:
            return {self.parts.run_timer: gr.Timer(active=False)}
        try:
            view = read_run(self.context, run_id)
            updates = live_updates(self.context, self.parts, view)
            if not view.open:
                updates |= verdict_updates(self.context, self.parts, view)
                if view.result and step == str(MEASURE_STEP):
                    updates[self.parts.walk] = gr.Walkthrough(selected=VERDICT_STEP)
        except TriageError as error:
            return {self.parts.notice: error_callout(error)}
        return updates

    @explained
    def choose_answer(self, run_id: str, key: str) -> Updates:
        """Both answers of one question in full."""
        return {self.parts.both: both_panel(read_run(self.context, run_id).row(key))}

    def go_to_fix(self) -> Updates:
        """Step 5."""
        return {self.parts.walk: gr.Walkthrough(selected=FIX_STEP)}

    def _continue_button(self, symptom: str) -> gr.Button:
        known = not symptom or symptom in self.context.probed
        return gr.Button(visible=known, interactive=bool(symptom) and known)

    def _attach(self, run_id: str) -> Updates:
        view = read_run(self.context, run_id)
        spec = view.record.spec
        step = VERDICT_STEP if view.result else MEASURE_STEP
        return (
            self._models_of(spec, spec.questions)
            | choice_updates(self.parts, view.record)
            | self._own_questions(spec)
            | {
                self.parts.symptom_detail: symptom_detail(self.context, spec.symptom),
                self.parts.to_models: self._continue_button(spec.symptom),
                self.parts.run_id: run_id,
                self.parts.step: str(step),
                self.parts.walk: gr.Walkthrough(selected=step),
            }
            | live_updates(self.context, self.parts, view)
            | verdict_updates(self.context, self.parts, view)
        )

    def _models_of(self, spec: RunSpec, questions: int) -> Updates:
        trials = trial_choice(spec.options)
        return self.models(spec.symptom, spec.pair_id, questions, spec.workload_id, trials)

    def _own_questions(self, spec: RunSpec) -> Updates:
        own = known_workload(self.context, spec.workload_id)
        return {
            self.parts.upload_note: kept_summary(own) if own else "",
            self.parts.builtin: gr.Button(visible=own is not None),
        }

    def _show_new(self, run_id: str) -> Updates:
        parts = self.parts
        return {
            parts.run_id: run_id,
            parts.step: str(MEASURE_STEP),
            parts.walk: gr.Walkthrough(selected=MEASURE_STEP),
            **live_updates(self.context, parts, read_run(self.context, run_id)),
        }

    def _prefilled(self, run_id: str, questions: int) -> Updates:
        record = self.context.service.get(run_id)
        spec = record.spec
        return (
            self._models_of(spec, questions)
            | choice_updates(self.parts, record)
            | self._own_questions(spec)
            | {
                self.parts.questions: questions,
                self.parts.step: str(MODELS_STEP),
                self.parts.walk: gr.Walkthrough(selected=MODELS_STEP),
            }
        )


def _whole(questions: float | None) -> int:
    return min(MAX_QUESTIONS, max(MIN_QUESTIONS, int(questions or USUAL_QUESTIONS)))
