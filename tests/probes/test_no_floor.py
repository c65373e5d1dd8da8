"""Where there is no room for FP16 a second time, every probe goes on without its noise floor and says nothing of it."""

from __future__ import annotations

import pytest

from tests.probes import test_acceptance, test_sixty_seconds
from tests.probes.retrieval_fakes import Desk as RetrievalDesk
from tests.probes.retrieval_fakes import WordEngine
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.result import State

DESKS = {
    "acceptance_gate": lambda: test_acceptance.desk_of(test_acceptance.WRONG, 6),
    "sixty_seconds": lambda: test_sixty_seconds.desk_of(test_sixty_seconds.LOST, 6),
    "wrong_snippet": lambda: RetrievalDesk(WordEngine("exl2", salt="other")),
}


@pytest.mark.parametrize("symptom", DESKS)
def test_a_run_without_the_twin_is_the_run_without_its_floor(symptom):
    whole, desk = DESKS[symptom](), DESKS[symptom]()
    desk.twin = AbsentEngine()
    for each in (whole, desk):
        each.run()
    sides = {
        name: {s.key.side for s in each.samples.values()} for name, each in (("whole", whole), ("desk", desk))
    }
    left_out = sides["whole"] - sides["desk"]
    assert left_out
    assert all("floor" in side for side in left_out)
    assert not any("floor" in side for side in sides["desk"])
    found, known = desk.evaluate(), whole.evaluate()
    assert found.state is known.state is State.FAIL
    assert [m.exl2 for m in found.metrics] == [m.exl2 for m in known.metrics]
    assert {m.floor for m in found.metrics} == {None}
    assert any(m.floor is not None for m in known.metrics)
    noise = next(c for c in found.diagnosis.evidence if c.check == "above_noise")
    assert noise.result != "ok"
    assert "was not measured" in noise.detail
    assert "within_noise" not in found.diagnosis.ruled_out
