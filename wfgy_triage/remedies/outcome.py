"""From stored samples to what each trial showed, and to the recommendation. Pure functions of them.

A trial is evaluated by the probe itself: handed the samples with the changed side in EXL2's place it gives the state
after the change; handed EXL2 as the reference and the changed side as the candidate it gives every metric's paired
difference between after and before. Nothing here is specific to a symptom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import DOCTOR_SIDE
from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.probes.retrieval_samples import FACTS
from wfgy_triage.probes.subject import EXL2
from wfgy_triage.remedies.effect import (
    counted,
    effect_json,
    effect_of,
    primary_json,
    unpaired,
)
from wfgy_triage.remedies.told import FP16_MORE, TRIAL_SIDE, TRY, TrialFacts, facts_of
from wfgy_triage.result import Effect, Metric, State, deciding
from wfgy_triage.store.records import Sample

Status = Literal[
    "verified",
    "better",
    "promising",
    "loads",
    "unclear",
    "worse",
    "broke",
    "hopeless",
    "skipped",
    "unfinished",
]
WORDS: Mapping[Status, str] = {
    "verified": "Verified: the re-check passed",
    "better": "Better, measured in the same way; the re-check did not pass",
    "promising": "Meets the gate on these questions; not verified",
    "loads": "The model can be loaded with it; the re-check did not pass",
    "unclear": "No clear effect",
    "worse": "Worse",
    "broke": "Better on this metric, but it breaks another",
    "hopeless": "Given up early: it does not bring the lost answers back",
    "skipped": "Not tried",
    "unfinished": "Not finished",
}


def of_the_run(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples of the run itself, without those of trials: what a probe evaluates knows nothing of these."""
    return tuple(
        s for s in samples if s.key.side not in (TRIAL_SIDE, FP16_MORE) and not s.key.side.startswith(TRY)
    )


def with_change(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """The samples of the run with another side in EXL2's place.

    Comparisons of tokens and everything measured on the unchanged EXL2 model are left out: they are not of this side.
    """
    places: dict[str, tuple[str, ...]] = {
        "fp16_floor": ("fp16_floor",),
        FACTS: (FACTS,),
        FP16_MORE: ("fp16",),
    }
    for side, place in ((facts.reference, "fp16"), (facts.side, facts.deployed)):
        places[side] = (*places.get(side, ()), place)
    return tuple(_moved(s, place) for s in samples for place in places.get(s.key.side, ()))


def against_before(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """The samples with EXL2 as it was in the reference's place, and the changed side in EXL2's."""
    places = {facts.deployed: "fp16", facts.side: facts.deployed, FACTS: FACTS}
    return tuple(_moved(s, places[s.key.side]) for s in samples if s.key.side in places)


def _moved(sample: Sample, side: str) -> Sample:
    return replace(sample, key=replace(sample.key, side=side))


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    One that was given up early or stopped has no values: it asked the lost questions first, so what it would show is
    of a picked sample. `primary` is the metric that failed, with the change in place; `rules` are all that decide.
    """

    facts: TrialFacts
    status: Status
    state: State | None = None
    primary: Metric | None = None
    effect: Effect | None = None
    guards: tuple[Effect, ...] = ()
    questions: int = 0
    rules: tuple[Metric, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as the result carries it."""
        f = self.facts
        return {
            "id": f.id,
            "remedy": f.remedy,
            "label": f.label,
            "patch": dict(f.patch),
            "status": self.status,
            "words": WORDS[self.status],
            "state": str(self.state) if self.state else None,
            "reason": f.reason,
            "note": f.note,
            "primary": primary_json(self.primary),
            "effect": effect_json(self.effect),
            "guards": [effect_json(g) for g in self.guards],
            "rules": [primary_json(m) for m in self.rules],
            "questions": self.questions,
            "lost": f.lost,
            "restored": f.restored,
            "seconds": f.seconds,
        }


def read_trials(samples: Sequence[Sample], probe: Probe, settings: ProbeSettings) -> tuple[Trial, ...]:
    """Evaluate every trial of a run.

    The intervals of the effects are Bonferroni-corrected for the number of trials in which questions were asked or
    arms compared; the state after a change is judged at the run's own level, like the state before.
    """
    facts = facts_of(samples)
    level, before = _corrected(facts, settings), _before(samples, probe, settings)
    return tuple(_trial(f, samples, probe, settings, level, before) for f in facts)


def read_trial(
    candidate: str, samples: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> Trial | None:
    """The same for one candidate alone; None where it was not looked at."""
    facts = facts_of(samples)
    level = _corrected(facts, settings)
    found = next((f for f in facts if f.id == candidate), None)
    if found is None:
        return None
    return _trial(found, samples, probe, settings, level, _before(samples, probe, settings))


def _corrected(facts: Sequence[TrialFacts], settings: ProbeSettings) -> float:
    """The level of an effect's interval with so many trials made."""
    tried = sum(f.status != "skipped" for f in facts)
    return 1 - (1 - settings.level) / max(1, tried)


def after_change(
    samples: Sequence[Sample], facts: TrialFacts, probe: Probe, settings: ProbeSettings
) -> Evaluation:
    """What the probe says with the change in place."""
    options = {**settings.options, **(facts.options or {})}
    return probe.evaluate(with_change(samples, facts), (), replace(settings, options=options))


def between_runs(
    before: Sequence[Sample], after: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> Effect | None:
    """The deciding metric of EXL2 in two runs, on the questions that both asked; None where they share none."""
    name = deciding(probe.evaluate(before, (), settings).metrics)
    return effect_of(primary_of(paired_runs(before, after, probe, settings), name.id if name else None))


def paired_runs(
    before: Sequence[Sample], after: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> Evaluation:
    """What the probe says of two runs with the earlier EXL2 in FP16's place: every difference is after - before."""
    earlier = [_moved(s, "fp16") for s in before if s.key.side == EXL2]
    return probe.evaluate([*earlier, *(s for s in after if s.key.side in (EXL2, FACTS))], (), settings)


def primary_of(evaluation: Evaluation, name: str | None) -> Metric | None:
    """The metric of this name that decides: the one that failed before, whatever fails now."""
    return next((m for m in evaluation.metrics if m.primary and m.id == name), None)


def _trial(
    facts: TrialFacts,
    samples: Sequence[Sample],
    probe: Probe,
    settings: ProbeSettings,
    level: float,
    before: Metric | None,
) -> Trial:
    if facts.status == "skipped" or not facts.side:
        return Trial(facts, "skipped")
    asked = len({s.key.question for s in samples if s.key.side == facts.side})
    if facts.status != "tried":
        return Trial(facts, facts.status, questions=asked)
    after = after_change(samples, facts, probe, settings)
    name = before.id if before else None
    primary = primary_of(after, name)
    if facts.options:
        # Another setting of the evaluation is no pairing on equal terms: values, but no interval.
        effect, by_id = unpaired(before, primary), {}
    else:
        moved = against_before(samples, facts)
        changed = probe.evaluate(moved, (), replace(settings, level=level))
        effect, by_id = effect_of(primary_of(changed, name)), {m.id: m for m in changed.metrics}
        effect = effect or unpaired(before, primary)
    if effect is not None and not load_catalog().symptoms[probe.symptom].asks_questions:
        effect = counted(effect)
    guard_ids = load_catalog().remedies[facts.remedy].guards
    guards = tuple(e for g in guard_ids if (e := effect_of(by_id.get(g))) is not None)
    status = _status(facts, after.state, effect, guards)
    rules = tuple(m for m in after.metrics if m.primary)
    return Trial(facts, status, after.state, primary, effect, guards, asked, rules)


def _status(facts: TrialFacts, state: State, effect: Effect | None, guards: Sequence[Effect]) -> Status:
    broken = any(g.better is False for g in guards)
    improved = state is State.PASS or (effect is not None and effect.better is True)
    if improved and broken:
        return "broke"
    if state is State.PASS:
        return "verified"
    if improved:
        return "better"
    if facts.met and not broken and effect is not None and (effect.difference or 0.0) != 0:
        return "promising"
    if facts.loads:
        return "loads"
    return "worse" if effect is not None and effect.better is False else "unclear"


def _before(samples: Sequence[Sample], probe: Probe, settings: ProbeSettings) -> Metric | None:
    return deciding(probe.evaluate(of_the_run(samples), (), settings).metrics)


def recommend(trials: Sequence[Trial], before: State) -> dict[str, Any] | None:
    """The recommendation of a run: the verified change, else the best honest improvement, else that none helped.

    Returns:
        The object of the result without its `renders`; None where nothing was tried.
    """
    if not trials:
        return None
    chosen = next((t for t in trials if t.status == "verified"), None) or _best(trials)
    facts = chosen.facts if chosen else None
    return {
        "remedy": facts.remedy if facts else None,
        "candidate": facts.id if facts else None,
        "label": facts.label if facts else "",
        "patch": dict(facts.patch) if facts else {},
        "state_before": str(before),
        "state_after": str(chosen.state) if chosen and chosen.state else None,
        "verified": chosen is not None and chosen.status == "verified",
        "summary": _summary(chosen, trials),
        "seconds": round(sum(t.facts.seconds for t in trials), 1),
        "trials": [t.to_json() for t in trials],
    }


def _best(trials: Sequence[Trial]) -> Trial | None:
    for status in ("better", "promising"):
        found = [t for t in trials if t.status == status and t.effect is not None]
        if found:
            return max(found, key=lambda t: abs(t.effect.difference or 0.0) if t.effect else 0.0)
    return next((t for t in trials if t.status == "loads"), None)


def _why_only_promising(trial: Trial) -> str:
    """What keeps a change that meets the gate from being verified: too few questions, or some without a judgement."""
    if any(m.state is State.INCONCLUSIVE and m.more_questions is None for m in trial.rules):
        return "these questions meet the gate with it, but that is not verified."
    return "these questions meet the gate with it, but they are too few to verify that."


def _summary(chosen: Trial | None, trials: Sequence[Trial]) -> str:
    tried = [t for t in trials if t.status != "skipped"]
    if chosen is not None and chosen.status == "verified":
        return f"{chosen.facts.label}: tried on these models, and the re-check passed."
    if chosen is not None and chosen.facts.loads:
        after = f"The re-check says {chosen.state}." if chosen.state else ""
        return f"{chosen.facts.label}: with it the model can be loaded. {after} {chosen.facts.reason}".strip()
    if chosen is not None and chosen.facts.deployed == DOCTOR_SIDE:
        return f"{chosen.facts.label}: fewer checks fail with it, but not all pass. {chosen.facts.reason}"
    if chosen is not None:
        found = (
            "measurably better on the same questions, but the re-check did not pass."
            if chosen.status == "better"
            else _why_only_promising(chosen)
        )
        return f"{chosen.facts.label}: {found} {chosen.facts.reason}".strip()
    if not tried:
        return "No change could be tried on this pair."
    if len(tried) == 1:
        return "The one change that was tried did not help measurably."
    return f"None of the {len(tried)} changes that were tried helped measurably."
