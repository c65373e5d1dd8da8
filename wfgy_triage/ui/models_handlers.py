"""What happens on step 2: models, questions, a visitor's own files, settings, and the start of a run."""

from __future__ import annotations

from typing import Any

import gradio as gr

from wfgy_triage.errors import TriageError
from wfgy_triage.store.records import RunRecord, RunSpec
from wfgy_triage.ui.cards import pair_cards, plan_card
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.notices import error_callout, explained
from wfgy_triage.ui.option_fields import chosen_options, fields_of, value_of
from wfgy_triage.ui.pages.layout import (
    MAX_QUESTIONS,
    MIN_QUESTIONS,
    MODELS_HEADS,
    USUAL_QUESTIONS,
    step_head,
)
from wfgy_triage.ui.pages.parts import Parts
from wfgy_triage.ui.trial_choice import trial_choice, trial_options, trial_pills
from wfgy_triage.ui.upload import (
    known_workload,
    passages_summary,
    refused_summary,
    set_of_run,
    take_index,
    take_passages,
    take_upload,
    upload_summary,
)
from wfgy_triage.ui.views import Updates, choice_updates, live_updates
from wfgy_triage.workload.passages import PASSAGES
from wfgy_triage.workload.stored import BUILTIN, KINDS, StoredWorkload

MODELS_STEP, MEASURE_STEP, VERDICT_STEP, FIX_STEP = 2, 3, 4, 5
WITHOUT_INDEX = "It is not used."


class ModelsHandlers:
    """The behaviour of step 2: `parts` are the components it writes to."""

    def __init__(self, context: PageContext, parts: Parts) -> None:
        self.context = context
        self.parts = parts

    @explained
    def go_to_models(self, symptom: str, pair: str, questions: float, workload: str, trials: str) -> Updates:
        """Step 2."""
        return self.models(symptom, pair, questions, workload, trials) | {
            self.parts.walk: gr.Walkthrough(selected=MODELS_STEP)
        }

    def models(self, symptom: str, pair_id: str, questions: float, workload: str, trials: str) -> Updates:
        """Refresh step 2: pairs become ready while the page is open.

        A choice that stands is not sent back: the visitor may have made another while this was on its way.
        """
        return self._models_of(symptom, pair_id, questions, workload, trials, on_page=pair_id)

    def _models_of(
        self, symptom: str, pair_id: str, questions: float, workload: str, trials: str, on_page: str
    ) -> Updates:
        """Step 2 for a pair that is wanted; `on_page` is the pair whose radio is set in the browser."""
        parts = self.parts
        try:
            pairs = self.context.pairs()
        except TriageError as error:
            return {
                parts.pair: gr.HTML(options=error_callout(error)),
                parts.start: gr.Button(interactive=False),
                parts.pairs_timer: gr.Timer(active=True),
            }
        ready = [p.id for p in pairs.values() if p.ready]
        chosen = pair_id if pair_id in ready else (ready[0] if ready else "")
        asks = self.context.asks_questions(symptom)
        asked = min(_whole(questions), self.context.available(symptom, workload) or MAX_QUESTIONS)
        plan = plan_card(self.context, symptom, pairs.get(chosen), asked, trials)
        replaced: dict[str, Any] = {} if chosen == on_page else {"value": chosen}
        return {
            parts.pair: gr.HTML(options=pair_cards(pairs, self.context.service.warm_pairs()), **replaced),
            parts.plan: plan,
            parts.models_title: step_head(*MODELS_HEADS[asks]),
            parts.questions: gr.Slider(visible=asks),
            parts.trials: gr.HTML(options=trial_pills()),
            parts.own_questions: gr.Accordion(visible=asks),
            parts.own_passages: gr.Accordion(visible=PASSAGES in KINDS.get(symptom, ())),
            parts.engineer: gr.Accordion(visible=asks),
            parts.start: gr.Button(interactive=bool(chosen) and symptom in self.context.probed),
            # Open pages ask only while there is something to wait for; many of them would keep the server busy.
            parts.pairs_timer: gr.Timer(active=len(ready) < len(pairs) or not pairs),
        }

    @explained
    def upload(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str, files: list[str]
    ) -> Updates:
        """Use the user's own questions; where they cannot be used, say why and use the built-in ones."""
        try:
            upload, stored = take_upload(self.context, symptom, files)
        except TriageError as error:
            return self._refused(symptom, pair, questions, trials, error)
        return self._in_use(symptom, pair, questions, trials, stored, upload_summary(upload, stored))

    @explained
    def upload_passages(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str, file: str
    ) -> Updates:
        """Search the user's own passages; where they cannot be used, say why and search the built-in ones."""
        try:
            stored = take_passages(self.context, symptom, file)
        except TriageError as error:
            return self._refused(symptom, pair, questions, trials, error)
        return self._in_use(symptom, pair, questions, trials, stored, passages_summary(stored))

    @explained
    def upload_index(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str, file: str
    ) -> Updates:
        """Search the user's own index of the passages in use; where it cannot be used, the passages stay."""
        try:
            stored = take_index(self.context, workload, file)
        except TriageError as error:
            kept = known_workload(self.context, workload)
            told = passages_summary(kept) if kept is not None else ""
            return {self.parts.upload_note: refused_summary(error, WITHOUT_INDEX if told else "") + told}
        return self._in_use(symptom, pair, questions, trials, stored, passages_summary(stored))

    def builtin_questions(
        self, symptom: str, pair: str, questions: float, workload: str, trials: str
    ) -> Updates:
        """Leave the user's own files out again."""
        parts = self.parts
        return self.models(symptom, pair, questions, "", trials) | {
            parts.workload: "",
            parts.upload_note: "",
            parts.builtin: gr.Button(visible=False),
            parts.upload_index: gr.UploadButton(visible=False),
        }

    @explained
    def start(
        self,
        symptom: str,
        pair: str,
        questions: float,
        workload: str,
        trials: str,
        seed: float,
        options: str,
    ) -> Updates:
        """Queue the run and go to step 3."""
        chosen = chosen_options(symptom, options) | trial_options(trials)
        spec = RunSpec(symptom, pair, _whole(questions), int(seed or 0), workload or BUILTIN, chosen)
        return self.show_new(self.context.service.start(spec))

    def show_new(self, run_id: str) -> Updates:
        """Step 3, attached to a run that was just queued."""
        parts = self.parts
        return {
            parts.run_id: run_id,
            parts.step: str(MEASURE_STEP),
            parts.walk: gr.Walkthrough(selected=MEASURE_STEP),
            **live_updates(self.context, parts, self.context.service.look(run_id)),
        }

    def prefilled(self, run_id: str, questions: int) -> Updates:
        """Step 2, set to the choices of a run."""
        return self.choices_of(self.context.service.get(run_id), questions) | {
            self.parts.questions: questions,
            self.parts.step: str(MODELS_STEP),
            self.parts.walk: gr.Walkthrough(selected=MODELS_STEP),
        }

    def choices_of(self, record: RunRecord, questions: int) -> Updates:
        """Steps 1 and 2 as they were for a run."""
        spec, parts = record.spec, self.parts
        own = known_workload(self.context, spec.workload_id)
        return (
            self._models_of(
                spec.symptom,
                spec.pair_id,
                questions,
                spec.workload_id,
                trial_choice(spec.options),
                on_page="",
            )
            | choice_updates(parts, record)
            | self.options_shown(spec.symptom, value_of(spec.symptom, spec.options))
            | {
                parts.upload_note: set_of_run(spec.options, own),
                parts.builtin: gr.Button(visible=own is not None),
                parts.upload_index: gr.UploadButton(visible=own is not None and own.kind == PASSAGES),
            }
        )

    def options_shown(self, symptom: str, value: str) -> Updates:
        """The fields of a symptom's own settings, set to a value."""
        return {self.parts.options: gr.HTML(options=fields_of(symptom), value=value)}

    def show_options(self, symptom: str) -> Updates:
        """The fields again, once their place is on the screen: what was never shown cannot be given them before."""
        return {self.parts.options: gr.HTML(options=fields_of(symptom))}

    def _in_use(
        self, symptom: str, pair: str, questions: float, trials: str, stored: StoredWorkload, told: str
    ) -> Updates:
        parts = self.parts
        return self.models(symptom, pair, questions, stored.id, trials) | {
            parts.workload: stored.id,
            parts.upload_note: told,
            parts.builtin: gr.Button(visible=True),
            parts.upload_index: gr.UploadButton(visible=stored.kind == PASSAGES),
        }

    def _refused(self, symptom: str, pair: str, questions: float, trials: str, error: TriageError) -> Updates:
        refused = {self.parts.upload_note: refused_summary(error)}
        return self.builtin_questions(symptom, pair, questions, "", trials) | refused


def _whole(questions: float | None) -> int:
    return min(MAX_QUESTIONS, max(MIN_QUESTIONS, int(questions or USUAL_QUESTIONS)))
