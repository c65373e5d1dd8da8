"""What a trial can still reach: whether it is begun, when it is given up, and how many more questions a PASS needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy import stats

from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.remedies.base import Candidate
from wfgy_triage.remedies.places import hoped_for
from wfgy_triage.remedies.reading import after_change, state_of
from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.result import Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import page_rule

HOPELESS_P = 0.05
"""A trial is given up when a change that brings back half of the lost answers would do so badly this rarely."""


def no_time(candidate: Candidate, left: float) -> str:
    """Why a change is not begun with so many seconds left; empty where there is time for it."""
    if left <= 0:
        return "The time for trying changes was over."
    if candidate.seconds > left:
        minutes = math.ceil(candidate.seconds / 60)
        takes = "about a minute" if minutes == 1 else f"about {minutes} minutes"
        return (
            f"Making it takes at least {takes}, more than is left for trying changes. Allow more time, or make it "
            "beforehand with the command `quantize` and add it to the list of pairs."
        )
    return ""


def given_up(
    facts: TrialFacts,
    samples: Sequence[Sample],
    probe: Probe,
    settings: ProbeSettings,
    bounded: bool = True,
) -> TrialFacts | None:
    """The trial as it ends here; None where it goes on.

    Args:
        facts: the trial, its lost questions asked (`lost`, `restored`).
        samples: of the run, the trial's answers among them.
        probe: of the run.
        settings: of the run.
        bounded: whether no answer is hoped for that is better than FP16's own.
    """
    if not facts.lost:
        return None
    back = facts.came_back
    if stats.binom.cdf(facts.restored, facts.lost, 0.5) <= HOPELESS_P:
        return replace(facts, status="hopeless", reason=f"{back}, so the other questions were not asked.")
    if bounded and not _within_reach(facts, samples, probe, settings):
        reason = f"{back}. Even with every other answer as good as FP16's the gate would be missed."
        return replace(facts, status="hopeless", reason=reason, put_off=facts.restored > 0)
    return None


def _within_reach(
    facts: TrialFacts, samples: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> bool:
    """Whether the gate could be met if every question not yet asked were answered as FP16 answers it."""
    after = after_change([*samples, *hoped_for(samples, facts)], facts, probe, settings)
    return state_of(after, facts) is not State.FAIL


def needed_to_pass(after: Evaluation, facts: TrialFacts) -> int | None:
    """Further questions that would decide, where the sample itself meets every gate."""
    rules = _deciding(after, facts)
    if not rules or not all(_met(m) for m in rules):
        return None
    open_rules = [m for m in rules if m.state is State.INCONCLUSIVE]
    if any(m.more_questions is None for m in open_rules):
        return None
    return max((m.more_questions or 0 for m in open_rules), default=None)


def why_open(after: Evaluation, facts: TrialFacts) -> str:
    """What keeps the rules from being decided (answers that could not be judged, say); empty where they are."""
    return next((m.note for m in _deciding(after, facts) if m.state is State.INCONCLUSIVE), "")


def _deciding(after: Evaluation, facts: TrialFacts) -> list[Metric]:
    """The metrics that a change has to bring to PASS."""
    return [m for m in after.metrics if m.primary and (not facts.rules or m.id in facts.rules)]


def _met(rule: Metric) -> bool:
    if rule.gate is None or rule.exl2 is None:
        return False
    value = -(rule.difference or 0.0) if rule.gate.applies_to == "loss" else rule.exl2
    return bool(page_rule(value, rule.gate))
