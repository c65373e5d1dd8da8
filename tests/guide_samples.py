"""Results of "Fix in 60 seconds" for tests of what is shown: measured on scripted answers, so the numbers fit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.browser.scripted import sample_result
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_acceptance import CHECKS
from tests.probes.test_sixty_seconds import FLIPPED, GOLD, NO_SHOP, desk_of
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.base import Case
from wfgy_triage.remedies.outcome import recommend
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import Result, State

TIMINGS = {
    "measure_fp16": 11.2,
    "measure_exl2": 9.9,
    "measure_fp16_k": 18.0,
    "measure_exl2_k": 17.4,
    "measure_trials": 30.5,
    "total": 95.4,
}


@cache
def guide_result(helps: bool = True, holds: bool = False) -> Result:
    """A run whose answers flip as k rises; `helps`: the page's second module ends that; `holds`: nothing is wrong."""
    desk = desk_of(GOLD if holds else FLIPPED)
    desk.run()
    before = desk.evaluate(CHECKS)
    fix = None
    if before.state is State.FAIL:
        desk.exl2 = ScriptedEngine(GOLD if helps else FLIPPED, bias=1.0)
        context = desk.context()
        pair = Pair("p", "P", Path("/a"), Path("/b"))
        case = Case(context, desk.probe.subject(context), pair, before.diagnosis, NO_SHOP)
        remedies = [get_remedy("variance_clamp"), get_remedy("citation_contract")]
        TrialSearch(case, desk.probe, remedies, Budget(1e6), lambda n: case).run()
        trials = read_trials(tuple(desk.samples.values()), desk.probe, desk.settings)
        fix = recommend(trials, before.state)
    return replace(
        sample_result("run-1", before.state),
        symptom="sixty_seconds",
        headline=before.headline,
        page_rule=before.page_rule,
        metrics=before.metrics,
        diagnosis=before.diagnosis,
        charts=before.charts,
        recommendation={**fix, "renders": {}} if fix else None,
        timings=TIMINGS,
    )
