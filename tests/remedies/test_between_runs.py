"""The same questions in two runs: EXL2 before and after a change made elsewhere."""

from __future__ import annotations

from tests.probes.desk import Desk
from tests.remedies.bench import BROKEN, GOLD
from wfgy_triage.measure.statistics import PairedCounts, tango
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.remedies.reading import between_runs


def run(exl2: dict[str, str], **settings: int) -> tuple:
    desk = Desk(PROBE, GOLD, exl2, ProbeSettings(**settings))
    desk.run()
    return tuple(desk.samples.values())


def test_two_runs_are_paired_over_the_questions_of_both():
    before, after = run(BROKEN), run(GOLD, questions=30)
    effect = between_runs(before, after, PROBE, ProbeSettings(questions=30))
    assert effect is not None
    assert (effect.id, effect.n) == ("schema_valid_rate", 20)
    assert (effect.before, effect.after) == (0.5, 1.0)
    assert effect.better is True
    mended = PairedCounts.from_outcomes([True, False] * 10, [True] * 20)
    assert effect.interval == tango(mended).bounds


def test_runs_without_a_common_question_have_no_effect():
    assert between_runs((), run(GOLD), PROBE, ProbeSettings()) is None
