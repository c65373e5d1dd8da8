"""A loss on one of several rules that failed: chance has as many tries as there are rules to look at."""

from __future__ import annotations

import numpy as np
import pytest

from tests.probes.test_acceptance import CHECKS, GOLD, Desk, desk_of
from wfgy_triage.measure.statistics import mean_interval
from wfgy_triage.result import State
from wfgy_triage.store.records import Sample

QUESTIONS = 20
RAMP = np.linspace(-1.0, 1.0, QUESTIONS)
LOSSES = 0.05 * (2.25 / np.sqrt(QUESTIONS) + RAMP / RAMP.std(ddof=1))
"""2.25 standard errors above zero: beyond chance for one look (p = 0.036), not for two (0.073)."""


def with_values(desk: Desk, drifted: float) -> Desk:
    """Half of the evidence on both sides, which fails; a little less on EXL2, whose answers move to and fro."""
    order = {q: n for n, q in enumerate(sorted(s.key.question for s in desk.side("fp16")))}
    for key, sample in list(desk.samples.items()):
        n = order.get(sample.key.question)
        if n is None or sample.key.side not in ("fp16", "exl2", "fp16_floor"):
            continue
        exl2 = sample.key.side == "exl2"
        moved = (drifted if n % 2 else -drifted) if exl2 else 0.0
        values = {"coverage": 0.5 - (LOSSES[n] if exl2 else 0.0), "ds": 1.0 + moved}
        desk.samples[key] = Sample(sample.key, {**sample.payload, **values})
    return desk


def test_the_losses_are_beyond_chance_for_one_look_and_not_for_two():
    assert mean_interval(LOSSES, 0.95).low > 0 > mean_interval(LOSSES, 0.975).low


@pytest.mark.parametrize(
    ("drifted", "failed", "cause"),
    [
        (0.0, {"coverage"}, "weights_too_few_bits"),
        (0.3, {"coverage", "ds_drift"}, "baseline_also_fails"),
    ],
)
def test_a_loss_on_one_of_the_rules_that_failed_is_corrected_for_their_number(drifted, failed, cause):
    found = with_values(desk_of(GOLD, QUESTIONS).run(), drifted).evaluate(CHECKS)
    assert {m.id for m in found.metrics if m.primary and m.state is State.FAIL} == failed
    assert found.diagnosis.cause == cause
