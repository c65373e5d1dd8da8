"""From stored samples to what each trial showed. Pure functions of them.

A trial is evaluated by the probe itself: handed the samples with the changed side in EXL2's place it gives the state
after the change; handed EXL2 as the reference and the changed side as the candidate it gives every metric's paired
difference between after and before. Nothing here is specific to a symptom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wfgy_triage.catalog import load_catalog
from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.remedies.effect import counted, effect_of, unpaired
from wfgy_triage.remedies.outcome import Status, Trial
from wfgy_triage.remedies.places import (
    against_before,
    asked_questions,
    fp16_against_before,
    of_the_run,
    two_runs,
    with_change,
)
from wfgy_triage.remedies.told import TrialFacts, facts_of
from wfgy_triage.result import Effect, Metric, State, deciding
from wfgy_triage.store.records import Sample


def read_trials(samples: Sequence[Sample], probe: Probe, settings: ProbeSettings) -> tuple[Trial, ...]:
    """Evaluate every trial of a run.

    The intervals of the effects are Bonferroni-corrected for the number of trials in which questions were asked or
    arms compared, and for the number of rules that failed; the state after a change is judged at the run's own level,
    like the state before.
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


def state_of(after: Evaluation, facts: TrialFacts) -> State:
    """What counts as the state after a change: the probe's own, or that of the rules that the change is tried for."""
    if not facts.rules:
        return after.state
    titles = load_catalog().metrics
    judged = {m.id: m.state for m in after.metrics if m.primary and not titles[m.id].untried}
    if State.FAIL in judged.values():
        return State.FAIL
    ours = {judged.get(rule) for rule in facts.rules}
    if ours == {State.PASS}:
        return State.PASS
    return State.INCONCLUSIVE if ours <= {State.PASS, State.INCONCLUSIVE} else State.NOT_MEASURED


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
    return probe.evaluate(two_runs(before, after), (), settings)


def primary_of(evaluation: Evaluation, name: str | None) -> Metric | None:
    """The metric of this name that decides: the one that failed before, whatever fails now."""
    return next((m for m in evaluation.metrics if m.primary and m.id == name), None)


def _trial(
    facts: TrialFacts,
    samples: Sequence[Sample],
    probe: Probe,
    settings: ProbeSettings,
    level: float,
    before: Sequence[Metric],
) -> Trial:
    if facts.status == "skipped" or not facts.side:
        return Trial(facts, "skipped")
    asked = asked_questions(samples, facts.side)
    if facts.status != "tried":
        return Trial(facts, facts.status, questions=asked)
    if facts.settled:
        level = settings.level  # one change was picked, and tested on questions that had no part in that
    after, missed = after_change(samples, facts, probe, settings), _missed(before, facts)
    several = level if len(missed) < 2 else 1 - (1 - level) / len(missed)
    by_id, strict = _changes(samples, facts, probe, settings, (level, several))
    effects = {
        m.id: found
        for m in missed
        if (found := effect_of(strict.get(m.id)) or unpaired(m, primary_of(after, m.id))) is not None
    }
    if not load_catalog().symptoms[probe.symptom].asks_questions:
        effects = {name: counted(effect) for name, effect in effects.items()}
    guards = _guards(facts, by_id, before, after, effects)
    leading = next((e.id for e in effects.values() if e.better), missed[0].id if missed else "")
    return Trial(
        facts,
        _status(facts, state_of(after, facts), tuple(effects.values()), guards),
        after.state,
        primary_of(after, leading),
        effects.get(leading),
        guards,
        asked,
        tuple(m for m in after.metrics if m.primary),
        effects,
        {m.id: m for m in before},
        _baseline(samples, facts, probe, replace(settings, level=level), leading),
    )


def _baseline(
    samples: Sequence[Sample], facts: TrialFacts, probe: Probe, settings: ProbeSettings, name: str
) -> Effect | None:
    """What the change does to FP16, where it is tried on both sides."""
    if not facts.both_sides:
        return None
    found = probe.evaluate(fp16_against_before(samples, facts), (), settings).metrics
    return effect_of(next((m for m in found if m.id == name), None))


def _changes(
    samples: Sequence[Sample],
    facts: TrialFacts,
    probe: Probe,
    settings: ProbeSettings,
    levels: tuple[float, float],
) -> Sequence[Mapping[str, Metric]]:
    """Every metric's difference of after and before, by id, at each of two levels."""
    if facts.options:
        # Another setting of the evaluation is no pairing on equal terms: values, but no interval.
        return {}, {}
    moved = against_before(samples, facts)
    at = {
        level: {m.id: m for m in probe.evaluate(moved, (), replace(settings, level=level)).metrics}
        for level in set(levels)
    }
    return [at[level] for level in levels]


def _missed(before: Sequence[Metric], facts: TrialFacts) -> tuple[Metric, ...]:
    """The rules that a change is to restore: those that failed; the deciding one where none did."""
    ours = [m for m in before if not facts.rules or m.id in facts.rules]
    failed = tuple(m for m in ours if m.state is State.FAIL)
    return failed or tuple(m for m in (deciding(ours),) if m is not None)


def _guards(
    facts: TrialFacts,
    by_id: Mapping[str, Metric],
    before: Sequence[Metric],
    after: Evaluation,
    effects: Mapping[str, Effect],
) -> tuple[Effect, ...]:
    """What must not get worse: the remedy's own guards, rules that failed too, and rules that held and now fail."""
    names = load_catalog().remedies[facts.remedy].guards
    found = {g: e for g in names if (e := effect_of(by_id.get(g))) is not None}
    if len(effects) > 1:
        found |= {name: e for name, e in effects.items() if e.better is False}
    for rule in before:
        now = primary_of(after, rule.id)
        if now is not None and (rule.state, now.state) == (State.PASS, State.FAIL):
            effect = effect_of(by_id.get(rule.id)) or unpaired(rule, now)
            found |= {rule.id: replace(effect, better=False)} if effect else {}
    return tuple(found.values())


def _status(facts: TrialFacts, state: State, effects: Sequence[Effect], guards: Sequence[Effect]) -> Status:
    broken = any(g.better is False for g in guards)
    better = any(e.better is True for e in effects)
    if (state is State.PASS or better) and broken:
        return "broke"
    if state is State.PASS:
        return "verified"
    if better:
        return "better"
    if facts.met and not broken and any((e.difference or 0.0) != 0 for e in effects):
        return "promising"
    if facts.loads:
        return "loads"
    return "worse" if any(e.better is False for e in effects) else "unclear"


def _before(samples: Sequence[Sample], probe: Probe, settings: ProbeSettings) -> tuple[Metric, ...]:
    return tuple(m for m in probe.evaluate(of_the_run(samples), (), settings).metrics if m.primary)
