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
from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.probes.retrieval_samples import FACTS
from wfgy_triage.probes.subject import EXL2
from wfgy_triage.remedies.told import FP16_MORE, TrialFacts, facts_of
from wfgy_triage.result import Metric, State
from wfgy_triage.store.records import Sample

Status = Literal["verified", "better", "unclear", "worse", "broke", "hopeless", "skipped", "unfinished"]
WORDS: Mapping[Status, str] = {
    "verified": "Verified: the re-check passed",
    "better": "Better, measured on the same questions",
    "unclear": "No clear effect",
    "worse": "Worse",
    "broke": "Better on this metric, but it breaks another",
    "hopeless": "Given up early: it does not bring the lost answers back",
    "skipped": "Not tried",
    "unfinished": "Not finished",
}


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
class Effect:
    """A metric before and after a change, on the questions asked both times.

    `difference` is after minus before; `better` says which way the change moved it, None where the interval holds 0.
    """

    id: str
    label: str
    unit: str
    before: float | None
    after: float | None
    difference: float | None
    interval: tuple[float, float] | None
    level: float
    n: int
    better: bool | None


@dataclass(frozen=True)
class Trial:
    """What a trial showed."""

    facts: TrialFacts
    status: Status
    state: State | None
    primary: Metric | None
    effect: Effect | None
    guards: tuple[Effect, ...]
    questions: int

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
            "primary": _primary_json(self.primary),
            "effect": effect_json(self.effect),
            "guards": [effect_json(g) for g in self.guards],
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
    tried = sum(f.status in ("tried", "hopeless", "unfinished") for f in facts)
    level = 1 - (1 - settings.level) / max(1, tried)
    return tuple(_trial(f, samples, probe, settings, level) for f in facts)


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
    earlier = [_moved(s, "fp16") for s in before if s.key.side == EXL2]
    now = [s for s in after if s.key.side in (EXL2, FACTS)]
    return _effect(primary_of(probe.evaluate([*earlier, *now], (), settings)))


def primary_of(evaluation: Evaluation) -> Metric | None:
    """The deciding metric."""
    return next((m for m in evaluation.metrics if m.primary), None)


def _trial(
    facts: TrialFacts,
    samples: Sequence[Sample],
    probe: Probe,
    settings: ProbeSettings,
    level: float,
) -> Trial:
    if facts.status == "skipped" or not facts.side:
        return Trial(facts, "skipped", None, None, None, (), 0)
    after = after_change(samples, facts, probe, settings)
    primary = primary_of(after)
    if facts.options:
        # Another setting of the evaluation is no pairing on equal terms: values, but no interval.
        before = primary_of(probe.evaluate(samples, (), settings))
        effect, by_id = _unpaired(before, primary), {}
    else:
        moved = against_before(samples, facts)
        changed = probe.evaluate(moved, (), replace(settings, level=level))
        effect, by_id = _effect(primary_of(changed)), {m.id: m for m in changed.metrics}
        effect = effect or _unpaired(primary_of(probe.evaluate(samples, (), settings)), primary)
    guard_ids = load_catalog().remedies[facts.remedy].guards
    guards = tuple(e for g in guard_ids if (e := _effect(by_id.get(g))) is not None)
    status = _status(facts, after.state, effect, guards)
    asked = len({s.key.question for s in samples if s.key.side == facts.side})
    return Trial(facts, status, after.state, primary, effect, guards, asked)


def _status(facts: TrialFacts, state: State, effect: Effect | None, guards: Sequence[Effect]) -> Status:
    if facts.status == "hopeless":
        return "hopeless"
    if facts.status == "unfinished":
        return "unfinished"
    broken = any(g.better is False for g in guards)
    improved = state is State.PASS or (effect is not None and effect.better is True)
    if improved and broken:
        return "broke"
    if state is State.PASS:
        return "verified"
    if improved:
        return "better"
    return "worse" if effect is not None and effect.better is False else "unclear"


def _effect(metric: Metric | None) -> Effect | None:
    if metric is None or metric.difference is None:
        return None
    rises = load_catalog().metrics[metric.id].direction == "higher"
    better = None
    if metric.interval is not None:
        low, high = metric.interval
        better = True if low > 0 else False if high < 0 else None
        better = better if rises or better is None else not better
    return Effect(
        metric.id,
        metric.label,
        metric.unit,
        metric.fp16,
        metric.exl2,
        metric.difference,
        metric.interval,
        metric.level,
        metric.n,
        better,
    )


def _unpaired(before: Metric | None, after: Metric | None) -> Effect | None:
    if before is None or after is None or before.exl2 is None or after.exl2 is None:
        return None
    difference = after.exl2 - before.exl2
    return Effect(
        after.id,
        after.label,
        after.unit,
        before.exl2,
        after.exl2,
        difference,
        None,
        after.level,
        after.n,
        None,
    )


def effect_json(effect: Effect | None) -> dict[str, Any] | None:
    """Plain JSON of an effect."""
    if effect is None:
        return None
    interval = list(effect.interval) if effect.interval else None
    return {**effect.__dict__, "interval": interval}


def _primary_json(metric: Metric | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    return {
        "id": metric.id,
        "label": metric.label,
        "unit": metric.unit,
        "fp16": metric.fp16,
        "after": metric.exl2,
        "n": metric.n,
        "state": str(metric.state) if metric.state else None,
        "note": metric.note,
        "gated_interval": list(metric.gated_interval) if metric.gated_interval else None,
    }


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
    better = [t for t in trials if t.status == "better" and t.effect is not None]
    return max(better, key=lambda t: abs(t.effect.difference or 0.0) if t.effect else 0.0, default=None)


def _summary(chosen: Trial | None, trials: Sequence[Trial]) -> str:
    tried = [t for t in trials if t.status != "skipped"]
    if chosen is not None and chosen.status == "verified":
        return f"{chosen.facts.label}: tried on these models, and the re-check passed."
    if chosen is not None:
        return (
            f"{chosen.facts.label}: measurably better on the same questions, but the re-check did not pass. "
            f"{chosen.facts.reason}"
        ).strip()
    if not tried:
        return "No change could be tried on this pair."
    count = "the one change" if len(tried) == 1 else f"the {len(tried)} changes"
    return f"None of {count} that were tried helped measurably."
