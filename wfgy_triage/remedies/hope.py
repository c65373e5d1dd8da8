"""When a trial is given up after its first questions: what it can still reach is too little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scipy import stats

from wfgy_triage.probes.base import Probe, ProbeSettings
from wfgy_triage.remedies.outcome import after_change
from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.result import State
from wfgy_triage.store.records import Sample

HOPELESS_P = 0.05
"""A trial is given up when a change that brings back half of the lost answers would do so badly this rarely."""


def given_up(
    facts: TrialFacts, samples: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> TrialFacts | None:
    """The trial as it ends here; None where it goes on.

    Args:
        facts: the trial, its lost questions asked (`lost`, `restored`).
        samples: of the run, the trial's answers among them.
        probe: of the run.
        settings: of the run.
    """
    if not facts.lost:
        return None
    back = f"It brings back {facts.restored} of {facts.lost} lost answers"
    if stats.binom.cdf(facts.restored, facts.lost, 0.5) <= HOPELESS_P:
        return replace(facts, status="hopeless", reason=f"{back}, so the other questions were not asked.")
    if not _within_reach(facts, samples, probe, settings):
        reason = f"{back}. Even with every other answer as good as FP16's the gate would be missed."
        return replace(facts, status="hopeless", reason=reason, put_off=facts.restored > 0)
    return None


def _within_reach(
    facts: TrialFacts, samples: Sequence[Sample], probe: Probe, settings: ProbeSettings
) -> bool:
    """Whether the gate could be met if every question not yet asked were answered as FP16 answers it."""
    answered = {(s.key.question, s.key.paraphrase) for s in samples if s.key.side == facts.side}
    hoped = [
        replace(s, key=replace(s.key, side=facts.side))
        for s in samples
        if s.key.side == facts.reference and (s.key.question, s.key.paraphrase) not in answered
    ]
    return after_change([*samples, *hoped], facts, probe, settings).state is not State.FAIL
