"""What happens on the triage page. Each handler reads the store or asks the service, and returns what changed.

Handlers never wait for a model: measuring is the worker's, the page only looks at what is stored.
"""

from __future__ import annotations

import gradio as gr

from wfgy_triage.errors import TriageError
from wfgy_triage.ui.cards import symptom_detail
from wfgy_triage.ui.comments import CommentHandlers
from wfgy_triage.ui.models_handlers import FIX_STEP, MEASURE_STEP, VERDICT_STEP, ModelsHandlers
from wfgy_triage.ui.notices import error_callout, explained
from wfgy_triage.ui.option_fields import NOTHING
from wfgy_triage.ui.own_file import in_own_file
from wfgy_triage.ui.pages.layout import MAX_QUESTIONS, USUAL_QUESTIONS
from wfgy_triage.ui.people_handlers import PeopleHandlers
from wfgy_triage.ui.share_handlers import ShareHandlers
from wfgy_triage.ui.suggestions import not_matched, suggestions
from wfgy_triage.ui.trial_choice import USUAL
from wfgy_triage.ui.views import Updates, both_panel, live_updates, read_run, verdict_updates

MORE_QUESTIONS = 60
OF_A_LOOK = "of-a-look"
"""Marks the notice of a look at a run that failed, so that the next one can take it back."""


class TriageHandlers(ModelsHandlers, ShareHandlers, CommentHandlers, PeopleHandlers):
    """The behaviour of the page: that of step 2 (`models_handlers.py`), and of the others here."""

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
            **self.options_shown(symptom, NOTHING),
        }

    @explained
    def check_again(self, run_id: str) -> Updates:
        """The same run once more, as a new session that is compared with this one."""
        return self.show_new(self.context.service.check_again(run_id))

    @explained
    def with_more(self, run_id: str) -> Updates:
        """Step 2, set to this run's choices with more questions."""
        record = self.context.service.get(run_id)
        more = min(MAX_QUESTIONS, max(MORE_QUESTIONS, 3 * record.spec.questions))
        return self.prefilled(run_id, more)

    @explained
    def change_settings(self, run_id: str) -> Updates:
        """Step 2, set to this run's choices."""
        return self.prefilled(run_id, self.context.service.get(run_id).spec.questions)

    @explained
    def another_symptom(self) -> Updates:
        """Step 1 again, detached from the run."""
        parts = self.parts
        return {
            parts.run_id: "",
            parts.run_timer: gr.Timer(active=False),
            parts.walk: gr.Walkthrough(selected=1),
            **self.no_session(),
        }

    @explained
    def stop(self, run_id: str) -> Updates:
        """Ask the run to stop; what is done is kept. Where it has ended meanwhile, its end is told as `poll` does."""
        self.context.service.cancel(run_id)
        run = self.context.service.look(run_id)
        updates = live_updates(self.context, self.parts, run)
        return updates if run.open else updates | {self.parts.ended: run_id}

    @explained
    def resume(self, run_id: str) -> Updates:
        """Queue a stopped or failed run again; nothing is measured twice."""
        self.context.service.resume(run_id)
        run = self.context.service.look(run_id)
        return live_updates(self.context, self.parts, run) | {self.parts.ended: ""}

    def poll(self, run_id: str, notice: str) -> Updates:
        """Follow the run; its end is told by `ended`, and shown by what that calls.

        A fault of one look is no longer said after the next that succeeds.
        """
        if not run_id:
            return {self.parts.run_timer: gr.Timer(active=False)}
        try:
            run = self.context.service.look(run_id)
            updates = live_updates(self.context, self.parts, run)
        except TriageError as error:
            return {self.parts.notice: f'<div class="{OF_A_LOOK}">{error_callout(error)}</div>'}
        if OF_A_LOOK in (notice or ""):
            updates = updates | {self.parts.notice: ""}
        return updates if run.open else updates | {self.parts.ended: run_id}

    def show_end(self, ended: str, run_id: str, step: str) -> Updates:
        """Show the verdict, to whoever is watching at once."""
        if not ended or ended != run_id:
            return {self.parts.ended: gr.skip()}
        try:
            view = read_run(self.context, run_id)
        except TriageError as error:
            return {self.parts.notice: error_callout(error)}
        updates = (
            verdict_updates(self.context, self.parts, view)
            | self.links(run_id)
            | self.written(view.record)
            | self.comments(run_id)
            # A link that was made of the session before this one opens that one.
            | {self.parts.share_path: "", self.parts.share_link: ""}
        )
        if view.result and step == str(MEASURE_STEP):
            updates[self.parts.walk] = gr.Walkthrough(selected=VERDICT_STEP)
        return updates

    @explained
    def choose_answer(self, run_id: str, key: str) -> Updates:
        """Both answers of one question in full."""
        return {self.parts.both: both_panel(read_run(self.context, run_id).row(key), run_id)}

    def go_to_fix(self) -> Updates:
        """Step 5."""
        return {self.parts.walk: gr.Walkthrough(selected=FIX_STEP)}

    def change_own_file(self, run_id: str, kind: str, file: str) -> Updates:
        """The recommended change in the visitor's own file; what cannot be done is said where the file was given."""
        try:
            shown = in_own_file(read_run(self.context, run_id).result, kind, file)
        except TriageError as error:
            shown = error_callout(error)
        return {self.parts.own_file_shown: shown}

    def _continue_button(self, symptom: str) -> gr.Button:
        known = not symptom or symptom in self.context.probed
        return gr.Button(visible=known, interactive=bool(symptom) and known)

    def _attach(self, run_id: str) -> Updates:
        run = self.context.service.look(run_id)
        spec = run.record.spec
        # Only what has ended has a verdict to be read.
        view = None if run.open else read_run(self.context, run_id)
        step = VERDICT_STEP if view and view.result else MEASURE_STEP
        return (
            self.choices_of(run.record, spec.questions)
            | {
                self.parts.symptom_detail: symptom_detail(self.context, spec.symptom),
                self.parts.to_models: self._continue_button(spec.symptom),
                self.parts.run_id: run_id,
                self.parts.step: str(step),
                self.parts.walk: gr.Walkthrough(selected=step),
            }
            | live_updates(self.context, self.parts, run)
            | (verdict_updates(self.context, self.parts, view) if view else {})
            | self.links(run_id)
            | self.written(run.record)
            | self.comments(run_id)
        )
