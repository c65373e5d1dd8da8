"""The search: after a FAIL, candidates are tried one at a time, the cheapest first, until one passes.

Everything is stored as it finishes: answers under the side `try:<candidate>`, and one sample a trial that says how it
went. A search that is stopped or killed goes on where it was. `reading.py` reads the samples, `outcome.py` concludes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import UNHELD
from wfgy_triage.errors import TriageError
from wfgy_triage.probes.base import Probe
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import Shown
from wfgy_triage.remedies.asking import STAGE, ask, ask_fp16, brought_back, must_fit
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError, Remedy
from wfgy_triage.remedies.examining import examine
from wfgy_triage.remedies.hope import given_up, needed_to_pass, no_time, why_open
from wfgy_triage.remedies.outcome import closest, recommended
from wfgy_triage.remedies.reading import after_change, read_trial, read_trials, state_of
from wfgy_triage.remedies.told import EXL2_MORE, TRIAL_SIDE, TRY, TRY_FP16, TrialFacts, facts_of
from wfgy_triage.result import State
from wfgy_triage.store.records import Sample, SampleKey

FIRST_LOST = 8
"""Lost questions that are asked first; what brings none of them back is given up."""
MOST_QUESTIONS = 200
"""Questions on which a change is confirmed at most."""
FURTHER = (2, 1)
"""How many times the run's questions are asked to settle what came closest, as the time allows."""
STOPPED = "Stopped before all questions were asked."


@dataclass(frozen=True)
class Budget:
    """Seconds the search may take; a trial that has begun is finished, a new one is not begun."""

    seconds: float
    clock: Callable[[], float] = time.monotonic


class TrialSearch:
    """One search over the remedies of a cause.

    Args:
        case: the failed run.
        probe: its probe.
        remedies: in the order to try.
        budget: how long it may take.
        more: the case with more questions of the same set, for confirming.
    """

    def __init__(
        self,
        case: Case,
        probe: Probe,
        remedies: Sequence[Remedy],
        budget: Budget,
        more: Callable[[int], Case],
    ) -> None:
        self._case, self._probe, self._remedies = case, probe, remedies
        self._budget, self._more = budget, more
        self._began = budget.clock()
        # Seconds a question with each change, making and loading left out: what a further question takes.
        self._seconds_each: dict[str, float] = {}
        self._told = {f.id: f for f in facts_of(case.context.stored())}
        # Seconds of earlier passes count: the budget is the user's, not the process's.
        self._spent_before = sum(f.seconds for f in self._told.values())

    def run(self) -> None:
        """Try until one passes, nothing is left, time is up, or the user stops."""
        order = 0
        seen: list[tuple[Remedy, Candidate, int]] = []
        for remedy in self._remedies:
            if self._case.context.should_stop():
                return
            for candidate in self._candidates(remedy, order):
                if self._case.context.should_stop():
                    return
                self._one(remedy, candidate, order)
                seen.append((remedy, candidate, order))
                order += 1
                if self._ends_here(candidate):
                    return
            order += 1
        self._finish_put_off(seen)
        self._settle(seen)

    def _finish_put_off(self, seen: Sequence[tuple[Remedy, Candidate, int]]) -> None:
        """Nothing passed: what was out of reach of the gate may still be the best improvement there is."""
        put_off = [entry for entry in seen if (f := self._told.get(entry[1].id)) is not None and f.put_off]
        for remedy, candidate, order in sorted(put_off, key=lambda e: -self._told[e[1].id].restored):
            if self._left() <= 0 or self._case.context.should_stop():
                return
            self._one(remedy, candidate, order, to_the_end=True)

    def _settle(self, seen: Sequence[tuple[Remedy, Candidate, int]]) -> None:
        """Nothing got measurably better: the closest change and EXL2 as it is are asked further questions.

        These had no part in choosing it, so one test on them needs no correction for all the changes that were tried.
        """
        case, context = self._case, self._case.context
        trials = read_trials(context.stored(), self._probe, context.settings)
        best = closest(trials)
        if best is None or recommended(trials) is not None or not case.loaded or context.should_stop():
            return
        facts = best.facts
        entry = next(((r, c) for r, c, _ in seen if c.id == facts.id and facts.asked), None)
        if entry is None or facts.settled:
            return
        more, fresh = self._further(facts)
        if not fresh:
            return
        began = self._budget.clock()
        try:
            ask(more, replace(facts, side=EXL2_MORE), Change(more.context.exl2), fresh)
            ask_fp16(more, facts, *entry, fresh)
            with entry[0].apply(more, entry[1]) as change:
                ask(more, facts, change, fresh)
        except (TriageError, NotApplicableError):
            return  # what it showed on the run's own questions stands
        if context.should_stop():
            return
        note = f"Its effect was measured on {len(fresh)} further questions, which had no part in choosing it."
        spent = round(facts.seconds + self._budget.clock() - began, 2)
        asked = facts.asked + len(fresh)
        self._tell(
            replace(facts, settled=True, asked=asked, note=f"{facts.note} {note}".strip(), seconds=spent)
        )

    def _further(self, facts: TrialFacts) -> tuple[Case, Sequence[Item]]:
        """The case with further questions, and these: as many times the run's as there is time for; else none."""
        asked = self._case.context.settings.questions
        each = self._each(facts)
        for times in FURTHER:
            more = self._more(min((1 + times) * asked, MOST_QUESTIONS))
            fresh = [i for i in more.subject.items if i not in set(self._case.subject.items)]
            if 3 * len(fresh) * each <= self._left():
                return more, fresh
        return self._case, ()

    def _each(self, facts: TrialFacts) -> float:
        """Seconds that a further question takes with a change; of an earlier pass only the whole time is known."""
        told = self._told.get(facts.id)
        others = (
            [told.seconds / told.asked] if told is not None and told.asked else self._seconds_each.values()
        )
        return self._seconds_each.get(facts.id, max(others, default=0.0))

    def _candidates(self, remedy: Remedy, order: int) -> Sequence[Candidate]:
        shown = self._case.subject.shown.get(remedy.id)
        if shown is not None:
            return [Candidate(remedy.id, remedy.id, shown.label, shown.patch)]
        try:
            return remedy.candidates(self._case)
        except (NotApplicableError, TriageError) as error:
            # A folder that cannot be read, say: the other remedies and the run itself go on.
            title = load_catalog().remedies[remedy.id].title
            self._tell(TrialFacts(order, remedy.id, remedy.id, title, {}, "skipped", _reason(error)))
            return ()

    def _one(self, remedy: Remedy, candidate: Candidate, order: int, to_the_end: bool = False) -> None:
        known = self._told.get(candidate.id)
        if known is not None and known.status != "unfinished" and not to_the_end:
            return
        facts = TrialFacts(order, candidate.id, candidate.remedy, candidate.label, candidate.patch, "tried")
        facts = replace(facts, deployed=self._case.subject.side, rules=self._case.subject.rules)
        shown = self._case.subject.shown.get(remedy.id)
        if shown is not None:
            self._tell(_of_shown(facts, shown))
            return
        if reason := no_time(candidate, self._left()):
            self._tell(replace(facts, status="skipped", reason=reason))
            return
        began = self._budget.clock()
        before = known.seconds if known else 0.0
        facts = replace(facts, side=TRY + candidate.id)
        if self._case.both_sides:
            facts = replace(facts, reference=TRY_FP16 + candidate.id)
        try:
            self._case.context.progress(STAGE, f"Trying: {candidate.label}", 0, len(self._case.subject.items))
            if self._case.subject.items:
                with remedy.apply(self._case, candidate) as change:
                    found = self._measure(replace(facts, note=change.note), change, to_the_end)
                if found.status == "tried" and found.both_sides:
                    found = self._on_fp16(found, remedy, candidate)
                if found.status == "tried":
                    found = self._confirm(found, remedy, candidate)
            else:
                found = examine(self._case, remedy, candidate, facts)
        except (TriageError, NotApplicableError) as error:
            stopped = self._case.context.should_stop()
            found = replace(facts, status="unfinished" if stopped else "skipped", reason=_reason(error))
        self._tell(replace(found, seconds=round(before + self._budget.clock() - began, 2)))

    def _measure(self, facts: TrialFacts, change: Change, to_the_end: bool) -> TrialFacts:
        """Ask the lost questions first, and the others only where there is hope.

        Raises:
            NotApplicableError: a question of the run does not fit any more.
        """
        case, subject = self._case, self._case.subject
        must_fit(facts, change, subject.items)
        if not case.loaded:
            # Nothing was asked before: FP16's answers are what the changed side is compared with.
            facts = replace(facts, loads=True)
            ask(case, replace(facts, side="fp16"), Change(case.context.fp16), subject.items)
        began = self._budget.clock()
        lost = subject.lost(case.context.stored())
        questions = list(dict.fromkeys(i.question for i in lost))[:FIRST_LOST]
        first = [i for i in lost if i.question in questions]
        answered = ask(case, facts, change, first)
        spent = self._budget.clock() - began
        facts = replace(facts, lost=len(questions), restored=brought_back(case, facts, first))
        if case.context.should_stop():
            return replace(facts, status="unfinished", reason=STOPPED)
        stored, settings = case.context.stored(), case.context.settings
        # Where FP16 itself lacks the change, its answers are no measure of what can be reached with it.
        bounded = case.diagnosis.cause not in UNHELD.values() and not facts.both_sides
        ended = None if to_the_end else given_up(facts, stored, self._probe, settings, bounded)
        if ended is not None:
            return replace(ended, asked=len(first))
        rest = [i for i in subject.items if i not in set(first)]
        began = self._budget.clock()
        # The larger batch tells best what a further question takes: a few rows cost nearly as much as many. What a pass
        # before this one had stored took no time now, and does not count.
        if more := ask(case, facts, change, rest):
            answered, spent = more, self._budget.clock() - began
        facts = replace(facts, asked=len(subject.items))
        if case.context.should_stop():
            return replace(facts, status="unfinished", reason=STOPPED)
        if answered:
            self._seconds_each[facts.id] = spent / answered
        return facts

    def _on_fp16(self, facts: TrialFacts, remedy: Remedy, candidate: Candidate) -> TrialFacts:
        """The same questions asked of FP16 with the change: what EXL2 is held against then."""
        ask_fp16(self._case, facts, remedy, candidate, self._case.subject.items)
        if self._case.context.should_stop():
            return replace(facts, status="unfinished", reason=STOPPED)
        return facts

    def _confirm(self, facts: TrialFacts, remedy: Remedy, candidate: Candidate) -> TrialFacts:
        """Ask further questions of the same set where they would decide whether the change passes."""
        settings = self._case.context.settings
        after = after_change(self._case.context.stored(), facts, self._probe, settings)
        needed = needed_to_pass(after, facts)
        if state_of(after, facts) is not State.INCONCLUSIVE or not needed:
            return facts
        facts = replace(facts, met=True)
        short = f"A PASS would need about {needed} more questions"
        if settings.questions + needed > MOST_QUESTIONS:
            return replace(facts, reason=f"{short}, more than a run may ask.")
        more = self._more(settings.questions + needed)
        fresh = [i for i in more.subject.items if i not in set(self._case.subject.items)]
        questions = {i.question for i in fresh if i.compared}
        if len(questions) < needed:
            return replace(facts, reason=f"{short}; the question set has {len(questions)}.")
        if len(fresh) * self._each(facts) > self._left():
            reason = f"{short}, which the time for trying changes did not allow."
            return replace(facts, reason=reason, short_of_time=True)
        try:
            ask_fp16(more, facts, remedy, candidate, fresh)
            # Put in place anew for the larger case: what a change knows of its questions comes with them.
            with remedy.apply(more, candidate) as change:
                ask(more, facts, change, fresh)
        except NotApplicableError as error:
            if not self._case.context.should_stop():
                # Further questions do not fit; what the run's own showed stands.
                return replace(facts, reason=f"{short}. {error}")
        if self._case.context.should_stop():
            return replace(facts, status="unfinished", reason="Stopped before it was confirmed.")
        after = after_change(self._case.context.stored(), facts, self._probe, settings)
        return replace(facts, asked=facts.asked + len(fresh), reason=why_open(after, facts))

    def _ends_here(self, candidate: Candidate) -> bool:
        """Whether a change passed, or meets the gate and only time is missing to confirm it: no dearer one would."""
        context = self._case.context
        trial = read_trial(candidate.id, context.stored(), self._probe, context.settings)
        if trial is None:
            return False
        return trial.status == "verified" or (
            trial.facts.short_of_time and trial.status in ("better", "promising")
        )

    def _left(self) -> float:
        return self._budget.seconds - self._spent_before - (self._budget.clock() - self._began)

    def _tell(self, facts: TrialFacts) -> None:
        """Store how a trial went. One that was stopped is told again when it has gone on."""
        context, told = self._case.context, self._told.get(facts.id)
        if told is not None and told.status != "unfinished" and not (told.put_off or facts.settled):
            return
        times = sum(s.key.side == TRIAL_SIDE and s.key.question == facts.id for s in context.stored())
        key = SampleKey(self._case.subject.symptom, facts.id, times, context.settings.seed, TRIAL_SIDE)
        context.save([Sample(key, asdict(facts))])
        self._told[facts.id] = facts


def _of_shown(facts: TrialFacts, shown: Shown) -> TrialFacts:
    note = "The run had measured this already."
    return replace(
        facts, side=shown.side, reference=shown.reference, options=dict(shown.options) or None, note=note
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TriageError):
        return f"{error.message} {error.hint}".strip()
    return str(error)
